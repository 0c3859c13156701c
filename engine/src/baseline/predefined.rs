//! The baselines every installation starts with: SSM's AWS-owned ones, under their names.
//!
//! Data only. They are read-only, give no compliance level and, but for CentOS, approve security
//! updates only. One deviation by necessity: SSM ignores approval delays on Debian families and we
//! honour them, so these three say zero days, which is what SSM does there.

use patchwave_schemas::baseline::{
    AvailableSecurityUpdatesCompliance, BaselineRules, ComplianceLevel, PatchFilter, PatchFilterGroup, PatchRule,
    PatchRuleGroup, RejectedPatchesAction,
};
use patchwave_schemas::node::OperatingSystem as Os;

/// SSM's usual waiting period, in days.
const WEEK: u32 = 7;

/// The default baseline of an operating system: its name and rules.
#[must_use]
pub fn predefined(os: Os) -> (&'static str, BaselineRules) {
    match os {
        Os::AmazonLinux => ("AWS-AmazonLinuxDefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::AmazonLinux2 => ("AWS-AmazonLinux2DefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::AmazonLinux2022 => ("AWS-AmazonLinux2022DefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::AmazonLinux2023 => ("AWS-AmazonLinux2023DefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::RedhatEnterpriseLinux => ("AWS-RedHatDefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::RockyLinux => ("AWS-RockyLinuxDefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::AlmaLinux => ("AWS-AlmaLinuxDefaultPatchBaseline", rpm(os, &["Critical", "Important"])),
        Os::OracleLinux => ("AWS-OracleLinuxDefaultPatchBaseline", rpm(os, &["Important", "Moderate"])),
        Os::Centos => ("AWS-CentOSDefaultPatchBaseline", centos()),
        Os::Debian => ("AWS-DebianDefaultPatchBaseline", debian_family(os)),
        // Not a slip: this name breaks the pattern of the others in SSM too.
        Os::Raspbian => ("AWS-DefaultRaspbianPatchBaseline", debian_family(os)),
        Os::Ubuntu => ("AWS-UbuntuDefaultPatchBaseline", debian_family(os)),
        Os::Macos => (
            "AWS-MacOSDefaultPatchBaseline",
            baseline(os, vec![rule(0, &[("PRODUCT", &["*"]), ("CLASSIFICATION", &["*"])])]),
        ),
        Os::Suse => (
            "AWS-SuseDefaultPatchBaseline",
            baseline(
                os,
                vec![rule(WEEK, &[("CLASSIFICATION", &["Security"]), ("SEVERITY", &["Critical", "Important"])])],
            ),
        ),
        Os::Windows => ("AWS-DefaultPatchBaseline", baseline(os, vec![windows_os()])),
    }
}

/// Every predefined baseline; the default of each operating system comes before its others.
#[must_use]
pub fn all_predefined() -> Vec<(&'static str, BaselineRules)> {
    let every_os = [
        Os::AmazonLinux,
        Os::AmazonLinux2,
        Os::AmazonLinux2022,
        Os::AmazonLinux2023,
        Os::Centos,
        Os::Debian,
        Os::Raspbian,
        Os::Ubuntu,
        Os::Macos,
        Os::OracleLinux,
        Os::RedhatEnterpriseLinux,
        Os::RockyLinux,
        Os::AlmaLinux,
        Os::Suse,
        Os::Windows,
    ];
    let mut all: Vec<_> = every_os.into_iter().map(predefined).collect();
    let applications = rule(WEEK, &[("PATCH_SET", &["APPLICATION"]), ("PRODUCT_FAMILY", &["*"]), ("PRODUCT", &["*"])]);
    all.push(("AWS-WindowsPredefinedPatchBaseline-OS", baseline(Os::Windows, vec![windows_os()])));
    all.push((
        "AWS-WindowsPredefinedPatchBaseline-OS-Applications",
        baseline(Os::Windows, vec![windows_os(), applications]),
    ));
    all
}

/// Security updates of these severities, and all bug fixes.
fn rpm(os: Os, severities: &[&str]) -> BaselineRules {
    let security = rule(WEEK, &[("CLASSIFICATION", &["Security"]), ("SEVERITY", severities)]);
    baseline(os, vec![security, rule(WEEK, &[("CLASSIFICATION", &["Bugfix"])])])
}

/// Stock CentOS repositories carry no advisories, so nothing less than everything patches at all.
fn centos() -> BaselineRules {
    let mut everything = rule(WEEK, &[("CLASSIFICATION", &["*"]), ("SEVERITY", &["*"])]);
    everything.enable_non_security = true;
    baseline(Os::Centos, vec![everything])
}

fn debian_family(os: Os) -> BaselineRules {
    let priorities = &["Required", "Important", "Standard", "Optional", "Extra"];
    baseline(os, vec![rule(0, &[("PRODUCT", &["*"]), ("PRIORITY", priorities)])])
}

fn windows_os() -> PatchRule {
    rule(
        WEEK,
        &[("CLASSIFICATION", &["CriticalUpdates", "SecurityUpdates"]), ("MSRC_SEVERITY", &["Critical", "Important"])],
    )
}

fn rule(approve_after_days: u32, filters: &[(&str, &[&str])]) -> PatchRule {
    let filter = |(key, values): &(&str, &[&str])| PatchFilter {
        key: (*key).to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    PatchRule {
        patch_filter_group: PatchFilterGroup { patch_filters: filters.iter().map(filter).collect() },
        compliance_level: ComplianceLevel::Unspecified,
        approve_after_days: Some(approve_after_days),
        approve_until_date: None,
        enable_non_security: false,
    }
}

fn baseline(operating_system: Os, patch_rules: Vec<PatchRule>) -> BaselineRules {
    BaselineRules {
        operating_system,
        global_filters: PatchFilterGroup::default(),
        approval_rules: PatchRuleGroup { patch_rules },
        approved_patches: Vec::new(),
        approved_patches_compliance_level: ComplianceLevel::Unspecified,
        approved_patches_enable_non_security: false,
        rejected_patches: Vec::new(),
        rejected_patches_action: RejectedPatchesAction::AllowAsDependency,
        available_security_updates_compliance_status: AvailableSecurityUpdatesCompliance::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all_predefined;
    use crate::baseline::validate;

    #[test]
    fn every_predefined_baseline_is_valid_and_has_its_own_name() {
        let all = all_predefined();
        assert_eq!(all.len(), 17);
        let names: BTreeSet<_> = all.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), all.len());
        for (name, rules) in &all {
            assert_eq!(validate(rules), Ok(()), "{name}");
        }
    }

    #[test]
    fn only_centos_approves_what_is_not_security() {
        for (name, rules) in all_predefined() {
            let any = rules.approval_rules.patch_rules.iter().any(|rule| rule.enable_non_security);
            assert_eq!(any, name == "AWS-CentOSDefaultPatchBaseline", "{name}");
        }
    }
}
