//! `cve`: on which nodes a vulnerability is open, and which are open on a node.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::window::elements;
use crate::table;

/// Vulnerabilities that an approved patch would mend.
#[derive(Debug, Subcommand)]
pub enum CveCommand {
    /// List the nodes on which a vulnerability is open
    Nodes {
        /// The vulnerability, such as `CVE-2026-1234`
        cve: String,
    },
    /// List what is open on a node
    List {
        /// Id of the node
        #[arg(long, value_name = "NODE")]
        node: String,
    },
}

pub(super) async fn run(command: CveCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        CveCommand::Nodes { cve } => {
            let answer = cx.client.patchwave_all("ListCveNodes", &json!({ "CveId": cve }), "Nodes", None).await?;
            let unknown = answer["NeverScannedNodes"].as_u64().unwrap_or_default();
            if unknown > 0 {
                cx.output.note(&format!("{unknown} nodes were never scanned: of these nothing is known"));
            }
            let columns = [
                table::member("NODE", "InstanceId"),
                table::member("NAME", "ComputerName"),
                table::member("PATCH GROUP", "PatchGroup"),
                table::member("PATCH", "Title"),
                table::member("STATE", "State"),
                table::member("LEVEL", "ComplianceLevel"),
                table::ago("SCANNED", "ScannedAt"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Nodes")))?)
        }
        CveCommand::List { node } => {
            let answer = cx.client.patchwave_all("ListNodeCves", &json!({ "InstanceId": node }), "Cves", None).await?;
            if answer["NeverScanned"] == true {
                cx.output.note(&format!("node {node} has never been scanned: nothing is known of it"));
            }
            let columns = [
                table::member("CVE", "CveId"),
                table::member("PATCH", "Title"),
                table::member("STATE", "State"),
                table::member("LEVEL", "ComplianceLevel"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Cves")))?)
        }
    }
}
