//! The evaluation where the unit is the package: for each installed one where it stands, what may
//! be installed, and why.

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, ComplianceLevel, PatchState, RejectedPatchesAction};

use super::decision::{Decision, Evaluation};
use super::family::Family;
use super::package::{AvailableVersion, InstalledPackage, NodeProfile};
use super::patterns::{self, Names};
use super::subject::{Subject, View};
use super::verdict::{Judge, Verdict};

/// Judges every installed package of a node that is patched by package: apt's and rpm's families.
///
/// `available` should hold every version the package manager may choose, from the installed one
/// upwards: it is how an installed version is recognised as approved, and how an approved version
/// is found below a newer one that is not. Versions of packages that are not installed are only
/// counted. `now` is compared with release instants; with growing `now` nothing that was approved
/// ceases to be, unless `available` changes.
///
/// Of a package that is installed in several versions (kernels, with rpm) only the newest can be
/// missing anything.
#[must_use]
pub fn evaluate(
    rules: &BaselineRules,
    node: &NodeProfile,
    installed: &[InstalledPackage],
    available: &[AvailableVersion],
    now: Timestamp,
) -> Evaluation {
    let evaluator = Evaluator { judge: Judge::new(rules, node, now), family: Family::of(node.operating_system), rules };
    let mut by_name: HashMap<&str, Vec<&AvailableVersion>> = HashMap::new();
    for version in available {
        by_name.entry(&version.name).or_default().push(version);
    }
    let newest = evaluator.newest(installed);
    let decisions = installed
        .iter()
        .map(|package| {
            let offered = by_name.get(package.name.as_str()).map_or(&[][..], Vec::as_slice);
            let newest = newest.get(&(package.name.as_str(), package.architecture.as_str())).copied();
            evaluator.package(package, offered, newest)
        })
        .collect();
    for package in installed {
        by_name.remove(package.name.as_str());
    }
    let applies_nowhere =
        by_name.values().filter(|versions| versions.iter().any(|v| evaluator.version(v).verdict.is_approved())).count();
    Evaluation {
        decisions,
        left_out: Vec::new(),
        not_applicable_count: u32::try_from(applies_nowhere).unwrap_or(u32::MAX),
    }
}

/// The pattern that forbids this version even as a dependency of another, if any does.
///
/// For what a planned transaction would bring in: packages that are not on the node included.
#[must_use]
pub fn blocked_by<'a>(rules: &'a BaselineRules, name: &str, architecture: &str, version: &str) -> Option<&'a str> {
    let family = Family::of(rules.operating_system);
    match rules.rejected_patches_action {
        RejectedPatchesAction::Block => {
            patterns::find(&rules.rejected_patches, &Names { family, name, architecture, version, ids: Vec::new() })
        }
        RejectedPatchesAction::AllowAsDependency => None,
    }
}

struct Evaluator<'a> {
    judge: Judge<'a>,
    family: Family,
    rules: &'a BaselineRules,
}

/// A version with what the baseline says of it.
struct Judged<'a> {
    version: &'a AvailableVersion,
    views: Vec<View<'a>>,
    verdict: Verdict,
}

impl Judged<'_> {
    /// Takes over into a decision what the baseline's rules say about this version.
    fn describe_in(&self, family: Family, decision: &mut Decision, level: ComplianceLevel) {
        decision.speaks_of(Subject::Version(family, self.version), &self.views, &self.verdict, level);
    }
}

