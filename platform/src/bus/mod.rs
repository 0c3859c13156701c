//! The bus port: durable work queues between programs, and live delivery to connected nodes.
//!
//! What it promises, whichever adapter is behind it:
//! - a published event is either confirmed as stored, or the call fails and may be repeated;
//! - a delivery is handed out at least once until it is settled;
//! - a command to a node is delivered to a connected consumer or comes back as
//!   [`Published::Returned`]; it is never kept for later, because the store is the mailbox.
//!
//! A bus decides nothing: deadlines, retries of work and duplicates are the handlers' business.
//! New semantics belong into the contract suite in `tests/`, not into one adapter's tests.

use async_trait::async_trait;
use patchwave_schemas::NodeId;
use patchwave_schemas::catalogue::{Direction, MESSAGES, Publisher};
use patchwave_schemas::envelope::{Head, node_source};
use patchwave_schemas::topology::WorkQueue;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Class;

pub mod amqp;
pub mod embedded;

/// The largest batch.
///
/// Batches with one multiple-acknowledge are five to forty times one at a time (measured on
/// RabbitMQ 3.10). Much larger ones would hold many of a rollout's slots at once, and make
/// redeliveries after a crash longer.
pub const BATCH_MAX: u16 = 256;

/// Messages a consumer may hold unsettled: while what follows from one batch is published, the
/// next one is applied, and the one after it is under way.
pub const HELD_MAX: u16 = 4 * BATCH_MAX;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To every queue bound to this key of the events exchange. Durable.
    Event {
        /// `patchwave_schemas::topology::routing_key` of the type, or a timer's key.
        key: String,
    },
    /// As an agent's report. Durable.
    Report {
        /// Routing key on the reports exchange.
        key: String,
    },
    /// To one connected node. Transient, mandatory.
    Node {
        /// The queue from its hello.
        address: String,
    },
    /// Straight to one work queue, for replayed dead letters. Durable.
    Queue(WorkQueue),
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub route: Route,
    /// The CloudEvent's id, repeated in the broker's own properties.
    pub message_id: Uuid,
    /// The CloudEvent's type, likewise.
    pub message_type: String,
    /// The CloudEvent.
    pub body: Vec<u8>,
}

/// What became of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Stored by the bus, or handed to a connected node's queue. For [`Route::Node`] also when the
    /// link was lost before the answer came: the command may have arrived.
    Confirmed,
    /// No queue took it: for [`Route::Node`], the node is not connected.
    Returned,
}

/// A message handed out by a consumer. It stays the bus's until it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Names the delivery to [`Consumer::settle`].
    pub tag: u64,
    /// The message's body as it was published, whatever it is.
    pub body: Vec<u8>,
    /// Whether it may have been handed out before.
    pub redelivered: bool,
    /// On [`WorkQueue::Dead`]: the queue that gave it up and why.
    pub death: Option<Death>,
    /// Who published it, as far as the bus vouches for that.
    pub sender: Sender,
}

/// Who published a message. The bus's word, whatever the message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// A program of the control plane, or one that it trusts to speak for any node.
    ControlPlane,
    /// A node that is logged in as itself.
    Node(NodeId),
    /// Nobody vouches for it: a user that is neither, or a message that names none.
    Unknown(String),
}

impl Sender {
    /// Whether it may report about this node.
    #[must_use]
    pub fn may_speak_for(&self, node: &NodeId) -> bool {
        match self {
            Self::ControlPlane => true,
            Self::Node(sender) => sender == node,
            Self::Unknown(_) => false,
        }
    }

    /// Whoever published a message of which nothing is known.
    #[must_use]
    pub fn nobody() -> Self {
        Self::Unknown(String::new())
    }

    /// Whether a message with this head may be sent round again in the control plane's name, which
    /// its readers then go by: what a node reported must be about itself, and what only a gateway
    /// may report must be the control plane's own. Events are believed of whoever may publish them.
    #[must_use]
    pub fn may_have_said(&self, head: &Head) -> bool {
        let Some(entry) = MESSAGES.iter().find(|entry| entry.message_type == head.event_type) else { return true };
        match self {
            Self::ControlPlane => true,
            _ if entry.direction == Direction::Event => true,
            Self::Node(node) => entry.publishers.contains(&Publisher::Agent) && head.source == node_source(node),
            Self::Unknown(_) => false,
        }
    }

    /// How it is stored: `control-plane`, a node's id, or `user:` and a name.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::ControlPlane => CONTROL_PLANE.to_owned(),
            Self::Node(node) => node.to_string(),
            Self::Unknown(user) => format!("{USER_PREFIX}{user}"),
        }
    }

    /// What was stored. Whatever is not understood is nobody the message could be believed of.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text.parse() {
            Ok(node) => Self::Node(node),
            Err(_) if text == CONTROL_PLANE => Self::ControlPlane,
            Err(_) => Self::Unknown(text.strip_prefix(USER_PREFIX).unwrap_or(text).to_owned()),
        }
    }
}

