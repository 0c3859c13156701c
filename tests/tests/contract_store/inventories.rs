//! What scans saw: stored once for all who share it, and judged again from the store alone.

use std::sync::Arc;

use patchwave_engine::baseline::{
    AvailableVersion, InstalledPackage, Inventory, NodeProfile, Origin, evaluate, predefined,
};
use patchwave_platform::store::Store;
use patchwave_platform::store::baselines::{PatchGroupMapping, predefined_id};
use patchwave_platform::store::inventories::StoredFleet;
use patchwave_schemas::baseline::BaselineRules;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use sqlx::Row as _;

use crate::fixtures::{at, connect, hello, node};
use crate::inventory::{baseline, scan};
use crate::place::Place;

contract! {
    a_stored_inventory_is_judged_as_the_node_judged_it,
    nodes_share_what_they_have_in_common,
    an_older_scan_never_replaces_a_newer_inventory,
    an_inventory_that_cannot_be_read_is_passed_over,
    a_baseline_has_the_nodes_of_its_groups_and_as_default_the_rest,
    what_no_node_has_is_forgotten_after_a_week,
    batches_that_bring_the_same_at_once_store_it_once,
}

const DEBIAN: &str = "AWS-DebianDefaultPatchBaseline";

fn rules() -> BaselineRules {
    predefined(OperatingSystem::Debian).1
}

/// An inventory of as many packages; those from `outdated` on have a security update.
pub(crate) fn inventory(packages: usize, outdated: usize) -> Inventory {
    let origin = Arc::new(Origin { archive: "stable-security".into(), trusted: true, ..Origin::default() });
    let (mut installed, mut available) = (Vec::new(), Vec::new());
    for index in 0..packages {
        let name = format!("package-{index}");
        let version = if index < outdated { "2" } else { "1" };
        installed.push(InstalledPackage {
            name: name.clone(),
            architecture: "amd64".into(),
            version: version.into(),
            priority: "optional".into(),
            // It says nothing about the node's patches, and is of no two nodes the same.
            installed_at: Some(at(packages as i64 * 1_000 + index as i64)),
            ..InstalledPackage::default()
        });
        available.push(AvailableVersion {
            name,
            architecture: "amd64".into(),
            version: "2".into(),
            priority: "optional".into(),
            origins: vec![Arc::clone(&origin)],
            released_at: Some(at(-1_000_000)),
            ..AvailableVersion::default()
        });
    }
    let node =
        NodeProfile { operating_system: OperatingSystem::Debian, version: "12".into(), codename: "bookworm".into() };
    Inventory::of_packages(node, installed, available)
}

pub(crate) fn scanned(number: usize, finished: i64, inventory: &Inventory) -> NodeScanned {
    NodeScanned { inventory: Some(inventory.pack().unwrap()), ..scan(number, finished) }
}

