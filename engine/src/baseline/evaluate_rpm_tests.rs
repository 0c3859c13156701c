//! SSM's rules for systems with advisories (reference: Patch Manager's user guide, "How security
//! patches are selected", and the published patching payload where the guide is silent).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchState, ReleaseDateSource};
use patchwave_schemas::node::OperatingSystem;
use serde_json::{Value, json};

use super::evaluate;
use crate::baseline::{Advisory, AvailableVersion, Decision, InstalledPackage, NodeProfile, predefined};

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn node() -> NodeProfile {
    NodeProfile { operating_system: OperatingSystem::RockyLinux, version: "9.4".into(), codename: String::new() }
}

fn installed(version: &str) -> InstalledPackage {
    InstalledPackage {
        name: "openssl".into(),
        architecture: "x86_64".into(),
        version: version.into(),
        ..InstalledPackage::default()
    }
}

/// A version built `days` ago that no advisory names.
fn built(version: &str, days: i64) -> AvailableVersion {
    AvailableVersion {
        name: "openssl".into(),
        architecture: "x86_64".into(),
        version: version.into(),
        built_at: Some(ago(days)),
        repository: "baseos".into(),
        ..AvailableVersion::default()
    }
}

fn advisory(classification: &str, severity: &str, days: i64) -> Advisory {
    Advisory {
        id: format!("RLSA-2026:{days}"),
        classification: classification.into(),
        severity: severity.into(),
        cve_ids: vec![format!("CVE-2026-{days}")],
        bugzilla_ids: vec![format!("20{days}")],
        released_at: Some(ago(days)),
    }
}

/// A version that advisories name, built long before them.
fn advised(version: &str, advisories: Vec<Advisory>) -> AvailableVersion {
    AvailableVersion { advisories: advisories.into_iter().map(Arc::new).collect(), ..built(version, 400) }
}

fn rules(changes: &Value) -> BaselineRules {
    let mut all = json!({ "OperatingSystem": "ROCKY_LINUX" });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// One rule without filters.
fn after_days(days: u32, non_security: bool) -> BaselineRules {
    rules(&json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": days, "EnableNonSecurity": non_security },
    ] } }))
}

fn decide(rules: &BaselineRules, versions: &[AvailableVersion]) -> Decision {
    evaluate(rules, &node(), &[installed("1.0-1.el9")], versions, now()).decisions.remove(0)
}

#[track_caller]
fn check(rules: &BaselineRules, versions: &[AvailableVersion], expected: (PatchState, Option<&str>, &str)) {
    let decision = decide(rules, versions);
    assert_eq!((decision.state, decision.to_install(), decision.reason.as_str()), expected);
}

#[test]
fn any_advisory_makes_a_version_a_candidate_and_none_asks_for_non_security() {
    let bugfix = [advised("1.1-1.el9", vec![advisory("Bugfix", "", 9)])];
    let plain = [built("1.1-1.el9", 9)];
    let (missing, why) = (PatchState::Missing, "approved by rule 1: released 2026-11-11, 7 days passed");
    check(&after_days(7, false), &bugfix, (missing, Some("1.1-1.el9"), why));
    let none = "1.1-1.el9 in no advisory, as rule 1 asks";
    check(&after_days(7, false), &plain, (PatchState::InstalledOther, None, none));
    check(&after_days(7, true), &plain, (missing, Some("1.1-1.el9"), why));
}

#[test]
fn advisory_without_a_type_needs_non_security() {
    let versions = [advised("1.1-1.el9", vec![advisory("", "Important", 9)])];
    assert_eq!(decide(&after_days(0, false), &versions).state, PatchState::InstalledOther);
    assert_eq!(decide(&after_days(0, true), &versions).state, PatchState::Missing);
}

#[test]
fn absent_attribute_passes_the_wildcard_alone() {
    let with = |classification: &str| {
        rules(&json!({ "ApprovalRules": { "PatchRules": [{
            "PatchFilterGroup": { "PatchFilters": [{ "Key": "CLASSIFICATION", "Values": [classification] }] },
            "ApproveAfterDays": 0, "EnableNonSecurity": true,
        }] } }))
    };
    let plain = [built("1.1-1.el9", 9)];
    assert_eq!(decide(&with("*"), &plain).state, PatchState::Missing);
    let refused = decide(&with("Bugfix"), &plain);
    assert_eq!(refused.reason, "1.1-1.el9 matches no rule: CLASSIFICATION is unknown, not Bugfix");
}

