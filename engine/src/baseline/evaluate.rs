//! The evaluation: for each installed package where it stands, what may be installed, and why.

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchState, RejectedPatchesAction};

use super::approval::{self, Timing};
use super::decision::{Decision, Evaluation};
use super::filters::first_refusal;
use super::lists::{Listed, listed};
use super::package::{AvailableVersion, InstalledPackage, NodeProfile};
use super::patterns;
use crate::versions::deb;

/// Judges every installed package of a Debian-family node.
///
/// `available` should hold every version the package manager may choose, from the installed one
/// upwards: it is how an installed version is recognised as approved, and how an approved version
/// is found below a newer one that is not. Versions of packages that are not installed are only
/// counted. `now` is compared with release instants; with growing `now` nothing that was approved
/// ceases to be, unless `available` changes.
#[must_use]
pub fn evaluate(
    rules: &BaselineRules,
    node: &NodeProfile,
    installed: &[InstalledPackage],
    available: &[AvailableVersion],
    now: Timestamp,
) -> Evaluation {
    let judge = Judge { rules, node, now };
    let mut by_name: HashMap<&str, Vec<&AvailableVersion>> = HashMap::new();
    for version in available {
        by_name.entry(&version.name).or_default().push(version);
    }
    let decisions = installed
        .iter()
        .map(|package| judge.package(package, by_name.get(package.name.as_str()).map_or(&[], Vec::as_slice)))
        .collect();
    for package in installed {
        by_name.remove(package.name.as_str());
    }
    let applies_nowhere = by_name
        .values()
        .filter(|versions| versions.iter().any(|v| matches!(judge.version(v), Verdict::Approved { .. })))
        .count();
    Evaluation { decisions, not_applicable_count: u32::try_from(applies_nowhere).unwrap_or(u32::MAX) }
}

/// The pattern that forbids this version even as a dependency of another, if any does.
///
/// For what a planned transaction would bring in: packages that are not on the node included.
#[must_use]
pub fn blocked_by<'a>(rules: &'a BaselineRules, name: &str, architecture: &str, version: &str) -> Option<&'a str> {
    match rules.rejected_patches_action {
        RejectedPatchesAction::Block => patterns::find(&rules.rejected_patches, name, architecture, version),
        RejectedPatchesAction::AllowAsDependency => None,
    }
}

/// What the baseline says about one version by itself.
#[derive(Debug)]
enum Verdict {
    Rejected { pattern: String },
    Approved { level: ComplianceLevel, why: String },
    Waits { until: Timestamp, rule: usize },
    NotSelected { why: String },
}

struct Judge<'a> {
    rules: &'a BaselineRules,
    node: &'a NodeProfile,
    now: Timestamp,
}

