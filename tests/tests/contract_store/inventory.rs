//! Patch states and baselines: what nodes reported, and what they are judged by.

use patchwave_engine::baseline::all_predefined;
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::{Baseline, PatchGroupMapping, predefined_id};
use patchwave_platform::store::patch_states::NodePatchState;
use patchwave_schemas::baseline::{
    BaselineRules, ComplianceLevel, PatchRecord, PatchRuleGroup, PatchState, RejectedPatchesAction,
};
use patchwave_schemas::command::{PatchOperation, RebootOption};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, CommandId};

use crate::fixtures::{at, connect, hello, node};
use crate::place::Place;

contract! {
    a_newer_report_replaces_the_older_one,
    an_older_report_never_replaces_a_newer_one,
    the_newest_of_a_batch_counts_whatever_its_order,
    the_last_installation_without_reboot_is_remembered,
    patch_states_are_found_by_node_and_group,
    predefined_baselines_are_there_once_and_keep_their_defaults,
    a_patch_group_keeps_its_first_baseline_of_a_system,
    a_baseline_comes_back_as_it_was_put,
}

/// A baseline for Debian.
pub(crate) fn baseline(number: u128, name: &str) -> Baseline {
    Baseline {
        baseline_id: BaselineId::from_bits(number),
        baseline_version: 1,
        name: name.to_owned(),
        description: Some("it's \"ours\"".to_owned()),
        rules: BaselineRules {
            operating_system: OperatingSystem::Debian,
            global_filters: Default::default(),
            approval_rules: PatchRuleGroup::default(),
            approved_patches: vec!["openssl".to_owned()],
            approved_patches_compliance_level: ComplianceLevel::High,
            approved_patches_enable_non_security: false,
            rejected_patches: Vec::new(),
            rejected_patches_action: RejectedPatchesAction::Block,
            available_security_updates_compliance_status: Default::default(),
        },
        sources: Vec::new(),
        predefined: false,
        created_date: at(0),
        modified_date: at(0),
    }
}

/// A scan of a node that ended at `finished`, with as many missing patches.
pub(crate) fn scan(number: usize, finished: i64) -> NodeScanned {
    let patches = (0..finished).map(|index| PatchRecord {
        kb_id: format!("package-{index}:amd64"),
        title: "it's \"quoted\" 🐎".to_owned(),
        classification: "Security".to_owned(),
        severity: String::new(),
        state: PatchState::Missing,
        counts_against: false,
        compliance_level: ComplianceLevel::Critical,
        cve_ids: Vec::new(),
        released_at: None,
        released_by: None,
        installed_at: None,
        reason: String::new(),
    });
    NodeScanned {
        node_id: node(number),
        command_id: CommandId::derived("scan"),
        baseline_id: BaselineId::from_bits(1),
        snapshot_id: "snapshot".to_owned(),
        patch_group: "web".to_owned(),
        operation: PatchOperation::Scan,
        reboot_option: None,
        started_at: at(finished - 1),
        finished_at: at(finished),
        patches: patches.collect(),
        not_applicable_count: 3,
        inventory: None,
        next_change: None,
        baseline_version: 0,
    }
}

fn install_without_reboot(number: usize, finished: i64) -> NodeScanned {
    let reboot_option = Some(RebootOption::NoReboot);
    NodeScanned { operation: PatchOperation::Install, reboot_option, ..scan(number, finished) }
}

pub(crate) async fn put(store: &Store, reports: &[NodeScanned]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_patch_reports(reports).await.unwrap();
    tx.commit().await.unwrap();
}

async fn stored(store: &Store, number: usize) -> NodePatchState {
    store.patch_states(&[node(number)]).await.unwrap().remove(0)
}

async fn a_newer_report_replaces_the_older_one(place: Place) {
    let store = place.open().await;
    put(&store, &[]).await;
    put(&store, &[scan(1, 5)]).await;
    assert_eq!(stored(&store, 1).await, NodePatchState::of_report(&scan(1, 5)));
    put(&store, &[scan(1, 7)]).await;
    let state = stored(&store, 1).await;
    assert_eq!(state, NodePatchState::of_report(&scan(1, 7)));
    assert_eq!((state.counts.missing_count, state.counts.not_applicable_count), (7, 3));
    assert_eq!(store.patches_of(&node(1)).await.unwrap(), Some(scan(1, 7).patches));
}

async fn an_older_report_never_replaces_a_newer_one(place: Place) {
    let store = place.open().await;
    put(&store, &[scan(1, 7), scan(2, 1)]).await;
    put(&store, &[scan(1, 5), scan(2, 2)]).await;
    assert_eq!(stored(&store, 1).await.finished_at, at(7));
    assert_eq!(store.patches_of(&node(1)).await.unwrap().unwrap().len(), 7);
    assert_eq!(stored(&store, 2).await.finished_at, at(2), "others in the batch are stored");
    // The same report once more is as good.
    put(&store, &[scan(1, 7)]).await;
    assert_eq!(stored(&store, 1).await.finished_at, at(7));
}

async fn the_newest_of_a_batch_counts_whatever_its_order(place: Place) {
    let store = place.open().await;
    put(&store, &[scan(1, 3), scan(2, 9), scan(1, 8), scan(1, 5), scan(2, 4)]).await;
    assert_eq!(stored(&store, 1).await.finished_at, at(8));
    assert_eq!(stored(&store, 2).await.finished_at, at(9));
}

