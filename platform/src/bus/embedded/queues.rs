//! The queues in memory: what is ready, in order. What is stored is `storage`'s business.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchwave_schemas::topology::{DELIVERY_LIMIT, WorkQueue};
use tokio::sync::Notify;

use crate::bus::{Death, Sender};

/// A message on one queue.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Key of its row; rises with the order of publishing.
    pub(super) id: i64,
    pub(super) body: Vec<u8>,
    pub(super) death: Option<Death>,
    /// How often it was handed out since this process opened the bus.
    pub(super) deliveries: u32,
    /// Whether it may have been handed out before.
    pub(super) redelivered: bool,
}

/// What is ready on each queue. Guarded by a plain lock that is never held over an await.
pub(super) struct Queues {
    ready: Mutex<Vec<VecDeque<Entry>>>,
    arrived: Vec<Notify>,
}

impl Queues {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            ready: Mutex::new(vec![VecDeque::new(); WorkQueue::ALL.len()]),
            arrived: WorkQueue::ALL.iter().map(|_| Notify::new()).collect(),
        })
    }

    /// Adds messages at the end of a queue.
    pub(super) fn push(&self, queue: WorkQueue, entries: impl IntoIterator<Item = Entry>) {
        self.lock()[index(queue)].extend(entries);
        self.arrived(queue).notify_waiters();
    }

    /// Puts messages back where they were: in front of what was published after them.
    pub(super) fn put_back(&self, queue: WorkQueue, entries: impl IntoIterator<Item = Entry>) {
        {
            let mut ready = self.lock();
            let ready = &mut ready[index(queue)];
            for mut entry in entries {
                entry.redelivered = true;
                let place = ready.partition_point(|other| other.id < entry.id);
                ready.insert(place, entry);
            }
        }
        self.arrived(queue).notify_waiters();
    }

    /// Takes up to `max` ready messages.
    pub(super) fn take(&self, queue: WorkQueue, max: usize) -> Vec<Entry> {
        let mut ready = self.lock();
        let ready = &mut ready[index(queue)];
        let count = max.min(ready.len());
        ready.drain(..count).collect()
    }

    /// Messages ready on a queue.
    pub(super) fn depth(&self, queue: WorkQueue) -> usize {
        self.lock()[index(queue)].len()
    }

    /// Signalled after messages became ready.
    pub(super) fn arrived(&self, queue: WorkQueue) -> &Notify {
        &self.arrived[index(queue)]
    }

    fn lock(&self) -> MutexGuard<'_, Vec<VecDeque<Entry>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The message after its queue gave it up.
    pub(super) fn dead(mut self, queue: WorkQueue, reason: String) -> Self {
        self.death = Some(Death { queue: queue.name().to_owned(), reason, sender: Sender::ControlPlane });
        self.deliveries = 0;
        self.redelivered = false;
        self
    }

    /// Whether its queue gives it up when it comes back once more.
    pub(super) fn is_spent(&self, queue: WorkQueue) -> bool {
        // Listing dead letters hands them out and back; they are never given up.
        queue != WorkQueue::Dead && self.deliveries > DELIVERY_LIMIT
    }
}

fn index(queue: WorkQueue) -> usize {
    match queue {
        WorkQueue::Resolver => 0,
        WorkQueue::Dispatcher => 1,
        WorkQueue::Collector => 2,
        WorkQueue::Inventory => 3,
        WorkQueue::Notifier => 4,
        WorkQueue::Workflows => 5,
        WorkQueue::Caller => 6,
        WorkQueue::Dead => 7,
    }
}
