//! `compliance`: how the fleet stands, by patch group, type, node or item.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::window::elements;
use crate::client::{Client, ClientError};
use crate::{table, times};

/// Nodes of one call of DescribeInstancePatchStates (SSM: at most 50).
const NODES_PER_CALL: usize = 50;

/// Compliance of the fleet.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ComplianceArgs {
    #[command(subcommand)]
    view: Option<ComplianceView>,
    /// Only this patch group
    #[arg(long, value_name = "NAME")]
    patch_group: Option<String>,
}

/// Other views than that by patch group.
#[derive(Debug, Subcommand)]
pub enum ComplianceView {
    /// How many nodes comply, for each type
    Types,
    /// How each node stands, for each type
    Nodes {
        /// Only those that do not comply
        #[arg(long)]
        non_compliant: bool,
    },
    /// What complies on a node, and what does not
    Items {
        /// Id of the node
        node: String,
        /// Only what does not comply
        #[arg(long)]
        non_compliant: bool,
    },
}

/// How the nodes of a patch group stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupCompliance {
    /// The group that the nodes' tags name now; empty for nodes without one.
    pub patch_group: String,
    /// Nodes of the group.
    pub nodes: u64,
    /// Those of them that a simulator made up.
    pub simulated: u64,
    /// Nodes without a patch in a non-compliant state.
    pub compliant: u64,
    /// Nodes with one.
    pub non_compliant: u64,
    /// Nodes that have not reported yet: neither compliant nor not.
    pub never_scanned: u64,
    /// Missing patches, of all nodes together.
    pub missing: u64,
    /// Patches whose installation failed.
    pub failed: u64,
    /// Patches that wait for a reboot.
    pub pending_reboot: u64,
    /// Patches that are installed and rejected.
    pub rejected: u64,
    /// The oldest report that this is taken from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_report: Option<Timestamp>,
}

pub(super) async fn run(args: ComplianceArgs, cx: &Context) -> anyhow::Result<()> {
    if let Some(view) = args.view {
        return show(view, cx).await;
    }
    let mut groups = gather(&cx.client).await?;
    if let Some(name) = &args.patch_group {
        groups.retain(|group| group.patch_group == *name);
        if groups.is_empty() {
            cx.output.note(&format!("no node is in patch group `{name}`"));
        }
    }
    Ok(cx.output.either(&json!({"PatchGroups": groups}), || render(&groups))?)
}

async fn show(view: ComplianceView, cx: &Context) -> anyhow::Result<()> {
    let status = |only: bool| match only {
        true => json!([{"Key": "Status", "Values": ["NON_COMPLIANT"], "Type": "EQUAL"}]),
        false => json!([]),
    };
    let (operation, list, request, columns) = match view {
        ComplianceView::Types => {
            let columns = vec![
                table::member("TYPE", "ComplianceType"),
                table::computed("COMPLIANT", |row| table::text(&row["CompliantSummary"]["CompliantCount"])),
                table::computed("NON-COMPLIANT", |row| table::text(&row["NonCompliantSummary"]["NonCompliantCount"])),
            ];
            ("ListComplianceSummaries", "ComplianceSummaryItems", json!({}), columns)
        }
        ComplianceView::Nodes { non_compliant } => {
            let columns = vec![
                table::member("NODE", "ResourceId"),
                table::member("TYPE", "ComplianceType"),
                table::member("STATUS", "Status"),
                table::member("SEVERITY", "OverallSeverity"),
                table::computed("ITEMS WRONG", |row| table::text(&row["NonCompliantSummary"]["NonCompliantCount"])),
            ];
            let request = json!({"Filters": status(non_compliant)});
            ("ListResourceComplianceSummaries", "ResourceComplianceSummaryItems", request, columns)
        }
        ComplianceView::Items { node, non_compliant } => {
            let columns = vec![
                table::member("TYPE", "ComplianceType"),
                table::member("ID", "Id"),
                table::member("STATUS", "Status"),
                table::member("SEVERITY", "Severity"),
                table::member("TITLE", "Title"),
            ];
            let request = json!({"ResourceIds": [node], "Filters": status(non_compliant)});
            ("ListComplianceItems", "ComplianceItems", request, columns)
        }
    };
    let answer = cx.client.ssm_all(operation, &request, list, None).await?;
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

/// Asks the API how every patch group stands, in the order of their names.
///
/// # Errors
/// [`ClientError`].
pub async fn gather(client: &Client) -> Result<Vec<GroupCompliance>, ClientError> {
    let list = "InstanceInformationList";
    let answer = client.ssm_all("DescribeInstanceInformation", &json!({}), list, None).await?;
    let nodes: Vec<&Value> = elements(&answer, list).collect();
    let mut states = BTreeMap::new();
    for nodes in nodes.chunks(NODES_PER_CALL) {
        let ids: Vec<&Value> = nodes.iter().map(|node| &node["InstanceId"]).collect();
        let list = "InstancePatchStates";
        let mut answer =
            client.ssm_all("DescribeInstancePatchStates", &json!({"InstanceIds": ids}), list, None).await?;
        for state in answer[list].as_array_mut().into_iter().flatten() {
            states.insert(table::text(&state["InstanceId"]), state.take());
        }
    }
    Ok(summarise(&nodes, &states))
}

/// A table for people.
#[must_use]
pub fn render(groups: &[GroupCompliance]) -> String {
    let rows: Vec<Value> = groups.iter().map(|group| json!(group)).collect();
    let columns = [
        table::computed("PATCH GROUP", |row| match row["PatchGroup"].as_str() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => "(no group)".to_owned(),
        }),
        table::computed("NODES", |row| match row["Simulated"].as_u64() {
            Some(simulated @ 1..) => format!("{} ({simulated} simulated)", row["Nodes"]),
            _ => table::text(&row["Nodes"]),
        }),
        table::member("COMPLIANT", "Compliant"),
        table::member("NON-COMPLIANT", "NonCompliant"),
        table::member("NEVER SCANNED", "NeverScanned"),
        table::member("MISSING", "Missing"),
        table::member("FAILED", "Failed"),
        table::member("PENDING REBOOT", "PendingReboot"),
        table::member("REJECTED", "Rejected"),
        table::ago("OLDEST REPORT", "OldestReport"),
    ];
    table::rows(&columns, &rows)
}

