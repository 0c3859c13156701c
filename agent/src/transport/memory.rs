//! The transport inside one process: for the embedded default and for tests.
//!
//! The other side is an [`InProcessBus`], a few lines that glue this to whatever bus the process
//! has. A message is the agent's as soon as it is received: there is nothing to acknowledge,
//! because when the process dies both sides die, and the store sends it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use patchwave_schemas::NodeId;
use patchwave_schemas::topology::{HOST_QUEUE_PREFIX, node_queue};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Attached, Connection, Incoming, Link, Ticket, Transport, TransportError};
use crate::report::Report;

/// The bus of this process, as agents need it.
#[async_trait]
pub trait InProcessBus: Send + Sync + 'static {
    /// Messages sent to `address` from now on. Dropping the receiver takes the address off the bus.
    fn listen(&self, address: &str) -> mpsc::Receiver<Vec<u8>>;

    /// Stores reports durably, in order.
    ///
    /// # Errors
    /// Whatever kept the bus from storing all of them; they will be sent again.
    async fn report(&self, reports: &[Report]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// A transport over an [`InProcessBus`].
pub struct InProcessTransport {
    bus: Arc<dyn InProcessBus>,
    /// One address for all nodes instead of one for each.
    shared_address: bool,
}

impl InProcessTransport {
    /// A transport that gives each node an address, or all of them one.
    #[must_use]
    pub fn new(bus: Arc<dyn InProcessBus>, shared_address: bool) -> Self {
        Self { bus, shared_address }
    }
}

#[async_trait]
impl Transport for InProcessTransport {
    async fn connect(&self) -> Result<Connection, TransportError> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let session = Uuid::new_v4().simple().to_string();
        let link = InProcessLink {
            bus: Arc::clone(&self.bus),
            shared: self.shared_address.then(|| format!("{HOST_QUEUE_PREFIX}{session}").into()),
            session: session.into(),
            sender: Mutex::new(Some(sender)),
            listeners: Mutex::default(),
        };
        Ok(Connection { incoming, lost: CancellationToken::new(), link: Arc::new(link) })
    }
}

struct InProcessLink {
    bus: Arc<dyn InProcessBus>,
    shared: Option<Arc<str>>,
    session: Arc<str>,
    /// Taken when the link is closed.
    sender: Mutex<Option<mpsc::UnboundedSender<Incoming>>>,
    /// By node; `None` is the address that all of them share.
    listeners: Mutex<HashMap<Option<NodeId>, CancellationToken>>,
}

impl InProcessLink {
    /// Forwards what comes to `address` until the node is detached.
    fn listen(&self, address: &str, node_id: Option<NodeId>) -> Result<(), TransportError> {
        let sender =
            self.sender.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(TransportError::Closed)?;
        let stop = CancellationToken::new();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        if listeners.contains_key(&node_id) {
            return Ok(());
        }
        listeners.insert(node_id.clone(), stop.clone());
        let mut messages = self.bus.listen(address);
        tokio::spawn(async move {
            while let Some(Some(body)) = stop.run_until_cancelled(messages.recv()).await {
                if sender.send(Incoming { node_id: node_id.clone(), body, ticket: Ticket::default() }).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

#[async_trait]
impl Link for InProcessLink {
    async fn attach(&self, nodes: &[NodeId]) -> Result<Vec<Attached>, TransportError> {
        let attach = |node: &NodeId| {
            let session = Arc::clone(&self.session);
            if let Some(address) = &self.shared {
                self.listen(address, None)?;
                return Ok(Attached { address: Arc::clone(address), session });
            }
            let address: Arc<str> = node_queue(node, &session).into();
            self.listen(&address, Some(node.clone()))?;
            Ok(Attached { address, session })
        };
        nodes.iter().map(attach).collect()
    }

    async fn detach(&self, nodes: &[NodeId]) -> Result<(), TransportError> {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for node in nodes {
            if let Some(stop) = listeners.remove(&Some(node.clone())) {
                stop.cancel();
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, _: Vec<Ticket>) -> Result<(), TransportError> {
        Ok(())
    }

    async fn report(&self, reports: &[Report]) -> Result<(), TransportError> {
        self.bus.report(reports).await.map_err(|source| TransportError::Link {
            attempted: "store reports on the embedded bus".to_owned(),
            source,
        })
    }

    async fn close(&self) {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, stop) in listeners.drain() {
            stop.cancel();
        }
    }
}

impl Drop for InProcessLink {
    fn drop(&mut self) {
        let listeners = self.listeners.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, stop) in listeners.drain() {
            stop.cancel();
        }
    }
}
