//! What is put about nodes: inventory, compliance, and the patches that scans speak of.

use std::collections::BTreeMap;

use patchwave_engine::compliance::ItemCounts;
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::predefined_id;
use patchwave_platform::store::compliance::{ComplianceItem, ComplianceReport, Execution, PATCH, ResourceCompliance};
use patchwave_platform::store::inventory::InventoryItem;
use patchwave_platform::store::invocations::NewInvocation;
use patchwave_platform::store::known_patches::{KnownPatch, PatchFilter, PatchProperty};
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, CommandId};

use crate::fixtures::{at, connect, hello, node};
use crate::inventory::{put, scan};
use crate::place::Place;

contract! {
    inventory_is_replaced_by_node_and_type,
    inventory_of_a_type_is_counted_and_deleted,
    compliance_is_replaced_by_node_and_type,
    compliance_of_managed_nodes_is_read_page_by_page_with_patches,
    what_was_known_of_a_removed_node_is_gone,
    patches_are_noted_once_for_each_baseline_that_judged,
    patch_is_as_old_as_the_first_report_and_as_said_by_the_last,
    patches_are_noted_by_the_baseline_that_the_command_gave,
    titles_that_are_stored_alike_are_one_patch,
    patches_are_listed_by_title_and_filter,
    patches_that_nobody_speaks_of_are_forgotten_a_few_at_a_time,
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

async fn what_was_known_of_a_removed_node_is_gone(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "s", &[]), hello(2, "s", &[])], at(0)).await;
    put(&store, &[scan(1, 2), scan(2, 2)]).await;
    put_items(&store, &[item(1, "Custom:A", "x"), item(2, "Custom:A", "x")]).await;
    let mut tx = store.begin().await.unwrap();
    for number in [1, 2] {
        tx.put_compliance(&report(number, "a", "COMPLIANT")).await.unwrap();
    }
    assert!(tx.remove_node(&node(1)).await.unwrap());
    assert!(!tx.remove_node(&node(1)).await.unwrap());
    tx.commit().await.unwrap();
    let both = [node(1), node(2)];
    let states: Vec<_> = store.patch_states(&both).await.unwrap().into_iter().map(|state| state.node_id).collect();
    assert_eq!(states, [node(2)]);
    assert_eq!(store.inventory_of(&both, &["Custom:A".to_owned()]).await.unwrap(), [item(2, "Custom:A", "x")]);
    assert_eq!(store.compliance_of(&node(1)).await.unwrap(), []);
    assert_eq!(store.compliance_of(&node(2)).await.unwrap().len(), 1);
}

/// The baseline that judges in the cases below.
fn judging() -> BaselineId {
    predefined_id("AWS-DebianDefaultPatchBaseline")
}

/// A report with as many patches, of a scan that was asked for by that baseline.
async fn asked(store: &Store, number: usize, patches: usize) -> NodeScanned {
    let command_id = CommandId::derived(&format!("scan of {number}"));
    let report = NodeScanned { command_id, baseline_id: judging(), ..scan(number, 9) };
    let baseline_key = Some(format!("{}/web", judging()));
    let mut tx = store.begin().await.unwrap();
    let invocation = NewInvocation { node_id: node(number), ordinal: 0, baseline_key };
    tx.add_invocations(command_id, &[invocation]).await.unwrap();
    tx.commit().await.unwrap();
    let titled = |(index, patch)| PatchRecord { title: format!("{index}"), ..patch };
    let records = report.patches.into_iter().take(patches).enumerate().map(titled).collect();
    NodeScanned { patches: records, ..report }
}

