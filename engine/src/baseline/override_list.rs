//! SSM's InstallOverrideList: what to install in place of what a baseline approves, and nothing else
//! of the baseline's meaning. Compliance stays the baseline's matter.
//!
//! SSM's rules: an entry names a package that is installed (`id`) and may narrow it to a version
//! (`title`); both must match, as globs without regard to case. Filters, delays, the security-only
//! flag and the rejected list do not count. Only what is installed is upgraded; what an upgrade needs
//! must be on the list as well. A version that no repository has makes its patch fail.

use patchwave_schemas::baseline::{BaselineSnapshot, OverrideEntry, PatchState};

use super::decision::{Decision, Evaluation};
use super::evaluate::{blocked_by, fits};
use super::family::Family;
use super::package::{AvailableVersion, InstalledPackage, NodeProfile, Patch, PatchStatus};
use super::patterns::glob_matches;
use super::subject::Subject;
use jiff::Timestamp;

/// Judges packages by the snapshot's override list where it has one, else [by its
/// rules](super::evaluate).
#[must_use]
pub fn judge(
    baseline: &BaselineSnapshot,
    node: &NodeProfile,
    installed: &[InstalledPackage],
    available: &[AvailableVersion],
    now: Timestamp,
) -> Evaluation {
    if baseline.install_override.is_empty() {
        return super::evaluate(&baseline.rules, node, installed, available, now);
    }
    let family = Family::of(node.operating_system);
    let list = &baseline.install_override;
    let decisions = installed.iter().map(|package| by_list(list, family, package, installed, available)).collect();
    Evaluation { decisions, ..Evaluation::default() }
}

/// Judges patches by the snapshot's override list where it has one, else [by its
/// rules](super::evaluate_patches).
#[must_use]
pub fn judge_patches(baseline: &BaselineSnapshot, node: &NodeProfile, patches: &[Patch], now: Timestamp) -> Evaluation {
    let mut evaluation = super::evaluate_patches(&baseline.rules, node, patches, now);
    if baseline.install_override.is_empty() {
        return evaluation;
    }
    let family = Family::of(node.operating_system);
    evaluation = Evaluation::default();
    for patch in patches {
        let Some(entry) = baseline.install_override.iter().find(|entry| names_patch(entry, family, patch)) else {
            continue;
        };
        let mut decision = Decision {
            name: patch.id.clone(),
            title: if patch.title.is_empty() { patch.id.clone() } else { patch.title.clone() },
            held: patch.held,
            reason: on_the_list(entry),
            ..Decision::default()
        };
        match patch.status {
            PatchStatus::Needed => {
                decision.state = PatchState::Missing;
                decision.approved_version = Some(patch.version.clone());
            }
            PatchStatus::Installed => {
                decision.state = PatchState::Installed;
                decision.installed_version.clone_from(&patch.version);
            }
            PatchStatus::NotApplicable => continue,
        }
        evaluation.decisions.push(decision);
    }
    evaluation
}

/// Why a planned transaction must not bring this package in, if it must not.
///
/// By a baseline that is what it blocks, even as a dependency; by an override list whatever is not on
/// it. Where the unit is the patch a list names no packages, so that their dependencies are free.
#[must_use]
pub fn forbidden(baseline: &BaselineSnapshot, name: &str, architecture: &str, version: &str) -> Option<String> {
    if baseline.install_override.is_empty() {
        let pattern = blocked_by(&baseline.rules, name, architecture, version)?;
        return Some(format!("it needs `{name}` {version}, which pattern `{pattern}` rejects"));
    }
    let family = Family::of(baseline.rules.operating_system);
    let by_package = matches!(family, Family::Apt | Family::Rpm);
    let listed = |entry: &OverrideEntry| {
        names_package(entry, name, architecture) && takes_version(entry, family, name, architecture, version)
    };
    let is_listed = !by_package || baseline.install_override.iter().any(listed);
    (!is_listed).then(|| format!("it needs `{name}` {version}, which is not on the InstallOverrideList"))
}

