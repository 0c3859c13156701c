//! How nodes stand, patch by patch and in numbers.

use std::collections::BTreeSet;

use patchwave_platform::store::patch_states::NodePatchState;
use patchwave_schemas::baseline::PatchRecord;
use patchwave_schemas::command::PatchOperation;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Error, Filter, Request, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    instance_ids: Option<Vec<String>>,
    instance_id: Option<String>,
    patch_group: Option<String>,
    #[serde(default)]
    filters: Vec<StateFilter>,
}

/// A filter with a comparison, as DescribeInstancePatchStatesForPatchGroup has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StateFilter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default, rename = "Type")]
    comparison: String,
}

/// DescribeInstancePatchStates.
pub(crate) async fn of_nodes(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let ids = required("instanceIds", input.instance_ids)?;
    let ids = ids.iter().map(|id| node_id(id)).collect::<Result<Vec<_>, _>>()?;
    api.check_nodes(request.caller(), &ids).await?;
    let states = api.store.patch_states(&ids).await?;
    let (states, next) = paging.of_list(states, |state| state.node_id.to_string());
    let states: Vec<Value> = states.iter().map(view).collect();
    Ok(present(json!({ "InstancePatchStates": states, "NextToken": next })))
}

/// DescribeInstancePatchStatesForPatchGroup.
pub(crate) async fn of_group(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let group = required("patchGroup", input.patch_group.as_deref())?;
    let mut views: Vec<(String, Value)> = Vec::new();
    let mut states = api.store.patch_states_of_group(group).await?;
    if request.caller().policy.is_some() {
        let nodes: Vec<_> = states.iter().map(|state| state.node_id.clone()).collect();
        let visible: BTreeSet<_> = api.visible(request.caller(), &nodes).await?.into_iter().collect();
        states.retain(|state| visible.contains(&state.node_id));
    }
    for state in states {
        let view = view(&state);
        let mut passes = true;
        for filter in &input.filters {
            passes &= compare(&view, filter)?;
        }
        if passes {
            views.push((state.node_id.to_string(), view));
        }
    }
    let (views, next) = paging.of_list(views, |(id, _)| id.clone());
    let states: Vec<Value> = views.into_iter().map(|(_, view)| view).collect();
    Ok(present(json!({ "InstancePatchStates": states, "NextToken": next })))
}

/// DescribeInstancePatches.
pub(crate) async fn patches(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let id = node_id(required("instanceId", input.instance_id.as_deref())?)?;
    api.check_nodes(request.caller(), std::slice::from_ref(&id)).await?;
    let filters: Vec<Filter> =
        input.filters.into_iter().map(|filter| Filter { key: filter.key, values: filter.values }).collect();
    let known = ["Classification", "KBId", "Severity", "State"];
    if let Some(filter) = filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
        return Err(invalid_filter(&filter.key, &known.join(", ")));
    }
    let mut patches = api.store.patches_of(&id).await?.unwrap_or_default();
    patches.retain(|patch| filters.iter().all(|filter| passes(patch, filter)));
    let key = |patch: &PatchRecord| format!("{}\n{}\n{}", patch.kb_id, patch.title, state_name(patch));
    let (patches, next) = paging.of_list(patches, key);
    let patches: Vec<Value> = patches
        .iter()
        .map(|patch| {
            present(json!({
                "Title": patch.title,
                "KBId": patch.kb_id,
                "Classification": patch.classification,
                "Severity": patch.severity,
                "State": patch.state,
                // The epoch stands for "not installed, or not known" (SSM).
                "InstalledTime": epoch(patch.installed_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH)),
                // SSM: one text, comma-separated, of what is missing.
                "CVEIds": Some(patch.cve_ids.join(",")).filter(|ids| !ids.is_empty()),
                "Reason": Some(&patch.reason).filter(|reason| !reason.is_empty()),
            }))
        })
        .collect();
    Ok(present(json!({ "Patches": patches, "NextToken": next })))
}

fn passes(patch: &PatchRecord, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "Classification" => filter.accepts(&patch.classification),
        "KBId" => filter.accepts(&patch.kb_id),
        "Severity" => filter.accepts(&patch.severity),
        _ => filter.accepts(&state_name(patch)),
    }
}

fn state_name(patch: &PatchRecord) -> String {
    json!(patch.state).as_str().unwrap_or_default().to_owned()
}

/// Compares one counter with the number of a filter.
fn compare(view: &Value, filter: &StateFilter) -> Result<bool, Error> {
    let count = view.get(&filter.key).filter(|_| filter.key.ends_with("Count")).and_then(Value::as_i64);
    let count =
        count.ok_or_else(|| invalid_filter(&filter.key, "the members of InstancePatchState that end in Count"))?;
    let text = filter.values.first().map_or("", String::as_str);
    let wanted: i64 = text.parse().map_err(|_| {
        let message = format!("filter {} has the value `{text}`; allowed is one whole number", filter.key);
        Error::new("InvalidFilter", message)
    })?;
    match filter.comparison.as_str() {
        "Equal" => Ok(count == wanted),
        "NotEqual" => Ok(count != wanted),
        "LessThan" => Ok(count < wanted),
        "GreaterThan" => Ok(count > wanted),
        other => Err(Error::new(
            "InvalidFilter",
            format!("filter {} has the type `{other}`; allowed are Equal, NotEqual, LessThan, GreaterThan", filter.key),
        )),
    }
}

fn invalid_filter(key: &str, allowed: &str) -> Error {
    Error::new("InvalidFilter", format!("filter key is `{key}`; allowed are {allowed}"))
}

/// SSM's `InstancePatchState`.
fn view(state: &NodePatchState) -> Value {
    let mut view = json!(state.counts);
    let reboot_option = state.reboot_option.filter(|_| state.operation == PatchOperation::Install);
    for (member, value) in [
        ("InstanceId", json!(state.node_id)),
        ("PatchGroup", json!(state.patch_group)),
        ("BaselineId", json!(state.baseline_id)),
        ("BaselineVersion", json!(Some(state.baseline_version).filter(|version| *version > 0))),
        ("RecomputedTime", state.recomputed_at.map_or(Value::Null, epoch)),
        ("SnapshotId", json!(state.snapshot_id)),
        ("UnreportedNotApplicableCount", json!(0)),
        ("OperationStartTime", epoch(state.started_at)),
        ("OperationEndTime", epoch(state.finished_at)),
        ("Operation", json!(state.operation)),
        ("RebootOption", json!(reboot_option)),
        ("LastNoRebootInstallOperationTime", state.last_no_reboot_install_at.map_or(Value::Null, epoch)),
    ] {
        view[member] = value;
    }
    present(view)
}
