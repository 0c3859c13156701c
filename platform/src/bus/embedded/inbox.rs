//! Live delivery to nodes in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::bus::HostQueue;

/// Commands that wait for a node at most. A publisher waits when there are more.
const INBOX_MAX: usize = 256;

/// Who listens where.
#[derive(Default)]
pub(super) struct Addresses {
    senders: Mutex<HashMap<String, mpsc::Sender<Vec<u8>>>>,
}

impl Addresses {
    pub(super) fn listen(self: &Arc<Self>, address: &str) -> NodeInbox {
        let (sender, receiver) = mpsc::channel(INBOX_MAX);
        self.lock().insert(address.to_owned(), sender.clone());
        NodeInbox { address: address.to_owned(), receiver, sender: sender.downgrade(), addresses: Arc::clone(self) }
    }

    pub(super) fn find(&self, address: &str) -> Option<mpsc::Sender<Vec<u8>>> {
        self.lock().get(address).cloned()
    }

    /// Ends all inboxes.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Vec<u8>>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is published to one address, from now until it is dropped.
///
/// As with a node's exclusive queue: what it holds when it is dropped is gone, and the store knows
/// what to publish again. A second inbox for the same address takes it over.
pub struct NodeInbox {
    address: String,
    receiver: mpsc::Receiver<Vec<u8>>,
    sender: mpsc::WeakSender<Vec<u8>>,
    addresses: Arc<Addresses>,
}

impl NodeInbox {
    /// Waits for the next message. `None` when the bus was closed or the address taken over.
    ///
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        self.receiver.recv().await
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<Vec<u8>> {
        self.receiver.try_recv().ok()
    }
}

#[async_trait]
impl HostQueue for NodeInbox {
    fn address(&self) -> &str {
        &self.address
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        self.recv().await
    }
}

impl Drop for NodeInbox {
    fn drop(&mut self) {
        let mut senders = self.addresses.lock();
        // Not if somebody else has taken the address over.
        let own = self.sender.upgrade();
        let mine = senders.get(&self.address).is_some_and(|current| own.is_some_and(|own| own.same_channel(current)));
        if mine {
            senders.remove(&self.address);
        }
    }
}
