//! A whole Patchwave of real programs: the server roles, agents, and what a user sees of them.
//!
//! Programs are started from `target/`, listen on free loopback ports, write their logs to the
//! temporary directory of their [`System`], and are gone when it is dropped, also by a panic. All
//! waiting is looking again until a deadline, in [`eventually`].

mod agents;
mod api;
mod events;
mod news;
mod program;
mod rollout;
mod system;
mod wait;

pub use agents::{Agents, shell_nodes};
pub use api::Api;
pub use events::{Events, cloud_event};
pub use news::News;
pub use program::{Program, binary};
pub use rollout::{Rollout, Watched};
pub use system::{Role, System, Urls};
pub use wait::{PATIENCE, eventually, within};