impl Evaluator<'_> {
    fn version<'v>(&self, version: &'v AvailableVersion) -> Judged<'v> {
        let subject = Subject::Version(self.family, version);
        let views = subject.views();
        let verdict = self.judge.judge(subject, &views);
        Judged { version, views, verdict }
    }

    /// The newest version of each package that may be there more than once.
    fn newest<'p>(&self, installed: &'p [InstalledPackage]) -> HashMap<(&'p str, &'p str), &'p str> {
        let mut newest: HashMap<(&str, &str), &str> = HashMap::new();
        if self.family == Family::Rpm {
            for package in installed {
                let known = newest.entry((&package.name, &package.architecture)).or_insert(&package.version);
                if self.family.compare(&package.version, known).is_gt() {
                    *known = &package.version;
                }
            }
        }
        newest
    }

    fn package(&self, package: &InstalledPackage, versions: &[&AvailableVersion], newest: Option<&str>) -> Decision {
        let superseded = newest.filter(|newest| self.family.compare(newest, &package.version).is_gt());
        let mut newer: Vec<Judged<'_>> = Vec::new();
        let mut current: Option<Judged<'_>> = None;
        for &version in versions.iter().filter(|v| fits(&v.architecture, &package.architecture)) {
            let order = self.family.compare(&version.version, &package.version);
            if order.is_gt() && superseded.is_some() {
                continue;
            }
            let judged = self.version(version);
            match order {
                Ordering::Greater => newer.push(judged),
                // Installed at or above an approved version: both are what the rules asked for.
                Ordering::Equal | Ordering::Less => {
                    if judged.verdict.is_approved() || (order.is_eq() && current.is_none()) {
                        current = Some(judged);
                    }
                }
            }
        }
        newer.sort_by(|a, b| self.family.compare(&b.version.version, &a.version.version));

        let mut decision = Decision {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
            installed_version: package.version.clone(),
            held: package.held,
            waits_until: newer.iter().filter_map(|judged| judged.verdict.waits_until()).min(),
            installed_at: package.installed_at,
            ..Decision::default()
        };
        let synthetic = as_available(package);
        let itself = self.version(&synthetic);
        let current = match (&itself.verdict, current) {
            (Verdict::Rejected { .. }, _) => itself,
            (_, Some(offered)) => offered,
            (_, None) => Judged { verdict: self.unavailable(&synthetic, itself.verdict), ..itself },
        };

        let best = newer.iter().find(|judged| judged.verdict.is_approved());
        let next = newer.first().map(|newest| format!("{} {}", newest.version.version, newest.verdict.describe()));
        match (best.map(|best| (best, &best.verdict)), &current.verdict) {
            (Some((best, Verdict::Approved { level, why, .. })), _) => {
                decision.approved_version = Some(best.version.version.clone());
                decision.state = PatchState::Missing;
                best.describe_in(self.family, &mut decision, *level);
                decision.reason =
                    if package.held { format!("held back by the administrator; {why}") } else { why.clone() };
            }
            (_, Verdict::Rejected { pattern }) => {
                decision.reason = format!("rejected by pattern `{pattern}`");
                if self.rules.rejected_patches_action == RejectedPatchesAction::Block {
                    decision.state = PatchState::InstalledRejected;
                    current.describe_in(self.family, &mut decision, ComplianceLevel::default());
                }
            }
            (_, Verdict::Approved { level, why, .. }) => {
                current.describe_in(self.family, &mut decision, *level);
                let (state, but) = if package.unconfigured {
                    (PatchState::Failed, "; unpacked, but its configuration did not complete")
                } else if package.pending_reboot {
                    (PatchState::InstalledPendingReboot, "; needs a reboot to take effect")
                } else {
                    (PatchState::Installed, "")
                };
                decision.state = state;
                decision.reason = match next {
                    Some(next) => format!("{why}{but}; {next}"),
                    None => format!("{why}{but}"),
                };
            }
            (_, current) => decision.reason = next.unwrap_or_else(|| current.describe()),
        }
        if let Some(newest) = superseded {
            decision.reason = format!("{}; {newest} is installed beside it", decision.reason);
        }
        decision.set_title(self.family);
        decision
    }

    /// The verdict on an installed version that no archive offers: only a list can know it.
    fn unavailable(&self, version: &AvailableVersion, verdict: Verdict) -> Verdict {
        let names = || Subject::Version(self.family, version).names();
        let by_list = || patterns::find(&self.rules.approved_patches, &names()).is_some();
        match verdict {
            Verdict::Approved { .. } if by_list() => verdict,
            _ => Verdict::NotSelected { why: "the installed version is in no archive".to_owned() },
        }
    }
}

/// A package may move between every architecture's (`all`, `noarch`) and one from one version to
/// the next.
pub(super) fn fits(offered: &str, installed: &str) -> bool {
    let every = |architecture: &str| matches!(architecture, "all" | "noarch");
    offered == installed || every(offered) || every(installed)
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

#[cfg(test)]
#[path = "evaluate_rpm_tests.rs"]
mod rpm_tests;
