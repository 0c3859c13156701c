//! What is known of nodes stays true when time passes and baselines change, without asking them.

use jiff::SignedDuration;
use patchwave_platform::recompute;
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::{Baseline, PatchGroupMapping, predefined_id};

use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{PatchRecord, PatchState};
use patchwave_schemas::report::NodeScanned;

use crate::fixtures::{at, connect, hello, node};
use crate::inventories::{inventory, scanned};
use crate::inventory::{baseline, scan};
use crate::place::Place;

contract! {
    a_changed_baseline_judges_its_nodes_again,
    another_baseline_for_a_group_or_by_default_judges_again,
    a_waiting_period_that_ends_is_noticed,
    a_newer_report_has_the_word,
    a_node_without_an_inventory_is_left_as_it_reported,
    a_scan_by_another_baseline_takes_nothing_away,
    old_states_are_forgotten,
}

/// A baseline that approves security updates so many days after their release, at a version.
fn waiting(days: u32, version: u32) -> Baseline {
    let mut rules = patchwave_engine::baseline::predefined(patchwave_schemas::node::OperatingSystem::Debian).1;
    rules.approval_rules.patch_rules[0].approve_after_days = Some(days);
    Baseline { baseline_version: version, rules, ..baseline(1, "waiting") }
}

async fn prepared(place: &Place, with: &Baseline) -> Store {
    let store = place.open().await;
    connect(&store, &(1..=3).map(|number| hello(number, "s", &[])).collect::<Vec<_>>(), at(0)).await;
    change(&store, with).await;
    make_default(&store, with).await;
    store
}

