//! PreviewPatchBaseline: what a change of a baseline would change, from what is stored of its nodes.
//!
//! Nothing is saved and no node is asked. What counts as a change is `engine::baseline::Fleet`'s.

use std::thread::available_parallelism;

use jiff::Timestamp;
use patchwave_engine::baseline::{FleetCounts, NodeChange, Standing};
use patchwave_schemas::baseline::PatchState;
use serde_json::{Value, json};

use crate::Api;
use crate::baselines::changed;
use crate::wire::{Error, Request, present};

/// Patches, and nodes, that an answer lists. The counts are of all.
const LISTED_MAX: usize = 1_000;

/// PreviewPatchBaseline.
pub(crate) async fn preview(api: &Api, request: &Request) -> Result<Value, Error> {
    let (baseline, rules) = changed(api, request).await?;
    let stored = api.store.fleet_of(&baseline.baseline_id, rules.operating_system, None).await?;
    let now = Timestamp::now();
    // A second of computing at most, which the other requests' threads are not to wait for.
    let judged = tokio::task::spawn_blocking(move || {
        let threads = available_parallelism().map_or(1, usize::from);
        let comparison = stored.fleet.compare(&baseline.rules, &rules, now, threads);
        (baseline, stored, comparison)
    });
    let (baseline, stored, comparison) = judged.await.map_err(|_| failed("it was interrupted"))?;
    let comparison = comparison.map_err(|error| failed(&format!("a stored inventory cannot be read: {error}")))?;

    let patches: Vec<Value> = comparison
        .patches
        .iter()
        .take(LISTED_MAX)
        .map(|change| {
            json!({
                "KBId": change.kb_id,
                "Before": standing(&change.before),
                "After": standing(&change.after),
                "Nodes": change.nodes,
            })
        })
        .collect();
    let named = stored.nodes.iter().zip(&stored.groups).zip(&comparison.nodes);
    let mut nodes: Vec<_> = named.filter(|(_, change)| change.changed > 0).collect();
    // Those whose compliance changes first, then those with most changes; each in order of ids.
    nodes.sort_by_key(|(_, change)| (turned(change).is_empty(), std::cmp::Reverse(change.changed)));
    let gained = nodes.iter().filter(|(_, change)| turned(change) == "NON_COMPLIANT").count();
    let lost = nodes.iter().filter(|(_, change)| turned(change) == "COMPLIANT").count();
    let listed: Vec<Value> = nodes
        .iter()
        .take(LISTED_MAX)
        .map(|((id, group), change)| {
            json!({
                "InstanceId": id,
                "PatchGroup": group,
                "Before": status(change.non_compliant_before),
                "After": status(change.non_compliant_after),
                "NonCompliantBefore": change.non_compliant_before,
                "NonCompliantAfter": change.non_compliant_after,
                "ChangedPatches": change.changed,
            })
        })
        .collect();
    Ok(present(json!({
        "BaselineId": baseline.baseline_id,
        "EvaluatedAt": crate::wire::epoch(now),
        "Nodes": stored.nodes.len(),
        "NodesWithoutInventory": stored.unknown.len(),
        "ChangedNodes": nodes.len(),
        "NodesTurningCompliant": lost,
        "NodesTurningNonCompliant": gained,
        "ChangedPatches": comparison.patches.len(),
        "Before": counts(&comparison.counts.0, stored.nodes.len()),
        "After": counts(&comparison.counts.1, stored.nodes.len()),
        "Patches": patches,
        "NodeChanges": listed,
    })))
}

fn failed(why: &str) -> Error {
    Error::new("InternalServerError", format!("the fleet could not be judged: {why}"))
}

fn status(non_compliant: u32) -> &'static str {
    if non_compliant == 0 { "COMPLIANT" } else { "NON_COMPLIANT" }
}

/// What a node becomes that is not what it was; empty when it stays.
fn turned(change: &NodeChange) -> &'static str {
    let (before, after) = (status(change.non_compliant_before), status(change.non_compliant_after));
    if before == after { "" } else { after }
}

fn standing(one: &Standing) -> Value {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    present(json!({
        "State": one.state,
        "Title": text(&one.title),
        "Classification": text(&one.classification),
        "ComplianceLevel": one.state.map(|_| one.compliance_level),
        "Reason": text(&one.reason),
    }))
}

fn counts(counts: &FleetCounts, nodes: usize) -> Value {
    let mut view = json!({
        "CompliantNodes": counts.compliant_nodes,
        "NonCompliantNodes": (nodes as u64).saturating_sub(counts.compliant_nodes),
    });
    for state in [
        PatchState::Installed,
        PatchState::InstalledOther,
        PatchState::InstalledPendingReboot,
        PatchState::InstalledRejected,
        PatchState::Missing,
        PatchState::Failed,
        PatchState::NotApplicable,
        PatchState::AvailableSecurityUpdate,
    ] {
        view[format!("{state:?}Count")] = json!(counts.of(state));
    }
    view
}
