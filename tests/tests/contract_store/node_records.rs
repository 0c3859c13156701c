//! What is put about nodes: inventory, compliance, and the patches that scans speak of.

use std::collections::BTreeMap;

use patchwave_engine::compliance::ItemCounts;
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::predefined_id;
use patchwave_platform::store::compliance::{ComplianceItem, ComplianceReport, Execution, PATCH, ResourceCompliance};
use patchwave_platform::store::inventory::InventoryItem;
use patchwave_schemas::baseline::{ComplianceLevel, PatchState};
use patchwave_schemas::node::OperatingSystem;

use crate::fixtures::{at, connect, hello, node};
use crate::inventory::{put, scan};
use crate::place::Place;

contract! {
    inventory_is_replaced_by_node_and_type,
    inventory_of_a_type_is_counted_and_deleted,
    compliance_is_replaced_by_node_and_type,
    compliance_of_managed_nodes_is_read_page_by_page_with_patches,
    patches_are_noted_once_for_each_baseline_that_judged,
}

fn item(number: usize, type_name: &str, value: &str) -> InventoryItem {
    InventoryItem {
        node_id: node(number),
        type_name: type_name.to_owned(),
        schema_version: "1.0".to_owned(),
        capture_time: "2026-04-07T14:29:00Z".to_owned(),
        content_hash: Some("it's".to_owned()),
        content: vec![BTreeMap::from([("Name".to_owned(), value.to_owned())])],
    }
}

