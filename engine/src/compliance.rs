//! Compliance of one node: SSM's `InstancePatchState` counters, and its items of any type by status and
//! severity.

use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use serde::{Deserialize, Serialize};

/// How many patches of a node are in each state. Names are SSM's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub struct PatchCounts {
    pub installed_count: u32,
    pub installed_other_count: u32,
    pub installed_pending_reboot_count: u32,
    pub installed_rejected_count: u32,
    pub missing_count: u32,
    pub failed_count: u32,
    pub not_applicable_count: u32,
    pub available_security_update_count: u32,
    /// Non-compliant patches whose compliance level is `CRITICAL`.
    pub critical_non_compliant_count: u32,
    /// Non-compliant patches whose classification is security; may count a critical one again.
    pub security_non_compliant_count: u32,
    /// Non-compliant patches in neither of the two.
    pub other_non_compliant_count: u32,
}

impl PatchCounts {
    /// Whether nothing makes the node non-compliant.
    #[must_use]
    pub const fn is_compliant(&self) -> bool {
        self.installed_pending_reboot_count == 0
            && self.installed_rejected_count == 0
            && self.missing_count == 0
            && self.failed_count == 0
            // Available security updates, where the baseline counts them.
            && self.security_non_compliant_count == 0
    }
}

/// Counts the patches of one node.
///
/// Patches that a report only counts and does not list (`not_applicable_count` of a scan report)
/// are for the caller to add.
#[must_use]
pub fn summarise(patches: &[PatchRecord]) -> PatchCounts {
    let mut counts = PatchCounts::default();
    for patch in patches {
        let of_state = match patch.state {
            PatchState::Installed => &mut counts.installed_count,
            PatchState::InstalledOther => &mut counts.installed_other_count,
            PatchState::InstalledPendingReboot => &mut counts.installed_pending_reboot_count,
            PatchState::InstalledRejected => &mut counts.installed_rejected_count,
            PatchState::Missing => &mut counts.missing_count,
            PatchState::NotApplicable => &mut counts.not_applicable_count,
            PatchState::Failed => &mut counts.failed_count,
            PatchState::AvailableSecurityUpdate => &mut counts.available_security_update_count,
        };
        *of_state += 1;
        if patch.is_compliant() {
            continue;
        }
        let critical = patch.compliance_level == ComplianceLevel::Critical;
        let security = is_security(&patch.classification);
        counts.critical_non_compliant_count += u32::from(critical);
        counts.security_non_compliant_count += u32::from(security);
        counts.other_non_compliant_count += u32::from(!critical && !security);
    }
    counts
}

/// The node's overall severity: the highest level among its non-compliant patches, at least
/// `INFORMATIONAL` when there are any. Absent when the node is compliant.
#[must_use]
pub fn overall_severity(patches: &[PatchRecord]) -> Option<ComplianceLevel> {
    let worst = patches.iter().filter(|patch| !patch.is_compliant()).map(|patch| patch.compliance_level).min()?;
    // `UNSPECIFIED` sorts last.
    Some(worst.min(ComplianceLevel::Informational))
}

/// `Security` on Linux, `SecurityUpdates` on Windows.
fn is_security(classification: &str) -> bool {
    classification.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("security"))
}

/// How many items of each severity. Names are SSM's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub struct SeverityCounts {
    pub critical_count: u32,
    pub high_count: u32,
    pub medium_count: u32,
    pub low_count: u32,
    pub informational_count: u32,
    pub unspecified_count: u32,
}

impl SeverityCounts {
    /// Counts one more.
    pub fn add(&mut self, severity: ComplianceLevel) {
        let count = match severity {
            ComplianceLevel::Critical => &mut self.critical_count,
            ComplianceLevel::High => &mut self.high_count,
            ComplianceLevel::Medium => &mut self.medium_count,
            ComplianceLevel::Low => &mut self.low_count,
            ComplianceLevel::Informational => &mut self.informational_count,
            ComplianceLevel::Unspecified => &mut self.unspecified_count,
        };
        *count = count.saturating_add(1);
    }

    /// All together.
    #[must_use]
    pub fn total(&self) -> u32 {
        [self.critical_count, self.high_count, self.medium_count, self.low_count, self.informational_count]
            .into_iter()
            .fold(self.unspecified_count, u32::saturating_add)
    }

    /// The highest severity that was counted.
    #[must_use]
    pub fn worst(&self) -> Option<ComplianceLevel> {
        [
            (self.critical_count, ComplianceLevel::Critical),
            (self.high_count, ComplianceLevel::High),
            (self.medium_count, ComplianceLevel::Medium),
            (self.low_count, ComplianceLevel::Low),
            (self.informational_count, ComplianceLevel::Informational),
            (self.unspecified_count, ComplianceLevel::Unspecified),
        ]
        .into_iter()
        .find_map(|(count, severity)| (count > 0).then_some(severity))
    }
}

