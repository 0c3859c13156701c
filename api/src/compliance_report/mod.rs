//! Compliance reports in SSM's columns, as CSV or JSON: a row for each node, or for each patch of one.
//!
//! They are answered, or stored as an artifact. What a row looks like as text is in `render`.

mod render;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::group_compliance::{Standing, standing};
use patchwave_engine::targets::patch_group;
use patchwave_platform::Class;
use patchwave_platform::store::group_compliance::NodeStanding;
use patchwave_platform::store::nodes::Node;
use patchwave_platform::store::patch_states::NodePatchState;
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::PatchRecord;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Error, Request};
use render::{Format, render};

/// Nodes that are read at a time.
const NODES_TOGETHER: u32 = 1_000;
/// Bytes of a report that is answered at most; a longer one is to be stored.
const ANSWERED_MAX: usize = 16 << 20;

/// SSM's columns of the report of all nodes.
const SUMMARY: [&str; 16] = [
    "Index",
    "Instance ID",
    "Instance name",
    "Instance IP",
    "Platform name",
    "Platform version",
    "SSM Agent version",
    "Patch baseline",
    "Patch group",
    "Compliance status",
    "Compliance severity",
    "Noncompliant Critical severity patch count",
    "Noncompliant High severity patch count",
    "Noncompliant Medium severity patch count",
    "Noncompliant Low severity patch count",
    "Noncompliant Informational severity patch count",
];
/// The last of them.
const UNSPECIFIED: &str = "Noncompliant Unspecified severity patch count";

/// SSM's columns of the report of one node.
const DETAIL: [&str; 17] = [
    "Index",
    "Instance ID",
    "Instance name",
    "Patch name",
    "KB ID/Patch ID",
    "Patch state",
    "Last report time",
    "Compliance level",
    "Patch severity",
    "Patch classification",
    "CVE ID",
    "Patch baseline",
    "Logs URL",
    "Instance IP",
    "Platform name",
    "Platform version",
    "SSM Agent version",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    format: Format,
    instance_id: Option<String>,
    patch_group: Option<String>,
}

/// A report as it is written.
struct Report {
    text: String,
    rows: usize,
    /// Where it belongs among artifacts.
    of: String,
}

/// GetComplianceReport: the report itself.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let report = report(api, &request.read()?).await?;
    if report.text.len() > ANSWERED_MAX {
        let bytes = report.text.len();
        return Err(Error::validation(format!(
            "the report has {bytes} bytes; allowed in an answer are {ANSWERED_MAX}: store it with ExportComplianceReport"
        )));
    }
    Ok(json!({ "Rows": report.rows, "Content": report.text }))
}

/// ExportComplianceReport: stores it, and says under which key.
pub(crate) async fn export(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let artifacts =
        api.artifacts.as_ref().ok_or_else(|| Error::validation("this server has no artifact store".to_owned()))?;
    let report = report(api, &input).await?;
    let bytes = report.text.len();
    let key = format!("compliance/{}/{}.{}", report.of, Uuid::now_v7(), input.format.extension());
    artifacts
        .put(&key, report.text.into_bytes())
        .await
        .map_err(|error| Error::internal(error.class(), "the report could not be stored", error))?;
    Ok(json!({ "Rows": report.rows, "Bytes": bytes, "Key": key }))
}

async fn report(api: &Api, input: &Input) -> Result<Report, Error> {
    let (columns, rows, of) = match &input.instance_id {
        Some(id) => {
            if input.patch_group.is_some() {
                return Err(Error::validation(
                    "InstanceId and PatchGroup are given; allowed is one of them".to_owned(),
                ));
            }
            let id = node_id(id)?;
            (DETAIL.to_vec(), of_node(api, &id).await?, id.to_string())
        }
        None => {
            let columns = SUMMARY.into_iter().chain([UNSPECIFIED]).collect();
            (columns, of_fleet(api, input.patch_group.as_deref()).await?, "summary".to_owned())
        }
    };
    let text = render(input.format, &columns, &rows)
        .map_err(|error| Error::internal(Class::Fatal, "the report could not be written", error))?;
    Ok(Report { text, rows: rows.len(), of })
}

