//! `compliance history`: how patch groups stood, hour by hour, with a line to look at for each.

use std::collections::BTreeMap;

use clap::Args;
use jiff::Timestamp;
use serde_json::Value;

use super::Context;
use super::audit::parse_when;
use super::compliance::group_name;
use super::request::Request;
use super::window::elements;
use crate::times;

/// Columns of a chart; hours are taken together to fit.
const WIDTH: usize = 60;
/// Eighths of full height.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Which hours, and of whom.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only this patch group; empty for nodes without one
    #[arg(long, value_name = "NAME")]
    patch_group: Option<String>,
    /// From then on: an instant, a date, or so long ago, such as `30d` or `12h`
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = parse_when)]
    since: Timestamp,
}

pub(super) async fn run(args: HistoryArgs, cx: &Context) -> anyhow::Result<()> {
    let request =
        Request::new().set("Since", args.since.to_string()).maybe("PatchGroup", args.patch_group.as_deref()).done();
    let list = "ComplianceHistory";
    let answer = cx.client.patchwave_all("ListComplianceHistory", &request, list, None).await?;
    let hours: Vec<&Value> = elements(&answer, list).collect();
    if hours.is_empty() {
        cx.output.note("nothing was recorded in that time; it is, every hour, while a scheduler runs");
    }
    Ok(cx.output.either(&answer, || render(&hours))?)
}

/// For each group a line of bars, the share of its nodes that comply, above how the last hour was.
fn render(hours: &[&Value]) -> String {
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for hour in hours {
        groups.entry(group_name(hour)).or_default().push(hour);
    }
    let mut lines = Vec::new();
    for (name, hours) in &groups {
        let (Some(first), Some(last)) = (hours.first(), hours.last()) else { continue };
        let count = |member: &str| last[member].as_u64().unwrap_or_default();
        let when = |hour: &Value| times::instant(&hour["RecordedAt"]).map(|at| at.to_string()).unwrap_or_default();
        lines.push(format!("{name}: compliant nodes, {} to {}", when(first), when(last)));
        lines.push(format!("  {}", chart(hours)));
        lines.push(format!(
            "  now {} of {} ({} %), {} non-compliant ({} critical, {} high), {} stale, {} never scanned",
            count("Compliant"),
            count("Nodes"),
            percent(last),
            count("NonCompliant"),
            count("Critical"),
            count("High"),
            count("Stale"),
            count("NeverScanned"),
        ));
    }
    lines.join("\n")
}

/// A bar for each hour, or for the last of as many as fit into one.
fn chart(hours: &[&Value]) -> String {
    let together = hours.len().div_ceil(WIDTH).max(1);
    let bar = |hours: &[&Value]| {
        let share = hours.last().map_or(0, |hour| percent(hour));
        BARS[usize::try_from(share * 7 / 100).unwrap_or_default().min(7)]
    };
    hours.chunks(together).map(bar).collect()
}

/// The share of compliant nodes, rounded down: 100 means all of them.
fn percent(hour: &Value) -> u64 {
    let nodes = hour["Nodes"].as_u64().unwrap_or_default().max(1);
    hour["Compliant"].as_u64().unwrap_or_default() * 100 / nodes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_have_a_line_each_and_full_height_means_every_node() {
        let hour = |group: &str, at, compliant| {
            json!({"PatchGroup": group, "RecordedAt": at, "Nodes": 200, "Compliant": compliant,
                   "NonCompliant": 200 - compliant, "Critical": 1})
        };
        let hours = [hour("web", 3_600, 0), hour("", 3_600, 200), hour("web", 7_200, 100), hour("web", 10_800, 199)];
        let shown = render(&hours.iter().collect::<Vec<_>>());
        let expected = "(no group): compliant nodes, 1970-01-01T01:00:00Z to 1970-01-01T01:00:00Z\n  █\n  \
            now 200 of 200 (100 %), 0 non-compliant (1 critical, 0 high), 0 stale, 0 never scanned\n\
            web: compliant nodes, 1970-01-01T01:00:00Z to 1970-01-01T03:00:00Z\n  ▁▄▇\n  \
            now 199 of 200 (99 %), 1 non-compliant (1 critical, 0 high), 0 stale, 0 never scanned";
        assert_eq!(shown, expected);
    }

    #[test]
    fn many_hours_fit_into_one_line() {
        let hours: Vec<Value> = (0..2_000).map(|_| json!({"Nodes": 1, "Compliant": 1})).collect();
        let shown = chart(&hours.iter().collect::<Vec<_>>());
        assert!((30..=WIDTH).contains(&shown.chars().count()), "{shown}");
    }
}
