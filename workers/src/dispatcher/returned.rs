//! Commands came back from the bus: their nodes are not connected and give their slots back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_engine::invocation::{Event, State, Step};
use patchwave_engine::rollout::{Arrival, Place};
use patchwave_platform::store::{Store, Tx};
use patchwave_schemas::{CommandId, NodeId};

use super::check;
use crate::HandlerError;
use crate::advance::{Moves, Shift, advance, shift};
use crate::effects::{Effects, NodeDelivery};

/// Records that these deliveries came back, in a transaction of its own.
///
/// Only the delivery of a release frees its slot. Of one that repeats another it is not known
/// whether that one arrived, so the node may be at work.
///
/// # Errors
/// [`HandlerError`]; nothing was stored, and the rollouts' checks repair it.
pub async fn apply(store: &Store, returned: &[NodeDelivery], now: Timestamp) -> Result<Effects, HandlerError> {
    let mut tx = store.begin().await?;
    let away: Vec<_> = returned.iter().map(|one| (one.node_id.clone(), one.address.clone())).collect();
    let released: BTreeMap<_, _> = returned
        .iter()
        .filter(|one| one.frees_slot)
        .map(|one| ((one.command_id, one.node_id.clone()), one.attempt))
        .collect();
    // Nodes before rollouts, as a hello does: two transactions never wait for each other.
    tx.nodes_away(&away).await?;
    let effects = take_back(&mut tx, &released, now).await?;
    tx.commit().await?;
    Ok(effects)
}

/// Lets invocations wait whose release, which was this delivery of them, did not reach its node.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub(super) async fn take_back(
    tx: &mut Tx,
    released: &BTreeMap<(CommandId, NodeId), i64>,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let commands: BTreeSet<_> = released.keys().map(|(command, _)| *command).collect();
    let commands: Vec<_> = commands.into_iter().collect();
    let mut locked = tx.lock_rollouts(&commands).await?;
    let keys: Vec<_> = released.keys().cloned().collect();
    let mut by_command: BTreeMap<_, (Moves, Vec<Shift>)> = BTreeMap::new();
    for (command, node, state, attempts) in tx.invocation_states(&keys).await? {
        // It was handed over again meanwhile, and that delivery may have arrived.
        if released.get(&(command, node.clone())) != Some(&attempts) {
            continue;
        }
        if let Ok(Step::To(State::Waiting)) = state.step(Event::Returned) {
            let (moves, shifts) = by_command.entry(command).or_default();
            moves.add(Place::InFlight, Arrival::Place(Place::Waiting));
            shifts.push(Shift { node_id: node, from: state, to: State::Waiting });
        }
    }
    let mut effects = Effects::default();
    for rollout in &mut locked {
        let Some((moves, shifts)) = by_command.remove(&rollout.command_id) else { continue };
        shift(tx, rollout, shifts, now, &mut effects).await?;
        if let Some(event) = moves.into_event() {
            effects.merge(advance(tx, rollout, event, now).await?);
            effects.merge(check::wake_connected(tx, rollout, now).await?);
        }
    }
    Ok(effects)
}
