//! Publishing what a committed transaction left in the outbox.

use jiff::Timestamp;
use tracing::warn;

use crate::bus::{Bus, BusError};
use crate::store::outbox::OutboxMessage;
use crate::store::{Error, Store};
use crate::telemetry::error_chain;

/// Messages that one sweep publishes at most. After a full one there may be more.
pub const SWEEP_MAX: u32 = 500;

/// Publishes messages that were just committed, and forgets them.
///
/// A failure loses nothing and is only logged: the sweep repeats what is still stored.
pub async fn flush(store: &Store, bus: &dyn Bus, messages: &[OutboxMessage]) {
    if messages.is_empty() {
        return;
    }
    if let Err(error) = publish(store, bus, messages).await {
        warn!(messages = messages.len(), error = %error_chain(&error), "outgoing messages are left to the sweep");
    }
}

/// Publishes what dead or disconnected processes left behind. Returns how many messages that was.
///
/// # Errors
/// [`SweepError`]; what was not published stays stored.
pub async fn sweep(store: &Store, bus: &dyn Bus, now: Timestamp) -> Result<usize, SweepError> {
    let mut tx = store.begin().await?;
    let messages = tx.claim_outbox(now, SWEEP_MAX).await?;
    tx.commit().await?;
    if !messages.is_empty() {
        publish(store, bus, &messages).await?;
    }
    Ok(messages.len())
}

async fn publish(store: &Store, bus: &dyn Bus, messages: &[OutboxMessage]) -> Result<(), SweepError> {
    let outgoing: Vec<_> = messages.iter().map(OutboxMessage::outgoing).collect();
    bus.publish(&outgoing).await?;
    let ids: Vec<_> = messages.iter().map(|message| message.message_id).collect();
    let mut tx = store.begin().await?;
    tx.dequeue(&ids).await?;
    tx.commit().await?;
    Ok(())
}

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The store is away.
    #[error("could not read or clear the outbox")]
    Store(#[from] Error),
    /// The bus is away.
    #[error("could not publish from the outbox")]
    Bus(#[from] BusError),
}
