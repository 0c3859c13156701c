//! Tables and properties of [`evaluate`].

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchState};
use patchwave_schemas::node::OperatingSystem;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Decision, Evaluation, blocked_by, evaluate};
use crate::baseline::{AvailableVersion, InstalledPackage, NodeProfile, Origin};

const NOW: &str = "2026-11-20T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn node() -> NodeProfile {
    NodeProfile { operating_system: OperatingSystem::Debian, version: "12".into(), codename: "bookworm".into() }
}

fn rules(changes: &Value) -> BaselineRules {
    let mut rules = json!({ "OperatingSystem": "DEBIAN" });
    rules.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(rules).unwrap()
}

/// One rule without filters.
fn after_days(days: u32, non_security: bool) -> Value {
    json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": days, "EnableNonSecurity": non_security } ] } })
}

fn installed(version: &str) -> InstalledPackage {
    InstalledPackage {
        name: "openssl".into(),
        architecture: "amd64".into(),
        version: version.into(),
        section: "utils".into(),
        priority: "optional".into(),
        ..InstalledPackage::default()
    }
}

/// A version offered by `archive`, released `days` before [`NOW`].
fn offered(version: &str, archive: &str, days: i64) -> AvailableVersion {
    AvailableVersion {
        name: "openssl".into(),
        architecture: "amd64".into(),
        version: version.into(),
        section: "utils".into(),
        priority: "optional".into(),
        origins: vec![Arc::new(Origin { archive: archive.into(), trusted: true, ..Origin::default() })],
        released_at: Some(now() - SignedDuration::from_hours(24 * days)),
        ..AvailableVersion::default()
    }
}

fn decide(rules: &BaselineRules, package: InstalledPackage, versions: &[AvailableVersion]) -> Decision {
    let Evaluation { mut decisions, .. } = evaluate(rules, &node(), &[package], versions, now());
    assert_eq!(decisions.len(), 1);
    decisions.remove(0)
}

/// State, version that would be installed, reason.
#[track_caller]
fn check(
    changes: &Value,
    package: InstalledPackage,
    versions: &[AvailableVersion],
    expected: (PatchState, Option<&str>, &str),
) {
    let decision = decide(&rules(changes), package, versions);
    assert_eq!((decision.state, decision.to_install(), decision.reason.as_str()), expected);
}

#[test]
fn security_update_past_its_delay_is_missing() {
    check(
        &after_days(7, false),
        installed("1.0"),
        &[offered("1.1", "bookworm-security", 8)],
        (PatchState::Missing, Some("1.1"), "approved by rule 1: released 2026-11-12, 7 days passed"),
    );
}

#[test]
fn update_within_its_delay_waits_and_says_until_when() {
    let baseline = rules(&after_days(7, false));
    let decision = decide(&baseline, installed("1.0"), &[offered("1.1", "bookworm-security", 5)]);
    assert_eq!(decision.state, PatchState::InstalledOther);
    assert_eq!(decision.reason, "1.1 waits until 2026-11-22T12:00Z by rule 1");
    assert_eq!(decision.waits_until, Some("2026-11-22T12:00:00Z".parse().unwrap()));
}

#[test]
fn first_seen_counts_where_no_release_date_is_known() {
    let mut version = offered("1.1", "bookworm-security", 0);
    version.released_at = None;
    version.first_seen = Some(now() - SignedDuration::from_hours(24 * 8));
    check(
        &after_days(7, false),
        installed("1.0"),
        &[version],
        (PatchState::Missing, Some("1.1"), "approved by rule 1: released 2026-11-12, 7 days passed"),
    );
}

#[test]
fn ordinary_update_needs_a_rule_that_takes_it() {
    let versions = [offered("1.1", "bookworm", 100)];
    check(
        &after_days(0, false),
        installed("1.0"),
        &versions,
        (PatchState::InstalledOther, None, "1.1 not a security update, as rule 1 asks"),
    );
    check(
        &after_days(0, true),
        installed("1.0"),
        &versions,
        (PatchState::Missing, Some("1.1"), "approved by rule 1: released 2026-08-12, no delay"),
    );
}

