//! The servers that all tests of one `make test` share.

use anyhow::{Context, anyhow};
use uuid::Uuid;

use super::{postgres, rabbit};

/// Variable with the URL of the shared RabbitMQ.
pub const AMQP_URL: &str = "PATCHWAVE_TEST_AMQP_URL";
/// Variable with the URL of the shared Redis.
pub const REDIS_URL: &str = "PATCHWAVE_TEST_REDIS_URL";
/// Variable with the URL of the shared PostgreSQL.
pub const POSTGRES_URL: &str = "PATCHWAVE_TEST_POSTGRES_URL";

/// Where the shared servers are. Tests must not stop them, and get corners of their own.
#[derive(Debug, Clone)]
pub struct Shared {
    amqp_url: String,
    redis_url: String,
    postgres_url: String,
}

/// The servers that `with-servers` started for this run.
///
/// # Errors
/// When the test was started without them. That is a failure, not a reason to skip.
pub fn shared() -> anyhow::Result<Shared> {
    let read =
        |name: &str| std::env::var(name).map_err(|_| anyhow!("{name} is not set: run this test through `make test`"));
    Ok(Shared { amqp_url: read(AMQP_URL)?, redis_url: read(REDIS_URL)?, postgres_url: read(POSTGRES_URL)? })
}

impl Shared {
    /// Makes an empty virtual host whose name begins with `name`, and returns its URL.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn vhost(&self, name: &str) -> anyhow::Result<String> {
        let authority = self.amqp_url.split('/').nth(2).context("the AMQP URL has no host")?;
        let port = authority.rsplit_once(':').context("the AMQP URL has no port")?.1.parse()?;
        rabbit::vhost(port, &format!("{name}-{}", Uuid::new_v4().simple()))
    }

    /// Makes an empty database whose name begins with `name`, and returns its URL.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn database(&self, name: &str) -> anyhow::Result<String> {
        // PostgreSQL cuts names at 63 bytes.
        let name: String = name.chars().take(30).collect();
        postgres::create_database(&self.postgres_url, &format!("{name}_{}", Uuid::new_v4().simple()))
    }

    /// The URL of the shared Redis. Channels are seen by all: use names of your own.
    #[must_use]
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }
}
