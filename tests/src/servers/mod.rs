//! Private RabbitMQ, Redis and PostgreSQL servers for tests.
//!
//! Each is started from installed binaries in a fresh temporary directory on free loopback ports,
//! dies with the process that started it, and leaves no process and no file behind. A test that
//! breaks a server (stops, kills, restarts it) starts its own; the others share one of each, which
//! `make test` starts: see [`shared`]. Nothing here skips: what is missing is an error.

mod http;
mod postgres;
pub(crate) mod process;
mod rabbit;
mod redis;
mod shared;

pub use postgres::Postgres;
pub use process::{run_under_temp_dir, temp_dir};
pub use rabbit::Rabbit;
pub use redis::Redis;
pub use shared::{AMQP_URL, POSTGRES_URL, REDIS_URL, Shared, shared};

/// A free loopback port that no other server of this process gets.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    process::free_port(None)
}
