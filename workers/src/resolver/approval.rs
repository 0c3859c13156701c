//! Somebody approves or rejects the next wave of a rollout.

use jiff::Timestamp;
use patchwave_engine::rollout::Event;
use patchwave_engine::rollout::waves::Event as WaveEvent;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_schemas::event::{ApprovalSignal, ApprovalSignalled};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, CommandId};
use serde_json::json;
use tracing::info;

use super::Resolved;
use crate::advance::advance;
use crate::audit::{self, Actor, Deed};
use crate::effects::Effects;
use crate::waves;

/// Characters of whoever answered that a reason repeats.
const NAME_CHARS_MAX: usize = 100;

/// Takes the answer if the rollout waits for one. One that comes too late, too early or twice changes
/// nothing and is no error: events are delivered in any order.
pub(super) async fn apply(
    store: &Store,
    master_key: &MasterKey,
    event: &CloudEvent<ApprovalSignalled>,
    now: Timestamp,
) -> Resolved {
    let text = &event.data.execution_id;
    let unknown = || Ok(Err(format!("execution_id is `{text}`; allowed is the id of a command that is stored")));
    let Ok(command) = text.parse::<CommandId>() else { return unknown() };
    let mut tx = store.begin().await?;
    let mut locked = tx.lock_rollouts(&[command]).await?;
    let Some(rollout) = locked.first_mut() else { return unknown() };
    if !rollout.plan.rollout.is_between_waves() {
        info!(command.id = %command, "an answer was not taken: the rollout waits for none");
        return Ok(Ok(Effects::default()));
    }
    let answer = WaveEvent::Answer {
        id: event.id.to_string(),
        approve: event.data.signal == ApprovalSignal::Approve,
        by: event.source.chars().take(NAME_CHARS_MAX).collect(),
        tally: rollout.plan.rollout.ended,
    };
    let mut outbox = Vec::new();
    let Some(follows) = waves::step(rollout, &answer, now, &mut outbox) else {
        info!(command.id = %command, "an answer was not taken: the rollout waits for none");
        return Ok(Ok(Effects::default()));
    };
    let stops = matches!(follows, Event::Stop(_));
    tx.enqueue(&outbox, now).await?;
    let mut effects = advance(&mut tx, rollout, follows, now).await?;
    effects.outbox.extend(outbox);
    let detail = json!({ "Signal": event.data.signal, "Stopped": stops });
    let deed = Deed::done(WorkQueue::Resolver, "SignalApproval", command.to_string(), detail);
    audit::record(&mut tx, master_key, &Actor::Event(&event.source), deed, now).await?;
    tx.commit().await?;
    Ok(Ok(effects))
}
