//! The transport port: how commands reach nodes and reports leave them.
//!
//! What it promises, whichever adapter is behind it:
//! - a command is handed out at least once until it is acknowledged, while its link lives;
//! - [`Link::report`] returns `Ok` only when every report is stored where no crash of ours
//!   reaches it;
//! - a lost link says so by [`Connection::lost`]; connecting again is the runtime's business, and
//!   every connection is a new session.
//!
//! A transport knows nothing of commands: bodies are bytes to it.

use std::sync::Arc;

use async_trait::async_trait;
use patchwave_schemas::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::report::Report;

pub mod amqp;
pub mod gateway;
pub(crate) mod https;
pub mod memory;

/// Makes a node's login proof, anew for each connection or request.
pub type Proofs = Arc<dyn Fn(&NodeId) -> String + Send + Sync>;

/// A way to the control plane.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Connects, without any node yet.
    ///
    /// # Errors
    /// [`TransportError`]; safe to try again.
    async fn connect(&self) -> Result<Connection, TransportError>;
}

/// A living connection.
pub struct Connection {
    /// Commands for the attached nodes. Bounded by what the transport lets a node hold unacknowledged.
    pub incoming: mpsc::UnboundedReceiver<Incoming>,
    /// Cancelled when the link is lost.
    pub lost: CancellationToken,
    /// The other direction.
    pub link: Arc<dyn Link>,
}

/// What can be done on a connection.
#[async_trait]
pub trait Link: Send + Sync {
    /// Makes nodes reachable. The answers are in the order of the nodes.
    ///
    /// # Errors
    /// [`TransportError`] if any could not be attached; the link is then of no more use.
    async fn attach(&self, nodes: &[NodeId]) -> Result<Vec<Attached>, TransportError>;

    /// Makes nodes unreachable again.
    ///
    /// # Errors
    /// [`TransportError`] if the link is lost.
    async fn detach(&self, nodes: &[NodeId]) -> Result<(), TransportError>;

    /// Acknowledges messages: they are journaled and need not come again.
    ///
    /// # Errors
    /// [`TransportError`] if the link is lost; the messages may come again.
    async fn acknowledge(&self, tickets: Vec<Ticket>) -> Result<(), TransportError>;

    /// Publishes reports in order and waits until all of them are confirmed.
    ///
    /// # Errors
    /// [`TransportError`] if not all of them were; any of them may be stored all the same.
    async fn report(&self, reports: &[Report]) -> Result<(), TransportError>;

    /// Closes the link.
    async fn close(&self);
}

/// A node that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Where its commands are to be sent.
    pub address: Arc<str>,
    /// Differs for each connection.
    pub session: Arc<str>,
}

/// A message for an attached node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The node whose address it was sent to; absent where several share one address.
    pub node_id: Option<NodeId>,
    /// The CloudEvent.
    pub body: Vec<u8>,
    /// Acknowledges it.
    pub ticket: Ticket,
}

/// Names a message to [`Link::acknowledge`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The channel it came on, where the transport has several.
    pub channel: u32,
    /// Its number on the channel.
    pub tag: u64,
}

/// Why a transport did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The URL cannot be used.
    #[error("bus `{url}`: {reason}; expected `amqp://user:password@host:port/vhost`")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The gateway's URL cannot be used.
    #[error("server `{url}`: {reason}; expected `https://host:port`, or `http://` on this machine's loopback")]
    Server {
        /// The URL, unless there are credentials in it.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file with the certificates to trust cannot be used.
    #[error("certificates in `{path}`: {reason}; expected certificates in PEM")]
    Certificates {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The link is down or the other side refused.
    #[error("could not {attempted}")]
    Link {
        /// What was attempted.
        attempted: String,
        /// The driver's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The broker did not take a report.
    #[error("the broker refused report `{message_type}`")]
    Refused {
        /// Its type.
        message_type: &'static str,
    },
    /// The link was closed or lost before.
    #[error("the link is closed")]
    Closed,
}
