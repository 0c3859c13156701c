//! The bus inside this process, durable in SQLite: what `patchwave up` uses without RabbitMQ.
//!
//! One process owns the file; a second one is refused. Ready messages are held in memory, so the
//! backlog is bounded by memory. Hand-outs are counted since the process opened the bus, so a
//! message that kills the whole process is not given up by the delivery limit.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use patchwave_schemas::topology::{EVENTS_EXCHANGE, HOST_QUEUE_PREFIX, REPORTS_EXCHANGE, WorkQueue, pattern_matches};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Bus, BusError, Consumer, Death, HostQueue, Link, Outgoing, Published, Route, Sender};
use consumer::EmbeddedConsumer;
use inbox::Addresses;
pub use inbox::NodeInbox;
use queues::{Entry, Queues};
use storage::{Change, Storage};

mod consumer;
mod inbox;
mod queues;
mod storage;

/// How long a publisher waits for a node whose inbox is full.
const INBOX_PATIENCE: Duration = Duration::from_secs(30);

/// The bus inside this process. Cheap to share behind an `Arc`.
pub struct EmbeddedBus {
    inner: Arc<Inner>,
}

struct Inner {
    queues: Arc<Queues>,
    addresses: Arc<Addresses>,
    /// `None`: nothing outlives the process.
    storage: Option<Storage>,
    next_id: AtomicI64,
    link: watch::Sender<Link>,
    closing: CancellationToken,
    // Held for its lock.
    _lock: Option<File>,
}

impl EmbeddedBus {
    /// Opens the bus in a SQLite file, which may be the store's; without a path nothing is kept
    /// beyond the process. What was not settled before is handed out again.
    ///
    /// # Errors
    /// [`BusError::Broker`] when the file cannot be opened or another process has it open.
    pub async fn open(sqlite_path: Option<&Path>) -> Result<Self, BusError> {
        let queues = Queues::new();
        let (storage, next_id, lock) = match sqlite_path {
            None => (None, 1, None),
            Some(path) => {
                let attempted = || format!("open the embedded bus in {}", path.display());
                let lock = lock_file(path).map_err(|source| broker(&attempted(), source))?;
                let opened = Storage::open(path, &queues).await;
                let (storage, next_id) = opened.map_err(|source| broker(&attempted(), source))?;
                (Some(storage), next_id, Some(lock))
            }
        };
        let inner = Inner {
            queues,
            addresses: Arc::default(),
            storage,
            next_id: AtomicI64::new(next_id),
            link: watch::channel(Link::Up).0,
            closing: CancellationToken::new(),
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes an address reachable for [`Route::Node`] until the inbox is dropped.
    #[must_use]
    pub fn listen(&self, address: &str) -> NodeInbox {
        self.inner.addresses.listen(address)
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        if self.inner.closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        let mut entries = Vec::new();
        for message in messages {
            for (queue, death) in destinations(&message.route) {
                let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
                let body = message.body.clone();
                entries.push((queue, Entry { id, body, death, deliveries: 0, redelivered: false }));
            }
        }
        if !entries.is_empty() {
            self.inner.commit("publish to the embedded bus", Change::Publish(entries)).await?;
        }
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(match &message.route {
                Route::Node { address } => deliver(self.inner.addresses.find(address), message).await?,
                Route::Event { .. } | Route::Report { .. } | Route::Queue(_) => Published::Confirmed,
            });
        }
        Ok(answers)
    }

    async fn consume(&self, queue: WorkQueue) -> Result<Box<dyn Consumer>, BusError> {
        if self.inner.closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        Ok(Box::new(EmbeddedConsumer::new(queue, Arc::clone(&self.inner))))
    }

    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError> {
        if self.inner.closing.is_cancelled() {
            return Err(BusError::Closed);
        }
        Ok(Box::new(self.listen(&format!("{HOST_QUEUE_PREFIX}{}", Uuid::new_v4().simple()))))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.subscribe()
    }

    async fn depth(&self, queue: WorkQueue) -> Option<u64> {
        u64::try_from(self.inner.queues.depth(queue)).ok()
    }

    async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.addresses.clear();
        self.inner.link.send_replace(Link::Down { reason: "closed".to_owned() });
        if let Some(storage) = &self.inner.storage {
            storage.close().await;
        }
    }
}

impl Drop for EmbeddedBus {
    fn drop(&mut self) {
        // Consumers share the inside; without the bus nothing more can arrive.
        self.inner.closing.cancel();
        self.inner.addresses.clear();
    }
}

impl Inner {
    /// Stores a change, if anything is stored, and applies it.
    async fn commit(&self, attempted: &str, change: Change) -> Result<(), BusError> {
        match &self.storage {
            None => {
                change.apply(&self.queues);
                Ok(())
            }
            Some(storage) => storage.commit(change).await.map_err(|source| broker(attempted, source)),
        }
    }

    /// The same where nobody can wait. A failure means that the messages come again.
    fn commit_later(&self, change: Change) {
        match &self.storage {
            None => change.apply(&self.queues),
            Some(storage) => storage.commit_later(change),
        }
    }
}

/// The queues a message goes to; the dead letters if no queue is bound to its key.
fn destinations(route: &Route) -> Vec<(WorkQueue, Option<Death>)> {
    let (exchange, key) = match route {
        Route::Event { key } => (EVENTS_EXCHANGE, key),
        Route::Report { key } => (REPORTS_EXCHANGE, key),
        Route::Queue(queue) => return vec![(*queue, None)],
        Route::Node { .. } => return Vec::new(),
    };
    let bound = |queue: &WorkQueue| {
        queue.bindings().iter().any(|(from, pattern)| *from == exchange && pattern_matches(pattern, key))
    };
    let queues: Vec<_> = WorkQueue::ALL.into_iter().filter(bound).map(|queue| (queue, None)).collect();
    if queues.is_empty() {
        let reason = format!("no queue is bound to routing key `{key}`");
        return vec![(WorkQueue::Dead, Some(Death { queue: String::new(), reason, sender: Sender::ControlPlane }))];
    }
    queues
}

async fn deliver(inbox: Option<mpsc::Sender<Vec<u8>>>, message: &Outgoing) -> Result<Published, BusError> {
    let Some(inbox) = inbox else { return Ok(Published::Returned) };
    match tokio::time::timeout(INBOX_PATIENCE, inbox.send(message.body.clone())).await {
        Ok(Ok(())) => Ok(Published::Confirmed),
        // Dropped while this waited.
        Ok(Err(_)) => Ok(Published::Returned),
        Err(_elapsed) => {
            let reason = format!("its inbox was full for {} s", INBOX_PATIENCE.as_secs());
            Err(broker("deliver a command to a node", reason))
        }
    }
}

/// Takes the file that says whose bus it is. The lock goes with the process, however it ends.
fn lock_file(database: &Path) -> std::io::Result<File> {
    let mut path = database.as_os_str().to_owned();
    path.push(".bus-lock");
    let file = File::options().create(true).truncate(false).write(true).open(PathBuf::from(path))?;
    file.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => std::io::Error::other("another process has it open"),
        std::fs::TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

fn broker(attempted: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BusError {
    BusError::Broker { attempted: attempted.to_owned(), source: source.into() }
}
