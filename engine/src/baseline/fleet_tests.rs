//! Tables and properties of a fleet's evaluation: the same as judging each node by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, PatchState, RejectedPatchesAction};
use patchwave_schemas::node::OperatingSystem;
use proptest::prelude::*;

use super::super::{
    AvailableVersion, Decision, InstalledPackage, Inventory, NodeProfile, Origin, Patch, evaluate, predefined,
};
use super::{Fleet, FleetNode, NodeChange, Standing};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// Version installed or 0, reboot pending, two architectures, newest version offered, security, age.
type Drawn = (u8, bool, bool, u8, bool, i64);
type Node = (NodeProfile, Vec<InstalledPackage>, Vec<AvailableVersion>);

/// A fleet as the store would hold it: every distinct line once.
fn fleet_of(nodes: &[Node]) -> Fleet {
    let mut fleet = Fleet::default();
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    for (profile, installed, available) in nodes {
        let number = fleet.profiles.iter().position(|one| one == profile).unwrap_or_else(|| {
            fleet.profiles.push(profile.clone());
            fleet.profiles.len() - 1
        });
        let inventory = Inventory::of_packages(profile.clone(), installed.clone(), available.clone());
        let entries = inventory.entries();
        let entries = entries.iter().map(|entry| {
            let line = entry.to_line();
            *known.entry(line.clone()).or_insert_with(|| {
                fleet.lines.push(line);
                fleet.lines.len() as u32 - 1
            })
        });
        let entries = entries.collect();
        fleet.nodes.push(FleetNode { profile: number as u32, entries });
    }
    fleet
}

fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let security = Arc::new(Origin { archive: "stable-security".into(), trusted: true, ..Origin::default() });
    let plain = Arc::new(Origin { archive: "stable".into(), trusted: true, ..Origin::default() });
    // For each of eight names: not there, installed at a version, pending a reboot, what is offered.
    let package = (0_u8..4, any::<bool>(), any::<bool>(), 0_u8..4, any::<bool>(), 0_i64..20);
    let node = (any::<bool>(), prop::collection::vec(package, 8));
    prop::collection::vec(node, 1..12).prop_map(move |nodes| {
        let of_node = |(is_new, packages): &(bool, Vec<Drawn>)| {
            let version = if *is_new { "13" } else { "12" };
            let profile = NodeProfile {
                operating_system: OperatingSystem::Debian,
                version: version.into(),
                codename: String::new(),
            };
            let (mut installed, mut available) = (Vec::new(), Vec::new());
            for (index, (at, reboot, both, offered, is_security, days)) in packages.iter().enumerate() {
                let name = format!("package-{index}");
                for architecture in ["amd64", "i386"].into_iter().take(if *both { 2 } else { 1 }) {
                    if *at > 0 {
                        installed.push(InstalledPackage {
                            name: name.clone(),
                            architecture: architecture.into(),
                            version: at.to_string(),
                            priority: "optional".into(),
                            pending_reboot: *reboot,
                            ..InstalledPackage::default()
                        });
                    }
                    for version in 1..=*offered {
                        available.push(AvailableVersion {
                            name: name.clone(),
                            architecture: architecture.into(),
                            version: version.to_string(),
                            priority: "optional".into(),
                            origins: vec![Arc::clone(if *is_security { &security } else { &plain })],
                            released_at: Timestamp::from_second(NOW - days * 86_400).ok(),
                            ..AvailableVersion::default()
                        });
                    }
                }
            }
            (profile, installed, available)
        };
        nodes.iter().map(of_node).collect()
    })
}

fn rules() -> impl Strategy<Value = BaselineRules> {
    let list = || prop::collection::vec(0_usize..8, 0..3);
    (any::<bool>(), 0_u32..15, list(), list(), any::<bool>()).prop_map(|(any_kind, days, approved, rejected, block)| {
        let (_, mut rules) = predefined(OperatingSystem::Debian);
        rules.approval_rules.patch_rules[0].enable_non_security = any_kind;
        rules.approval_rules.patch_rules[0].approve_after_days = Some(days);
        rules.approved_patches = approved.iter().map(|index| format!("package-{index}")).collect();
        rules.rejected_patches = rejected.iter().map(|index| format!("package-{index}*")).collect();
        rules.rejected_patches_action =
            if block { RejectedPatchesAction::Block } else { RejectedPatchesAction::AllowAsDependency };
        rules
    })
}

/// What one node's own evaluation says, by package and architecture.
fn decisions_of(node: &Node, rules: &BaselineRules) -> (BTreeMap<String, Decision>, u32) {
    let evaluation = evaluate(rules, &node.0, &node.1, &node.2, now());
    let decisions = evaluation.decisions.into_iter();
    (decisions.map(|decision| (decision.kb_id(), decision)).collect(), evaluation.not_applicable_count)
}

