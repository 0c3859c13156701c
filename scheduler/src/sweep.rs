//! What was stored and not done is done, whoever stored it: messages are published, and nodes that
//! were cut off are disconnected. What nobody has spoken of for long is forgotten.

use jiff::Timestamp;
use patchwave_platform::store::to_json;
use patchwave_platform::{cut_off, outbox, recompute};

use crate::Context;

/// Notifications published by one sweep at most.
const NOTIFICATIONS: u32 = 200;
/// Patches forgotten by one sweep at most: those who note patches do not wait long.
const PATCHES: u32 = 500;
/// Executions and calls that are spoken of again by one sweep at most.
const HINTS: u32 = 500;
/// A younger notification is still its worker's business.
const WORKER_PUBLISHES_WITHIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(15);

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweeps {
    /// There may be more to do at once.
    pub more: bool,
}

/// Publishes what others left behind, disconnects the nodes that were cut off, judges again whose answer
/// may have changed, and forgets patches that are no news any more.
///
/// # Errors
/// The store's, the bus's or the topic server's; everything stays stored.
pub async fn sweep(context: &Context, now: Timestamp) -> Result<Sweeps, Box<dyn std::error::Error + Send + Sync>> {
    // Side by side: a broker's management API that does not answer delays nothing else.
    let (published, disconnected) =
        tokio::join!(publish(context, now), cut_off::sweep(&context.store, context.bus.as_ref(), now));
    Ok(Sweeps { more: published? | (disconnected? == cut_off::SWEEP_MAX as usize) })
}

/// Forgets inventories that no node has any more, what baselines made of nodes long ago,
/// and how groups stood then.
///
/// # Errors
/// The store's; what is left is left to the next time.
pub async fn tidy(context: &Context, now: Timestamp) -> Result<(), patchwave_platform::store::Error> {
    context.store.forget_inventories(now).await?;
    let mut tx = context.store.begin().await?;
    tx.forget_baseline_states(now).await?;
    tx.forget_compliance_history(now).await?;
    tx.commit().await
}

/// Records how the nodes of each patch group stand, for this hour. Returns whether there are any.
///
/// # Errors
/// The store's; what was recorded of the hour before stays.
pub async fn record_compliance(context: &Context, now: Timestamp) -> Result<bool, patchwave_platform::store::Error> {
    let stale_after = context.store.stale_after().await?;
    let groups = context.store.group_compliance(now, stale_after, |_| true).await?;
    if groups.is_empty() {
        return Ok(false);
    }
    let mut tx = context.store.begin().await?;
    tx.record_compliance(&groups, now).await?;
    tx.commit().await?;
    Ok(true)
}

/// Returns whether there may be more.
async fn publish(context: &Context, now: Timestamp) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let messages = outbox::sweep(&context.store, context.bus.as_ref(), now).await?;
    let news: Vec<_> = context
        .store
        .unpublished_notifications(NOTIFICATIONS)
        .await?
        .into_iter()
        .filter(|one| one.raised_at + WORKER_PUBLISHES_WITHIN < now)
        .collect();
    if !news.is_empty() {
        let pairs: Vec<_> = news.iter().map(|one| (one.topic.clone(), to_json(&one.envelope()))).collect();
        context.topics.publish(&pairs).await?;
        let ids: Vec<_> = news.iter().map(|one| one.notification_id).collect();
        let mut tx = context.store.begin().await?;
        tx.mark_published(&ids, now).await?;
        tx.commit().await?;
    }
    let mut forgotten = 0;
    // Asked first: on SQLite a transaction keeps every other writer waiting.
    if context.store.has_forgettable_patches(now).await? {
        let mut tx = context.store.begin().await?;
        forgotten = tx.forget_patches(now, PATCHES).await?;
        tx.commit().await?;
    }
    say_again(context, now).await?;
    let recomputed = recompute::sweep(&context.store, now).await?;
    Ok(messages == outbox::SWEEP_MAX as usize
        || recomputed == recompute::SWEEP_MAX as usize
        || news.len() == NOTIFICATIONS as usize
        || forgotten == u64::from(PATCHES))
}

/// Says again that executions and calls wait which nobody took up: their first hint may be lost with a
/// broker's disk.
async fn say_again(context: &Context, now: Timestamp) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Asked first: on SQLite a transaction keeps every other writer waiting.
    if !context.store.has_waiting_workflows(now).await? && !context.store.has_waiting_calls(now).await? {
        return Ok(());
    }
    let mut tx = context.store.begin().await?;
    let mut hints = tx.claim_workflows_in_waiting(now, HINTS).await?;
    hints.extend(tx.claim_calls_in_waiting(now, HINTS).await?);
    tx.commit().await?;
    let outgoing: Vec<_> = hints.iter().map(patchwave_platform::store::outbox::OutboxMessage::outgoing).collect();
    context.bus.publish(&outgoing).await?;
    Ok(())
}
