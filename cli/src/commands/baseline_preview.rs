//! `baseline preview`: what a change would change, before it is made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};

use super::Context;
use super::baseline::RuleArgs;
use super::request::Request;
use super::window::elements;
use crate::table;

/// Members of a baseline that say what is approved: what a file may change.
const RULES: [&str; 7] = [
    "GlobalFilters",
    "ApprovalRules",
    "ApprovedPatches",
    "ApprovedPatchesComplianceLevel",
    "ApprovedPatchesEnableNonSecurity",
    "RejectedPatches",
    "RejectedPatchesAction",
];
/// Members that `baseline show --output json` has besides, and that change nothing here.
const PASSED_OVER: [&str; 10] = [
    "BaselineId",
    "BaselineVersion",
    "Name",
    "Description",
    "OperatingSystem",
    "PatchGroups",
    "Sources",
    "CreatedDate",
    "ModifiedDate",
    "AvailableSecurityUpdatesComplianceStatus",
];
/// Patches, and nodes, that are shown to people; JSON has up to a thousand.
const SHOWN: usize = 20;

/// Arguments of `baseline preview`.
#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// Id of the baseline
    baseline: String,
    /// The changed rules, as `baseline show --output json` prints them; what is absent stays as it is
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Start from no rules instead of the baseline's own
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    rules: RuleArgs,
}

pub(super) async fn run(args: PreviewArgs, cx: &Context) -> anyhow::Result<()> {
    let mut request = args.rules.add_to(Request::new()).done();
    let given = request.as_object_mut().context("a request is an object")?;
    given.remove("Description");
    if let Some(path) = &args.file {
        for (member, value) in rules_of(path)? {
            // What is said on the line counts before what the file says.
            given.entry(member).or_insert(value);
        }
    }
    given.insert("BaselineId".to_owned(), args.baseline.into());
    if args.replace {
        given.insert("Replace".to_owned(), true.into());
    }
    let answer = cx.client.patchwave("PreviewPatchBaseline", &request).await?;
    Ok(cx.output.either(&answer, || render(&answer))?)
}

fn rules_of(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
    let rules: Value = serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", path.display()))?;
    let Value::Object(mut rules) = rules else {
        bail!("`{}` is not a JSON object with members of a baseline", path.display());
    };
    rules.retain(|member, _| !PASSED_OVER.contains(&member.as_str()));
    match rules.keys().find(|member| !RULES.contains(&member.as_str())) {
        Some(member) => bail!("`{}` has the member `{member}`; allowed are {}", path.display(), RULES.join(", ")),
        None => Ok(rules),
    }
}

fn render(answer: &Value) -> String {
    let number = |member: &str| answer[member].as_u64().unwrap_or_default();
    let mut text = format!(
        "{} nodes judged, {} would change: {} turn non-compliant, {} turn compliant.\n",
        number("Nodes"),
        number("ChangedNodes"),
        number("NodesTurningNonCompliant"),
        number("NodesTurningCompliant"),
    );
    if number("NodesWithoutInventory") > 0 {
        text.push_str(&format!("{} nodes were never scanned: unknown.\n", number("NodesWithoutInventory")));
    }
    let counts = [
        "CompliantNodes",
        "NonCompliantNodes",
        "InstalledCount",
        "MissingCount",
        "InstalledOtherCount",
        "InstalledRejectedCount",
    ];
    for member in counts {
        let of = |side: &str| answer[side][member].as_u64().unwrap_or_default();
        if of("Before") != of("After") {
            text.push_str(&format!("  {member}: {} -> {}\n", of("Before"), of("After")));
        }
    }
    section(
        &mut text,
        answer,
        "Patches",
        &[
            table::member("NODES", "Nodes"),
            table::member("PATCH", "KBId"),
            table::computed("BEFORE", |row| side(&row["Before"])),
            table::computed("AFTER", |row| side(&row["After"])),
            table::computed("WHY", |row| table::text(&row["After"]["Reason"])),
        ],
    );
    section(
        &mut text,
        answer,
        "NodeChanges",
        &[
            table::member("NODE", "InstanceId"),
            table::member("PATCH GROUP", "PatchGroup"),
            table::member("BEFORE", "Before"),
            table::member("AFTER", "After"),
            table::member("CHANGED PATCHES", "ChangedPatches"),
        ],
    );
    text.trim_end().to_owned()
}

fn section(text: &mut String, answer: &Value, list: &str, columns: &[table::Column]) {
    let rows: Vec<Value> = elements(answer, list).take(SHOWN).cloned().collect();
    if rows.is_empty() {
        return;
    }
    let all = if list == "Patches" { &answer["ChangedPatches"] } else { &answer["ChangedNodes"] };
    text.push('\n');
    text.push_str(&table::rows(columns, &rows));
    text.push('\n');
    let more = all.as_u64().unwrap_or_default().saturating_sub(rows.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
}

/// State and version, for instance `Missing openssl.amd64:3.0`.
fn side(standing: &Value) -> String {
    match standing["State"].as_str() {
        Some(state) => {
            let level = standing["ComplianceLevel"].as_str().filter(|level| *level != "UNSPECIFIED");
            let title = standing["Title"].as_str().unwrap_or_default();
            format!("{state} {title}{}", level.map(|level| format!(" ({level})")).unwrap_or_default())
        }
        None => "not approved".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_as_it_is_shown_may_be_edited_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("changed.json");
        std::fs::write(&path, r#"{"BaselineId": "pb-1", "Name": "n", "RejectedPatches": ["vim*"]}"#).unwrap();
        assert_eq!(Value::Object(rules_of(&path).unwrap()), serde_json::json!({"RejectedPatches": ["vim*"]}));
        for (text, needle) in [("[]", "not a JSON object"), ("{", "not JSON"), (r#"{"Rejected": []}"#, "`Rejected`")] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", rules_of(&path).unwrap_err());
            assert!(error.contains(needle), "{error}");
        }
    }
}