async fn the_last_installation_without_reboot_is_remembered(place: Place) {
    let store = place.open().await;
    // One after the other, and in one batch: it makes no difference.
    put(&store, &[install_without_reboot(1, 3)]).await;
    put(&store, &[scan(1, 5)]).await;
    put(&store, &[install_without_reboot(2, 3), scan(2, 5)]).await;
    for number in [1, 2] {
        let state = stored(&store, number).await;
        assert_eq!((state.finished_at, state.last_no_reboot_install_at), (at(5), Some(at(3))), "node {number}");
    }
    put(&store, &[install_without_reboot(1, 9)]).await;
    let state = stored(&store, 1).await;
    assert_eq!(state.last_no_reboot_install_at, Some(at(9)));
    assert_eq!(state.reboot_option, Some(RebootOption::NoReboot));
}

async fn patch_states_are_found_by_node_and_group(place: Place) {
    let store = place.open().await;
    let other = NodeScanned { patch_group: String::new(), ..scan(3, 1) };
    connect(&store, &[hello(1, "s", &[]), hello(2, "s", &[]), hello(3, "s", &[])], at(0)).await;
    // Node 4 is not managed: it stands for nothing in its group.
    put(&store, &[scan(2, 1), other, scan(4, 1), scan(1, 1)]).await;
    let ids = |states: Vec<NodePatchState>| states.into_iter().map(|state| state.node_id).collect::<Vec<_>>();
    assert_eq!(ids(store.patch_states(&[node(3), node(9), node(1)]).await.unwrap()), [node(1), node(3)]);
    assert_eq!(ids(store.patch_states(&[]).await.unwrap()), []);
    assert_eq!(ids(store.patch_states_of_group("web").await.unwrap()), [node(1), node(2)]);
    assert_eq!(ids(store.patch_states_of_group("").await.unwrap()), [node(3)]);
}

async fn predefined_baselines_are_there_once_and_keep_their_defaults(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let all = store.baselines().await.unwrap();
    assert_eq!(all.len(), all_predefined().len());
    let debian = predefined_id("AWS-DebianDefaultPatchBaseline");
    let default = |baselines: Vec<(OperatingSystem, BaselineId)>| {
        baselines.into_iter().find(|(os, _)| *os == OperatingSystem::Debian).map(|(_, id)| id)
    };
    assert_eq!(default(store.default_baselines().await.unwrap()), Some(debian.clone()));

    // What an operator chose stays when the program starts again.
    let mut tx = store.begin().await.unwrap();
    tx.put_baseline(&baseline(1, "ours")).await.unwrap();
    tx.set_default_baseline(OperatingSystem::Debian, &BaselineId::from_bits(1), at(0)).await.unwrap();
    assert!(tx.is_default_baseline(&BaselineId::from_bits(1)).await.unwrap());
    assert!(!tx.is_default_baseline(&debian).await.unwrap());
    tx.commit().await.unwrap();
    store.ensure_predefined_baselines(at(9)).await.unwrap();
    assert_eq!(default(store.default_baselines().await.unwrap()), Some(BaselineId::from_bits(1)));
    assert_eq!(store.baseline(&debian).await.unwrap().unwrap().created_date, at(0));
    assert_eq!(store.baselines().await.unwrap().len(), all.len() + 1);
}

async fn a_patch_group_keeps_its_first_baseline_of_a_system(place: Place) {
    let store = place.open().await;
    let (first, second) = (baseline(1, "first"), baseline(2, "second"));
    let mapping = |of: &Baseline| PatchGroupMapping {
        patch_group: "it's web".to_owned(),
        operating_system: OperatingSystem::Debian,
        baseline_id: of.baseline_id.clone(),
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_baseline(&first).await.unwrap();
    tx.put_baseline(&second).await.unwrap();
    for one in [&first, &second] {
        assert_eq!(tx.register_patch_group(&mapping(one), at(0)).await.unwrap(), first.baseline_id);
    }
    tx.commit().await.unwrap();
    assert_eq!(store.patch_groups().await.unwrap(), [mapping(&first)]);
    let found = store.baseline_for("it's web", OperatingSystem::Debian).await.unwrap();
    assert_eq!(found.map(|one| one.name), Some("first".to_owned()));
    assert_eq!(store.baseline_for("it's web", OperatingSystem::Ubuntu).await.unwrap(), None);

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.patch_groups_of(&first.baseline_id).await.unwrap(), ["it's web"]);
    assert!(!tx.deregister_patch_group("it's web", &second.baseline_id, at(0)).await.unwrap());
    assert!(tx.deregister_patch_group("it's web", &first.baseline_id, at(0)).await.unwrap());
    assert_eq!(tx.baseline_for("it's web", OperatingSystem::Debian).await.unwrap(), None);
}

async fn a_baseline_comes_back_as_it_was_put(place: Place) {
    let store = place.open().await;
    let one = baseline(1, "one");
    let mut tx = store.begin().await.unwrap();
    tx.put_baseline(&one).await.unwrap();
    let changed = Baseline { modified_date: at(5), ..baseline(1, "changed") };
    tx.put_baseline(&changed).await.unwrap();
    assert_eq!(tx.lock_baseline(&one.baseline_id).await.unwrap(), Some(changed.clone()));
    tx.commit().await.unwrap();
    assert_eq!(store.baseline(&one.baseline_id).await.unwrap(), Some(changed));
    let mut tx = store.begin().await.unwrap();
    tx.delete_baseline(&one.baseline_id).await.unwrap();
    assert_eq!(tx.baseline(&one.baseline_id).await.unwrap(), None);
}
