//! A gateway does not reach a node: its address is forgotten, and what came back waits.
//!
//! What the node may have got before its stream ended stays in flight, as after the loss of any
//! connection: its hello, its report or the deadline tells.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_platform::store::Tx;
use patchwave_schemas::report::NodeDisconnected;

use super::returned::take_back;
use crate::HandlerError;
use crate::effects::Effects;

/// Forgets the node's address and takes back what certainly did not reach it.
///
/// Repeated, it finds another address or session and invocations that wait already, or have a later
/// delivery than the one that is named.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub(super) async fn apply(tx: &mut Tx, news: &NodeDisconnected, now: Timestamp) -> Result<Effects, HandlerError> {
    // Nodes before rollouts, as a hello does: two transactions never wait for each other.
    tx.nodes_disconnected(std::slice::from_ref(news), now).await?;
    let released: BTreeMap<_, _> =
        news.returned.iter().map(|one| ((one.command_id, news.node_id.clone()), one.attempt)).collect();
    take_back(tx, &released, now).await
}
