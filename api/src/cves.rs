//! Vulnerabilities: on which nodes one is open, and which are open on a node.
//!
//! Open is what an approved patch would mend that is missing, failed, or waits for a reboot; of others
//! the scans say nothing.

use patchwave_platform::store::cves::NodeCve;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Error, Paging, Request, epoch, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodesInput {
    cve_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CvesInput {
    instance_id: String,
}

/// ListCveNodes: the nodes on which a vulnerability is open, an entry for each patch that would mend it.
pub(crate) async fn nodes(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: NodesInput = request.read()?;
    let paging = request.paging(1..=100)?;
    let cve = input.cve_id.to_ascii_uppercase();
    let found = api.store.nodes_with_cve(&cve, after(&paging), paging.rows()).await?;
    let (found, next) = paging.of_rows(found, |one| format!("{}\n{}", one.node_id, one.title));
    let mut ids: Vec<_> = found.iter().map(|one| one.node_id.clone()).collect();
    ids.dedup();
    let nodes = api.store.nodes_named(&ids).await?;
    let states = api.store.patch_states(&ids).await?;
    let entries: Vec<Value> = found
        .iter()
        .map(|one| {
            let node = nodes.iter().find(|node| node.facts.node_id == one.node_id);
            let state = states.iter().find(|state| state.node_id == one.node_id);
            let mut view = view(one);
            view["InstanceId"] = json!(one.node_id);
            view["ComputerName"] = json!(node.map(|node| &node.facts.computer_name));
            view["PatchGroup"] = json!(state.map(|state| &state.patch_group));
            view["ScannedAt"] = state.map_or(Value::Null, |state| epoch(state.finished_at));
            present(view)
        })
        .collect();
    Ok(present(json!({
        "CveId": cve,
        "Nodes": entries,
        // Of these nothing is known.
        "NeverScannedNodes": api.store.never_scanned_nodes().await?,
        "NextToken": next,
    })))
}

/// ListNodeCves: what is open on a node, an entry for each vulnerability and patch.
pub(crate) async fn of_node(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: CvesInput = request.read()?;
    let paging = request.paging(1..=100)?;
    let id = node_id(&input.instance_id)?;
    if api.store.node(&id).await?.is_none() {
        return Err(Error::new("InvalidInstanceId", format!("InstanceId is `{id}`, which is not a managed node")));
    }
    let state = api.store.patch_states(std::slice::from_ref(&id)).await?.pop();
    let found = api.store.cves_of(&id, after(&paging), paging.rows()).await?;
    let (found, next) = paging.of_rows(found, |one| format!("{}\n{}", one.cve_id, one.title));
    let entries: Vec<Value> = found
        .iter()
        .map(|one| {
            let mut view = view(one);
            view["CveId"] = json!(one.cve_id);
            view
        })
        .collect();
    Ok(present(json!({
        "InstanceId": id,
        "NeverScanned": state.is_none(),
        "ScannedAt": state.map_or(Value::Null, |state| epoch(state.finished_at)),
        "Cves": entries,
        "NextToken": next,
    })))
}

/// Node or vulnerability, and title, of the last entry of the page before.
fn after(paging: &Paging) -> (&str, &str) {
    paging.after().and_then(|key| key.split_once('\n')).unwrap_or_default()
}

fn view(one: &NodeCve) -> Value {
    json!({
        "Title": one.title,
        "KBId": one.kb_id,
        "State": one.state,
        "ComplianceLevel": one.compliance_level,
    })
}
