//! What the workspace's tests share.
//!
//! - [`fleet`]: a whole Patchwave of real programs.
//! - [`fuzzing`]: what reads bytes from outside, as functions of bytes.
//! - [`servers`]: private RabbitMQ, Redis and PostgreSQL.
//! - [`simulation`]: the seeded simulation.

pub mod fleet;
pub mod fuzzing;
pub mod servers;
pub mod simulation;
