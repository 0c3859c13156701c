//! Vulnerabilities by node and nodes by vulnerability.

use patchwave_schemas::baseline::PatchState;
use serde_json::json;

use crate::nodes::report;
use crate::support::Harness;

#[tokio::test]
async fn open_vulnerabilities_are_listed_by_node_and_nodes_by_vulnerability() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..4, &[]).await;
    let mut scans = [&nodes[0], &nodes[1]]
        .map(|node| report(node, "2026-03-02T00:00:00Z", &[PatchState::Missing, PatchState::Installed]));
    for scan in &mut scans {
        scan.patches[0].cve_ids = vec!["CVE-2026-1000".to_owned()];
    }
    scans[0].patches[0].cve_ids.push("CVE-2026-1001".to_owned());
    scans[0].patches[1].cve_ids = vec!["CVE-2020-1000".to_owned()];
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(&scans).await.expect("stored");
    tx.commit().await.expect("a commit");

    let of = |cve: &str| json!({ "CveId": cve });
    let found = api.ok("Patchwave.ListCveNodes", of("cve-2026-1000")).await;
    assert_eq!((&found["CveId"], &found["NeverScannedNodes"]), (&json!("CVE-2026-1000"), &json!(1)));
    let first = &found["Nodes"][0];
    assert_eq!(first["InstanceId"], json!(nodes[0]));
    assert_eq!((&first["ComputerName"], &first["State"]), (&json!("host-1"), &json!("Missing")));
    assert_eq!(first["KBId"], json!(scans[0].patches[0].kb_id));
    assert!(first["ScannedAt"].is_number(), "{first}");
    let pages = api.pages("Patchwave.ListCveNodes", of("CVE-2026-1000"), 1, "Nodes").await;
    let named: Vec<_> = pages.concat().iter().map(|one| one["InstanceId"].clone()).collect();
    assert_eq!(named, nodes[..2]);
    // What is installed is not open.
    assert_eq!(api.ok("Patchwave.ListCveNodes", of("CVE-2020-1000")).await["Nodes"], json!([]));
    let wrong = api.refused("Patchwave.ListCveNodes", of("1000"), "ValidationException").await;
    assert!(wrong.contains("1000"), "{wrong}");

    let on = |node: &str| json!({ "InstanceId": node });
    let open = api.ok("Patchwave.ListNodeCves", on(&nodes[0])).await;
    let names: Vec<_> = open["Cves"].as_array().expect("a list").iter().map(|one| one["CveId"].clone()).collect();
    assert_eq!(names, ["CVE-2026-1000", "CVE-2026-1001"]);
    assert_eq!(open["NeverScanned"], json!(false));
    let never = api.ok("Patchwave.ListNodeCves", on(&nodes[2])).await;
    assert_eq!((&never["NeverScanned"], &never["Cves"]), (&json!(true), &json!([])));
    api.refused("Patchwave.ListNodeCves", on("mi-0000000000000ffff"), "InvalidInstanceId").await;
}
