//! Disconnecting a user, through RabbitMQ's management API: AMQP itself cannot do that.
//!
//! Closing others' connections takes a user with the tag `administrator`, so it is one of its own,
//! with a URL of its own, and not the bus's.

use std::time::Duration;

use patchwave_schemas::NodeId;
use patchwave_schemas::topology::NODE_QUEUE_PREFIX;
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;

use crate::bus::BusError;
use crate::telemetry::redact_url;

/// Time for one answer. A broker that closes thousands of connections is slow to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Queues that are listed at a time.
const PAGE: usize = 100;
/// Lists that are read in one go. A node that has made more queues than that keeps the rest until
/// the next.
const PAGES_MAX: usize = 20;
/// Bytes of a list at most; a queue's name has up to 255.
const LIST_BYTES_MAX: usize = 1 << 20;
/// Characters of a refusal that are repeated.
const REASON_CHARS_MAX: usize = 200;

/// The management API of a broker, and who asks it.
pub struct Management {
    /// With user and password, which the client sends as a header.
    url: Url,
    http: Client,
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Management({})", redact_url(self.url.as_str()))
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Queue>,
}

#[derive(Deserialize)]
struct Queue {
    name: String,
    #[serde(default)]
    exclusive: bool,
}

impl Management {
    /// The management API at `http[s]://user:password@host:port`. Asks nothing yet.
    ///
    /// # Errors
    /// [`BusError::Management`] when that is not such a URL; its password is not repeated.
    pub fn new(url: &str) -> Result<Self, BusError> {
        let bad = |reason: String| BusError::Management { url: redact_url(url), reason };
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.cannot_be_a_base() {
            return Err(bad("not http or https".to_owned()));
        }
        if parsed.username().is_empty() || parsed.password().is_none() {
            return Err(bad("no user and password".to_owned()));
        }
        // Fails when it is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A redirect would carry the password elsewhere.
        let http = Client::builder()
            .timeout(ANSWER_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| bad(error.without_url().to_string()))?;
        Ok(Self { url: parsed, http })
    }

    /// Closes every connection of a node, and deletes its queues with what is in them. Exclusive ones
    /// go with their connection.
    pub(super) async fn disconnect(&self, vhost: &str, node: &NodeId) -> Result<(), BusError> {
        self.ask(Method::DELETE, self.at(&["connections", "username", node.as_str()])).await?;
        for _ in 0..PAGES_MAX {
            let page = self.queues(vhost, node).await?;
            let lasting: Vec<_> = page.items.iter().filter(|queue| !queue.exclusive).collect();
            for queue in &lasting {
                self.ask(Method::DELETE, self.at(&["queues", vhost, &queue.name])).await?;
            }
            if lasting.is_empty() || page.items.len() < PAGE {
                return Ok(());
            }
        }
        Err(failed(format!("delete every queue of {node}"))("there are more of them".into()))
    }

    async fn queues(&self, vhost: &str, node: &NodeId) -> Result<Page, BusError> {
        let mut url = self.at(&["queues", vhost]);
        let pattern = format!("^{}{node}\\.", NODE_QUEUE_PREFIX.replace('.', "\\."));
        url.query_pairs_mut()
            .append_pair("name", &pattern)
            .append_pair("use_regex", "true")
            .append_pair("columns", "name,exclusive")
            .append_pair("page", "1")
            .append_pair("page_size", &PAGE.to_string());
        let answer = self.ask(Method::GET, url).await?;
        let attempted = || failed(format!("read the list of {node}'s queues"));
        let Some(mut answer) = answer else { return Ok(Page { items: Vec::new() }) };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| attempted()(error.without_url().into()))? {
            if body.len() + chunk.len() > LIST_BYTES_MAX {
                return Err(attempted()("it is too long".into()));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| attempted()(error.into()))
    }

    /// `None` when there is no such thing, which for a deletion is as good.
    async fn ask(&self, method: Method, url: Url) -> Result<Option<Response>, BusError> {
        // Without user and password, whatever is made of it.
        let what = format!("{method} {} on the broker's management API", url.path());
        let answer = self.http.request(method, url).send().await;
        let answer = answer.map_err(|error| failed(what.clone())(error.without_url().into()))?;
        match answer.status() {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            status => {
                let text = answer.text().await.unwrap_or_default();
                let reason: String = text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect();
                Err(failed(what)(format!("{status}: {reason}").into()))
            }
        }
    }

    fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .expect("a URL with a host, which was checked, has a path")
            .pop_if_empty()
            .push("api")
            .extend(segments);
        url
    }
}

fn failed(attempted: String) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> BusError {
    move |source| BusError::Broker { attempted, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_and_passwords_are_not_shown() {
        let management = Management::new("http://adm:hunter2@host:15672/prefix").expect("valid");
        let url = management.at(&["queues", "/", "patchwave.node.mi-1.a"]);
        assert_eq!(url.path(), "/prefix/api/queues/%2F/patchwave.node.mi-1.a");
        assert!(!format!("{management:?}").contains("hunter2"), "{management:?}");
        for url in ["amqp://u:hunter2@h", "http://host:15672", "http://u@host", "hunter2", "data:hunter2"] {
            let error = Management::new(url).expect_err("refused").to_string();
            assert!(error.contains("http[s]://user:password@host:port"), "{error}");
            assert!(!error.contains("u:hunter2"), "{error}");
        }
    }
}
