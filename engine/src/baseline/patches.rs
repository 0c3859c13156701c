//! The evaluation where the unit is the patch: zypper, Windows Update, softwareupdate.

use jiff::Timestamp;
use patchwave_schemas::baseline::{
    AvailableSecurityUpdatesCompliance, BaselineRules, ComplianceLevel, PatchState, RejectedPatchesAction,
};

use super::decision::{Decision, Evaluation, LeftOut};
use super::family::Family;
use super::package::{NodeProfile, Patch, PatchStatus};
use super::subject::Subject;
use super::verdict::{Judge, Verdict};

/// Judges every patch of a node whose vendor's unit is the patch.
///
/// A patch that is installed stands for itself: it is `Installed` when approved, else
/// `InstalledOther`. One that is needed is `Missing` when approved; when it is not, Windows reports
/// security updates as `AvailableSecurityUpdate`, and everything else is [left out](LeftOut), with
/// the reason. Patches that do not apply are listed on Windows and counted elsewhere, as SSM does.
#[must_use]
pub fn evaluate_patches(rules: &BaselineRules, node: &NodeProfile, patches: &[Patch], now: Timestamp) -> Evaluation {
    let family = Family::of(node.operating_system);
    let judge = Judge::new(rules, node, now);
    let counts_available =
        rules.available_security_updates_compliance_status == AvailableSecurityUpdatesCompliance::NonCompliant;
    let mut evaluation = Evaluation::default();
    for patch in patches {
        let subject = Subject::Patch(family, patch);
        let views = subject.views();
        let verdict = judge.judge(subject, &views);
        let mut decision = Decision {
            name: patch.id.clone(),
            title: if patch.title.is_empty() { patch.id.clone() } else { patch.title.clone() },
            held: patch.held,
            waits_until: verdict.waits_until(),
            installed_at: patch.installed_at.filter(|_| patch.status == PatchStatus::Installed),
            reason: verdict.describe(),
            ..Decision::default()
        };
        let speak = |decision: &mut Decision, level| decision.speaks_of(subject, &views, &verdict, level);
        match (patch.status, &verdict) {
            (PatchStatus::Installed, verdict) => {
                decision.installed_version.clone_from(&patch.version);
                decision.waits_until = None;
                match verdict {
                    Verdict::Approved { level, .. } => {
                        speak(&mut decision, *level);
                        decision.state = PatchState::Installed;
                        if patch.pending_reboot {
                            decision.state = PatchState::InstalledPendingReboot;
                            decision.reason.push_str("; needs a reboot to take effect");
                        }
                    }
                    Verdict::Rejected { .. } if rules.rejected_patches_action == RejectedPatchesAction::Block => {
                        speak(&mut decision, ComplianceLevel::default());
                        decision.state = PatchState::InstalledRejected;
                    }
                    _ => {}
                }
                evaluation.decisions.push(decision);
            }
            (PatchStatus::Needed, Verdict::Approved { level, .. }) => {
                speak(&mut decision, *level);
                decision.approved_version = Some(patch.version.clone());
                decision.state = PatchState::Missing;
                if patch.held {
                    decision.reason = format!("held back by the administrator; {}", decision.reason);
                }
                evaluation.decisions.push(decision);
            }
            (PatchStatus::Needed, verdict)
                if family == Family::WindowsUpdate
                    && patch.classification == SECURITY_UPDATES
                    && !matches!(verdict, Verdict::Rejected { .. }) =>
            {
                speak(&mut decision, ComplianceLevel::default());
                decision.state = PatchState::AvailableSecurityUpdate;
                decision.counts_against = counts_available;
                evaluation.decisions.push(decision);
            }
            (PatchStatus::NotApplicable, Verdict::Approved { level, .. }) => {
                evaluation.not_applicable_count = evaluation.not_applicable_count.saturating_add(1);
                if family == Family::WindowsUpdate {
                    decision.compliance_level = *level;
                    decision.state = PatchState::NotApplicable;
                    evaluation.decisions.push(decision);
                }
            }
            (PatchStatus::Needed, _) => evaluation.left_out.push(LeftOut {
                name: patch.id.clone(),
                waits_until: verdict.waits_until(),
                reason: decision.reason,
            }),
            (PatchStatus::NotApplicable, _) => {}
        }
    }
    evaluation
}

/// SSM's classification of Windows' security updates.
const SECURITY_UPDATES: &str = "SecurityUpdates";

#[cfg(test)]
#[path = "patches_tests.rs"]
mod tests;
