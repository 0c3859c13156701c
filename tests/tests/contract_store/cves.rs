//! Vulnerabilities are found by node and nodes by vulnerability, as the last word on a node has them.

use patchwave_platform::store::Store;
use patchwave_schemas::baseline::{PatchRecord, PatchState};
use patchwave_schemas::report::NodeScanned;

use crate::fixtures::{at, connect, hello, node};
use crate::inventory::scan;
use crate::place::Place;

contract! {
    open_vulnerabilities_are_found_both_ways_and_by_page,
    an_older_report_opens_and_closes_nothing,
    nodes_that_are_gone_are_not_named,
}

/// A report whose patches are missing and mend these.
fn report(number: usize, finished: i64, cves: &[&[&str]]) -> NodeScanned {
    let any = scan(1, 1).patches.remove(0);
    let patches = cves.iter().enumerate().map(|(index, cves)| PatchRecord {
        kb_id: format!("package-{index}.amd64"),
        title: format!("package-{index}.amd64:1"),
        state: PatchState::Missing,
        counts_against: false,
        cve_ids: cves.iter().map(|cve| (*cve).to_owned()).collect(),
        ..any.clone()
    });
    NodeScanned { patches: patches.collect(), ..scan(number, finished) }
}

async fn put(store: &Store, reports: &[NodeScanned]) {
    let mut tx = store.begin().await.unwrap();
    tx.put_patch_reports(reports).await.unwrap();
    tx.commit().await.unwrap();
}

async fn prepared(place: &Place) -> Store {
    let store = place.open().await;
    connect(&store, &(1..=3).map(|number| hello(number, "s", &[])).collect::<Vec<_>>(), at(0)).await;
    store
}

/// Vulnerabilities of a node, each with its patch.
async fn open(store: &Store, number: usize) -> Vec<(String, String)> {
    let found = store.cves_of(&node(number), ("", ""), 100).await.unwrap();
    found.into_iter().map(|one| (one.cve_id, one.kb_id)).collect()
}

fn pair(cve: &str, patch: &str) -> (String, String) {
    (cve.to_owned(), format!("{patch}.amd64"))
}

async fn open_vulnerabilities_are_found_both_ways_and_by_page(place: Place) {
    let store = prepared(&place).await;
    let mut installed = report(3, 5, &[&["CVE-2026-1"]]);
    installed.patches[0].state = PatchState::Installed;
    // The same one twice, and one that a peer spells in small letters or with a NUL.
    let one = report(1, 5, &[&["CVE-2026-1", "CVE-2026-1"], &["CVE-2026-1", "cve-2026-2", "CVE\0"]]);
    put(&store, &[one, report(2, 5, &[&["CVE-2026-1"]]), installed]).await;
    let expected = [pair("CVE-2026-1", "package-0"), pair("CVE-2026-1", "package-1"), pair("CVE-2026-2", "package-1")];
    assert_eq!(open(&store, 1).await, expected);
    assert_eq!(open(&store, 3).await, []);
    let mut seen = Vec::new();
    let mut after = (String::new(), String::new());
    loop {
        let page = store.nodes_with_cve("CVE-2026-1", (&after.0, &after.1), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.node_id.to_string(), last.title.clone());
        seen.extend(page.into_iter().map(|one| (one.node_id, one.kb_id)));
    }
    let expected = [(1, "package-0"), (1, "package-1"), (2, "package-0")];
    assert_eq!(seen, expected.map(|(number, patch)| (node(number), format!("{patch}.amd64"))));
    assert_eq!(store.never_scanned_nodes().await.unwrap(), 0);
}

async fn an_older_report_opens_and_closes_nothing(place: Place) {
    let store = prepared(&place).await;
    put(&store, &[report(1, 5, &[&["CVE-2026-1"]])]).await;
    put(&store, &[report(1, 4, &[&["CVE-2026-2"]])]).await;
    assert_eq!(open(&store, 1).await, [pair("CVE-2026-1", "package-0")]);
    put(&store, &[report(1, 6, &[&[]])]).await;
    assert_eq!(open(&store, 1).await, []);
    assert_eq!(store.never_scanned_nodes().await.unwrap(), 2);
}

async fn nodes_that_are_gone_are_not_named(place: Place) {
    let store = prepared(&place).await;
    put(&store, &[report(9, 5, &[&["CVE-2026-1"]])]).await;
    assert_eq!(store.nodes_with_cve("CVE-2026-1", ("", ""), 10).await.unwrap(), []);
}
