//! SSM's rules where the unit is the patch.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchState, ReleaseDateSource};
use patchwave_schemas::node::OperatingSystem;
use serde_json::{Value, json};

use super::evaluate_patches;
use crate::baseline::{Evaluation, NodeProfile, Patch, PatchStatus, predefined};

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn ago(days: i64) -> Timestamp {
    now() - SignedDuration::from_hours(24 * days)
}

fn node(operating_system: OperatingSystem, version: &str) -> NodeProfile {
    NodeProfile { operating_system, version: version.into(), codename: String::new() }
}

fn suse(status: PatchStatus, classification: &str, severity: &str, days: i64) -> Patch {
    Patch {
        id: "SUSE-SLE-Module-Basesystem-15-SP5-2026-100".into(),
        title: "Security update for openssl".into(),
        status,
        classification: classification.into(),
        severity: severity.into(),
        cve_ids: vec!["CVE-2026-1".into()],
        aliases: vec!["openssl".into()],
        released_at: Some(ago(days)),
        ..Patch::default()
    }
}

fn kb(status: PatchStatus, classification: &str, severity: &str, days: i64) -> Patch {
    Patch {
        id: "KB5034441".into(),
        title: "2026-11 Cumulative Update".into(),
        products: vec!["WindowsServer2022".into()],
        product_family: "Windows".into(),
        aliases: vec!["MS26-001".into()],
        ..suse(status, classification, severity, days)
    }
}

fn on_suse(rules: &BaselineRules, patch: Patch) -> Evaluation {
    evaluate_patches(rules, &node(OperatingSystem::Suse, "15.5"), &[patch], now())
}

fn on_windows(rules: &BaselineRules, patch: Patch) -> Evaluation {
    evaluate_patches(rules, &node(OperatingSystem::Windows, "2022"), &[patch], now())
}

