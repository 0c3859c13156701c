//! The `patchwave` program: every server role as a subcommand, and the operator's commands.
//!
//! The operator's commands speak to the API alone, as any other client would. Nothing here knows a
//! rule of patching: rules are `engine`'s, and what is stored is the API's business. The roles are
//! started in `roles`, from a [`config::Config`] that has been checked.

pub mod args;
pub mod client;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod demo;
pub mod failure;
pub mod first_key;
pub mod in_process;
pub mod logs;
pub mod output;
pub mod roles;
pub mod table;
pub mod times;

mod events;
mod node_ways;