const CONTROL_PLANE: &str = "control-plane";
const USER_PREFIX: &str = "user:";

impl std::fmt::Display for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("the control plane"),
            Self::Node(node) => write!(f, "{node}"),
            Self::Unknown(user) if user.is_empty() => f.write_str("nobody in particular"),
            Self::Unknown(user) => write!(f, "bus user `{user}`"),
        }
    }
}

/// Where a dead letter comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// The queue it was on; empty when it never reached one.
    pub queue: String,
    /// Why it was given up.
    pub reason: String,
    /// Who published it in the first place.
    pub sender: Sender,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done: forget it.
    Ack,
    /// Can never be processed: to the dead letters, with the reason.
    Bury {
        /// One sentence for an operator.
        reason: String,
    },
    /// Not now: hand it out again.
    Requeue,
}

/// What became of a node's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disconnected {
    /// There are none.
    Done,
    /// Nobody knows: this bus was not told how to close them.
    Unable,
}

/// State of the link to the bus, for `/readyz` and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Connected.
    Up,
    /// Not connected; being retried.
    Down {
        /// The last failure.
        reason: String,
    },
}

/// Durable queues, and live delivery to nodes.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes all messages and waits until the bus has answered for each of them.
    ///
    /// The answers are in the order of the messages. Retries while the link is down, until a
    /// bounded time (30 s) has passed. Safe to repeat: consumers recognise duplicates by id.
    ///
    /// # Errors
    /// [`BusError`] if not every message was answered for; some may have been published.
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError>;

    /// Starts reading a queue. The consumer reconnects by itself.
    ///
    /// # Errors
    /// [`BusError`] if the bus was closed.
    async fn consume(&self, queue: WorkQueue) -> Result<Box<dyn Consumer>, BusError>;

    /// Takes a queue of this process's own, to which commands for the nodes that it serves may be
    /// published, as to a node's own queue. Waits for a link that is down, for a bounded time (30 s).
    ///
    /// # Errors
    /// [`BusError`] if there was no link, or the bus was closed.
    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError>;

    /// The state of the link, now and whenever it changes.
    fn link(&self) -> watch::Receiver<Link>;

    /// Ready messages waiting on a queue, for `/metrics`; `None` when the bus cannot tell cheaply.
    async fn depth(&self, queue: WorkQueue) -> Option<u64>;

    /// Closes every connection of a node and deletes its queues, with what is in them. The caller has
    /// seen to it that the node may not log in any more. Safe to repeat.
    ///
    /// # Errors
    /// [`BusError`] if the broker did not do so, or did not say so.
    async fn disconnect(&self, node: &NodeId) -> Result<Disconnected, BusError> {
        // Where nodes do not log in to the bus itself, the gateway ends their streams.
        let _ = node;
        Ok(Disconnected::Done)
    }

    /// Warnings an operator should act on, such as a broker's file limit that is too low.
    async fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Closes the link; consumers end with `None`.
    async fn close(&self);
}

/// A reader of one queue.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for a delivery, then takes along whatever else is ready, up to `max`.
    ///
    /// `None` when the bus was closed. While the link is down it waits; deliveries of a lost
    /// connection come again. Dropping the future loses no delivery.
    async fn next_batch(&mut self, max: usize) -> Option<Vec<Delivery>>;

    /// Settles deliveries of this consumer. Unknown tags (of a lost connection) are ignored:
    /// those messages come again.
    ///
    /// # Errors
    /// [`BusError`] if the bus could not be told; the messages will come again.
    async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<(), BusError>;
}

/// A queue of one process that serves many nodes, until it is dropped or its link is lost.
#[async_trait]
pub trait HostQueue: Send {
    /// Where its commands are to be sent: `patchwave.host.…`. Differs for each queue.
    fn address(&self) -> &str;

    /// Waits for the next command, which is this process's from then on. `None` when the queue is
    /// gone, with its link or with the bus: what was published to it is lost, what will be comes
    /// back, and a new queue can be taken. Dropping the future loses no command.
    async fn next(&mut self) -> Option<Vec<u8>>;
}

/// Why the bus did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The URL names no bus this program knows, or misspells one.
    #[error("bus `{url}`: {reason}; expected `embedded` or `amqp[s]://user:password@host:port/vhost`")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The URL is not one of a broker's management API.
    #[error("management API `{url}`: {reason}; expected `http[s]://user:password@host:port`")]
    Management {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The link is down or the broker refused.
    #[error("could not {attempted}")]
    Broker {
        /// What was attempted.
        attempted: String,
        /// The driver's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The bus was closed by this program.
    #[error("the bus is closed")]
    Closed,
}

impl BusError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Broker { .. } => Class::Transient,
            Self::Url { .. } | Self::Management { .. } => Class::Rejected,
            Self::Closed => Class::Fatal,
        }
    }
}