/// The compliance of one resource for one type: its items by status and severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ItemCounts {
    /// Items that comply.
    pub compliant: SeverityCounts,
    /// Items that do not.
    pub non_compliant: SeverityCounts,
}

impl ItemCounts {
    /// Counts one more.
    pub fn add(&mut self, severity: ComplianceLevel, is_compliant: bool) {
        if is_compliant { self.compliant.add(severity) } else { self.non_compliant.add(severity) }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_compliant(&self) -> bool {
        self.non_compliant.total() == 0
    }

    /// SSM's `OverallSeverity`: the highest of what is wrong, `UNSPECIFIED` when nothing is.
    #[must_use]
    pub fn overall_severity(&self) -> ComplianceLevel {
        self.non_compliant.worst().unwrap_or_default()
    }

    /// The items of type `Patch`: a patch's severity is its compliance level, and one that does not
    /// apply is no item.
    #[must_use]
    pub fn of_patches(patches: &[PatchRecord]) -> Self {
        let mut counts = Self::default();
        for patch in patches.iter().filter(|patch| patch.state != PatchState::NotApplicable) {
            counts.add(patch.compliance_level, patch.is_compliant());
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::baseline::{ComplianceLevel as Level, PatchRecord, PatchState as State};

    use super::{ItemCounts, PatchCounts, overall_severity, summarise};

    fn patch(state: State, level: Level, classification: &str) -> PatchRecord {
        PatchRecord {
            kb_id: "a.amd64".into(),
            title: "a.amd64:1".into(),
            classification: classification.into(),
            severity: String::new(),
            state,
            counts_against: false,
            compliance_level: level,
            cve_ids: Vec::new(),
            released_at: None,
            released_by: None,
            installed_at: None,
            reason: String::new(),
        }
    }

    #[test]
    fn non_compliant_patches_are_counted_by_level_and_by_classification() {
        let patches = [
            patch(State::Missing, Level::Critical, "Security"),
            patch(State::Failed, Level::Critical, ""),
            patch(State::InstalledRejected, Level::High, "SecurityUpdates"),
            patch(State::InstalledPendingReboot, Level::Unspecified, "Bugfix"),
            patch(State::Installed, Level::Critical, "Security"),
            patch(State::InstalledOther, Level::Critical, "Security"),
            patch(State::NotApplicable, Level::Critical, "Security"),
            patch(State::AvailableSecurityUpdate, Level::Critical, "Security"),
        ];
        let expected = PatchCounts {
            installed_count: 1,
            installed_other_count: 1,
            installed_pending_reboot_count: 1,
            installed_rejected_count: 1,
            missing_count: 1,
            failed_count: 1,
            not_applicable_count: 1,
            available_security_update_count: 1,
            critical_non_compliant_count: 2,
            security_non_compliant_count: 2,
            other_non_compliant_count: 1,
        };
        assert_eq!(summarise(&patches), expected);
        assert!(!expected.is_compliant());
    }

    #[test]
    fn node_is_compliant_exactly_when_no_patch_is_non_compliant() {
        for state in [
            State::Installed,
            State::InstalledOther,
            State::InstalledPendingReboot,
            State::InstalledRejected,
            State::Missing,
            State::NotApplicable,
            State::Failed,
            State::AvailableSecurityUpdate,
        ] {
            let counts = summarise(&[patch(state, Level::Low, "")]);
            assert_eq!(counts.is_compliant(), state.is_compliant(), "{state:?}");
        }
        assert!(summarise(&[]).is_compliant());
    }

    #[test]
    fn overall_severity_is_the_worst_and_at_least_informational() {
        let missing = |level| patch(State::Missing, level, "");
        assert_eq!(overall_severity(&[patch(State::Installed, Level::Critical, "")]), None);
        assert_eq!(overall_severity(&[missing(Level::Low), missing(Level::High)]), Some(Level::High));
        assert_eq!(overall_severity(&[missing(Level::Unspecified)]), Some(Level::Informational));
    }

    #[test]
    fn items_are_counted_by_status_and_severity() {
        let mut counts = ItemCounts::default();
        assert_eq!((counts.is_compliant(), counts.overall_severity()), (true, Level::Unspecified));
        counts.add(Level::Critical, true);
        counts.add(Level::Low, false);
        counts.add(Level::Medium, false);
        counts.add(Level::Low, false);
        assert_eq!((counts.is_compliant(), counts.overall_severity()), (false, Level::Medium));
        assert_eq!((counts.compliant.total(), counts.non_compliant.total(), counts.non_compliant.low_count), (1, 3, 2));
    }
}