#[test]
fn newest_approved_version_wins_over_a_newer_unapproved_one() {
    let versions = [
        offered("1.1", "bookworm-security", 20),
        offered("1.2", "bookworm-security", 10),
        offered("1.3", "bookworm-security", 2),
        offered("1.4", "bookworm-updates", 100),
    ];
    check(
        &after_days(7, false),
        installed("1.0"),
        &versions,
        (PatchState::Missing, Some("1.2"), "approved by rule 1: released 2026-11-10, 7 days passed"),
    );
}

#[test]
fn installed_approved_version_is_installed_even_while_a_newer_one_waits() {
    let versions = [offered("1.1", "bookworm-security", 20), offered("1.2", "bookworm-security", 1)];
    check(
        &after_days(7, false),
        installed("1.1"),
        &versions,
        (
            PatchState::Installed,
            None,
            "approved by rule 1: released 2026-10-31, 7 days passed; 1.2 waits until 2026-11-26T12:00Z by rule 1",
        ),
    );
}

#[test]
fn installed_above_the_newest_approved_version_is_installed() {
    check(
        &after_days(7, false),
        installed("1.2~local"),
        &[offered("1.1", "bookworm-security", 20)],
        (PatchState::Installed, None, "approved by rule 1: released 2026-10-31, 7 days passed"),
    );
}

#[test]
fn version_that_no_archive_offers_is_other() {
    check(
        &after_days(0, true),
        installed("1.0"),
        &[],
        (PatchState::InstalledOther, None, "the installed version is in no archive"),
    );
}

#[test]
fn hold_is_reported_missing_and_not_installed() {
    let mut package = installed("1.0");
    package.held = true;
    check(
        &after_days(7, false),
        package,
        &[offered("1.1", "bookworm-security", 8)],
        (
            PatchState::Missing,
            None,
            "held back by the administrator; approved by rule 1: released 2026-11-12, 7 days passed",
        ),
    );
}

#[test]
fn rejected_package_is_other_or_rejected_by_the_action() {
    let versions = [offered("1.1", "bookworm-security", 100)];
    for (action, state) in
        [("ALLOW_AS_DEPENDENCY", PatchState::InstalledOther), ("BLOCK", PatchState::InstalledRejected)]
    {
        let mut changes = after_days(0, true);
        changes["RejectedPatches"] = json!(["openssl*"]);
        changes["RejectedPatchesAction"] = json!(action);
        changes["ApprovedPatches"] = json!(["openssl"]);
        check(&changes, installed("1.0"), &versions, (state, None, "rejected by pattern `openssl*`"));
    }
}

#[test]
fn rejecting_one_version_leaves_the_others() {
    let versions = [offered("1.1", "bookworm-security", 100), offered("1.2", "bookworm-security", 50)];
    let mut changes = after_days(0, false);
    changes["RejectedPatches"] = json!(["openssl=1.2"]);
    changes["RejectedPatchesAction"] = json!("BLOCK");
    check(
        &changes,
        installed("1.0"),
        &versions,
        (PatchState::Missing, Some("1.1"), "approved by rule 1: released 2026-08-12, no delay"),
    );
    check(
        &changes,
        installed("1.1"),
        &versions,
        (
            PatchState::Installed,
            None,
            "approved by rule 1: released 2026-08-12, no delay; 1.2 rejected by pattern `openssl=1.2`",
        ),
    );
}

#[test]
fn approved_list_needs_no_rule_and_no_global_filter() {
    let changes = json!({
        "GlobalFilters": { "PatchFilters": [{ "Key": "SECTION", "Values": ["net"] }] },
        "ApprovedPatches": ["openssl"],
        "ApprovedPatchesComplianceLevel": "HIGH",
    });
    let security = [offered("1.1", "bookworm-security", 0)];
    check(&changes, installed("1.0"), &security, (PatchState::Missing, Some("1.1"), "approved by pattern `openssl`"));
    let ordinary = [offered("1.1", "bookworm", 0)];
    let decision = decide(&rules(&changes), installed("1.0"), &ordinary);
    assert_eq!(decision.state, PatchState::InstalledOther);
    let mut with_non_security = changes.clone();
    with_non_security["ApprovedPatchesEnableNonSecurity"] = json!(true);
    let decision = decide(&rules(&with_non_security), installed("1.0"), &ordinary);
    assert_eq!((decision.state, decision.compliance_level), (PatchState::Missing, ComplianceLevel::High));
}

