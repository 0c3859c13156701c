//! Why a patch stands where it stands on a node.

use patchwave_engine::baseline::{glob_matches, product};
use patchwave_engine::targets::patch_group;
use patchwave_platform::store::baselines::Baseline;
use patchwave_schemas::baseline::PatchRecord;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Error, Request, epoch, present, required};

/// Patches that one answer explains at most; more are counted.
const EXPLAINED_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    instance_id: Option<String>,
    patch: Option<String>,
}

/// ExplainPatch: each patch of a node that a name means, with its state, the reason for it, what its
/// delay counts from, and which baseline judged and by what right.
///
/// The name is SSM's `KBId`, a title, a package's name, a CVE, or a pattern with `*`.
pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let id = node_id(required("instanceId", input.instance_id.as_deref())?)?;
    let name = required("patch", input.patch.as_deref())?;
    api.check_nodes(request.caller(), std::slice::from_ref(&id)).await?;
    let node =
        api.store.node(&id).await?.ok_or_else(|| {
            Error::new("InvalidInstanceId", format!("InstanceId is `{id}`, which is not a managed node"))
        })?;
    let group = patch_group(&node.facts.tags).unwrap_or_default();
    let profile = patchwave_engine::baseline::NodeProfile {
        operating_system: node.facts.operating_system,
        version: node.facts.platform_version.clone(),
        codename: String::new(),
    };
    let next = api.store.baseline_for(group, node.facts.operating_system).await?;
    let state = api.store.patch_states(std::slice::from_ref(&id)).await?.pop();
    let judged_by = match &state {
        Some(state) => api.store.baseline(&state.baseline_id).await?,
        None => None,
    };
    let patches = api.store.patches_of(&id).await?;
    let never_scanned = patches.is_none();
    let found: Vec<PatchRecord> =
        patches.unwrap_or_default().into_iter().filter(|patch| is_meant(name, patch)).collect();
    let count = found.len();
    let explained: Vec<Value> = found.iter().take(EXPLAINED_MAX).map(explanation).collect();
    Ok(present(json!({
        "InstanceId": id,
        "Product": product(&profile),
        "PatchGroup": group,
        "NeverScanned": never_scanned,
        "ScannedAt": state.as_ref().map(|state| epoch(state.finished_at)),
        "Operation": state.as_ref().map(|state| state.operation),
        "SnapshotId": state.as_ref().map(|state| &state.snapshot_id),
        "JudgedBy": judged_by.as_ref().map(named),
        // What the next scan goes by: the group's registration or the system's default may have
        // changed since.
        "NextBaseline": next.as_ref().map(named),
        "Patches": explained,
        "PatchCount": count,
    })))
}

fn named(baseline: &Baseline) -> Value {
    json!({ "BaselineId": baseline.baseline_id, "Name": baseline.name })
}

fn explanation(patch: &PatchRecord) -> Value {
    present(json!({
        "Title": patch.title,
        "KBId": patch.kb_id,
        "State": patch.state,
        "IsCompliant": patch.is_compliant(),
        "Reason": patch.reason,
        "ComplianceLevel": patch.compliance_level,
        "Classification": patch.classification,
        "Severity": patch.severity,
        "CVEIds": Some(&patch.cve_ids).filter(|ids| !ids.is_empty()),
        "ReleasedAt": patch.released_at.map(epoch),
        "ReleasedBy": patch.released_by,
        "InstalledTime": patch.installed_at.map(epoch),
    }))
}

/// Whether that is what people call this patch.
fn is_meant(name: &str, patch: &PatchRecord) -> bool {
    // Package names may have dots, architectures have none.
    let package = patch.kb_id.rsplit_once('.').map_or(patch.kb_id.as_str(), |(package, _)| package);
    [patch.kb_id.as_str(), package, patch.title.as_str()]
        .into_iter()
        .chain(patch.cve_ids.iter().map(String::as_str))
        .any(|text| glob_matches(name, text))
}
