//! What the workspace's tests share.
//!
//! - [`fleet`]: a whole Patchwave of real programs.
//! - [`servers`]: private RabbitMQ, Redis and PostgreSQL.
//! - [`simulation`]: the seeded simulation.

pub mod fleet;
pub mod servers;
pub mod simulation;
