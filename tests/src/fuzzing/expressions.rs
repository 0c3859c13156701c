//! What users write into members of requests: schedules, targets, limits, parameters, baselines.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_api::fuzzing;
use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, NodeProfile, evaluate, glob_matches, validate};
use patchwave_engine::documents::{Definition, ParameterType, Parameters, execution_seconds, render, render_own};
use patchwave_engine::limits::Limit;
use patchwave_engine::schedule::{GapPolicy, Schedule, WindowSchedule, WindowScheduleSpec};
use patchwave_engine::targets::{ResourceGroup, ResourceGroups, TargetNode, TargetSpec};
use patchwave_engine::versions::{deb, rpm};
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::BaselineRules;
use patchwave_schemas::command::Action;
use patchwave_schemas::event;
use patchwave_schemas::node::OperatingSystem;

use super::{parts, text};

/// Runs looked at of one schedule.
const RUNS: usize = 3;

/// 2026-03-28, the day before the clocks of Europe change.
fn now() -> Timestamp {
    Timestamp::from_second(1_774_656_000).expect("a second of this century")
}

/// A schedule expression, a zero byte, and a time zone.
///
/// What is taken has its runs in order, after the instant that was asked about, and is read again
/// from its own text. What is refused says where.
///
/// # Panics
/// When that does not hold.
pub fn schedule(data: &[u8]) {
    let [expression, zone] = parts(data);
    let (Some(expression), Some(zone)) = (text(expression), text(zone)) else { return };
    let schedule = match Schedule::parse(expression) {
        Ok(schedule) => schedule,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(Schedule::parse(schedule.as_str()).ok().as_ref().map(Schedule::as_str), Some(schedule.as_str()));
    for offset_days in [None, Some(2)] {
        let spec = WindowScheduleSpec {
            schedule: schedule.clone(),
            timezone: Some(zone).filter(|zone| !zone.is_empty()),
            offset_days,
            start: None,
            end: None,
            base: now(),
            gap_policy: GapPolicy::default(),
        };
        let Ok(window) = WindowSchedule::new(spec) else { continue };
        let mut before = now();
        for run in window.runs_after(now()).take(RUNS) {
            assert!(run > before, "{expression}: {run} is not after {before}");
            assert!(!window.execution_time(run).is_empty());
            before = run;
        }
    }
}

/// Targets as JSON, or the query of a resource group.
///
/// # Panics
/// When reading or matching does.
pub fn targets(data: &[u8]) {
    let node_id = NodeId::from_bits(7);
    let tags = BTreeMap::from([("Patch Group".to_owned(), "canary".to_owned())]);
    let node = TargetNode { id: &node_id, tags: &tags, operating_system: OperatingSystem::Debian };
    if let Ok(targets) = serde_json::from_slice::<Vec<event::Target>>(data) {
        match TargetSpec::parse(&targets) {
            Ok(spec) => {
                let groups = ResourceGroups::default();
                let matches = spec.matches(&node, &groups);
                let named = spec.named_nodes().is_none_or(|ids| ids.contains(&node_id));
                assert!(!matches || named, "a node that is not named is meant: {targets:?}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Some(query) = text(data)
        && let Ok(group) = ResourceGroup::parse(query)
    {
        let _ = group.matches(&node);
    }
}

/// A text as `MaxConcurrency` and as `MaxErrors`.
///
/// At least one may always be in flight, and no share of a fleet is more than the fleet.
///
/// # Panics
/// When that does not hold.
pub fn limits(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for fleet in [0, 1, 2, 99, 100_000, u32::MAX] {
        if let Ok(limit) = Limit::concurrency(text) {
            assert!(limit.concurrency_of(fleet) >= 1, "{text} of {fleet}");
            if text.ends_with('%') {
                assert!(limit.concurrency_of(fleet) <= fleet.max(1), "{text} of {fleet}");
            }
        }
        if let Ok(limit) = Limit::errors(text)
            && text.ends_with('%')
        {
            assert!(limit.errors_of(fleet) <= fleet, "{text} of {fleet}");
        }
    }
}

/// Two versions with a zero byte between them, by both orders of packages.
///
/// Each order is one: equal to itself, and the other way round the other way.
///
/// # Panics
/// When that does not hold.
pub fn versions(data: &[u8]) {
    let [a, b] = parts(data);
    let (Some(a), Some(b)) = (text(a), text(b)) else { return };
    for compare in [deb::compare, rpm::compare, rpm::compare_evr] {
        assert!(compare(a, a).is_eq(), "{a} is not itself");
        assert_eq!(compare(a, b), compare(b, a).reverse(), "{a} and {b}");
    }
    // Patterns of approved and rejected patches: a text fits the pattern that fits all.
    assert!(glob_matches("*", a), "{a}");
    let _ = glob_matches(a, b);
}

/// The rules of a baseline as JSON.
///
/// What is valid judges every installed package, and each once.
///
/// # Panics
/// When that does not hold.
pub fn baseline(data: &[u8]) {
    let Ok(rules) = serde_json::from_slice::<BaselineRules>(data) else { return };
    if let Err(error) = validate(&rules) {
        return assert!(!error.to_string().is_empty());
    }
    let node = NodeProfile { operating_system: rules.operating_system, ..profile() };
    let installed = [package("openssl", "3.0.13-1"), package("vim", "2:9.0-1")];
    let available = [version("openssl", "3.0.15-1"), version("nginx", "1.22.1-9")];
    let before = evaluate(&rules, &node, &installed, &available, now());
    assert_eq!(before.decisions.len(), installed.len());
    let later = evaluate(&rules, &node, &installed, &available, now() + SignedDuration::from_hours(24 * 400));
    assert_eq!(later.decisions.len(), installed.len());
}

fn profile() -> NodeProfile {
    NodeProfile { operating_system: OperatingSystem::Debian, version: "12".to_owned(), codename: "bookworm".to_owned() }
}

fn package(name: &str, version: &str) -> InstalledPackage {
    InstalledPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        ..InstalledPackage::default()
    }
}

fn version(name: &str, version: &str) -> AvailableVersion {
    AvailableVersion {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        ..AvailableVersion::default()
    }
}

/// A document's name, a zero byte, and its parameters as JSON.
///
/// # Panics
/// When filling in does.
pub fn document(data: &[u8]) {
    let [name, parameters] = parts(data);
    let Some(name) = text(name) else { return };
    let Ok(parameters) = serde_json::from_slice::<Parameters>(parameters) else { return };
    match render(name, None, &parameters) {
        Ok(document) => assert!(execution_seconds(&document) > 0, "{name} would have no time"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The content of a document of an operator's own: JSON where it begins so, else YAML.
///
/// What is refused is refused in words. What is taken runs, and no text that a command is given
/// for a parameter becomes part of a script, unless its type says that it *is* the script.
///
/// # Panics
/// When that does not hold.
pub fn content(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let format = if text.trim_start().starts_with('{') { "JSON" } else { "YAML" };
    if let Err((code, message)) = fuzzing::content(text, format) {
        return assert!(!message.is_empty(), "{code} says nothing");
    }
    let Ok(json) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let definition = Definition::parse(&json).expect("it was taken a moment ago");
    let hostile = "';$(hostile)#";
    let given: Parameters = definition
        .parameters
        .iter()
        .filter(|parameter| parameter.kind != ParameterType::StringList)
        .map(|parameter| (parameter.name.clone(), vec![hostile.to_owned()]))
        .collect();
    if let Ok(document) = render_own(&definition, "own", "1", text.len(), &given) {
        for step in &document.steps {
            if let Action::RunShellScript { commands, .. } = &step.action {
                let holds = |line: &String| line.contains(hostile) && !text.contains("hostile");
                assert!(!commands.iter().any(holds), "a parameter became a command: {commands:?}");
            }
        }
    }
}
