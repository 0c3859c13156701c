//! `compliance`: how the fleet stands, by patch group, type, node or item.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::request::Request;
use super::window::elements;
use super::{Context, compliance_export, compliance_history};
use crate::client::{Client, ClientError};
use crate::table;

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
    /// How the nodes of patch groups stood, hour by hour
    History(compliance_history::HistoryArgs),
    /// A report in SSM's columns: a line for each node, or for each patch of one
    Export(compliance_export::ExportArgs),
    /// What complies on a node, and what does not
    Items {
        /// Id of the node
        node: String,
        /// Only what does not comply
        #[arg(long)]
        non_compliant: bool,
    },
}

pub(super) async fn run(args: ComplianceArgs, cx: &Context) -> anyhow::Result<()> {
    match args.view {
        Some(ComplianceView::History(args)) => return compliance_history::run(args, cx).await,
        Some(ComplianceView::Export(args)) => return compliance_export::run(args, cx).await,
        Some(view) => return show(view, cx).await,
        None => {}
    }
    let answer = gather(&cx.client, args.patch_group.as_deref()).await?;
    if let Some(name) = &args.patch_group
        && elements(&answer, "PatchGroups").next().is_none()
    {
        cx.output.note(&format!("no node is in patch group `{name}`"));
    }
    Ok(cx.output.either(&answer, || render(&answer))?)
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
        ComplianceView::History(_) | ComplianceView::Export(_) => return Ok(()),
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

/// Asks the API how the nodes of every patch group stand, or of one.
///
/// # Errors
/// [`ClientError`].
pub async fn gather(client: &Client, patch_group: Option<&str>) -> Result<Value, ClientError> {
    let request = Request::new().maybe("PatchGroup", patch_group).done();
    client.patchwave("ListGroupCompliance", &request).await
}

/// A table for people.
#[must_use]
pub fn render(answer: &Value) -> String {
    let columns = [
        table::computed("PATCH GROUP", group_name),
        table::computed("NODES", |row| match row["Simulated"].as_u64() {
            Some(simulated @ 1..) => format!("{} ({simulated} simulated)", row["Nodes"]),
            _ => table::text(&row["Nodes"]),
        }),
        table::member("COMPLIANT", "Compliant"),
        table::member("NON-COMPLIANT", "NonCompliant"),
        table::member("STALE", "Stale"),
        table::member("NEVER SCANNED", "NeverScanned"),
        table::member("MISSING", "Missing"),
        table::member("FAILED", "Failed"),
        table::member("PENDING REBOOT", "PendingReboot"),
        table::member("REJECTED", "Rejected"),
        table::ago("OLDEST REPORT", "OldestReport"),
    ];
    table::rows(&columns, elements(answer, "PatchGroups"))
}

pub(super) fn group_name(row: &Value) -> String {
    match row["PatchGroup"].as_str() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => "(no group)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_nodes_are_called_simulated() {
        let shown = render(&json!({"PatchGroups": [{"PatchGroup": "", "Nodes": 1, "Simulated": 1}]}));
        assert!(shown.contains("(no group)") && shown.contains("1 (1 simulated)"), "{shown}");
    }
}