async fn of_fleet(api: &Api, group: Option<&str>) -> Result<Vec<Vec<Value>>, Error> {
    let (now, stale_after) = (Timestamp::now(), api.store.stale_after().await?);
    let mut rows = Vec::new();
    let mut after = String::new();
    loop {
        let mut page = api.store.standings_after(&after, NODES_TOGETHER).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = last.node_id.to_string();
        page.retain(|one| group.is_none_or(|group| patch_group(&one.tags).unwrap_or_default() == group));
        let ids: Vec<NodeId> = page.iter().map(|one| one.node_id.clone()).collect();
        // Both in the order of ids, as the page is; a node may be gone meanwhile.
        let nodes = api.store.nodes_named(&ids).await?;
        let states = api.store.patch_states(&ids).await?;
        for one in &page {
            let Some(node) = nodes.iter().find(|node| node.facts.node_id == one.node_id) else { continue };
            let state = states.iter().find(|state| state.node_id == one.node_id);
            rows.push(summary_row(rows.len() + 1, node, one, state, (now, stale_after)));
        }
    }
}

fn summary_row(
    index: usize,
    node: &Node,
    one: &NodeStanding,
    state: Option<&NodePatchState>,
    (now, stale_after): (Timestamp, SignedDuration),
) -> Vec<Value> {
    let status = match standing(one.last.as_ref(), now, stale_after) {
        Standing::Compliant => "COMPLIANT",
        Standing::NonCompliant(_) => "NON_COMPLIANT",
        Standing::Stale => "STALE",
        Standing::NeverScanned => "NEVER_SCANNED",
    };
    let items = one.last.map(|last| last.items).unwrap_or_default();
    let severity = (!items.is_compliant()).then(|| items.overall_severity());
    let wrong = items.non_compliant;
    let facts = &node.facts;
    vec![
        json!(index),
        json!(facts.node_id),
        json!(facts.computer_name),
        json!(facts.ip_address),
        json!(facts.platform_name),
        json!(facts.platform_version),
        json!(facts.agent_version),
        json!(state.map(|state| &state.baseline_id)),
        json!(patch_group(&one.tags)),
        json!(status),
        json!(severity),
        json!(wrong.critical_count),
        json!(wrong.high_count),
        json!(wrong.medium_count),
        json!(wrong.low_count),
        json!(wrong.informational_count),
        json!(wrong.unspecified_count),
    ]
}

async fn of_node(api: &Api, id: &NodeId) -> Result<Vec<Vec<Value>>, Error> {
    let node =
        api.store.node(id).await?.ok_or_else(|| {
            Error::new("InvalidInstanceId", format!("InstanceId is `{id}`, which is not a managed node"))
        })?;
    let Some(state) = api.store.patch_states(std::slice::from_ref(id)).await?.pop() else { return Ok(Vec::new()) };
    let patches = api.store.patches_of(id).await?.unwrap_or_default();
    Ok(patches.iter().enumerate().map(|(index, patch)| detail_row(index + 1, &node, &state, patch)).collect())
}

fn detail_row(index: usize, node: &Node, state: &NodePatchState, patch: &PatchRecord) -> Vec<Value> {
    let facts = &node.facts;
    vec![
        json!(index),
        json!(facts.node_id),
        json!(facts.computer_name),
        json!(patch.title),
        json!(patch.kb_id),
        json!(patch.state),
        json!(state.finished_at),
        json!(patch.compliance_level),
        json!(patch.severity),
        json!(patch.classification),
        json!(patch.cve_ids.join(",")),
        json!(state.baseline_id),
        // Output of commands is in the database, where no URL leads.
        Value::Null,
        json!(facts.ip_address),
        json!(facts.platform_name),
        json!(facts.platform_version),
        json!(facts.agent_version),
    ]
}