proptest! {
    #[test]
    fn a_fleet_is_judged_as_its_nodes_one_by_one(
        nodes in nodes(), before in rules(), after in rules(), threads in 1_usize..5,
    ) {
        let fleet = fleet_of(&nodes);
        let comparison = fleet.compare(&before, &after, now(), threads).unwrap();
        let mut changes: BTreeMap<String, u64> = BTreeMap::new();
        let mut compliant = (0, 0);
        let mut not_applicable = (0, 0);
        prop_assert_eq!(comparison.nodes.len(), nodes.len());
        for (node, said) in nodes.iter().zip(&comparison.nodes) {
            let (old, not_old) = decisions_of(node, &before);
            let (new, not_new) = decisions_of(node, &after);
            not_applicable.0 += u64::from(not_old);
            not_applicable.1 += u64::from(not_new);
            let wrong = |decisions: &BTreeMap<String, Decision>| {
                decisions.values().filter(|decision| !decision.state.is_compliant()).count() as u32
            };
            let mut expected = NodeChange {
                non_compliant_before: wrong(&old), non_compliant_after: wrong(&new), changed: 0,
            };
            for (name, old) in &old {
                let new = &new[name];
                let key = |one: &Decision| (one.state, one.title.clone(), one.compliance_level);
                if key(old) != key(new) {
                    expected.changed += 1;
                    *changes.entry(format!("{name} {:?} {:?}", Standing::of(old), Standing::of(new))).or_default() += 1;
                }
            }
            compliant.0 += u64::from(expected.non_compliant_before == 0);
            compliant.1 += u64::from(expected.non_compliant_after == 0);
            prop_assert_eq!(*said, expected);
        }
        let said: BTreeMap<String, u64> = comparison.patches.iter()
            .map(|change| (format!("{} {:?} {:?}", change.kb_id, change.before, change.after), change.nodes)).collect();
        prop_assert_eq!(said.len(), comparison.patches.len());
        prop_assert_eq!(said, changes);
        let counts = comparison.counts;
        prop_assert_eq!((counts.0.compliant_nodes, counts.1.compliant_nodes), compliant);
        let absent = PatchState::NotApplicable;
        prop_assert_eq!((counts.0.of(absent), counts.1.of(absent)), not_applicable);

        let again = fleet.evaluate(&after, now(), threads).unwrap();
        for (node, said) in nodes.iter().zip(again) {
            let (expected, not_applicable) = decisions_of(node, &after);
            let decisions: BTreeMap<_, _> =
                said.decisions.into_iter().map(|decision| (decision.kb_id(), decision)).collect();
            prop_assert_eq!((decisions, said.not_applicable_count), (expected, not_applicable));
        }
    }
}

#[test]
fn an_empty_fleet_changes_nothing_and_a_broken_line_is_an_error() {
    let (_, rules) = predefined(OperatingSystem::Debian);
    assert_eq!(Fleet::default().compare(&rules, &rules, now(), 2).unwrap().nodes, []);
    let profile =
        NodeProfile { operating_system: OperatingSystem::Debian, version: String::new(), codename: String::new() };
    let node = FleetNode { profile: 0, entries: vec![0, 7] };
    let broken = Fleet { profiles: vec![profile], lines: vec!["{".into()], nodes: vec![node] };
    assert!(broken.compare(&rules, &rules, now(), 2).is_err());
}

#[test]
fn a_patch_that_is_no_longer_approved_has_no_state_any_more() {
    let patch = Patch {
        id: "SUSE-1".into(),
        classification: "Security".into(),
        severity: "Important".into(),
        ..Patch::default()
    };
    let profile =
        NodeProfile { operating_system: OperatingSystem::Suse, version: "15.6".into(), codename: String::new() };
    let inventory = Inventory::of_patches(profile.clone(), vec![patch]);
    let lines = inventory.entries().iter().map(super::Entry::to_line).collect();
    let fleet = Fleet { profiles: vec![profile], lines, nodes: vec![FleetNode { profile: 0, entries: vec![0] }; 3] };
    let (_, mut before) = predefined(OperatingSystem::Suse);
    before.approved_patches = vec!["SUSE-1".into()];
    let after =
        BaselineRules { approved_patches: Vec::new(), rejected_patches: vec!["SUSE-1".into()], ..before.clone() };
    let comparison = fleet.compare(&before, &after, now(), 2).unwrap();
    let [change] = comparison.patches.as_slice() else { panic!("{comparison:?}") };
    assert_eq!((change.kb_id.as_str(), change.nodes), ("SUSE-1", 3));
    assert_eq!((change.before.state, change.after.state), (Some(PatchState::Missing), None));
    assert_eq!(change.after.reason, "rejected by pattern `SUSE-1`");
    assert_eq!((comparison.counts.0.compliant_nodes, comparison.counts.1.compliant_nodes), (0, 3));
}
