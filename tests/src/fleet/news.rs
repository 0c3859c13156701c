//! What any Redis client hears of the default topic.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::task::JoinHandle;

/// The channel of the topic that everything is published to.
const CHANNEL: &str = "patchwave:topic:patchwave";

/// A plain subscriber that keeps all it hears: SNS envelopes, with the payload decoded.
#[derive(Debug)]
pub struct News {
    heard: Arc<Mutex<Vec<(Value, Value)>>>,
    listener: JoinHandle<()>,
}

impl News {
    /// Subscribes; returns when Redis has confirmed it.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn listen(redis_url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(redis_url).context("the Redis URL is not valid")?;
        let mut subscription = client.get_async_pubsub().await.context("could not reach Redis")?;
        subscription.subscribe(CHANNEL).await.context("could not subscribe")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let listener = tokio::spawn(async move {
            let mut messages = subscription.into_on_message();
            while let Some(message) = messages.next().await {
                let envelope: Value = serde_json::from_slice(message.get_payload_bytes()).unwrap_or_default();
                let payload = envelope["Message"].as_str().and_then(|text| serde_json::from_str(text).ok());
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push((envelope, payload.unwrap_or_default()));
            }
        });
        Ok(Self { heard, listener })
    }

    /// Envelopes and payloads heard so far whose payload has `value` in `member`, in order.
    #[must_use]
    pub fn about(&self, member: &str, value: &str) -> Vec<(Value, Value)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|(_, payload)| payload[member] == value).cloned().collect()
    }
}

impl Drop for News {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
