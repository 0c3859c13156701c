//! Nodes said hello: what waits for them is given to them, and what they may have lost is repeated.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_engine::invocation::State;
use patchwave_platform::store::Tx;
use patchwave_platform::store::invocations::Release;
use patchwave_schemas::CommandId;
use patchwave_schemas::report::NodeConnected;

use crate::HandlerError;
use crate::advance::{cancel_order, run_order, wake};
use crate::effects::Effects;

/// Records the nodes and repeats what is open for them.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub async fn apply(tx: &mut Tx, hellos: &[NodeConnected], now: Timestamp) -> Result<Effects, HandlerError> {
    tx.nodes_connected(hellos, now).await?;
    let mut effects = Effects::default();
    let open = tx.open_commands().await?;
    if open.is_empty() {
        return Ok(effects);
    }
    let nodes: BTreeSet<_> = hellos.iter().map(|hello| hello.facts.node_id.clone()).collect();
    let nodes: Vec<_> = nodes.into_iter().collect();
    // Locked before they are read: whoever releases to one of these nodes at this moment either
    // sees its new address, or is seen here.
    let touched: BTreeSet<CommandId> =
        tx.open_invocations(&open, &nodes).await?.into_iter().map(|(command, _)| command).collect();
    let touched: Vec<_> = touched.into_iter().collect();
    let mut locked = tx.lock_rollouts(&touched).await?;
    let mut by_command: BTreeMap<CommandId, Vec<Release>> = BTreeMap::new();
    for (command, one) in tx.open_invocations(&touched, &nodes).await? {
        by_command.entry(command).or_default().push(one);
    }
    for rollout in &mut locked {
        let command = rollout.command_id;
        let Some(invocations) = by_command.remove(&command) else { continue };
        let (waiting, in_flight): (Vec<_>, Vec<_>) =
            invocations.into_iter().partition(|one| one.state == State::Waiting);
        let again = tx.redeliver(command, &in_flight, now).await?;
        effects.deliveries.extend(again.into_iter().filter_map(|one| match one.state {
            State::Cancelling => cancel_order(command, one),
            _ => run_order(command, &rollout.plan, one, false),
        }));
        if !waiting.is_empty() {
            effects.merge(wake(tx, rollout, waiting, now).await?);
        }
    }
    Ok(effects)
}
