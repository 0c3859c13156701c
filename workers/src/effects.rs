//! What follows a committed transaction: messages to publish, commands to hand to nodes, news.
//!
//! Everything here can be repeated harmlessly and is repaired if it never happens: events wait in
//! the outbox, released invocations in their rows, notifications in their table. So a failure is
//! logged and left to the sweeps, and the delivery that caused it is acknowledged all the same.

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::bus::Published;
use patchwave_platform::store::calls::StoredCall;
use patchwave_platform::store::notifications::Notification;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::to_json;
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::{CommandId, NodeId};
use tracing::{debug, warn};

use crate::letters::Payloads;
use crate::{Context, dispatcher};

/// Times that commands which came back may free slots for others that come back, before the rest
/// is left to the rollout's check. Each round is one transaction.
const ROUNDS_MAX: usize = 10_000;
/// Tries to record that commands came back, before their slots stay taken until the deadline:
/// about a minute.
const TAKE_BACK_TRIES: usize = 6;
/// Commands whose messages are made and published at a time: what bounds the memory of a release.
const DELIVERIES_MAX: usize = 1_024;

/// What is to be done after the commit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Effects {
    /// Events, already in the outbox.
    pub outbox: Vec<OutboxMessage>,
    /// Commands for nodes, whose invocations are already marked as released.
    pub deliveries: Vec<NodeDelivery>,
    /// Notifications, already stored.
    pub news: Vec<Notification>,
    /// Calls that this process has claimed and is to make.
    pub calls: Vec<StoredCall>,
}

impl Effects {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outbox.is_empty() && self.deliveries.is_empty() && self.news.is_empty() && self.calls.is_empty()
    }

    /// Adds what another step wants done.
    pub fn merge(&mut self, other: Self) {
        self.outbox.extend(other.outbox);
        self.deliveries.extend(other.deliveries);
        self.news.extend(other.news);
        self.calls.extend(other.calls);
    }
}

/// A command for one connected node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDelivery {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// The queue it listens to.
    pub address: String,
    /// What it is told.
    pub order: Order,
    /// Deliveries of this invocation so far, this one included.
    pub attempt: i64,
    /// Whether it gives its slot back when the bus returns it. Not when it repeats a delivery that
    /// may have arrived.
    pub frees_slot: bool,
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Run the invocation.
    Run {
        /// Which of the command's baselines applies.
        baseline_key: Option<String>,
        /// Not before.
        not_before: Timestamp,
        /// Not after.
        not_after: Timestamp,
    },
    /// Stop it.
    Cancel,
}

/// Carries effects out, and whatever follows from commands that come back.
pub async fn carry_out(context: &Context, payloads: &mut Payloads, mut effects: Effects) {
    // Not waited for: a call may take a quarter of an hour.
    let calls = std::mem::take(&mut effects.calls);
    if let Some(maker) = context.calls.as_ref().filter(|_| !calls.is_empty()) {
        maker.make(&context.store, &context.bus, calls);
    }
    for _ in 0..ROUNDS_MAX {
        if effects.is_empty() {
            return;
        }
        let rest = effects.deliveries.split_off(effects.deliveries.len().min(DELIVERIES_MAX));
        match round(context, payloads, effects, Timestamp::now()).await {
            Ok(next) => {
                effects = next;
                effects.deliveries.splice(0..0, rest);
            }
            Err(error) => {
                warn!(error = %error_chain(&*error), "effects are left to the sweeps");
                return;
            }
        }
    }
    warn!(rounds = ROUNDS_MAX, "too many commands came back in a row; the rest waits for the rollout's check");
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Carries effects out once; returns what follows from commands that came back.
async fn round(
    context: &Context,
    payloads: &mut Payloads,
    effects: Effects,
    now: Timestamp,
) -> Result<Effects, AnyError> {
    let returned = publish(context, payloads, effects, now).await?;
    if returned.is_empty() {
        return Ok(Effects::default());
    }
    debug!(commands = returned.len(), "commands came back: their nodes are not connected");
    let take_back = || dispatcher::returned::apply(&context.store, &returned, now);
    let policy = ExponentialBuilder::default().with_max_times(TAKE_BACK_TRIES).with_jitter();
    Ok(take_back.retry(policy).when(|error| error.class() == Class::Transient).await?)
}

/// Publishes what is to be published; returns the commands that came back from the bus.
///
/// # Errors
/// The bus's, the store's or the topic server's; what was not done is repeated by the sweeps.
pub async fn publish(
    context: &Context,
    payloads: &mut Payloads,
    effects: Effects,
    now: Timestamp,
) -> Result<Vec<NodeDelivery>, AnyError> {
    let Effects { outbox, deliveries, news, calls: _ } = effects;
    let mut outgoing: Vec<_> = outbox.iter().map(OutboxMessage::outgoing).collect();
    if !deliveries.is_empty() {
        let key = match &context.signer {
            Some(signer) => Some(signer.key(now).await?),
            None => None,
        };
        outgoing.extend(payloads.messages(&context.store, key.as_deref(), &deliveries, now).await?);
    }
    let mut returned = Vec::new();
    if !outgoing.is_empty() {
        let published = context.bus.publish(&outgoing).await?;
        returned = published[outbox.len()..]
            .iter()
            .zip(deliveries)
            .filter(|(answer, _)| **answer == Published::Returned)
            .map(|(_, delivery)| delivery)
            .collect();
        forget(context, &outbox).await;
    }
    if !news.is_empty()
        && let Err(error) = publish_news(context, &news, now).await
    {
        warn!(error = %error_chain(&*error), "notifications are left to the sweep");
    }
    Ok(returned)
}

/// Forgets published events. Those that stay are published again, which is harmless; an answer of
/// the bus that was lost with them would not be.
async fn forget(context: &Context, outbox: &[OutboxMessage]) {
    if outbox.is_empty() {
        return;
    }
    let ids: Vec<_> = outbox.iter().map(|message| message.message_id).collect();
    let forgotten = async {
        let mut tx = context.store.begin().await?;
        tx.dequeue(&ids).await?;
        tx.commit().await
    };
    if let Err(error) = forgotten.await {
        warn!(error = %error_chain(&error), "published messages stay in the outbox and are published again");
    }
}

/// Publishes stored notifications to live subscribers.
///
/// # Errors
/// The topic server's or the store's; what is not marked as published is published again later.
pub async fn publish_news(context: &Context, news: &[Notification], now: Timestamp) -> Result<(), AnyError> {
    let pairs: Vec<_> = news.iter().map(|one| (one.topic.clone(), to_json(&one.envelope()))).collect();
    context.topics.publish(&pairs).await?;
    let ids: Vec<_> = news.iter().map(|one| one.notification_id).collect();
    let mut tx = context.store.begin().await?;
    tx.mark_published(&ids, now).await?;
    tx.commit().await?;
    Ok(())
}
