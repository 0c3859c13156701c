//! A rollout, or some nodes of it, are to be stopped.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_engine::invocation::{self, State, Step};
use patchwave_engine::rollout::{Arrival, Cause, Event, Place};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Tx;
use patchwave_platform::store::commands::LockedRollout;
use patchwave_schemas::event::{CancelCause, RolloutCancelRequested};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, NodeId};
use serde_json::json;

use crate::HandlerError;
use crate::advance::{Moves, Shift, advance, cancel_order, shift};
use crate::audit::{self, Actor, Deed};
use crate::effects::Effects;

/// Stops what is asked for, and records who asked if that stopped anything: a repeated request,
/// or one about a rollout that has ended, changes nothing.
pub(super) async fn apply(
    tx: &mut Tx,
    master_key: &MasterKey,
    event: &CloudEvent<RolloutCancelRequested>,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let request = &event.data;
    let effects = stop(tx, request, now).await?;
    if !effects.is_empty() {
        let detail = json!({ "InstanceIds": request.node_ids, "Cause": request.cause, "Reason": request.reason });
        let deed = Deed::done(WorkQueue::Dispatcher, "CancelCommand", request.command_id.to_string(), detail);
        audit::record(tx, master_key, &Actor::Event(&event.source), deed, now).await?;
    }
    Ok(effects)
}

async fn stop(tx: &mut Tx, request: &RolloutCancelRequested, now: Timestamp) -> Result<Effects, HandlerError> {
    let mut locked = tx.lock_rollouts(&[request.command_id]).await?;
    let Some(rollout) = locked.first_mut() else { return Ok(Effects::default()) };
    if request.node_ids.is_empty() {
        let cause = match request.cause {
            CancelCause::Cutoff => Cause::Cutoff,
            CancelCause::Requested => Cause::Cancelled,
        };
        return advance(tx, rollout, Event::Stop(cause), now).await;
    }
    stop_nodes(tx, rollout, &request.node_ids, now).await
}

async fn stop_nodes(
    tx: &mut Tx,
    rollout: &mut LockedRollout,
    nodes: &[NodeId],
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let command = rollout.command_id;
    let keys: BTreeSet<_> = nodes.iter().map(|node| (command, node.clone())).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let mut moves = Moves::default();
    let mut shifts = Vec::new();
    let mut called_back = BTreeSet::new();
    let cut_off = tx.deregistered(nodes).await?;
    // What is held back for a later wave is counted apart.
    let (held, first_held) = match &rollout.plan.waves {
        Some(waves) => (tx.pending_ordinals(command, nodes).await?, waves.first_held()),
        None => (BTreeMap::new(), 0),
    };
    for (_, node, state, _) in tx.invocation_states(&keys).await? {
        let event = if cut_off.contains(&node) { invocation::Event::CutOff } else { invocation::Event::Cancel };
        let Ok(Step::To(next)) = state.step(event) else { continue };
        if let (State::Ended(ending), Some(from)) = (next, state.place()) {
            let ordinal = held.get(&node).filter(|ordinal| **ordinal >= first_held);
            if let (Some(ordinal), Some(waves)) = (ordinal, &mut rollout.plan.waves) {
                waves.leave(*ordinal);
            }
            moves.add(if ordinal.is_some() { Place::Held } else { from }, Arrival::Ended(ending));
        } else {
            called_back.insert(node.clone());
        }
        shifts.push(Shift { node_id: node, from: state, to: next });
    }
    let mut effects = Effects::default();
    shift(tx, rollout, shifts, now, &mut effects).await?;
    if !called_back.is_empty() {
        let in_flight = tx.in_flight(command).await?;
        effects.deliveries.extend(
            in_flight
                .into_iter()
                .filter(|one| called_back.contains(&one.node_id))
                .filter_map(|one| cancel_order(command, one)),
        );
    }
    if let Some(event) = moves.into_event() {
        effects.merge(advance(tx, rollout, event, now).await?);
    }
    Ok(effects)
}