impl Judge<'_> {
    fn version(&self, version: &AvailableVersion) -> Verdict {
        let rules = self.rules;
        if rules.operating_system != self.node.operating_system {
            let why = format!(
                "the baseline is for {:?}, the node runs {:?}",
                rules.operating_system, self.node.operating_system
            );
            return Verdict::NotSelected { why };
        }
        let by_list = listed(rules, &version.name, &version.architecture, &version.version, version.is_security());
        if let Some(Listed::Rejected(pattern)) = by_list {
            return Verdict::Rejected { pattern: pattern.to_owned() };
        }
        let by_rule = self.by_rules(version);
        match by_list {
            Some(Listed::Approved(pattern)) => {
                let level = match by_rule {
                    // Lower is more severe.
                    Verdict::Approved { level, .. } => level.min(rules.approved_patches_compliance_level),
                    _ => rules.approved_patches_compliance_level,
                };
                Verdict::Approved { level, why: format!("approved by pattern `{pattern}`") }
            }
            Some(Listed::NotSecurity(pattern)) if matches!(by_rule, Verdict::NotSelected { .. }) => {
                Verdict::NotSelected {
                    why: format!("pattern `{pattern}` approves security updates only and this is not one"),
                }
            }
            _ => by_rule,
        }
    }

    fn by_rules(&self, version: &AvailableVersion) -> Verdict {
        if let Some(refusal) = first_refusal(&self.rules.global_filters, self.node, version) {
            return Verdict::NotSelected { why: format!("left out by global filter: {refusal}") };
        }
        let rules = &self.rules.approval_rules.patch_rules;
        let mut verdict = Verdict::NotSelected {
            why: if rules.is_empty() { "the baseline has no rule".to_owned() } else { "matches no rule".to_owned() },
        };
        for (number, rule) in (1..).zip(rules) {
            let this = if let Some(refusal) = first_refusal(&rule.patch_filter_group, self.node, version) {
                Verdict::NotSelected { why: format!("matches no rule: {refusal}") }
            } else if !rule.enable_non_security && !version.is_security() {
                Verdict::NotSelected { why: format!("not a security update, as rule {number} asks") }
            } else {
                match approval::judge(rule, version.release_instant(), self.now) {
                    Timing::Approved(why) => {
                        let why = format!("approved by rule {number}: {why}");
                        Verdict::Approved { level: rule.compliance_level, why }
                    }
                    Timing::WaitsUntil(until) => Verdict::Waits { until, rule: number },
                    Timing::Never(why) => Verdict::NotSelected { why: format!("not approved by rule {number}: {why}") },
                }
            };
            verdict = prefer(verdict, this);
        }
        verdict
    }

    fn package(&self, package: &InstalledPackage, versions: &[&AvailableVersion]) -> Decision {
        let mut newer: Vec<(&AvailableVersion, Verdict)> = Vec::new();
        let mut current: Option<(&AvailableVersion, Verdict)> = None;
        for &version in versions.iter().filter(|v| fits(&v.architecture, &package.architecture)) {
            let order = deb::compare(&version.version, &package.version);
            let verdict = self.version(version);
            match order {
                Ordering::Greater => newer.push((version, verdict)),
                // Installed at or above an approved version: both are what the rules asked for.
                Ordering::Equal | Ordering::Less => {
                    let approved = matches!(verdict, Verdict::Approved { .. });
                    if approved || (order.is_eq() && current.is_none()) {
                        current = Some((version, verdict));
                    }
                }
            }
        }
        newer.sort_by(|(a, _), (b, _)| deb::compare(&b.version, &a.version));

        let mut decision = Decision {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
            installed_version: package.version.clone(),
            approved_version: None,
            held: package.held,
            state: PatchState::InstalledOther,
            compliance_level: ComplianceLevel::default(),
            classification: String::new(),
            severity: String::new(),
            waits_until: newer.iter().filter_map(|(_, verdict)| waiting(verdict)).min(),
            installed_at: package.installed_at,
            reason: String::new(),
        };
        let synthetic = as_available(package);
        let (current_version, current) = match (self.version(&synthetic), current) {
            (rejected @ Verdict::Rejected { .. }, _) => (&synthetic, rejected),
            (_, Some(offered)) => offered,
            (verdict, None) => (&synthetic, self.unavailable(&synthetic, verdict)),
        };

        let best = newer.iter().find(|(_, verdict)| matches!(verdict, Verdict::Approved { .. }));
        match (best, &current) {
            (Some((version, Verdict::Approved { level, why })), _) => {
                decision.approved_version = Some(version.version.clone());
                decision.state = PatchState::Missing;
                decision.speaks_of(version, *level);
                decision.reason =
                    if package.held { format!("held back by the administrator; {why}") } else { why.clone() };
            }
            (_, Verdict::Rejected { pattern }) => {
                decision.reason = format!("rejected by pattern `{pattern}`");
                if self.rules.rejected_patches_action == RejectedPatchesAction::Block {
                    decision.state = PatchState::InstalledRejected;
                    decision.speaks_of(current_version, ComplianceLevel::default());
                }
            }
            (_, Verdict::Approved { level, why }) => {
                decision.speaks_of(current_version, *level);
                let (state, but) = if package.unconfigured {
                    (PatchState::Failed, "; unpacked, but its configuration did not complete")
                } else if package.pending_reboot {
                    (PatchState::InstalledPendingReboot, "; needs a reboot to take effect")
                } else {
                    (PatchState::Installed, "")
                };
                decision.state = state;
                decision.reason = match newer.first() {
                    Some((version, verdict)) => format!("{why}{but}; {} {}", version.version, describe(verdict)),
                    None => format!("{why}{but}"),
                };
            }
            (_, current) => {
                decision.reason = match newer.first() {
                    Some((version, verdict)) => format!("{} {}", version.version, describe(verdict)),
                    None => describe(current),
                };
            }
        }
        decision
    }

    /// The verdict on an installed version that no archive offers: only a list can know it.
    fn unavailable(&self, version: &AvailableVersion, verdict: Verdict) -> Verdict {
        let listed = &self.rules.approved_patches;
        let by_list = patterns::find(listed, &version.name, &version.architecture, &version.version).is_some();
        match verdict {
            Verdict::Approved { .. } if by_list => verdict,
            _ => Verdict::NotSelected { why: "the installed version is in no archive".to_owned() },
        }
    }
}

/// Of two verdicts by different rules the better one; of two approvals the more severe level.
fn prefer(a: Verdict, b: Verdict) -> Verdict {
    use Verdict::{Approved, NotSelected, Waits};
    match (a, b) {
        (Approved { level, why }, Approved { level: other, why: other_why }) => {
            if other < level {
                Approved { level: other, why: other_why }
            } else {
                Approved { level, why }
            }
        }
        (a @ Approved { .. }, _) => a,
        (_, b @ Approved { .. }) => b,
        (Waits { until, rule }, Waits { until: other, rule: other_rule }) => {
            if other < until {
                Waits { until: other, rule: other_rule }
            } else {
                Waits { until, rule }
            }
        }
        (a @ Waits { .. }, _) => a,
        (_, b @ Waits { .. }) => b,
        // The first rule that comes near says most: one that failed on its filters says least.
        (a @ NotSelected { .. }, NotSelected { why }) if why.starts_with("matches no rule") => a,
        (_, b) => b,
    }
}

fn waiting(verdict: &Verdict) -> Option<Timestamp> {
    match verdict {
        Verdict::Waits { until, .. } => Some(*until),
        _ => None,
    }
}

fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Rejected { pattern } => format!("rejected by pattern `{pattern}`"),
        Verdict::Approved { why, .. } | Verdict::NotSelected { why } => why.clone(),
        Verdict::Waits { until, rule } => format!("waits until {} by rule {rule}", approval::minute(*until)),
    }
}

/// A package may move between `all` and an architecture from one version to the next.
fn fits(offered: &str, installed: &str) -> bool {
    offered == installed || offered == "all" || installed == "all"
}

fn as_available(package: &InstalledPackage) -> AvailableVersion {
    AvailableVersion {
        name: package.name.clone(),
        architecture: package.architecture.clone(),
        version: package.version.clone(),
        section: package.section.clone(),
        priority: package.priority.clone(),
        ..AvailableVersion::default()
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
