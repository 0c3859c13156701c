//! What the workspace's tests share.
//!
//! - [`servers`]: private RabbitMQ, Redis and PostgreSQL.
//! - [`simulation`]: the seeded simulation.

pub mod servers;
pub mod simulation;
