//! The topics port: live news for whoever is listening. Nothing is kept; the store is.

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::Class;

pub mod embedded;
pub mod redis;

/// The name that subscribes to every topic.
pub const ALL_TOPICS: &str = "*";

/// News that wait for one subscriber at most. A subscriber that is slower misses some.
pub const SUBSCRIPTION_MAX: usize = 1_024;

/// Publish and subscribe by topic name.
#[async_trait]
pub trait Topics: Send + Sync + 'static {
    /// Publishes `(topic, payload)` pairs in order, pipelined. Safe to repeat.
    ///
    /// # Errors
    /// [`TopicsError`] if not all were taken.
    async fn publish(&self, news: &[(String, String)]) -> Result<(), TopicsError>;

    /// Subscribes to a topic from now on; `*` subscribes to all.
    ///
    /// The subscription survives a lost link (what is published meanwhile is missed). It ends when
    /// the receiver is dropped.
    ///
    /// # Errors
    /// [`TopicsError`] if the subscription could not be made.
    async fn subscribe(&self, topic: &str) -> Result<mpsc::Receiver<News>, TopicsError>;
}

/// One published payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Topic name, without prefix.
    pub topic: String,
    /// What was published.
    pub payload: String,
}

/// Why the topics adapter did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The URL names no adapter.
    #[error("topics `{url}`: {reason}; expected `embedded` or `redis[s]://host:port/db`")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server is away or refused.
    #[error("could not {attempted}")]
    Server {
        /// What was attempted.
        attempted: String,
        /// The driver's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TopicsError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Url { .. } => Class::Rejected,
            Self::Server { .. } => Class::Transient,
        }
    }
}
