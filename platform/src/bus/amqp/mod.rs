//! The bus over RabbitMQ (3.10 and later).
//!
//! Two supervised connections, so that a broker that blocks publishers still delivers. Topology is
//! declared on every connection. Nothing here retries work or knows what a message means.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use lapin::uri::{AMQPScheme, AMQPUri};
use patchwave_schemas::NodeId;
use patchwave_schemas::topology::WorkQueue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Bus, BusError, Consumer, Disconnected, HostQueue, Link, Outgoing, Published, Sender};
use crate::telemetry::redact_url;
use consumer::AmqpConsumer;
use link::State;
pub use management::Management;
use publisher::Publisher;

mod consumer;
mod death;
mod host;
mod limits;
mod link;
mod management;
mod publisher;
mod topology;

/// Seconds between heartbeats when the URL names none. A lost host is noticed after two of them;
/// the broker's own default is 60.
const HEARTBEAT_S: u16 = 10;

/// The bus over RabbitMQ. Cheap to share behind an `Arc`.
pub struct AmqpBus {
    uri: AMQPUri,
    vouched: Arc<Vouched>,
    name: String,
    publishing: Arc<Publisher>,
    consuming: watch::Receiver<State>,
    link: watch::Receiver<Link>,
    closing: CancellationToken,
    management: Option<Management>,
}

impl AmqpBus {
    /// Starts connecting to a broker. Returns at once, whether the broker is up or not: it is
    /// retried for as long as the bus is open, and [`Bus::link`] tells how it goes.
    ///
    /// `connection_name` is what operators see on the broker: `<program>.<instance>`.
    ///
    /// # Errors
    /// [`BusError::Url`] when the URL is not one of RabbitMQ. Its password is not repeated.
    #[expect(clippy::unused_async, reason = "must run inside a runtime, which `async` says best")]
    pub async fn connect(url: &str, connection_name: &str) -> Result<Self, BusError> {
        let mut uri = AMQPUri::from_str(url).map_err(|reason| BusError::Url { url: redact_url(url), reason })?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        let closing = CancellationToken::new();
        let vouched = Arc::new(Vouched { own: uri.authority.userinfo.username.clone(), trusted: Vec::new() });
        let publishing = link::supervise(uri.clone(), format!("{connection_name}.publisher"), closing.clone());
        let consuming = link::supervise(uri.clone(), format!("{connection_name}.consumer"), closing.clone());
        let link = watch_both(publishing.clone(), consuming.clone());
        Ok(Self {
            publishing: Arc::new(Publisher::new(publishing, &vouched.own)),
            vouched,
            uri,
            name: connection_name.to_owned(),
            consuming,
            link,
            closing,
            management: None,
        })
    }

    /// Trusts further users of the broker to speak for any node: programs that serve many, such as
    /// simulators. This bus's own user always is.
    #[must_use]
    pub fn trusting(mut self, users: Vec<String>) -> Self {
        self.vouched = Arc::new(Vouched { own: self.vouched.own.clone(), trusted: users });
        self
    }

    /// Closes nodes' connections through the broker's management API; without it, nobody does.
    #[must_use]
    pub fn managed_by(mut self, management: Option<Management>) -> Self {
        self.management = management;
        self
    }
}

/// Which of the broker's users is who. The broker checks that `user_id` is the publisher's own.
struct Vouched {
    own: String,
    trusted: Vec<String>,
}

impl Vouched {
    /// The user that this process is logged in as.
    fn own(&self) -> &str {
        &self.own
    }

    fn sender(&self, user_id: Option<&str>) -> Sender {
        let user = user_id.unwrap_or_default();
        if let Ok(node) = user.parse() {
            return Sender::Node(node);
        }
        let trusted = !user.is_empty() && (user == self.own || self.trusted.iter().any(|other| other == user));
        if trusted { Sender::ControlPlane } else { Sender::Unknown(user.chars().take(USER_CHARS_SHOWN).collect()) }
    }
}

/// Characters of an unknown user's name that are repeated.
const USER_CHARS_SHOWN: usize = 64;

#[async_trait]
impl Bus for AmqpBus {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        self.publishing.publish(messages).await
    }

    async fn consume(&self, queue: WorkQueue) -> Result<Box<dyn Consumer>, BusError> {
        if self.closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        let publisher = Arc::clone(&self.publishing);
        Ok(Box::new(AmqpConsumer::new(queue, &self.name, self.consuming.clone(), publisher, Arc::clone(&self.vouched))))
    }

    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError> {
        Ok(Box::new(host::open(self.consuming.clone()).await?))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    async fn depth(&self, queue: WorkQueue) -> Option<u64> {
        self.publishing.depth(queue.name()).await
    }

    async fn disconnect(&self, node: &NodeId) -> Result<Disconnected, BusError> {
        let Some(management) = &self.management else { return Ok(Disconnected::Unable) };
        management.disconnect(&self.uri.vhost, node).await?;
        Ok(Disconnected::Done)
    }

    async fn warnings(&self) -> Vec<String> {
        // The management API is asked in plain HTTP, which is no place for a password from `amqps`.
        if self.uri.scheme == AMQPScheme::AMQPS {
            return Vec::new();
        }
        limits::warnings(&self.uri).await
    }

    async fn close(&self) {
        self.closing.cancel();
        let mut consuming = self.consuming.clone();
        let _ = consuming.wait_for(|state| matches!(state, State::Closed)).await;
        self.publishing.closed().await;
    }
}

impl Drop for AmqpBus {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Up when both connections are.
fn watch_both(mut publishing: watch::Receiver<State>, mut consuming: watch::Receiver<State>) -> watch::Receiver<Link> {
    let both = |publishing: &State, consuming: &State| match (publishing, consuming) {
        (State::Closed, _) | (_, State::Closed) => Link::Down { reason: "closed".to_owned() },
        (State::Down(reason), _) | (_, State::Down(reason)) => Link::Down { reason: reason.clone() },
        (State::Up(_), State::Up(_)) => Link::Up,
    };
    let (sender, receiver) = watch::channel(both(&publishing.borrow(), &consuming.borrow()));
    tokio::spawn(async move {
        loop {
            let now = both(&publishing.borrow_and_update(), &consuming.borrow_and_update());
            sender.send_if_modified(|link| {
                let changed = *link != now;
                *link = now;
                changed
            });
            let alive = tokio::select! {
                changed = publishing.changed() => changed,
                changed = consuming.changed() => changed,
            };
            if alive.is_err() {
                break;
            }
        }
    });
    receiver
}
