//! Topics inside this process, for `patchwave up` without Redis.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc};

use super::{ALL_TOPICS, News, SUBSCRIPTION_MAX, Topics, TopicsError};

/// Topics inside this process. Clones share the same topics.
#[derive(Debug, Clone)]
pub struct EmbeddedTopics {
    news: broadcast::Sender<Arc<News>>,
}

impl EmbeddedTopics {
    /// Topics that nobody has subscribed to yet.
    #[must_use]
    pub fn new() -> Self {
        Self { news: broadcast::channel(SUBSCRIPTION_MAX).0 }
    }
}

impl Default for EmbeddedTopics {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Topics for EmbeddedTopics {
    async fn publish(&self, news: &[(String, String)]) -> Result<(), TopicsError> {
        for (topic, payload) in news {
            // An error says that nobody listens, which is no failure.
            let _ = self.news.send(Arc::new(News { topic: topic.clone(), payload: payload.clone() }));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &str) -> Result<mpsc::Receiver<News>, TopicsError> {
        let topic = topic.to_owned();
        let mut published = self.news.subscribe();
        let (sender, receiver) = mpsc::channel(SUBSCRIPTION_MAX);
        tokio::spawn(async move {
            loop {
                let received = tokio::select! {
                    received = published.recv() => received,
                    () = sender.closed() => return,
                };
                let news = match received {
                    Ok(news) => news,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(topic, missed, "a subscriber is too slow and missed news");
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let wanted = topic == ALL_TOPICS || topic == news.topic;
                if wanted && sender.send((*news).clone()).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}
