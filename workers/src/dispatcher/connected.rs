//! Nodes said hello: what waits for them is given to them, and what they may have lost is repeated.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchwave_engine::invocation::State;
use patchwave_platform::store::Tx;
use patchwave_platform::store::invocations::Release;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_schemas::CommandId;
use patchwave_schemas::report::NodeConnected;
use tracing::warn;

use crate::HandlerError;
use crate::advance::{cancel_order, run_order, wake};
use crate::effects::Effects;

/// A node's hello, and what the bus says about whoever published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What it says.
    pub hello: NodeConnected,
    /// Whether the node must have registered to be believed: it logged in as itself.
    pub registered: bool,
}

/// Keeps the hellos of nodes that may speak: not those of nodes that were cut off or never
/// registered, nor of a machine that is not the one that did.
///
/// Deregistration waits for this transaction, or this for that, so a node that is cut off at this
/// moment is not put back.
async fn admitted(tx: &mut Tx, hellos: &[Hello]) -> Result<(Vec<NodeConnected>, BTreeMap<Refusal, u32>), HandlerError> {
    let nodes: BTreeSet<_> = hellos.iter().map(|one| one.hello.facts.node_id.clone()).collect();
    let identities = tx.hold_identities(&nodes.into_iter().collect::<Vec<_>>()).await?;
    let mut refused: BTreeMap<Refusal, u32> = BTreeMap::new();
    let mut admitted = Vec::with_capacity(hellos.len());
    for Hello { hello, registered } in hellos {
        let node = &hello.facts.node_id;
        let reason = match identities.get(node) {
            Some(identity) if !identity.is_registered() => Some(Refusal::NotRegistered),
            // By whichever way it came: a gateway's word is that the node's key signed it, no more.
            Some(identity) if hello.fingerprint.as_ref() != Some(&identity.fingerprint) => {
                Some(Refusal::OtherFingerprint)
            }
            None if *registered => Some(Refusal::NotRegistered),
            _ => None,
        };
        match reason {
            None => admitted.push(hello.clone()),
            Some(reason) => {
                warn!(node.id = %node, reason = reason.name(), "a node's hello is refused");
                *refused.entry(reason).or_default() += 1;
            }
        }
    }
    Ok((admitted, refused))
}

/// Records the nodes and repeats what is open for them.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub async fn apply(tx: &mut Tx, hellos: &[Hello], now: Timestamp) -> Result<Effects, HandlerError> {
    let (hellos, refused) = admitted(tx, hellos).await?;
    tx.nodes_connected(&hellos, now).await?;
    let effects = open_again(tx, &hellos, now).await?;
    // Last: everybody counts in the same rows, and waits for them holding as little as can be.
    tx.count_refused_reports(&refused).await?;
    Ok(effects)
}

/// Repeats what is open for nodes that can be reached.
async fn open_again(tx: &mut Tx, hellos: &[NodeConnected], now: Timestamp) -> Result<Effects, HandlerError> {
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
