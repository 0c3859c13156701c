//! Compliance of a patch group: how many of its nodes stand how, said honestly.
//!
//! A node that was never scanned, or not for long, is counted as that and as nothing else: nobody knows
//! how it stands.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::ComplianceLevel;
use serde::{Deserialize, Serialize};

use crate::compliance::{ItemCounts, PatchCounts};

/// What the last scan or installation on a node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastReport {
    /// When it ended, by the node's clock.
    pub finished_at: Timestamp,
    /// How many patches are in each state.
    pub patches: PatchCounts,
    /// The same by status and severity.
    pub items: ItemCounts,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is wrong.
    Compliant,
    /// Something is; the worst of it.
    NonCompliant(ComplianceLevel),
    /// The last report is older than reports are believed.
    Stale,
    /// There is none.
    NeverScanned,
}

/// How a node stands whose last report is this.
#[must_use]
pub fn standing(last: Option<&LastReport>, now: Timestamp, stale_after: SignedDuration) -> Standing {
    match last {
        None => Standing::NeverScanned,
        Some(last) if now.duration_since(last.finished_at) > stale_after => Standing::Stale,
        Some(last) if last.items.is_compliant() && last.patches.is_compliant() => Standing::Compliant,
        Some(last) => Standing::NonCompliant(last.items.overall_severity()),
    }
}

/// How the nodes of a patch group stand. Compliant, non-compliant, stale and never scanned together are
/// all nodes; the levels together are the non-compliant ones, each node by the worst that is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupCompliance {
    /// Nodes of the group.
    pub nodes: u64,
    /// Those of them that a simulator made up.
    pub simulated: u64,
    /// Nodes without a patch in a non-compliant state.
    pub compliant: u64,
    /// Nodes with one.
    pub non_compliant: u64,
    /// Nodes whose last report is too old to be believed.
    pub stale: u64,
    /// Nodes that have not reported yet.
    pub never_scanned: u64,
    /// Non-compliant nodes whose worst is critical; and so on.
    pub critical: u64,
    /// High.
    pub high: u64,
    /// Medium.
    pub medium: u64,
    /// Low.
    pub low: u64,
    /// Informational.
    pub informational: u64,
    /// Without a level.
    pub unspecified: u64,
    /// Missing patches of all nodes together, stale ones included as they were.
    pub missing: u64,
    /// Patches whose installation failed.
    pub failed: u64,
    /// Patches that wait for a reboot.
    pub pending_reboot: u64,
    /// Patches that are installed and rejected.
    pub rejected: u64,
    /// Security updates that are available and not approved yet (Windows).
    pub available_security_updates: u64,
    /// The oldest report that this is taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_report: Option<Timestamp>,
}

impl GroupCompliance {
    /// Counts a node.
    pub fn add(&mut self, last: Option<&LastReport>, simulated: bool, now: Timestamp, stale_after: SignedDuration) {
        self.nodes += 1;
        self.simulated += u64::from(simulated);
        match standing(last, now, stale_after) {
            Standing::Compliant => self.compliant += 1,
            Standing::Stale => self.stale += 1,
            Standing::NeverScanned => self.never_scanned += 1,
            Standing::NonCompliant(level) => {
                self.non_compliant += 1;
                *match level {
                    ComplianceLevel::Critical => &mut self.critical,
                    ComplianceLevel::High => &mut self.high,
                    ComplianceLevel::Medium => &mut self.medium,
                    ComplianceLevel::Low => &mut self.low,
                    ComplianceLevel::Informational => &mut self.informational,
                    ComplianceLevel::Unspecified => &mut self.unspecified,
                } += 1;
            }
        }
        let Some(last) = last else { return };
        let counts = &last.patches;
        self.missing += u64::from(counts.missing_count);
        self.failed += u64::from(counts.failed_count);
        self.pending_reboot += u64::from(counts.installed_pending_reboot_count);
        self.rejected += u64::from(counts.installed_rejected_count);
        self.available_security_updates += u64::from(counts.available_security_update_count);
        self.oldest_report = self.oldest_report.into_iter().chain([last.finished_at]).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn last(days_ago: i32, missing: u32) -> LastReport {
        let mut items = ItemCounts::default();
        (0..missing).for_each(|_| items.add(ComplianceLevel::High, false));
        LastReport {
            finished_at: Timestamp::UNIX_EPOCH - DAY * days_ago,
            patches: PatchCounts { missing_count: missing, ..PatchCounts::default() },
            items,
        }
    }

    #[test]
    fn every_node_is_counted_in_one_way() {
        let now = Timestamp::UNIX_EPOCH;
        let mut group = GroupCompliance::default();
        for last in [Some(last(0, 0)), Some(last(7, 2)), Some(last(8, 0)), Some(last(9, 1)), None] {
            group.add(last.as_ref(), false, now, DAY * 7);
        }
        let expected = GroupCompliance {
            nodes: 5,
            compliant: 1,
            non_compliant: 1,
            high: 1,
            stale: 2,
            never_scanned: 1,
            missing: 3,
            oldest_report: Some(now - DAY * 9),
            ..GroupCompliance::default()
        };
        assert_eq!(group, expected);
    }
}