#[test]
fn global_filter_applies_before_the_rules() {
    let mut changes = after_days(0, true);
    changes["GlobalFilters"] = json!({ "PatchFilters": [{ "Key": "SECTION", "Values": ["net"] }] });
    check(
        &changes,
        installed("1.0"),
        &[offered("1.1", "bookworm", 9)],
        (PatchState::InstalledOther, None, "1.1 left out by global filter: SECTION is utils, not net"),
    );
}

#[test]
fn any_rule_suffices_and_the_most_severe_level_counts() {
    let changes = json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": { "PatchFilters": [{ "Key": "SECTION", "Values": ["net"] }] }, "ApproveAfterDays": 0,
          "ComplianceLevel": "CRITICAL" },
        { "PatchFilterGroup": {}, "ApproveAfterDays": 3, "ComplianceLevel": "LOW" },
        { "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRIORITY", "Values": ["Optional"] }] },
          "ApproveAfterDays": 5, "ComplianceLevel": "HIGH" },
    ] } });
    let decision = decide(&rules(&changes), installed("1.0"), &[offered("1.1", "bookworm-security", 4)]);
    assert_eq!(decision.compliance_level, ComplianceLevel::Low);
    assert_eq!(decision.reason, "approved by rule 2: released 2026-11-16, 3 days passed");
    let decision = decide(&rules(&changes), installed("1.0"), &[offered("1.1", "bookworm-security", 6)]);
    assert_eq!(decision.compliance_level, ComplianceLevel::High);
    assert_eq!(decision.reason, "approved by rule 3: released 2026-11-14, 5 days passed");
}

#[test]
fn package_that_asked_for_a_reboot_is_pending() {
    let mut package = installed("1.1");
    package.pending_reboot = true;
    let decision = decide(&rules(&after_days(7, false)), package, &[offered("1.1", "bookworm-security", 8)]);
    assert_eq!(decision.state, PatchState::InstalledPendingReboot);
}

#[test]
fn package_that_could_not_be_configured_has_failed() {
    let mut package = installed("1.1");
    package.unconfigured = true;
    let decision = decide(&rules(&after_days(7, false)), package, &[offered("1.1", "bookworm-security", 8)]);
    assert_eq!(decision.state, PatchState::Failed);
    assert!(decision.reason.ends_with("; unpacked, but its configuration did not complete"), "{}", decision.reason);
}

#[test]
fn baseline_of_another_system_approves_nothing() {
    let mut changes = after_days(0, true);
    changes["OperatingSystem"] = json!("UBUNTU");
    check(
        &changes,
        installed("1.0"),
        &[offered("1.1", "bookworm-security", 9)],
        (PatchState::InstalledOther, None, "1.1 the baseline is for Ubuntu, the node runs Debian"),
    );
}

#[test]
fn other_architectures_do_not_count_but_all_fits_everywhere() {
    let mut foreign = offered("1.1", "bookworm-security", 9);
    foreign.architecture = "i386".into();
    let mut all = offered("1.2", "bookworm-security", 9);
    all.architecture = "all".into();
    let baseline = rules(&after_days(0, false));
    assert_eq!(decide(&baseline, installed("1.0"), std::slice::from_ref(&foreign)).to_install(), None);
    assert_eq!(decide(&baseline, installed("1.0"), &[foreign, all]).to_install(), Some("1.2"));
}

#[test]
fn approved_packages_that_are_not_installed_are_counted_only() {
    let mut other = offered("1.1", "bookworm-security", 9);
    other.name = "nginx".into();
    let mut waiting = offered("1.1", "bookworm-security", 1);
    waiting.name = "apache2".into();
    let versions = [other, waiting, offered("1.1", "bookworm-security", 9)];
    let evaluation = evaluate(&rules(&after_days(7, false)), &node(), &[installed("1.0")], &versions, now());
    assert_eq!((evaluation.decisions.len(), evaluation.not_applicable_count), (1, 1));
}

#[test]
fn next_change_is_the_earliest_end_of_a_waiting_period() {
    let versions = [offered("1.1", "bookworm-security", 5), offered("1.2", "bookworm-security", 1)];
    let evaluation = evaluate(&rules(&after_days(7, false)), &node(), &[installed("1.0")], &versions, now());
    assert_eq!(evaluation.next_change(), Some("2026-11-22T12:00:00Z".parse().unwrap()));
}

