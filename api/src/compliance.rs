//! Compliance of any type: put by other programs, or come from scans; listed by item, by node and
//! by type. What makes a node compliant is `engine::compliance`.

use std::collections::BTreeMap;

use patchwave_engine::compliance::{ItemCounts, SeverityCounts};
use patchwave_platform::store::compliance::{ComplianceItem, ComplianceReport, Execution, PATCH, ResourceCompliance};
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Comparison, Error, Request, epoch, instant, present};

/// Custom types at most (SSM).
const CUSTOM_TYPES_MAX: usize = 10;
/// Bytes of one item at most; SSM names an error for it and no number.
const ITEM_BYTES_MAX: usize = 65_536;
/// Rows read at a time while nodes are summarised.
const SCAN_ROWS: u32 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutInput {
    resource_id: String,
    resource_type: String,
    compliance_type: String,
    execution_summary: ExecutionInput,
    items: Vec<ItemInput>,
    item_content_hash: Option<String>,
    upload_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ExecutionInput {
    execution_time: Value,
    execution_id: Option<String>,
    execution_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ItemInput {
    id: Option<String>,
    title: Option<String>,
    severity: ComplianceLevel,
    status: String,
    #[serde(default)]
    details: BTreeMap<String, String>,
}

/// PutComplianceItems.
pub(crate) async fn put(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: PutInput = request.read()?;
    check_resource_type(&input.resource_type)?;
    let node_id = resource_id(&input.resource_id)?;
    let compliance_type = input.compliance_type;
    if compliance_type != "Association" && !compliance_type.starts_with("Custom:") {
        return Err(Error::validation(format!(
            "ComplianceType is `{compliance_type}`; allowed are Association and Custom:<name>, as patches come from scans"
        )));
    }
    let mut items: BTreeMap<String, ComplianceItem> = BTreeMap::new();
    for (index, item) in input.items.into_iter().enumerate() {
        let invalid = |what: String| Error::new("InvalidItemContentException", format!("Items[{index}] {what}"));
        let id = item.id.filter(|id| !id.is_empty()).ok_or_else(|| invalid("has no Id; each item needs one".into()))?;
        let bytes: usize = item.details.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ITEM_BYTES_MAX {
            let message = format!("Items[{index}].Details has {bytes} bytes; allowed are {ITEM_BYTES_MAX}");
            return Err(Error::new("ItemSizeLimitExceededException", message));
        }
        if items.contains_key(&id) {
            return Err(invalid(format!("has the Id `{id}` of an earlier one; ids are unique")));
        }
        let item = ComplianceItem {
            id: id.clone(),
            title: item.title,
            severity: item.severity,
            status: item.status,
            details: item.details,
        };
        items.insert(id, item);
    }
    let execution = Execution {
        at: instant("executionSummary.executionTime", &input.execution_summary.execution_time)?,
        id: input.execution_summary.execution_id,
        kind: input.execution_summary.execution_type,
    };
    let mut tx = api.store.begin().await?;
    if tx.lock_node_tags(&node_id).await?.is_none() {
        return Err(missing(node_id.as_str()));
    }
    let earlier = tx.lock_compliance(&node_id, &compliance_type).await?;
    if let Some(earlier) = &earlier {
        // The same content again: SSM passes such a put over, with its execution.
        if input.item_content_hash.is_some() && input.item_content_hash == earlier.content_hash {
            return Ok(json!({}));
        }
    } else if compliance_type.starts_with("Custom:") {
        let known = tx.compliance_types().await?;
        let custom = known.iter().filter(|one| one.starts_with("Custom:")).count();
        if custom >= CUSTOM_TYPES_MAX && !known.contains(&compliance_type) {
            let message = format!("there are {custom} custom types of compliance; allowed are {CUSTOM_TYPES_MAX}");
            return Err(Error::new("ComplianceTypeCountLimitExceededException", message));
        }
    }
    if input.upload_type.as_deref() == Some("PARTIAL") {
        for item in earlier.map(|earlier| earlier.items).unwrap_or_default() {
            items.entry(item.id.clone()).or_insert(item);
        }
    }
    let report = ComplianceReport {
        node_id,
        compliance_type,
        execution,
        content_hash: input.item_content_hash,
        items: items.into_values().collect(),
    };
    tx.put_compliance(&report).await?;
    tx.commit().await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListInput {
    #[serde(default)]
    filters: Vec<ComplianceFilter>,
    #[serde(default)]
    resource_ids: Vec<String>,
    #[serde(default)]
    resource_types: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ComplianceFilter {
    #[serde(default)]
    key: String,
    #[serde(default)]
    values: Vec<String>,
    #[serde(rename = "Type")]
    comparison: Option<String>,
}

impl ComplianceFilter {
    /// Whether an object passes, whose members are called as the keys are.
    fn passes(&self, view: &Value) -> Result<bool, Error> {
        let comparison = Comparison::read(self.comparison.as_deref())?;
        Ok(view[&self.key].as_str().is_some_and(|actual| comparison.accepts(actual, &self.values)))
    }
}

fn check_keys(filters: &[ComplianceFilter], known: &[&str]) -> Result<(), Error> {
    match filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
        Some(filter) => {
            let message = format!("filter key is `{}`; allowed are {}", filter.key, known.join(", "));
            Err(Error::new("InvalidFilter", message))
        }
        None => Ok(()),
    }
}

fn passes_all(view: &Value, filters: &[ComplianceFilter]) -> Result<bool, Error> {
    filters.iter().try_fold(true, |passes, filter| Ok(passes && filter.passes(view)?))
}

/// ListComplianceItems: of one node.
pub(crate) async fn list_items(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: ListInput = request.read()?;
    let paging = request.paging(1..=50)?;
    check_keys(&input.filters, &["ComplianceType", "Status", "Severity", "Id", "Title"])?;
    input.resource_types.iter().try_for_each(|kind| check_resource_type(kind))?;
    let [id] = input.resource_ids.as_slice() else {
        let count = input.resource_ids.len();
        return Err(Error::new("InvalidResourceId", format!("ResourceIds has {count} ids; allowed is exactly 1")));
    };
    let node_id = resource_id(id)?;
    if api.store.node(&node_id).await?.is_none() {
        return Err(missing(id));
    }
    let mut views = Vec::new();
    if let Some(state) = api.store.patch_states(std::slice::from_ref(&node_id)).await?.pop() {
        let execution = Execution {
            at: state.finished_at,
            id: Some(state.command_id.to_string()),
            kind: Some("Command".to_owned()),
        };
        for patch in api.store.patches_of(&node_id).await?.unwrap_or_default() {
            if patch.state == PatchState::NotApplicable {
                continue;
            }
            let mut item = patch_item(&patch);
            item.details.insert("PatchBaselineId".to_owned(), state.baseline_id.to_string());
            item.details.insert("PatchGroup".to_owned(), state.patch_group.clone());
            views.push(item_view(&node_id, PATCH, &execution, &item));
        }
    }
    for report in api.store.compliance_of(&node_id).await? {
        let view = |item| item_view(&node_id, &report.compliance_type, &report.execution, item);
        views.extend(report.items.iter().map(view));
    }
    let mut kept = Vec::with_capacity(views.len());
    for view in views {
        if passes_all(&view, &input.filters)? {
            kept.push(view);
        }
    }
    let key = |view: &Value| ["ComplianceType", "Id", "Title"].map(|one| view[one].as_str().unwrap_or("")).join("\n");
    let (items, next) = paging.of_list(kept, key);
    Ok(present(json!({ "ComplianceItems": items, "NextToken": next })))
}

/// ListResourceComplianceSummaries: how each node stands for each type.
pub(crate) async fn list_resources(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: ListInput = request.read()?;
    let paging = request.paging(1..=50)?;
    check_keys(&input.filters, &["ComplianceType", "Status", "OverallSeverity", "ResourceId"])?;
    let after = paging.after().unwrap_or("\n").to_owned();
    let (node, kind) = after.split_once('\n').unwrap_or((&after, ""));
    let mut after = (node.to_owned(), kind.to_owned());
    let mut found: Vec<(String, Value)> = Vec::new();
    while found.len() <= paging.size() {
        let rows = api.store.compliance_after((&after.0, &after.1), SCAN_ROWS).await?;
        let Some(last) = rows.last() else { break };
        after = (last.node_id.to_string(), last.compliance_type.clone());
        for row in &rows {
            let view = resource_view(row);
            if passes_all(&view, &input.filters)? {
                found.push((format!("{}\n{}", row.node_id, row.compliance_type), view));
            }
        }
    }
    found.truncate(paging.size() + 1);
    let (found, next) = paging.of_rows(found, |(key, _)| key.clone());
    let list: Vec<Value> = found.into_iter().map(|(_, view)| view).collect();
    Ok(present(json!({ "ResourceComplianceSummaryItems": list, "NextToken": next })))
}

/// ListComplianceSummaries: how many nodes comply, for each type.
pub(crate) async fn list_types(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: ListInput = request.read()?;
    let paging = request.paging(1..=50)?;
    check_keys(&input.filters, &["ComplianceType", "Status", "OverallSeverity"])?;
    let mut types: BTreeMap<String, ItemCounts> = BTreeMap::new();
    let mut after = (String::new(), String::new());
    loop {
        let rows = api.store.compliance_after((&after.0, &after.1), SCAN_ROWS).await?;
        let Some(last) = rows.last() else { break };
        after = (last.node_id.to_string(), last.compliance_type.clone());
        for row in &rows {
            if passes_all(&resource_view(row), &input.filters)? {
                let counts = types.entry(row.compliance_type.clone()).or_default();
                counts.add(row.counts.overall_severity(), row.counts.is_compliant());
            }
        }
    }
    let (types, next) = paging.of_list(types.into_iter().collect(), |(name, _)| name.clone());
    let list: Vec<Value> = types
        .iter()
        .map(|(name, counts)| {
            let mut view = counts_view(counts);
            view["ComplianceType"] = json!(name);
            view
        })
        .collect();
    Ok(present(json!({ "ComplianceSummaryItems": list, "NextToken": next })))
}

/// A patch as an item: its severity is the baseline's level for it.
fn patch_item(patch: &PatchRecord) -> ComplianceItem {
    let details = BTreeMap::from([
        ("PatchState".to_owned(), json!(patch.state).as_str().unwrap_or_default().to_owned()),
        ("Classification".to_owned(), patch.classification.clone()),
        ("PatchSeverity".to_owned(), patch.severity.clone()),
        ("InstalledTime".to_owned(), patch.installed_at.map(|at| at.to_string()).unwrap_or_default()),
    ]);
    ComplianceItem {
        id: patch.kb_id.clone(),
        title: Some(patch.title.clone()),
        severity: patch.compliance_level,
        status: status(patch.is_compliant()).to_owned(),
        details,
    }
}

fn item_view(node_id: &NodeId, kind: &str, execution: &Execution, item: &ComplianceItem) -> Value {
    present(json!({
        "ComplianceType": kind,
        "ResourceType": "ManagedInstance",
        "ResourceId": node_id,
        "Id": item.id,
        "Title": item.title,
        "Severity": item.severity,
        "Status": item.status,
        "ExecutionSummary": execution_view(execution),
        "Details": item.details,
    }))
}

fn resource_view(row: &ResourceCompliance) -> Value {
    let mut view = counts_view(&row.counts);
    for (member, value) in [
        ("ComplianceType", json!(row.compliance_type)),
        ("ResourceType", json!("ManagedInstance")),
        ("ResourceId", json!(row.node_id)),
        ("Status", json!(status(row.counts.is_compliant()))),
        ("OverallSeverity", json!(row.counts.overall_severity())),
        ("ExecutionSummary", execution_view(&row.execution)),
    ] {
        view[member] = value;
    }
    view
}

fn counts_view(counts: &ItemCounts) -> Value {
    let summary = |name: &str, counts: &SeverityCounts| json!({ name: counts.total(), "SeveritySummary": counts });
    json!({
        "CompliantSummary": summary("CompliantCount", &counts.compliant),
        "NonCompliantSummary": summary("NonCompliantCount", &counts.non_compliant),
    })
}

fn execution_view(execution: &Execution) -> Value {
    present(json!({
        "ExecutionTime": epoch(execution.at),
        "ExecutionId": execution.id,
        "ExecutionType": execution.kind,
    }))
}

fn status(is_compliant: bool) -> &'static str {
    if is_compliant { "COMPLIANT" } else { "NON_COMPLIANT" }
}

fn check_resource_type(kind: &str) -> Result<(), Error> {
    if kind == "ManagedInstance" {
        return Ok(());
    }
    let message = format!("ResourceType is `{kind}`; allowed is ManagedInstance");
    Err(Error::new("InvalidResourceType", message))
}

fn resource_id(text: &str) -> Result<NodeId, Error> {
    text.parse().map_err(|_| {
        let message = format!("ResourceId is `{text}`; allowed is `mi-` and 17 hex digits");
        Error::new("InvalidResourceId", message)
    })
}

fn missing(id: &str) -> Error {
    Error::new("InvalidResourceId", format!("ResourceId is `{id}`, which is not a managed node"))
}