async fn note(store: &Store, reports: &[NodeScanned], seconds: i64) {
    let mut tx = store.begin().await.unwrap();
    tx.note_patches(reports, at(seconds)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn known(store: &Store) -> Vec<KnownPatch> {
    store.known_patches_of(&judging(), "", 100).await.unwrap()
}

async fn patches_are_noted_once_for_each_baseline_that_judged(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let mut other = asked(&store, 2, 3).await;
    other.patches[2].state = PatchState::InstalledOther;
    note(&store, &[asked(&store, 1, 1).await, other], 5).await;
    note(&store, &[], 6).await;
    let shown: Vec<_> = known(&store).await.into_iter().map(|one| (one.title, one.deployment)).collect();
    let expected = [("0", "APPROVED"), ("1", "APPROVED"), ("2", "")];
    assert_eq!(shown, expected.map(|(title, deployment)| (title.to_owned(), deployment.to_owned())));
    connect(&store, &[hello(1, "s", &[])], at(0)).await;
    assert_eq!(store.platform_versions(OperatingSystem::Debian).await.unwrap().len(), 1);
    assert_eq!(store.platform_versions(OperatingSystem::Suse).await.unwrap().len(), 0);
}

async fn patch_is_as_old_as_the_first_report_and_as_said_by_the_last(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let report = asked(&store, 1, 1).await;
    note(&store, std::slice::from_ref(&report), 5).await;
    let mut rejected = report;
    rejected.patches[0].state = PatchState::InstalledRejected;
    // The node's own clock says nothing.
    rejected.finished_at = "9999-12-01T00:00:00Z".parse().unwrap();
    // Again within the hour changes nothing; later it does.
    for (seconds, expected) in [(3_605, "APPROVED"), (3_606, "EXPLICIT_REJECTED")] {
        note(&store, std::slice::from_ref(&rejected), seconds).await;
        let known = known(&store).await;
        assert_eq!((known[0].deployment.as_str(), known[0].first_seen_at), (expected, at(5)));
        assert_eq!(known[0].operating_system, OperatingSystem::Debian);
    }
}

async fn patches_are_noted_by_the_baseline_that_the_command_gave(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let report = asked(&store, 1, 1).await;
    let another = NodeScanned { baseline_id: predefined_id("AWS-UbuntuDefaultPatchBaseline"), ..report.clone() };
    let unasked = NodeScanned { command_id: CommandId::derived("nobody's"), ..report.clone() };
    let of_another = NodeScanned { node_id: node(2), ..report.clone() };
    note(&store, &[another, unasked, of_another], 5).await;
    assert_eq!(store.known_patches_from(&PatchFilter::default(), "", 10).await.unwrap(), []);
    note(&store, &[report], 5).await;
    assert_eq!(known(&store).await.len(), 1);
}

async fn titles_that_are_stored_alike_are_one_patch(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let mut report = asked(&store, 1, 2).await;
    report.patches[0].title = "a\0b".to_owned();
    report.patches[1].title = "a\u{fffd}b".to_owned();
    note(&store, &[report], 5).await;
    assert_eq!(known(&store).await.len(), 1);
}

async fn patches_are_listed_by_title_and_filter(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let mut report = asked(&store, 1, 4).await;
    report.patches[3].classification = String::new();
    note(&store, &[report], 5).await;
    let titles = async |filter: &PatchFilter, from: &str, count: u32| -> Vec<String> {
        let found = store.known_patches_from(filter, from, count).await.unwrap();
        found.into_iter().map(|patch| patch.title).collect()
    };
    let all = PatchFilter::default();
    assert_eq!(titles(&all, "", 2).await, ["0", "1"]);
    assert_eq!(titles(&all, "1", 9).await, ["1", "2", "3"]);
    let some = |value: &str| Some(vec![value.to_owned(), "other".to_owned()]);
    assert_eq!(titles(&PatchFilter { kb_ids: some("package-2:amd64"), ..all.clone() }, "", 9).await, ["2"]);
    assert_eq!(titles(&PatchFilter { classifications: some("Security"), ..all.clone() }, "1", 9).await, ["1", "2"]);
    assert_eq!(titles(&PatchFilter { severities: some("High"), ..all.clone() }, "", 9).await, [""; 0]);
    assert_eq!(titles(&PatchFilter { operating_systems: some("SUSE"), ..all.clone() }, "", 9).await, [""; 0]);
    let behind = store.known_patches_of(&judging(), "1", 1).await.unwrap();
    assert_eq!(behind.iter().map(|patch| patch.title.as_str()).collect::<Vec<_>>(), ["2"]);
    let values = store.patch_properties(OperatingSystem::Debian, PatchProperty::Classification).await.unwrap();
    assert_eq!(values, ["Security"]);
    let values = store.patch_properties(OperatingSystem::Debian, PatchProperty::Severity).await.unwrap();
    assert_eq!(values, [""; 0]);
}

async fn patches_that_nobody_speaks_of_are_forgotten_a_few_at_a_time(place: Place) {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    note(&store, &[asked(&store, 1, 3).await], 0).await;
    note(&store, &[asked(&store, 2, 1).await], 86_400).await;
    let month = 30 * 86_400;
    assert!(!store.has_forgettable_patches(at(month)).await.unwrap());
    assert!(store.has_forgettable_patches(at(month + 1)).await.unwrap());
    let mut tx = store.begin().await.unwrap();
    let mut forgotten = Vec::new();
    for _ in 0..3 {
        forgotten.push(tx.forget_patches(at(month + 1), 1).await.unwrap());
    }
    tx.commit().await.unwrap();
    assert_eq!(forgotten, [1, 1, 0]);
    let left: Vec<_> = known(&store).await.into_iter().map(|patch| patch.title).collect();
    assert_eq!(left, ["0"]);
}
