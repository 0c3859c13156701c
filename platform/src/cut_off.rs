//! Disconnecting nodes that may not stay: those that were deregistered, and the machines that a
//! node's id was taken from.
//!
//! That is stored with the decision (`Tx::request_cut_off`), done at once by whoever decided, and
//! repeated by the sweep until the broker has done it. It is done once more a little later: a login
//! that was answered before the decision may become a connection after it.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::NodeId;
use tracing::{info, warn};

use crate::bus::{Bus, BusError, Disconnected};
use crate::store::cut_offs::CutOff;
use crate::store::{Error, Store};
use crate::telemetry::error_chain;

/// After it no login from before the decision is under way: the broker waits 10 s for an answer
/// (`auth_http.request_timeout`), and both clocks are this system's.
const LOOK_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(20);
/// Wait after a failure: longer than a sweep's, so that others have their turn.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// Nodes that one sweep disconnects at most.
pub const SWEEP_MAX: u32 = 50;
/// Failures after which a sweep ends: the broker is away, and each costs a timeout.
const FAILURES_MAX: usize = 2;

/// Disconnects a node after the commit that decided it. A failure is logged and left to the sweep.
pub async fn at_once(store: &Store, bus: &dyn Bus, node: &NodeId, decided_at: Timestamp) {
    // What the store has of it: milliseconds.
    let decided_at = Timestamp::from_millisecond(decided_at.as_millisecond()).unwrap_or(decided_at);
    let wanted = CutOff { node_id: node.clone(), requested_at: decided_at, due_at: decided_at };
    match disconnect(store, bus, &wanted, Timestamp::now()).await {
        Ok(Disconnected::Done) => info!(node.id = %node, "the node's connections are closed"),
        Ok(Disconnected::Unable) => {
            warn!(node.id = %node, "the node may stay connected, unheard: no management API is configured");
        }
        Err(error) => {
            warn!(node.id = %node, error = %error_chain(&error), "the node is disconnected later, by the sweep");
        }
    }
}

/// Disconnects what is due. Returns how many nodes that was.
///
/// # Errors
/// [`CutOffError`] of the first that failed; it is due again, as is whatever was not reached.
pub async fn sweep(store: &Store, bus: &dyn Bus, now: Timestamp) -> Result<usize, CutOffError> {
    let (mut done, mut failures) = (0, Vec::new());
    for wanted in store.due_cut_offs(now, SWEEP_MAX).await? {
        match disconnect(store, bus, &wanted, now).await {
            Ok(Disconnected::Done) => done += 1,
            // They stay, for a process that can.
            Ok(Disconnected::Unable) => break,
            Err(error) => {
                store.settle_cut_off(&wanted, Some(now + RETRY_AFTER)).await?;
                failures.push(error);
            }
        }
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    failures.into_iter().next().map_or(Ok(done), Err)
}

async fn disconnect(
    store: &Store,
    bus: &dyn Bus,
    wanted: &CutOff,
    now: Timestamp,
) -> Result<Disconnected, CutOffError> {
    let outcome = bus.disconnect(&wanted.node_id).await?;
    if outcome == Disconnected::Done {
        let last = wanted.requested_at + LOOK_AGAIN_AFTER;
        store.settle_cut_off(wanted, (now < last).then_some(last)).await?;
    }
    Ok(outcome)
}

/// Why a node was not disconnected.
#[derive(Debug, thiserror::Error)]
pub enum CutOffError {
    /// The store is away.
    #[error("could not read or note whom to disconnect")]
    Store(#[from] Error),
    /// The bus is away, or refuses.
    #[error("could not disconnect a node")]
    Bus(#[from] BusError),
}
