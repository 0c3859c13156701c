//! Reading a queue of the embedded bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use patchwave_schemas::topology::WorkQueue;

use super::Inner;
use super::queues::Entry;
use super::storage::Change;
use crate::bus::{BusError, Consumer, Delivery, HELD_MAX, Sender, Verdict};

/// Why a message that comes back too often is given up.
const SPENT: &str = "delivery limit reached: its readers died or gave it back too often";

/// A consumer of one queue. What it holds unsettled goes back when it is dropped.
pub(super) struct EmbeddedConsumer {
    queue: WorkQueue,
    inner: Arc<Inner>,
    /// Handed out and not settled, by id, which is also the tag.
    held: BTreeMap<i64, Entry>,
}

impl EmbeddedConsumer {
    pub(super) fn new(queue: WorkQueue, inner: Arc<Inner>) -> Self {
        Self { queue, inner, held: BTreeMap::new() }
    }

    fn take(&mut self, max: usize) -> Vec<Delivery> {
        let room = usize::from(HELD_MAX).saturating_sub(self.held.len());
        let entries = self.inner.queues.take(self.queue, max.min(room));
        entries
            .into_iter()
            .map(|mut entry| {
                entry.deliveries += 1;
                let delivery = Delivery {
                    tag: entry.id.cast_unsigned(),
                    body: entry.body.clone(),
                    redelivered: entry.redelivered,
                    death: entry.death.clone(),
                    // Whoever publishes here is of this process.
                    sender: Sender::ControlPlane,
                };
                self.held.insert(entry.id, entry);
                delivery
            })
            .collect()
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next_batch(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let inner = Arc::clone(&self.inner);
        loop {
            if inner.closing.is_cancelled() {
                return None;
            }
            // Registered before looking, so that nothing arrives unseen in between.
            let mut arrived = std::pin::pin!(inner.queues.arrived(self.queue).notified());
            arrived.as_mut().enable();
            let batch = self.take(max.max(1));
            if !batch.is_empty() {
                return Some(batch);
            }
            tokio::select! {
                () = inner.closing.cancelled() => return None,
                () = arrived => {}
            }
        }
    }

    async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<(), BusError> {
        let (mut forget, mut bury, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (tag, verdict) in verdicts {
            let Some(entry) = self.held.remove(&tag.cast_signed()) else { continue };
            match verdict {
                Verdict::Ack => forget.push(entry),
                Verdict::Bury { reason } => bury.push((entry, reason)),
                Verdict::Requeue if entry.is_spent(self.queue) => bury.push((entry, SPENT.to_owned())),
                Verdict::Requeue => again.push(entry),
            }
        }
        self.inner.queues.put_back(self.queue, again);
        if forget.is_empty() && bury.is_empty() {
            return Ok(());
        }
        self.inner.commit("settle deliveries", Change::Settle { queue: self.queue, forget, bury }).await
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held).into_values();
        let (spent, again): (Vec<Entry>, Vec<Entry>) = held.partition(|entry| entry.is_spent(self.queue));
        self.inner.queues.put_back(self.queue, again);
        if !spent.is_empty() {
            let bury = spent.into_iter().map(|entry| (entry, SPENT.to_owned())).collect();
            self.inner.commit_later(Change::Settle { queue: self.queue, forget: Vec::new(), bury });
        }
    }
}
