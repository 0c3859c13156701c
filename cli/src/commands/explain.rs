//! `explain`: why something is as it is.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::window::elements;
use crate::failure::Failure;

/// Why something is as it is.
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Why a patch is in its state on a node: by which rule, since when, until when
    Patch {
        /// Id of the node
        node: String,
        /// The patch: a package's name, `name.arch`, a title, a KB, a CVE, or a pattern such as `linux-*`
        patch: String,
    },
}

pub(super) async fn run(command: ExplainCommand, cx: &Context) -> anyhow::Result<()> {
    let ExplainCommand::Patch { node, patch } = command;
    let answer = cx.client.patchwave("ExplainPatch", &json!({ "InstanceId": node, "Patch": patch })).await?;
    if elements(&answer, "Patches").next().is_none() {
        let why = if answer["NeverScanned"] == true {
            format!("node {node} has never been scanned: `patchwave patch-now --node {node}` does it")
        } else {
            nothing_found(&node, &patch)
        };
        return Err(Failure::failed(why).into());
    }
    Ok(cx.output.either(&answer, || text(&answer))?)
}

/// A pattern is proposed to who gave none.
fn nothing_found(node: &str, patch: &str) -> String {
    let nothing = format!("`{patch}` is none of the patches that the last scan of {node} saw");
    if patch.contains('*') { nothing } else { format!("{nothing}; a pattern such as `*{patch}*` finds more") }
}

/// The explanation as sentences.
fn text(answer: &Value) -> String {
    let mut lines = Vec::new();
    let by = |member: &str| answer[member]["Name"].as_str().unwrap_or("a baseline that is gone").to_owned();
    for patch in elements(answer, "Patches") {
        let said = |member: &str| patch[member].as_str().filter(|text| !text.is_empty());
        lines.push(format!("{}: {}", said("Title").unwrap_or_default(), said("State").unwrap_or_default()));
        if let Some(reason) = said("Reason") {
            lines.push(format!("  because   {reason}"));
        }
        if let Some(released) = patch["ReleasedAt"].as_f64() {
            let from = match said("ReleasedBy") {
                Some("Advisory") => "as the vendor's advisory says",
                Some("BuildTime") => "when it was built",
                Some("Repository") => "when the repository's list was last modified",
                _ => "when the node first saw it",
            };
            lines.push(format!("  released  {}, {from}", day(released)));
        }
        let kind: Vec<&str> = [said("Classification"), said("Severity")].into_iter().flatten().collect();
        if !kind.is_empty() {
            let level = said("ComplianceLevel").unwrap_or("UNSPECIFIED");
            lines.push(format!("  it is     {}, level {level}", kind.join(", ")));
        }
        let cves: Vec<&str> = patch["CVEIds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !cves.is_empty() {
            lines.push(format!("  mends     {}", cves.join(", ")));
        }
    }
    let shown = elements(answer, "Patches").count();
    if let Some(count) = answer["PatchCount"].as_u64().filter(|count| *count > shown as u64) {
        lines.push(format!("and {} more", count - shown as u64));
    }
    let product = answer["Product"].as_str().unwrap_or("its system");
    let group = match answer["PatchGroup"].as_str() {
        Some(group) if !group.is_empty() => format!("patch group `{group}`"),
        _ => "no patch group".to_owned(),
    };
    lines.push(format!("judged by {} ({product}, {group})", by("JudgedBy")));
    if answer["NextBaseline"] != answer["JudgedBy"] {
        lines.push(format!("the next scan goes by {}", by("NextBaseline")));
    }
    lines.join("\n")
}

fn day(epoch: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "instants fit")]
    jiff::Timestamp::from_second(epoch as i64)
        .map_or_else(|_| "at an unknown time".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{nothing_found, text};

    #[test]
    fn a_pattern_is_proposed_to_who_gave_none() {
        assert!(nothing_found("mi-1", "ssl").ends_with("`*ssl*` finds more"));
        assert!(nothing_found("mi-1", "*ssl*").ends_with("of mi-1 saw"));
    }

    #[test]
    fn explanation_says_why_since_when_and_by_which_baseline() {
        let answer = json!({
            "Product": "RockyLinux9.4", "PatchGroup": "web", "PatchCount": 3,
            "JudgedBy": { "BaselineId": "pb-1", "Name": "old" }, "NextBaseline": { "BaselineId": "pb-2", "Name": "new" },
            "Patches": [{
                "Title": "openssl.x86_64:1:3.0.7-2.el9", "State": "Missing", "ComplianceLevel": "HIGH",
                "Reason": "approved by rule 1: released 2026-02-01, 7 days passed", "Classification": "Security",
                "Severity": "Important", "CVEIds": ["CVE-2026-1"], "ReleasedAt": 1_769_904_000.0, "ReleasedBy": "Advisory",
            }],
        });
        assert_eq!(
            text(&answer),
            "openssl.x86_64:1:3.0.7-2.el9: Missing
  because   approved by rule 1: released 2026-02-01, 7 days passed
  released  2026-02-01, as the vendor's advisory says
  it is     Security, Important, level HIGH
  mends     CVE-2026-1
and 2 more
judged by old (RockyLinux9.4, patch group `web`)
the next scan goes by new"
        );
    }
}
