//! The rules of Patchwave: every decision, and nothing else.
//!
//! Pure: no I/O, no clock, no randomness, no async. `now` is an argument and effects are values, so
//! that production, replay and simulation share each rule.
//!
//! - [`access`]: who may do what.
//! - [`baseline`]: which patches are approved on a node, and why.
//! - [`broker_access`]: what a node may do on the broker.
//! - [`calendar`]: when changes are allowed.
//! - [`calls`]: what executions ask of the world.
//! - [`compliance`]: how many patches of a node are in which state.
//! - [`documents`]: what a command does on a node, and its parameters.
//! - [`invocation`]: one document on one node, event by event.
//! - [`json_path`]: what a JSONPath finds.
//! - [`limits`]: `MaxConcurrency` and `MaxErrors`.
//! - [`patch_now`]: what "patch these nodes now" means.
//! - [`pseudo_parameters`]: what a window's tasks may say of their targets.
//! - [`registration`]: whether a machine may become a node.
//! - [`rollout`]: how many invocations may be in flight, and when to stop.
//! - [`schedule`]: when a maintenance window runs, and whether a late run still starts.
//! - [`states`]: the Amazon States Language.
//! - [`targets`]: which nodes a task is for.
//! - [`versions`]: which of two package versions is newer.
//! - [`window_execution`]: which task of a window starts when, and how a firing ends.

pub mod access;
pub mod baseline;
pub mod broker_access;
pub mod calendar;
pub mod calls;
pub mod compliance;
pub mod documents;
pub mod group_compliance;
pub mod invocation;
pub mod json_path;
pub mod limits;
pub mod patch_now;
pub mod pseudo_parameters;
pub mod registration;
pub mod rollout;
pub mod schedule;
pub mod states;
pub mod targets;
pub mod versions;
pub mod window_execution;