fn rules(os: &str, changes: &Value) -> BaselineRules {
    let mut all = json!({ "OperatingSystem": os });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

#[test]
fn needed_patch_is_missing_once_approved_and_left_out_before() {
    let (_, baseline) = predefined(OperatingSystem::Suse);
    let evaluation = on_suse(&baseline, suse(PatchStatus::Needed, "Security", "Important", 8));
    let record = evaluation.decisions[0].to_record();
    assert_eq!(record.state, PatchState::Missing);
    assert_eq!(record.kb_id, "SUSE-SLE-Module-Basesystem-15-SP5-2026-100");
    assert_eq!(record.title, "Security update for openssl");
    assert_eq!(record.reason, "approved by rule 1: released 2026-11-12, 7 days passed");
    assert_eq!(record.released_by, Some(ReleaseDateSource::Advisory));
    assert_eq!(record.cve_ids, ["CVE-2026-1"]);

    let waiting = on_suse(&baseline, suse(PatchStatus::Needed, "Security", "Important", 2));
    assert_eq!((waiting.decisions.len(), waiting.left_out.len()), (0, 1));
    assert_eq!(waiting.next_change(), Some(ago(2) + SignedDuration::from_hours(24 * 7)));
    assert_eq!(waiting.left_out[0].reason, "waits until 2026-11-25T12:00Z by rule 1");

    let other = on_suse(&baseline, suse(PatchStatus::Needed, "Recommended", "Important", 8));
    assert_eq!(other.left_out[0].reason, "matches no rule: CLASSIFICATION is Recommended, not Security");
}

#[test]
fn every_suse_patch_counts_as_security_related() {
    let any = rules(
        "SUSE",
        &json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": 0, "EnableNonSecurity": false } ] } }),
    );
    assert_eq!(on_suse(&any, suse(PatchStatus::Needed, "Recommended", "", 1)).decisions.len(), 1);
}

#[test]
fn installed_patch_stands_for_itself() {
    let (_, baseline) = predefined(OperatingSystem::Suse);
    let state = |patch| on_suse(&baseline, patch).decisions[0].state;
    assert_eq!(state(suse(PatchStatus::Installed, "Security", "Critical", 8)), PatchState::Installed);
    assert_eq!(state(suse(PatchStatus::Installed, "Feature", "Low", 8)), PatchState::InstalledOther);
    let mut pending = suse(PatchStatus::Installed, "Security", "Critical", 8);
    pending.pending_reboot = true;
    assert_eq!(state(pending), PatchState::InstalledPendingReboot);
}

#[test]
fn rejected_patch_is_never_missing_and_shows_when_blocked() {
    for (action, installed) in
        [("ALLOW_AS_DEPENDENCY", PatchState::InstalledOther), ("BLOCK", PatchState::InstalledRejected)]
    {
        for entry in ["openssl", "SUSE-SLE-*-2026-100", "CVE-2026-1"] {
            let baseline = rules(
                "SUSE",
                &json!({ "ApprovedPatches": ["*"], "RejectedPatches": [entry], "RejectedPatchesAction": action }),
            );
            let needed = on_suse(&baseline, suse(PatchStatus::Needed, "Security", "Critical", 8));
            assert_eq!((needed.decisions.len(), needed.left_out.len()), (0, 1), "{entry}");
            let there = on_suse(&baseline, suse(PatchStatus::Installed, "Security", "Critical", 8));
            assert_eq!(there.decisions[0].state, installed, "{entry} {action}");
        }
    }
}

#[test]
fn held_patch_is_missing_and_not_installed() {
    let (_, baseline) = predefined(OperatingSystem::Suse);
    let mut patch = suse(PatchStatus::Needed, "Security", "Critical", 8);
    patch.held = true;
    let evaluation = on_suse(&baseline, patch);
    assert_eq!(evaluation.decisions[0].state, PatchState::Missing);
    assert_eq!(evaluation.decisions[0].to_install(), None);
}

#[test]
fn patches_that_do_not_apply_are_counted_and_on_windows_listed() {
    let any = json!({ "ApprovedPatches": ["*"] });
    let on_linux = on_suse(&rules("SUSE", &any), suse(PatchStatus::NotApplicable, "Security", "Low", 1));
    assert_eq!((on_linux.decisions.len(), on_linux.not_applicable_count), (0, 1));
    let there = on_windows(&rules("WINDOWS", &any), kb(PatchStatus::NotApplicable, "SecurityUpdates", "Low", 1));
    assert_eq!((there.decisions[0].state, there.not_applicable_count), (PatchState::NotApplicable, 1));
    let not_approved = on_windows(&rules("WINDOWS", &json!({})), kb(PatchStatus::NotApplicable, "Drivers", "", 1));
    assert_eq!((not_approved.decisions.len(), not_approved.not_applicable_count), (0, 0));
}

#[test]
fn windows_shows_security_updates_that_wait() {
    let (_, baseline) = predefined(OperatingSystem::Windows);
    let evaluation = on_windows(&baseline, kb(PatchStatus::Needed, "SecurityUpdates", "Critical", 2));
    let decision = &evaluation.decisions[0];
    assert_eq!(decision.state, PatchState::AvailableSecurityUpdate);
    assert_eq!(decision.to_install(), None);
    assert_eq!(decision.reason, "waits until 2026-11-25T12:00Z by rule 1");
    let evaluation = on_windows(&baseline, kb(PatchStatus::Needed, "SecurityUpdates", "Critical", 8));
    assert_eq!(evaluation.decisions[0].state, PatchState::Missing);
    let evaluation = on_windows(&baseline, kb(PatchStatus::Needed, "Updates", "Critical", 2));
    assert_eq!((evaluation.decisions.len(), evaluation.left_out.len()), (0, 1));
}

#[test]
fn available_security_updates_count_against_the_node_where_the_baseline_says_so() {
    let available = |status: &str| {
        let rules = rules("WINDOWS", &json!({ "AvailableSecurityUpdatesComplianceStatus": status }));
        let evaluation = on_windows(&rules, kb(PatchStatus::Needed, "SecurityUpdates", "Critical", 2));
        assert_eq!(evaluation.decisions[0].state, PatchState::AvailableSecurityUpdate);
        let record = evaluation.decisions[0].to_record();
        let counts = crate::compliance::summarise(std::slice::from_ref(&record));
        assert_eq!((counts.available_security_update_count, counts.critical_non_compliant_count), (1, 0));
        (record.is_compliant(), counts.is_compliant(), counts.security_non_compliant_count)
    };
    assert_eq!(available("COMPLIANT"), (true, true, 0));
    assert_eq!(available("NON_COMPLIANT"), (false, false, 1));
}

#[test]
fn rule_without_a_patch_set_is_about_the_operating_system() {
    let application = || {
        let mut patch = kb(PatchStatus::Needed, "SecurityUpdates", "Critical", 8);
        patch.is_application = true;
        patch.products = vec!["Office 2016".into()];
        patch.product_family = "Office".into();
        patch
    };
    let all = crate::baseline::all_predefined();
    let named = |wanted: &str| &all.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let os_only = on_windows(named("AWS-WindowsPredefinedPatchBaseline-OS"), application());
    assert_eq!(os_only.decisions[0].state, PatchState::AvailableSecurityUpdate);
    assert_eq!(os_only.decisions[0].reason, "matches no rule: PATCH_SET is APPLICATION, not OS");
    let both = on_windows(named("AWS-WindowsPredefinedPatchBaseline-OS-Applications"), application());
    assert_eq!(both.decisions[0].state, PatchState::Missing);
    let os_patch = on_windows(
        named("AWS-WindowsPredefinedPatchBaseline-OS-Applications"),
        kb(PatchStatus::Needed, "Updates", "", 8),
    );
    assert_eq!(os_patch.decisions.len(), 0, "an application's rule takes no update of the system");
}

#[test]
fn windows_lists_name_kbs_and_bulletins() {
    for entry in ["KB5034441", "MS26-001"] {
        let baseline =
            rules("WINDOWS", &json!({ "ApprovedPatches": [entry], "ApprovedPatchesComplianceLevel": "HIGH" }));
        let evaluation = on_windows(&baseline, kb(PatchStatus::Needed, "Updates", "", 0));
        assert_eq!(evaluation.decisions[0].state, PatchState::Missing, "{entry}");
        assert_eq!(evaluation.decisions[0].compliance_level, ComplianceLevel::High);
    }
}

#[test]
fn macos_takes_security_updates_unless_told_otherwise() {
    let label = |classification: &str| Patch {
        id: "Safari17.4MontereyAuto-17.4".into(),
        title: "Safari".into(),
        version: "17.4".into(),
        classification: classification.into(),
        ..Patch::default()
    };
    let decide = |rules: &BaselineRules, patch| {
        evaluate_patches(rules, &node(OperatingSystem::Macos, "12.7"), &[patch], now()).decisions
    };
    let rule = |non_security: bool| {
        rules(
            "MACOS",
            &json!({ "ApprovalRules": { "PatchRules": [
            { "PatchFilterGroup": {}, "ApproveAfterDays": 0, "EnableNonSecurity": non_security } ] } }),
        )
    };
    assert_eq!(decide(&rule(false), label("Security"))[0].approved_version.as_deref(), Some("17.4"));
    assert_eq!(decide(&rule(false), label("Recommended")).len(), 0);
    assert_eq!(decide(&rule(true), label("Recommended")).len(), 1);
}
