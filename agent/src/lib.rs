//! The agent on a node: it takes commands, carries them out once, and reports until it is heard.
//!
//! Decisions are in [`run`] and [`node`], which do no I/O of their own; [`execute`] acts,
//! [`transport`] talks, [`runtime`] drives them. [`simulate`] puts made-up nodes through the same
//! path. Nothing here knows the store or the control plane's rules.

mod baseline_file;
pub mod credentials;
pub mod execute;
pub mod fingerprint;
pub mod identity;
pub mod journal;
pub mod keys;
pub mod node;
pub mod packages;
pub mod policy_file;
mod private_file;
pub mod register;
pub mod report;
pub mod run;
pub mod run_baseline;
pub mod runtime;
pub mod simulate;
pub mod transport;
pub mod trust;

pub use node::{Effect, NodeCore, Policy};
pub use runtime::{Agent, AgentHandle, AgentNode, AgentOptions};