#[test]
fn of_several_advisories_any_suffices_but_one_must_pass_as_a_whole() {
    let (_, predefined) = predefined(OperatingSystem::RockyLinux);
    // A security notice of low severity and an enhancement of high severity: neither passes whole.
    let neither = [advised("1.1-1.el9", vec![advisory("Security", "Low", 9), advisory("Enhancement", "Critical", 9)])];
    assert_eq!(decide(&predefined, &neither).state, PatchState::InstalledOther);
    let one = [advised("1.1-1.el9", vec![advisory("Security", "Low", 9), advisory("Bugfix", "None", 8)])];
    let decision = decide(&predefined, &one);
    assert_eq!(decision.state, PatchState::Missing);
    assert_eq!((decision.classification.as_str(), decision.severity.as_str()), ("Bugfix", "None"));
    assert_eq!(decision.cve_ids, ["CVE-2026-8", "CVE-2026-9"]);
}

#[test]
fn older_version_with_an_advisory_is_taken_below_a_newer_one_without() {
    // The guide's and the payload's example: 1.1 with a notice ten days old, 1.2 without.
    let versions = [advised("1.1-1.el9", vec![advisory("Security", "Important", 10)]), built("1.2-1.el9", 10)];
    assert_eq!(decide(&after_days(7, false), &versions).to_install(), Some("1.1-1.el9"));
    assert_eq!(decide(&after_days(7, true), &versions).to_install(), Some("1.2-1.el9"));
}

#[test]
fn newer_security_version_waits_its_own_time() {
    let versions = [
        advised("1.1-1.el9", vec![advisory("Security", "Important", 10)]),
        advised("1.2-1.el9", vec![advisory("Security", "Important", 2)]),
    ];
    let decision = decide(&after_days(7, false), &versions);
    assert_eq!(decision.to_install(), Some("1.1-1.el9"));
    assert_eq!(decision.waits_until, Some(ago(2) + SignedDuration::from_hours(24 * 7)));
    let later = ago(-6);
    let decision = evaluate(&after_days(7, false), &node(), &[installed("1.0-1.el9")], &versions, later);
    assert_eq!(decision.decisions[0].to_install(), Some("1.2-1.el9"));
}

#[test]
fn release_is_the_later_of_advisory_and_build() {
    let mut version = advised("1.1-1.el9", vec![advisory("Security", "Important", 9)]);
    assert_eq!(
        decide(&after_days(7, false), std::slice::from_ref(&version)).released,
        Some((ago(9), ReleaseDateSource::Advisory))
    );
    version.built_at = Some(ago(3));
    let decision = decide(&after_days(7, false), &[version]);
    assert_eq!(decision.state, PatchState::InstalledOther);
    assert_eq!(decision.waits_until, Some(ago(3) + SignedDuration::from_hours(24 * 7)));
}

#[test]
fn advisory_without_any_date_is_long_released() {
    let mut undated = advisory("Security", "Important", 1);
    undated.released_at = None;
    let mut version = advised("1.1-1.el9", vec![undated]);
    version.built_at = None;
    check(
        &after_days(360, false),
        &[version],
        (PatchState::Missing, Some("1.1-1.el9"), "approved by rule 1: no release date is known"),
    );
}

#[test]
fn approved_list_takes_cves_bug_numbers_and_advisories() {
    let versions = [advised("1.1-1.el9", vec![advisory("Security", "Low", 1)])];
    for entry in ["CVE-2026-1", "201", "RLSA-2026:1", "openssl", "openssl-1.1-1.el9.x86_64", "openssl-*.x86_64"] {
        let listed = rules(&json!({ "ApprovedPatches": [entry], "ApprovedPatchesComplianceLevel": "CRITICAL" }));
        let decision = decide(&listed, &versions);
        assert_eq!(decision.state, PatchState::Missing, "{entry}");
        assert_eq!(decision.reason, format!("approved by pattern `{entry}`"));
        assert_eq!(decision.compliance_level, ComplianceLevel::Critical);
    }
    let other = rules(&json!({ "ApprovedPatches": ["CVE-2026-11"] }));
    assert_eq!(decide(&other, &versions).state, PatchState::InstalledOther);
}

