//! Nodes are judged again from what their last scan saw, when a waiting period ends or their
//! baseline is changed: what is true of them changes then, and nobody asks them.
//!
//! Judged is by the baseline that is for the node now: its patch group's, else its operating system's
//! default. A node whose inventory is not stored is left as its report has it. Harmless to repeat and beside another process that does the same: both come to the
//! same, and a newer report has the word.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use patchwave_engine::baseline::{Decision, Evaluation};
use patchwave_schemas::baseline::{PatchRecord, PatchState};
use tracing::warn;

use crate::store::baseline_states::{DueNode, Rejudged};
use crate::store::baselines::os_name;
use crate::store::inventories::StoredFleet;
use crate::store::{Error, Store};
use crate::telemetry::error_chain;

/// Nodes that one call judges at most: some tenths of a second.
pub const SWEEP_MAX: u32 = 100;

/// Judges nodes that are due. Returns how many were.
///
/// # Errors
/// The store's; what is due stays due.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<usize, Error> {
    let due = store.due_rechecks(now, SWEEP_MAX).await?;
    let count = due.len();
    let mut by_baseline: BTreeMap<_, Vec<DueNode>> = BTreeMap::new();
    for node in due {
        by_baseline.entry((node.patch_group.clone(), os_name(node.operating_system))).or_default().push(node);
    }
    for ((group, _), due) in by_baseline {
        let Some(os) = due.first().map(|node| node.operating_system) else { continue };
        let mut known: HashMap<_, _> = due.into_iter().map(|node| (node.node_id.clone(), node)).collect();
        let mut rejudged = Vec::new();
        if let Some(baseline) = store.baseline_for(&group, os).await? {
            let nodes: Vec<_> = known.keys().cloned().collect();
            let stored = match store.inventories_of(&nodes).await {
                Err(error @ Error::Corrupt { .. }) => {
                    warn!(error = %error_chain(&error), "nodes stay as they reported");
                    StoredFleet::default()
                }
                stored => stored?,
            };
            let rules = baseline.rules;
            let fleet = stored.fleet;
            // Off the threads that others' requests wait for.
            let judged = tokio::task::spawn_blocking(move || fleet.evaluate(&rules, now, 1)).await;
            let judged = match judged {
                Ok(Ok(judged)) => judged,
                // What cannot be read stays as the reports have it.
                Ok(Err(error)) => {
                    warn!(error = %error_chain(&error), "nodes stay as they reported");
                    Vec::new()
                }
                // It panicked, and would again.
                Err(error) => {
                    warn!(%error, "nodes stay as they reported");
                    Vec::new()
                }
            };
            for (node, evaluation) in stored.nodes.iter().zip(judged) {
                let Some(due) = known.remove(node) else { continue };
                let patches = carried_over(&due.patches, &evaluation);
                rejudged.push(Rejudged {
                    due,
                    baseline_id: baseline.baseline_id.clone(),
                    baseline_version: baseline.baseline_version,
                    patches,
                    not_applicable_count: evaluation.not_applicable_count,
                    next_change: evaluation.next_change(),
                });
            }
        }
        let left: Vec<DueNode> = known.into_values().collect();
        let mut tx = store.begin().await?;
        // Always in one order, as others may be at it.
        rejudged.sort_by(|a, b| a.due.node_id.cmp(&b.due.node_id));
        tx.put_rejudged(&rejudged, now).await?;
        tx.give_up_rechecks(&left).await?;
        tx.commit().await?;
    }
    Ok(count)
}

/// The records of an evaluation, with what only the node could know: when something was installed,
/// and that an installation of the very same version failed.
fn carried_over(before: &[PatchRecord], evaluation: &Evaluation) -> Vec<PatchRecord> {
    let known: HashMap<&str, &PatchRecord> = before.iter().map(|record| (record.kb_id.as_str(), record)).collect();
    let carried = |decision: &Decision| {
        let mut record = decision.to_record();
        let Some(old) = known.get(record.kb_id.as_str()) else { return record };
        if old.state == PatchState::Failed && record.state == PatchState::Missing && old.title == record.title {
            record.state = PatchState::Failed;
            record.reason.clone_from(&old.reason);
        }
        if decision.approved_version.is_none() && record.installed_at.is_none() {
            record.installed_at = old.installed_at;
        }
        record
    };
    evaluation.decisions.iter().map(carried).collect()
}