async fn put_items(store: &Store, items: &[InventoryItem]) {
    let mut tx = store.begin().await.unwrap();
    for item in items {
        tx.put_inventory(item, at(1)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn inventory_is_replaced_by_node_and_type(place: Place) {
    let store = place.open().await;
    let newer = InventoryItem { content_hash: None, ..item(1, "Custom:A", "\"new\" 🐎") };
    put_items(&store, &[item(1, "Custom:A", "old"), item(1, "Custom:B", "b"), item(2, "Custom:A", "c"), newer.clone()])
        .await;
    let types = ["Custom:A".to_owned(), "Custom:C".to_owned()];
    let found = store.inventory_of(&[node(1), node(2), node(3)], &types).await.unwrap();
    assert_eq!(found, [newer.clone(), item(2, "Custom:A", "c")]);
    assert_eq!(store.inventory_of(&[], &types).await.unwrap(), []);
    assert_eq!(store.some_inventory("Custom:B").await.unwrap(), Some(item(1, "Custom:B", "b")));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_inventory(&node(1), "Custom:A").await.unwrap(), Some(newer));
    assert_eq!(tx.lock_inventory(&node(3), "Custom:A").await.unwrap(), None);
}

async fn inventory_of_a_type_is_counted_and_deleted(place: Place) {
    let store = place.open().await;
    let other = InventoryItem { schema_version: "1.1".to_owned(), ..item(3, "Custom:A", "x") };
    put_items(&store, &[item(1, "Custom:A", "x"), item(2, "Custom:A", "x"), other, item(1, "Custom:B", "x")]).await;
    let mut tx = store.begin().await.unwrap();
    let kept = ("Custom:B".to_owned(), "1.0".to_owned(), 1);
    let counted = |version: &str, nodes| ("Custom:A".to_owned(), version.to_owned(), nodes);
    assert_eq!(tx.inventory_types().await.unwrap(), [counted("1.0", 2), counted("1.1", 1), kept.clone()]);
    tx.delete_inventory("Custom:A").await.unwrap();
    assert_eq!(tx.inventory_types().await.unwrap(), [kept]);
    tx.commit().await.unwrap();
}

fn report(number: usize, name: &str, status: &str) -> ComplianceReport {
    let item = ComplianceItem {
        id: "1".to_owned(),
        title: Some("it's".to_owned()),
        severity: ComplianceLevel::High,
        status: status.to_owned(),
        details: BTreeMap::from([("k".to_owned(), "🐎".to_owned())]),
    };
    ComplianceReport {
        node_id: node(number),
        compliance_type: format!("Custom:{name}"),
        execution: Execution { at: at(5), id: None, kind: Some("Check".to_owned()) },
        content_hash: Some("h".to_owned()),
        items: vec![item],
    }
}

async fn compliance_is_replaced_by_node_and_type(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    for report in [report(1, "b", "COMPLIANT"), report(1, "a", "COMPLIANT"), report(1, "b", "NON_COMPLIANT")] {
        tx.put_compliance(&report).await.unwrap();
    }
    assert_eq!(tx.compliance_types().await.unwrap(), ["Custom:a", "Custom:b"]);
    let newer = report(1, "b", "NON_COMPLIANT");
    assert_eq!(tx.lock_compliance(&node(1), "Custom:b").await.unwrap(), Some(newer.clone()));
    assert_eq!(tx.lock_compliance(&node(2), "Custom:b").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.compliance_of(&node(1)).await.unwrap(), [report(1, "a", "COMPLIANT"), newer]);
}

async fn compliance_of_managed_nodes_is_read_page_by_page_with_patches(place: Place) {
    let store = place.open().await;
    // Node 3 reported and is not managed: it is left out.
    connect(&store, &[hello(1, "s", &[]), hello(2, "s", &[])], at(0)).await;
    put(&store, &[scan(1, 2), scan(2, 0), scan(3, 1)]).await;
    let mut tx = store.begin().await.unwrap();
    tx.put_compliance(&report(1, "a", "NON_COMPLIANT")).await.unwrap();
    // As it was stored before items were counted.
    sqlx::query("UPDATE patch_states SET compliance = ''").execute(tx.connection()).await.unwrap();
    tx.commit().await.unwrap();

    let first = store.compliance_after(("", ""), 2).await.unwrap();
    let named = |one: &ResourceCompliance| (one.node_id.clone(), one.compliance_type.clone());
    let names: Vec<_> = first.iter().map(named).collect();
    assert_eq!(names, [(node(1), "Custom:a".to_owned()), (node(1), PATCH.to_owned())]);
    assert_eq!((first[0].counts.is_compliant(), first[0].counts.non_compliant.high_count), (false, 1));
    assert_eq!(first[1].counts.non_compliant.critical_count, 2);
    let rest = store.compliance_after((node(1).as_str(), PATCH), 10).await.unwrap();
    assert_eq!(rest.iter().map(named).collect::<Vec<_>>(), [(node(2), PATCH.to_owned())]);
    assert_eq!(rest[0].counts, ItemCounts::default());
    put(&store, &[scan(1, 3)]).await;
    let counted = store.compliance_after((node(1).as_str(), "Custom:a"), 1).await.unwrap();
    assert_eq!(counted[0].counts.non_compliant.critical_count, 3);
}

async fn patches_are_noted_once_for_each_baseline_that_judged(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let judging = predefined_id("AWS-DebianDefaultPatchBaseline");
    let by = |number, finished: i64, patches: usize| {
        let mut report = scan(number, finished);
        report.baseline_id = judging.clone();
        report.patches.truncate(patches);
        report
    };
    let mut other = by(2, 9, 3);
    other.patches[2].title = "third".to_owned();
    other.patches[2].state = PatchState::InstalledOther;
    // A baseline that is gone has no operating system; what it judged is not shown.
    let stray = scan(3, 1);
    let mut tx = store.begin().await.unwrap();
    tx.note_patches(&[by(1, 5, 1), other, stray]).await.unwrap();
    tx.note_patches(&[]).await.unwrap();
    tx.commit().await.unwrap();
    let known = store.known_patches(Some(&judging)).await.unwrap();
    let shown: Vec<_> = known.iter().map(|one| (one.title.as_str(), one.deployment.as_str())).collect();
    assert_eq!(shown, [("it's \"quoted\" 🐎", "APPROVED"), ("third", "")]);
    assert_eq!((known[0].operating_system, known[0].first_seen_at), (OperatingSystem::Debian, at(9)));
    assert_eq!(store.known_patches(None).await.unwrap(), known);

    // Again within the hour changes nothing; later it does.
    let mut later = by(1, 3_700, 1);
    later.patches[0].state = PatchState::InstalledRejected;
    let mut soon = later.clone();
    soon.finished_at = at(3_600);
    for (report, expected) in [(soon, "APPROVED"), (later, "EXPLICIT_REJECTED")] {
        let mut tx = store.begin().await.unwrap();
        tx.note_patches(&[report]).await.unwrap();
        tx.commit().await.unwrap();
        let known = store.known_patches(Some(&judging)).await.unwrap();
        assert_eq!((known[0].deployment.as_str(), known[0].first_seen_at), (expected, at(9)));
    }
    connect(&store, &[hello(1, "s", &[])], at(0)).await;
    assert_eq!(store.platform_versions(OperatingSystem::Debian).await.unwrap().len(), 1);
    assert_eq!(store.platform_versions(OperatingSystem::Suse).await.unwrap().len(), 0);
}