async fn put(store: &Store, reports: &[NodeScanned], seconds: i64) {
    let mut tx = store.begin().await.unwrap();
    tx.put_inventories(reports, at(seconds)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn fleet(store: &Store) -> StoredFleet {
    store.fleet_of(&predefined_id(DEBIAN), OperatingSystem::Debian, None).await.unwrap()
}

async fn prepared(place: &Place, nodes: usize) -> Store {
    let store = place.open().await;
    store.ensure_predefined_baselines(at(0)).await.unwrap();
    let hellos: Vec<_> = (1..=nodes).map(|number| hello(number, "s", &[])).collect();
    connect(&store, &hellos, at(0)).await;
    store
}

async fn rows(store: &Store, table: &'static str) -> i64 {
    let text = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) AS n FROM {table}"));
    sqlx::query(text).fetch_one(store.reader()).await.unwrap().get("n")
}

/// Missing patches of each node, by what is stored.
async fn missing(store: &Store) -> Vec<u32> {
    let stored = fleet(store).await;
    let comparison = stored.fleet.compare(&rules(), &rules(), at(0), 2).unwrap();
    comparison.nodes.iter().map(|node| node.non_compliant_before).collect()
}

async fn a_stored_inventory_is_judged_as_the_node_judged_it(place: Place) {
    let store = prepared(&place, 3).await;
    put(&store, &[], 1).await;
    let inventories = [inventory(9, 2), inventory(5, 5)];
    put(&store, &[scanned(2, 5, &inventories[1]), scanned(1, 5, &inventories[0])], 1).await;
    let stored = fleet(&store).await;
    assert_eq!((&stored.nodes, &stored.unknown), (&vec![node(1), node(2)], &vec![node(3)]));
    for (found, inventory) in stored.fleet.evaluate(&rules(), at(0), 2).unwrap().into_iter().zip(&inventories) {
        let patchwave_engine::baseline::Found::Packages { installed, available } = &inventory.found else {
            unreachable!("it was made of packages")
        };
        let there = evaluate(&rules(), &inventory.node, installed, available, at(0));
        let names = |decisions: &[patchwave_engine::baseline::Decision]| {
            let mut names: Vec<_> =
                decisions.iter().map(|one| (one.title.clone(), one.state, one.reason.clone())).collect();
            names.sort();
            names
        };
        assert_eq!(names(&found.decisions), names(&there.decisions));
    }
}

async fn nodes_share_what_they_have_in_common(place: Place) {
    let store = prepared(&place, 3).await;
    put(&store, &[scanned(1, 5, &inventory(10, 10)), scanned(2, 5, &inventory(10, 10))], 1).await;
    assert_eq!((rows(&store, "inventories").await, rows(&store, "inventory_entries").await), (1, 10));
    // Two packages differ: two entries more, and a list.
    put(&store, &[scanned(3, 5, &inventory(10, 8))], 2).await;
    assert_eq!((rows(&store, "inventories").await, rows(&store, "inventory_entries").await), (2, 12));
    assert_eq!(missing(&store).await, [0, 0, 2]);
}

async fn an_older_scan_never_replaces_a_newer_inventory(place: Place) {
    let store = prepared(&place, 1).await;
    put(&store, &[scanned(1, 7, &inventory(4, 4)), scanned(1, 6, &inventory(4, 1))], 1).await;
    put(&store, &[scanned(1, 5, &inventory(4, 0))], 2).await;
    assert_eq!(missing(&store).await, [0]);
    put(&store, &[scanned(1, 8, &inventory(4, 3))], 3).await;
    assert_eq!(missing(&store).await, [1]);
    put(&store, &[NodeScanned { inventory: None, ..scan(1, 9) }], 4).await;
    assert_eq!(missing(&store).await, [1], "a report without one takes none away");
}

async fn an_inventory_that_cannot_be_read_is_passed_over(place: Place) {
    let store = prepared(&place, 3).await;
    let nonsense = NodeScanned { inventory: Some("!".to_owned()), ..scan(1, 5) };
    put(&store, &[nonsense, scanned(2, 5, &inventory(2, 1)), scan(3, 5)], 1).await;
    let stored = fleet(&store).await;
    assert_eq!((stored.nodes, stored.unknown), (vec![node(2)], vec![node(1), node(3)]));
}

async fn a_baseline_has_the_nodes_of_its_groups_and_as_default_the_rest(place: Place) {
    let store = prepared(&place, 0).await;
    let tags = [&[][..], &[("Patch Group", "web")], &[("PatchGroup", "db")], &[("Patch Group", "web")]];
    let hellos: Vec<_> = (1..).zip(tags).map(|(number, tags)| hello(number, "s", tags)).collect();
    connect(&store, &hellos, at(0)).await;
    put(&store, &(1..=4).map(|number| scanned(number, 5, &inventory(3, number % 4))).collect::<Vec<_>>(), 1).await;
    let web = baseline(7, "web");
    let mut tx = store.begin().await.unwrap();
    tx.put_baseline(&web).await.unwrap();
    let mapping = PatchGroupMapping {
        patch_group: "web".to_owned(),
        operating_system: OperatingSystem::Debian,
        baseline_id: web.baseline_id.clone(),
    };
    tx.register_patch_group(&mapping, at(0)).await.unwrap();
    tx.commit().await.unwrap();
    let of_web = store.fleet_of(&web.baseline_id, OperatingSystem::Debian, None).await.unwrap();
    assert_eq!((of_web.nodes, of_web.groups), (vec![node(2), node(4)], vec!["web".to_owned(), "web".to_owned()]));
    let rest = fleet(&store).await;
    assert_eq!((rest.nodes, rest.groups), (vec![node(1), node(3)], vec![String::new(), "db".to_owned()]));
    let only = [node(1), node(2)];
    let one = store.fleet_of(&predefined_id(DEBIAN), OperatingSystem::Debian, Some(&only)).await.unwrap();
    assert_eq!(one.nodes, [node(1)]);
    let ubuntu = predefined_id("AWS-UbuntuDefaultPatchBaseline");
    assert_eq!(store.fleet_of(&ubuntu, OperatingSystem::Ubuntu, None).await.unwrap(), StoredFleet::default());
}

async fn what_no_node_has_is_forgotten_after_a_week(place: Place) {
    const DAY: i64 = 86_400;
    let store = prepared(&place, 2).await;
    put(&store, &[scanned(1, 1, &inventory(5, 5)), scanned(2, 1, &inventory(5, 5))], 0).await;
    put(&store, &[scanned(1, 2, &inventory(5, 4))], 2 * DAY).await;
    put(&store, &[scanned(2, 2, &inventory(5, 4))], 2 * DAY).await;
    assert_eq!(store.forget_inventories(at(5 * DAY)).await.unwrap(), 0);
    assert_eq!((rows(&store, "inventories").await, rows(&store, "inventory_entries").await), (2, 6));
    assert_eq!(store.forget_inventories(at(8 * DAY)).await.unwrap(), 1, "four of the five are still used");
    assert_eq!((rows(&store, "inventories").await, rows(&store, "inventory_entries").await), (1, 5));
    assert_eq!(missing(&store).await, [1, 1]);
}

async fn batches_that_bring_the_same_at_once_store_it_once(place: Place) {
    let store = prepared(&place, 40).await;
    let batches = (0..4).map(|batch| {
        let store = store.clone();
        tokio::spawn(async move {
            let reports: Vec<_> =
                (1..=10).map(|number| scanned(batch * 10 + number, 5, &inventory(20, number))).collect();
            put(&store, &reports, 1).await;
        })
    });
    for batch in batches.collect::<Vec<_>>() {
        batch.await.unwrap();
    }
    // 20 outdated packages less those that are never, and 10 up to date ones.
    assert_eq!((rows(&store, "inventories").await, rows(&store, "inventory_entries").await), (10, 19 + 10));
    let expected: Vec<u32> = (0..40).map(|index| 19 - index % 10).collect();
    assert_eq!(missing(&store).await, expected);
}
