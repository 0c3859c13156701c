//! Topics over Redis pub/sub: topic `x` is channel `patchwave:topic:x`, for any Redis client.
//!
//! Redis forgets what nobody listens to, so nothing here is kept for later either: while the
//! server is away, publishing fails and the store's outbox keeps what was to be published.

use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::StreamExt;
use patchwave_schemas::topology::TOPIC_CHANNEL_PREFIX;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::{Client, RedisResult};
use tokio::sync::mpsc;

use super::{ALL_TOPICS, News, SUBSCRIPTION_MAX, Topics, TopicsError};
use crate::telemetry::redact_url;

/// How long a connection attempt or an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one publish may take in all, reconnecting included.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to reconnect within one publish; about two seconds in all.
const PUBLISH_RETRIES: usize = 6;
/// First and longest pause between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a silent subscription asks whether its server is still there.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Topics over Redis.
pub struct RedisTopics {
    client: Client,
    publishing: ConnectionManager,
}

impl RedisTopics {
    /// Prepares the connections; they are made when they are needed, so the server may be away.
    ///
    /// # Errors
    /// [`TopicsError::Url`] when the URL is not one of Redis. Its password is not repeated.
    #[expect(clippy::unused_async, reason = "must run inside a runtime, which `async` says best")]
    pub async fn connect(url: &str) -> Result<Self, TopicsError> {
        let refused = |error: redis::RedisError| TopicsError::Url { url: redact_url(url), reason: error.to_string() };
        let client = Client::open(url).map_err(refused)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(PUBLISH_RETRIES)
            .set_min_delay(PAUSE_MIN)
            .set_max_delay(PAUSE_MAX)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let publishing = ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(refused)?;
        Ok(Self { client, publishing })
    }
}

#[async_trait]
impl Topics for RedisTopics {
    async fn publish(&self, news: &[(String, String)]) -> Result<(), TopicsError> {
        if news.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for (topic, payload) in news {
            pipeline.publish(format!("{TOPIC_CHANNEL_PREFIX}{topic}"), payload).ignore();
        }
        let publishing = publish_pipelined(self.publishing.clone(), &pipeline);
        let result = match tokio::time::timeout(PUBLISH_PATIENCE, publishing).await {
            Ok(result) => result,
            Err(_elapsed) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        result.map_err(|source| server("publish to Redis", source))
    }

    async fn subscribe(&self, topic: &str) -> Result<mpsc::Receiver<News>, TopicsError> {
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MAX);
        let mut connection = open(&self.client, topic).await.map_err(|source| server("subscribe on Redis", source))?;
        let (client, topic) = (self.client.clone(), topic.to_owned());
        tokio::spawn(async move {
            while pass_on(connection, &sender).await {
                tracing::warn!(topic, "the subscription on Redis was lost; subscribing again");
                tokio::select! {
                    () = sender.closed() => return,
                    again = open_again(&client, &topic) => connection = again,
                }
            }
        });
        Ok(receiver)
    }
}

async fn publish_pipelined(mut connection: ConnectionManager, pipeline: &redis::Pipeline) -> RedisResult<()> {
    let result = pipeline.query_async::<()>(&mut connection).await;
    // The first use after a lost connection fails, and starts the next connection. News may be
    // published twice by this; subscribers recognise it by its id.
    if result.as_ref().is_err_and(redis::RedisError::is_unrecoverable_error) {
        return pipeline.query_async::<()>(&mut connection).await;
    }
    result
}

/// Connects and subscribes; returns once the server has said that it did.
async fn open(client: &Client, topic: &str) -> RedisResult<PubSub> {
    let work = async {
        let mut connection = client.get_async_pubsub().await?;
        let channel = format!("{TOPIC_CHANNEL_PREFIX}{topic}");
        if topic == ALL_TOPICS {
            connection.psubscribe(channel).await?;
        } else {
            connection.subscribe(channel).await?;
        }
        Ok(connection)
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_elapsed) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    }
}

async fn open_again(client: &Client, topic: &str) -> PubSub {
    let mut pauses =
        ExponentialBuilder::default().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).without_max_times().build();
    loop {
        match open(client, topic).await {
            Ok(connection) => return connection,
            Err(error) => tracing::debug!(topic, %error, "could not subscribe on Redis yet"),
        }
        // Full jitter: subscribers must not come back in step.
        tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MAX).mul_f64(rand::random::<f64>())).await;
    }
}

/// Passes news on until the connection or the subscriber is gone; true when it was the connection.
async fn pass_on(connection: PubSub, sender: &mpsc::Sender<News>) -> bool {
    let (mut sink, mut messages) = connection.split();
    let mut ping = tokio::time::interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = sender.closed() => return false,
            _ = ping.tick() => {
                let answer = tokio::time::timeout(PATIENCE, sink.ping::<redis::Value>()).await;
                if !matches!(answer, Ok(Ok(_))) {
                    return true;
                }
                continue;
            }
        };
        let Some(message) = message else { return true };
        let topic = message.get_channel_name().strip_prefix(TOPIC_CHANNEL_PREFIX).unwrap_or_default().to_owned();
        let payload = String::from_utf8_lossy(message.get_payload_bytes()).into_owned();
        if sender.send(News { topic, payload }).await.is_err() {
            return false;
        }
    }
}

fn server(attempted: &str, source: redis::RedisError) -> TopicsError {
    TopicsError::Server { attempted: attempted.to_owned(), source: Box::new(source) }
}