fn by_list(
    list: &[OverrideEntry],
    family: Family,
    package: &InstalledPackage,
    installed: &[InstalledPackage],
    available: &[AvailableVersion],
) -> Decision {
    let InstalledPackage { name, architecture, version, .. } = package;
    let entries: Vec<&OverrideEntry> = list.iter().filter(|entry| names_package(entry, name, architecture)).collect();
    let mut decision = Decision {
        name: name.clone(),
        architecture: architecture.clone(),
        installed_version: version.clone(),
        held: package.held,
        installed_at: package.installed_at,
        ..Decision::default()
    };
    // Of kernels, of which several may be there, the newest alone is upgraded.
    let is_newest = !installed.iter().any(|other| {
        other.name == *name && other.architecture == *architecture && family.compare(&other.version, version).is_gt()
    });
    let Some(first) = entries.first().filter(|_| is_newest) else {
        decision.reason = "not on the InstallOverrideList".to_owned();
        decision.set_title(family);
        return decision;
    };
    let takes =
        |version: &str| entries.iter().find(|entry| takes_version(entry, family, name, architecture, version)).copied();
    let offered = available.iter().filter(|offer| offer.name == *name && fits(&offer.architecture, architecture));
    let newer = offered
        .filter(|offer| family.compare(&offer.version, version).is_gt())
        .filter_map(|offer| takes(&offer.version).map(|entry| (offer, entry)))
        .max_by(|(a, _), (b, _)| family.compare(&a.version, &b.version));
    if let Some((offer, entry)) = newer {
        decision.state = PatchState::Missing;
        decision.approved_version = Some(offer.version.clone());
        decision.reason = on_the_list(entry);
        if package.held {
            decision.reason = format!("held back by the administrator; {}", decision.reason);
        }
    } else if let Some(entry) = takes(version) {
        decision.state = PatchState::Installed;
        decision.reason = on_the_list(entry);
    } else {
        decision.state = PatchState::Failed;
        let title = first.title.as_deref().unwrap_or_default();
        decision.reason = format!("no repository has the version `{title}` of the InstallOverrideList");
    }
    decision.set_title(family);
    decision
}

fn on_the_list(entry: &OverrideEntry) -> String {
    let title = entry.title.as_deref().map(|title| format!(" with title `{title}`")).unwrap_or_default();
    format!("on the InstallOverrideList as `{}`{title}", entry.id)
}

/// SSM: `name.arch` with rpm, the name alone as well with apt. Both are taken for both.
fn names_package(entry: &OverrideEntry, name: &str, architecture: &str) -> bool {
    glob_matches(&entry.id, name) || glob_matches(&entry.id, &format!("{name}.{architecture}"))
}

/// Whether an entry that names the package takes this version of it; without a title any.
fn takes_version(entry: &OverrideEntry, family: Family, name: &str, architecture: &str, version: &str) -> bool {
    let Some(title) = &entry.title else { return true };
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) if family == Family::Rpm => (epoch, rest),
        _ if family == Family::Rpm => ("0", version),
        _ => ("", version),
    };
    let full = if epoch.is_empty() { rest.to_owned() } else { format!("{epoch}:{rest}") };
    // The documented form comes first; SSM's own example gives the bare version.
    let written = [format!("{name}.{architecture}:{full}"), full, rest.to_owned()];
    written.iter().any(|text| glob_matches(title, text))
}

/// Patches go by their id, or by `name.version` as on macOS; a title by the patch's own or its version.
fn names_patch(entry: &OverrideEntry, family: Family, patch: &Patch) -> bool {
    let names = Subject::Patch(family, patch).names();
    let by_version = format!("{}.{}", patch.id, patch.version);
    let named =
        glob_matches(&entry.id, &patch.id) || (!patch.version.is_empty() && glob_matches(&entry.id, &by_version));
    let titled = entry
        .title
        .as_ref()
        .is_none_or(|title| glob_matches(title, names.version) || names.ids.iter().any(|id| glob_matches(title, id)));
    named && titled
}

#[cfg(test)]
#[path = "override_list_tests.rs"]
mod tests;