async fn change(store: &Store, to: &Baseline) {
    let mut tx = store.begin().await.unwrap();
    tx.put_baseline(to).await.unwrap();
    tx.recheck_nodes_of(&to.baseline_id, at(100)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn make_default(store: &Store, baseline: &Baseline) {
    let mut tx = store.begin().await.unwrap();
    let os = baseline.rules.operating_system;
    tx.set_default_baseline(os, &baseline.baseline_id, at(100)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn put(store: &Store, reports: &[NodeScanned]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_patch_reports(reports).await.unwrap();
    tx.put_inventories(reports, at(0)).await.unwrap();
    tx.commit().await.unwrap();
}

/// A report by version 1 of five packages, of which as many are up to date; the others wait.
fn report(number: usize, finished: i64, up_to_date: usize) -> NodeScanned {
    let patches = (0..5).map(|index| PatchRecord {
        kb_id: format!("package-{index}.amd64"),
        title: format!("package-{index}.amd64:1"),
        state: PatchState::InstalledOther,
        counts_against: false,
        installed_at: Some(at(-index)),
        ..scan(1, 1).patches.remove(0)
    });
    NodeScanned {
        baseline_version: 1,
        patches: patches.collect(),
        ..scanned(number, finished, &inventory(5, up_to_date))
    }
}

/// Missing patches, version of the baseline, and whether it was judged again.
async fn stands(store: &Store, number: usize) -> (u32, u32, bool) {
    let state = store.patch_states(&[node(number)]).await.unwrap().remove(0);
    (state.counts.missing_count, state.baseline_version, state.recomputed_at.is_some())
}

async fn a_changed_baseline_judges_its_nodes_again(place: Place) {
    let store = prepared(&place, &waiting(300, 1)).await;
    put(&store, &[report(1, 5, 2), report(2, 5, 5)]).await;
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 0, "nothing has changed");
    change(&store, &waiting(0, 2)).await;
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 2);
    assert_eq!((stands(&store, 1).await, stands(&store, 2).await), ((3, 2, true), (0, 2, true)));
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 0, "it is done once");
    let patches = store.patches_of(&node(1)).await.unwrap().unwrap();
    let missing: Vec<_> = patches.iter().filter(|patch| patch.state == PatchState::Missing).collect();
    assert!(missing.iter().all(|patch| patch.reason.contains("approved by rule 1")), "{missing:?}");
    let there = patches.iter().find(|patch| patch.kb_id == "package-1.amd64").unwrap();
    assert_eq!(there.installed_at, Some(at(-1)), "what only the node knew is kept");
    // Its next report is as any other.
    put(&store, &[report(1, 6, 2)]).await;
    assert_eq!(stands(&store, 1).await, (0, 1, false));
}

async fn another_baseline_for_a_group_or_by_default_judges_again(place: Place) {
    let store = prepared(&place, &waiting(300, 1)).await;
    let at_once = Baseline { baseline_id: BaselineId::from_bits(2), ..waiting(0, 7) };
    change(&store, &at_once).await;
    let in_group = |number, group: &str| NodeScanned { patch_group: group.to_owned(), ..report(number, 5, 2) };
    put(&store, &[in_group(1, "web"), in_group(2, "db"), in_group(3, "")]).await;
    let missing = async |number| stands(&store, number).await.0;

    let os = at_once.rules.operating_system;
    let mapping =
        PatchGroupMapping { patch_group: "web".into(), operating_system: os, baseline_id: at_once.baseline_id.clone() };
    let mut tx = store.begin().await.unwrap();
    tx.register_patch_group(&mapping, at(100)).await.unwrap();
    tx.register_patch_group(&mapping, at(101)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 1, "one node is in the group");
    assert_eq!([missing(1).await, missing(2).await, missing(3).await], [3, 0, 0]);
    let judged = store.patch_states(&[node(1)]).await.unwrap().remove(0);
    assert_eq!((judged.baseline_id, judged.baseline_version), (at_once.baseline_id.clone(), 7));
    // What the first baseline said of it stays known.
    let states = store.baseline_states(&node(1)).await.unwrap();
    assert_eq!(states.len(), 2, "{states:?}");

    let mut tx = store.begin().await.unwrap();
    assert!(tx.deregister_patch_group("web", &at_once.baseline_id, at(300)).await.unwrap());
    assert!(!tx.deregister_patch_group("web", &at_once.baseline_id, at(300)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(recompute::sweep(&store, at(300)).await.unwrap(), 1);
    assert_eq!(missing(1).await, 0, "the default counts again");

    make_default(&store, &at_once).await;
    assert_eq!(recompute::sweep(&store, at(400)).await.unwrap(), 3);
    assert_eq!([missing(1).await, missing(2).await, missing(3).await], [3, 3, 3]);
}

async fn a_waiting_period_that_ends_is_noticed(place: Place) {
    let store = prepared(&place, &waiting(20, 1)).await;
    // The inventory's updates were released 1,000,000 s before; 20 days are 1,728,000 s.
    let ends = at(728_000);
    put(&store, &[NodeScanned { next_change: Some(ends), ..report(1, 5, 2) }]).await;
    assert_eq!(recompute::sweep(&store, ends - SignedDuration::from_secs(1)).await.unwrap(), 0);
    assert_eq!(recompute::sweep(&store, ends).await.unwrap(), 0, "the period ends with this moment");
    assert_eq!(recompute::sweep(&store, ends + SignedDuration::from_millis(1)).await.unwrap(), 1);
    assert_eq!(stands(&store, 1).await, (3, 1, true));
}

async fn a_newer_report_has_the_word(place: Place) {
    let store = prepared(&place, &waiting(0, 2)).await;
    put(&store, &[NodeScanned { next_change: Some(at(6)), ..report(1, 5, 2) }]).await;
    let due = store.due_rechecks(at(200), 10).await.unwrap();
    put(&store, &[report(1, 6, 5)]).await;
    let mut tx = store.begin().await.unwrap();
    let rejudged = due.into_iter().map(|due| patchwave_platform::store::baseline_states::Rejudged {
        patches: scan(1, 4).patches,
        baseline_id: due.baseline_id.clone(),
        due,
        baseline_version: 2,
        not_applicable_count: 0,
        next_change: None,
    });
    tx.put_rejudged(&rejudged.collect::<Vec<_>>(), at(200)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stands(&store, 1).await, (0, 1, false));
}

async fn a_node_without_an_inventory_is_left_as_it_reported(place: Place) {
    let store = prepared(&place, &waiting(0, 1)).await;
    put(&store, &[NodeScanned { inventory: None, ..report(1, 5, 2) }]).await;
    // Rules of a command's own are no version of the baseline.
    put(&store, &[NodeScanned { baseline_version: 0, ..report(2, 5, 2) }]).await;
    change(&store, &waiting(1, 2)).await;
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 1);
    assert_eq!((stands(&store, 1).await, stands(&store, 2).await), ((0, 1, false), (0, 0, false)));
    assert_eq!(recompute::sweep(&store, at(200)).await.unwrap(), 0, "it is given up");
}

async fn a_scan_by_another_baseline_takes_nothing_away(place: Place) {
    let store = prepared(&place, &waiting(0, 1)).await;
    let other = predefined_id("AWS-DebianDefaultPatchBaseline");
    let by_other = NodeScanned { baseline_id: other.clone(), baseline_version: 4, ..scan(1, 3) };
    let by_own = NodeScanned { baseline_version: 1, ..scan(1, 2) };
    put(&store, &[by_own.clone(), by_other]).await;
    put(&store, &[NodeScanned { baseline_version: 2, ..scan(1, 5) }]).await;
    let states = store.baseline_states(&node(1)).await.unwrap();
    let own = by_own.baseline_id;
    let seen: Vec<_> = states
        .iter()
        .map(|state| (state.baseline_id.clone(), state.baseline_version, state.counts.missing_count, state.wrong.len()))
        .collect();
    assert_eq!(seen, [(own.clone(), 2, 5, 5), (other, 4, 3, 3), (own, 1, 2, 2)]);
    assert_eq!(stands(&store, 1).await.0, 5, "SSM's view is the newest");
}

async fn old_states_are_forgotten(place: Place) {
    let store = prepared(&place, &waiting(0, 1)).await;
    put(&store, &[scan(1, 3), scan(2, 10)]).await;
    let mut tx = store.begin().await.unwrap();
    let later = at(5) + patchwave_platform::store::baseline_states::KEPT_FOR;
    assert_eq!(tx.forget_baseline_states(later).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(store.baseline_states(&node(1)).await.unwrap(), []);
    assert_eq!(store.baseline_states(&node(2)).await.unwrap().len(), 1);
}
