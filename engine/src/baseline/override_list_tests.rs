//! Every documented rule of the InstallOverrideList.

use jiff::Timestamp;
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{BaselineSnapshot, OverrideEntry, PatchState, RejectedPatchesAction};
use patchwave_schemas::node::OperatingSystem as Os;

use super::{forbidden, judge, judge_patches};
use crate::baseline::{AvailableVersion, InstalledPackage, NodeProfile, Patch, PatchStatus, predefined};

fn node(os: Os) -> NodeProfile {
    NodeProfile { operating_system: os, version: "9".into(), codename: String::new() }
}

/// A baseline that blocks everything, with this list of ids and titles in its place.
fn listing(os: Os, list: &[(&str, &str)]) -> BaselineSnapshot {
    let mut rules = predefined(os).1;
    rules.rejected_patches = vec!["*".into()];
    rules.rejected_patches_action = RejectedPatchesAction::Block;
    let mut snapshot = BaselineSnapshot::new("", BaselineId::from_bits(1), "test", rules);
    let entry = |(id, title): &(&str, &str)| OverrideEntry {
        id: (*id).into(),
        title: Some((*title).to_owned()).filter(|title| !title.is_empty()),
    };
    snapshot.install_override = list.iter().map(entry).collect();
    snapshot
}

fn installed(name: &str, version: &str) -> InstalledPackage {
    InstalledPackage {
        name: name.into(),
        architecture: "x86_64".into(),
        version: version.into(),
        ..InstalledPackage::default()
    }
}

fn offer(name: &str, version: &str) -> AvailableVersion {
    AvailableVersion {
        name: name.into(),
        architecture: "x86_64".into(),
        version: version.into(),
        ..AvailableVersion::default()
    }
}

/// What a list does with bash 5.1-1, of which 5.1-2 and 5.2-1 are offered: state and version.
fn on_bash(os: Os, list: &[(&str, &str)]) -> (PatchState, Option<String>) {
    let offers = [offer("bash", "5.1-2"), offer("bash", "5.2-1"), offer("zsh", "9-1")];
    let mut evaluation = judge(&listing(os, list), &node(os), &[installed("bash", "5.1-1")], &offers, Timestamp::now());
    let decision = evaluation.decisions.remove(0);
    (decision.state, decision.to_install().map(str::to_owned))
}

#[test]
fn list_installs_the_newest_version_it_takes_whatever_is_rejected_or_not_security() {
    for os in [Os::RockyLinux, Os::Debian] {
        for list in
            [&[("bash", "")][..], &[("BASH.x86_64", "")], &[("b?s[gh]*", "")], &[("zsh", ""), ("bash", "5.2-*")]]
        {
            assert_eq!(on_bash(os, list), (PatchState::Missing, Some("5.2-1".into())), "{list:?}");
        }
    }
}

#[test]
fn title_narrows_an_entry_to_a_version_and_both_must_match() {
    for title in ["bash.x86_64:0:5.1-2", "0:5.1-2", "5.1-2", "5.1-[2-9]"] {
        assert_eq!(
            on_bash(Os::RockyLinux, &[("bash.x86_64", title)]),
            (PatchState::Missing, Some("5.1-2".into())),
            "{title}"
        );
    }
    assert_eq!(on_bash(Os::Debian, &[("bash", "bash.x86_64:5.1-2")]), (PatchState::Missing, Some("5.1-2".into())));
    assert_eq!(on_bash(Os::Debian, &[("zsh", "5.1-2")]), (PatchState::InstalledOther, None));
}

#[test]
fn listed_version_that_no_repository_has_fails() {
    assert_eq!(on_bash(Os::RockyLinux, &[("bash", "6-*")]), (PatchState::Failed, None));
    assert_eq!(on_bash(Os::RockyLinux, &[("bash", "5.1-1")]), (PatchState::Installed, None));
}

#[test]
fn only_installed_packages_are_upgraded() {
    let list = listing(Os::RockyLinux, &[("zsh", ""), ("bash", "")]);
    let evaluation =
        judge(&list, &node(Os::RockyLinux), &[installed("bash", "5.2-1")], &[offer("zsh", "9-1")], Timestamp::now());
    assert_eq!(evaluation.decisions.len(), 1);
    assert_eq!(evaluation.decisions[0].state, PatchState::Installed);
}

#[test]
fn held_package_is_left_to_the_administrator() {
    let held = InstalledPackage { held: true, ..installed("bash", "5.1-1") };
    let list = listing(Os::Debian, &[("bash", "")]);
    let decision = &judge(&list, &node(Os::Debian), &[held], &[offer("bash", "5.2-1")], Timestamp::now()).decisions[0];
    assert_eq!((decision.state, decision.to_install()), (PatchState::Missing, None));
    assert!(decision.reason.starts_with("held back by the administrator"), "{}", decision.reason);
}

#[test]
fn dependency_that_is_not_on_the_list_is_refused_and_rejection_does_not_count() {
    let list = listing(Os::RockyLinux, &[("bash", "5.2-1")]);
    assert_eq!(forbidden(&list, "bash", "x86_64", "5.2-1"), None);
    assert_eq!(
        forbidden(&list, "libnew", "x86_64", "1-1").as_deref(),
        Some("it needs `libnew` 1-1, which is not on the InstallOverrideList")
    );
    assert!(forbidden(&list, "bash", "x86_64", "5.3-1").is_some());
    // Where the unit is the patch, what a patch brings is its own affair.
    assert_eq!(forbidden(&listing(Os::Suse, &[("SUSE-1", "")]), "libnew", "x86_64", "1-1"), None);
    // Without a list the baseline decides.
    let baseline = listing(Os::RockyLinux, &[]);
    assert_eq!(
        forbidden(&baseline, "bash", "x86_64", "5.2-1").as_deref(),
        Some("it needs `bash` 5.2-1, which pattern `*` rejects")
    );
}

#[test]
fn patches_are_listed_by_id_and_those_that_are_not_needed_are_left_alone() {
    let patch = |id: &str, status| Patch { id: id.into(), status, ..Patch::default() };
    let patches = [
        patch("KB1", PatchStatus::Needed),
        patch("KB2", PatchStatus::Needed),
        patch("KB3", PatchStatus::NotApplicable),
        patch("KB4", PatchStatus::Installed),
    ];
    let list = listing(Os::Windows, &[("kb1", ""), ("KB3", ""), ("KB4", "")]);
    let evaluation = judge_patches(&list, &node(Os::Windows), &patches, Timestamp::now());
    let seen: Vec<_> = evaluation.decisions.iter().map(|d| (d.name.as_str(), d.state)).collect();
    assert_eq!(seen, [("KB1", PatchState::Missing), ("KB4", PatchState::Installed)]);
}

#[test]
fn without_a_list_the_rules_judge() {
    let (os, now) = (Os::RockyLinux, Timestamp::now());
    let baseline = listing(os, &[]);
    let (here, there) = ([installed("bash", "5.1-1")], [offer("bash", "5.2-1")]);
    let by_rules = crate::baseline::evaluate(&baseline.rules, &node(os), &here, &there, now);
    assert_eq!(judge(&baseline, &node(os), &here, &there, now), by_rules);
    assert_eq!(by_rules.decisions[0].state, PatchState::InstalledRejected);
}