/// Adds up the nodes by the patch group that their tags name now. `states` are the last reports, by
/// node id.
fn summarise(nodes: &[&Value], states: &BTreeMap<String, Value>) -> Vec<GroupCompliance> {
    let mut groups: BTreeMap<&str, GroupCompliance> = BTreeMap::new();
    for node in nodes {
        let tags = &node["Tags"];
        // Where a node has both, `PatchGroup` is the one that counts.
        let name = tags["PatchGroup"].as_str().or(tags["Patch Group"].as_str()).unwrap_or("");
        let group = groups.entry(name).or_default();
        name.clone_into(&mut group.patch_group);
        group.nodes += 1;
        group.simulated += u64::from(node["Simulated"] == true);
        match states.get(node["InstanceId"].as_str().unwrap_or("")) {
            Some(state) => add_state(group, state),
            None => group.never_scanned += 1,
        }
    }
    groups.into_values().collect()
}

fn add_state(group: &mut GroupCompliance, state: &Value) {
    let count = |member: &str| state[member].as_u64().unwrap_or(0);
    let missing = count("MissingCount");
    let failed = count("FailedCount");
    let pending_reboot = count("InstalledPendingRebootCount");
    let rejected = count("InstalledRejectedCount");
    if missing + failed + pending_reboot + rejected == 0 {
        group.compliant += 1;
    } else {
        group.non_compliant += 1;
    }
    group.missing += missing;
    group.failed += failed;
    group.pending_reboot += pending_reboot;
    group.rejected += rejected;
    let reported = times::instant(&state["OperationEndTime"]);
    group.oldest_report = group.oldest_report.into_iter().chain(reported).min();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: Vec<Value>, states: Vec<Value>) -> Vec<GroupCompliance> {
        let states = states.into_iter().map(|state| (table::text(&state["InstanceId"]), state)).collect();
        summarise(&nodes.iter().collect::<Vec<_>>(), &states)
    }

    #[test]
    fn every_node_is_counted_once_in_the_group_of_its_tags() {
        let groups = check(
            vec![
                json!({"InstanceId": "a", "Tags": {"Patch Group": "canary"}, "Simulated": true}),
                json!({"InstanceId": "b", "Tags": {"PatchGroup": "canary", "Patch Group": "old"}}),
                json!({"InstanceId": "c", "Tags": {"Patch Group": "canary"}}),
                json!({"InstanceId": "d"}),
            ],
            vec![
                json!({"InstanceId": "a", "MissingCount": 2, "FailedCount": 0, "OperationEndTime": 1000.0}),
                json!({"InstanceId": "b", "MissingCount": 0, "InstalledOtherCount": 9, "OperationEndTime": 500.0}),
                json!({"InstanceId": "d", "PatchGroup": "", "InstalledPendingRebootCount": 1}),
            ],
        );
        let none = GroupCompliance { nodes: 1, non_compliant: 1, pending_reboot: 1, ..GroupCompliance::default() };
        let canary = GroupCompliance {
            patch_group: "canary".to_owned(),
            nodes: 3,
            simulated: 1,
            compliant: 1,
            non_compliant: 1,
            never_scanned: 1,
            missing: 2,
            oldest_report: Timestamp::from_second(500).ok(),
            ..GroupCompliance::default()
        };
        assert_eq!(groups, [none, canary]);
    }

    #[test]
    fn simulated_nodes_are_called_simulated() {
        let shown = render(&check(vec![json!({"InstanceId": "a", "Simulated": true})], vec![]));
        assert!(shown.contains("(no group)") && shown.contains("1 (1 simulated)"), "{shown}");
    }
}