#[test]
fn records_are_titled_as_ssm_titles_them() {
    let record =
        decide(&rules(&after_days(7, false)), installed("1.0"), &[offered("1.1", "bookworm-security", 8)]).to_record();
    assert_eq!(record.kb_id, "openssl.amd64");
    assert_eq!(record.title, "openssl.amd64:1.1");
    assert_eq!((record.classification.as_str(), record.severity.as_str()), ("Security", "Optional"));
}

#[test]
fn blocking_needs_the_action_and_a_pattern() {
    let block = rules(&json!({ "RejectedPatches": ["libevil*"], "RejectedPatchesAction": "BLOCK" }));
    assert_eq!(blocked_by(&block, "libevil1", "amd64", "1"), Some("libevil*"));
    assert_eq!(blocked_by(&block, "libgood1", "amd64", "1"), None);
    let allow = rules(&json!({ "RejectedPatches": ["libevil*"] }));
    assert_eq!(blocked_by(&allow, "libevil1", "amd64", "1"), None);
}

fn any_versions() -> impl Strategy<Value = Vec<AvailableVersion>> {
    let archive = prop::sample::select(vec!["bookworm-security", "bookworm-updates", "bookworm"]);
    let version =
        (0..6u32, archive, -3..40i64).prop_map(|(minor, archive, days)| offered(&format!("1.{minor}"), archive, days));
    prop::collection::vec(version, 0..8)
}

fn any_rules() -> impl Strategy<Value = Value> {
    let rule = (prop::option::of(0..30u32), any::<bool>(), prop::sample::select(vec!["*", "Optional", "Required"]))
        .prop_map(|(days, non_security, priority)| {
            let mut rule = json!({
                "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRIORITY", "Values": [priority] }] },
                "EnableNonSecurity": non_security,
            });
            match days {
                Some(days) => rule["ApproveAfterDays"] = json!(days),
                None => rule["ApproveUntilDate"] = json!("2026-11-10"),
            }
            rule
        });
    (prop::collection::vec(rule, 0..4), any::<bool>()).prop_map(|(rules, listed)| {
        json!({
            "ApprovalRules": { "PatchRules": rules },
            "ApprovedPatches": if listed { vec!["open*"] } else { vec![] },
        })
    })
}

proptest! {
    #[test]
    fn rejected_and_blocked_package_is_never_approved(
        mut changes in any_rules(), versions in any_versions(), minor in 0..6u32,
    ) {
        changes["RejectedPatches"] = json!(["OPENSSL"]);
        changes["RejectedPatchesAction"] = json!("BLOCK");
        let decision = decide(&rules(&changes), installed(&format!("1.{minor}")), &versions);
        prop_assert_eq!(decision.to_install(), None);
        prop_assert_eq!(decision.state, PatchState::InstalledRejected);
    }

    #[test]
    fn time_only_ever_approves(
        changes in any_rules(), versions in any_versions(), minor in 0..6u32, later_hours in 0..2_000i64,
    ) {
        let rules = rules(&changes);
        let package = [installed(&format!("1.{minor}"))];
        let at = |now| evaluate(&rules, &node(), &package, &versions, now).decisions.remove(0);
        let (before, after) = (at(now()), at(now() + SignedDuration::from_hours(later_hours)));
        if let Some(version) = &before.approved_version {
            let later = after.approved_version.as_ref().expect("still approved");
            prop_assert!(crate::versions::deb::compare(later, version).is_ge());
        }
        if before.state == PatchState::Installed {
            prop_assert!(matches!(after.state, PatchState::Installed | PatchState::Missing));
        }
    }

    #[test]
    fn what_is_installed_is_newer_and_was_offered(
        changes in any_rules(), versions in any_versions(), minor in 0..6u32,
    ) {
        let current = format!("1.{minor}");
        let decision = decide(&rules(&changes), installed(&current), &versions);
        if let Some(version) = decision.to_install() {
            prop_assert!(crate::versions::deb::compare(version, &current).is_gt());
            prop_assert!(versions.iter().any(|v| v.version == version));
        }
        prop_assert!(!decision.reason.is_empty());
    }
}