#[test]
fn rejected_advisory_leaves_the_version_before_it() {
    let versions = [
        advised("1.1-1.el9", vec![advisory("Security", "Important", 20)]),
        advised("1.2-1.el9", vec![advisory("Security", "Important", 10)]),
    ];
    let mut baseline = after_days(0, false);
    baseline.rejected_patches = vec!["RLSA-2026:10".into()];
    assert_eq!(decide(&baseline, &versions).to_install(), Some("1.1-1.el9"));
}

#[test]
fn epochs_count_before_versions() {
    let versions = [advised("1:0.9-1.el9", vec![advisory("Security", "Important", 9)])];
    let decision = decide(&after_days(0, false), &versions);
    assert_eq!(decision.to_install(), Some("1:0.9-1.el9"));
    assert_eq!(decision.title, "openssl.x86_64:1:0.9-1.el9");
}

#[test]
fn titles_have_an_epoch_even_where_it_is_zero() {
    let record = decide(&after_days(0, false), &[]).to_record();
    assert_eq!((record.kb_id.as_str(), record.title.as_str()), ("openssl.x86_64", "openssl.x86_64:0:1.0-1.el9"));
}

#[test]
fn old_kernels_are_not_missing_what_is_installed_beside_them() {
    let kernels = [installed("5.14-1.el9"), installed("5.14-2.el9")];
    let versions = [advised("5.14-2.el9", vec![advisory("Security", "Important", 9)])];
    let evaluation = evaluate(&after_days(0, false), &node(), &kernels, &versions, now());
    let states: Vec<_> = evaluation.decisions.iter().map(|d| d.state).collect();
    assert_eq!(states, [PatchState::InstalledOther, PatchState::Installed]);
    assert!(
        evaluation.decisions[0].reason.ends_with("; 5.14-2.el9 is installed beside it"),
        "{}",
        evaluation.decisions[0].reason
    );
}

#[test]
fn package_may_move_between_noarch_and_an_architecture() {
    let mut version = advised("1.1-1.el9", vec![advisory("Security", "Important", 9)]);
    version.architecture = "noarch".into();
    assert_eq!(decide(&after_days(0, false), std::slice::from_ref(&version)).to_install(), Some("1.1-1.el9"));
    version.architecture = "i686".into();
    assert_eq!(decide(&after_days(0, false), &[version]).to_install(), None);
}

#[test]
fn cves_are_reported_of_what_is_missing_alone() {
    let versions = [advised("1.0-1.el9", vec![advisory("Security", "Important", 9)])];
    let record = decide(&after_days(0, false), &versions).to_record();
    assert_eq!((record.state, record.cve_ids.len()), (PatchState::Installed, 0));
    let versions = [advised("1.1-1.el9", vec![advisory("Security", "Important", 9)])];
    assert_eq!(decide(&after_days(0, false), &versions).to_record().cve_ids, ["CVE-2026-9"]);
}

#[test]
fn predefined_baselines_take_the_severities_and_types_that_ssm_documents() {
    use OperatingSystem as Os;
    let of = |os: Os, classification: &str, severity: &str, days| {
        let profile = NodeProfile { operating_system: os, ..node() };
        let versions = [advised("1.1-1", vec![advisory(classification, severity, days)])];
        let decisions = evaluate(&predefined(os).1, &profile, &[installed("1.0-1")], &versions, now()).decisions;
        decisions[0].state == PatchState::Missing
    };
    for os in [Os::AmazonLinux, Os::AmazonLinux2, Os::AmazonLinux2022, Os::AmazonLinux2023, Os::RedhatEnterpriseLinux]
        .into_iter()
        .chain([Os::RockyLinux, Os::AlmaLinux])
    {
        assert!(of(os, "Security", "Critical", 8) && of(os, "Security", "Important", 8), "{os:?}");
        assert!(of(os, "Bugfix", "", 8), "{os:?}");
        assert!(!of(os, "Security", "Moderate", 8) && !of(os, "Enhancement", "Critical", 8), "{os:?}");
        assert!(!of(os, "Security", "Critical", 7), "{os:?}: the delay must have passed");
    }
    assert!(of(Os::OracleLinux, "Security", "Moderate", 8) && of(Os::OracleLinux, "Security", "Important", 8));
    assert!(!of(Os::OracleLinux, "Security", "Critical", 8), "SSM's baseline leaves it out");
    assert!(of(Os::Centos, "Enhancement", "", 8) && of(Os::Centos, "", "", 8));
}
