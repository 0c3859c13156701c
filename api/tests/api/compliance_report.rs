//! Compliance reports: SSM's columns, as CSV and JSON, answered and stored.

use jiff::Timestamp;
use patchwave_platform::artifacts::Artifacts;
use patchwave_schemas::baseline::{ComplianceLevel, PatchState};
use serde_json::{Value, json};

use crate::nodes::report;
use crate::support::Harness;

async fn fleet() -> (Harness, Vec<String>) {
    let api = Harness::new().await;
    let nodes = api.nodes(1..3, &[("Patch Group", "=1+1")]).await;
    let mut scan = report(&nodes[0], &Timestamp::now().to_string(), &[PatchState::Missing, PatchState::Installed]);
    scan.patches[0].compliance_level = ComplianceLevel::Critical;
    scan.patches[0].cve_ids = vec!["CVE-2026-1".to_owned(), "CVE-2026-2".to_owned()];
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(&[scan]).await.expect("stored");
    tx.commit().await.expect("a commit");
    (api, nodes)
}

#[tokio::test]
async fn summary_has_a_row_for_each_node_scanned_or_not() {
    let (api, nodes) = fleet().await;
    let answer = api.ok("Patchwave.GetComplianceReport", json!({ "Format": "CSV" })).await;
    assert_eq!(answer["Rows"], 2);
    let lines: Vec<&str> = answer["Content"].as_str().expect("a text").lines().collect();
    assert_eq!(
        lines[0],
        "Index,Instance ID,Instance name,Instance IP,Platform name,Platform version,SSM Agent version,Patch baseline,\
         Patch group,Compliance status,Compliance severity,Noncompliant Critical severity patch count,\
         Noncompliant High severity patch count,Noncompliant Medium severity patch count,\
         Noncompliant Low severity patch count,Noncompliant Informational severity patch count,\
         Noncompliant Unspecified severity patch count"
    );
    let first = format!("1,{},host-1,,Debian GNU/Linux,12,0.1.0,pb-", nodes[0]);
    assert!(lines[1].starts_with(&first), "{}", lines[1]);
    assert!(lines[1].ends_with(",'=1+1,NON_COMPLIANT,CRITICAL,1,0,0,0,0,0"), "{}", lines[1]);
    let second = format!("2,{},host-2,,Debian GNU/Linux,12,0.1.0,,'=1+1,NEVER_SCANNED,,0,0,0,0,0,0", nodes[1]);
    assert_eq!(lines[2], second);
    let none = json!({ "Format": "JSON", "PatchGroup": "db" });
    assert_eq!(api.ok("Patchwave.GetComplianceReport", none).await["Content"], "[]");
}

#[tokio::test]
async fn report_of_a_node_has_a_row_for_each_patch() {
    let (api, nodes) = fleet().await;
    let of = |node: &str| json!({ "Format": "JSON", "InstanceId": node });
    let answer = api.ok("Patchwave.GetComplianceReport", of(&nodes[0])).await;
    let rows: Value = serde_json::from_str(answer["Content"].as_str().expect("a text")).expect("JSON");
    let row = &rows[0];
    assert_eq!((&row["Index"], &row["Patch state"]), (&json!(1), &json!("Missing")));
    assert_eq!((&row["CVE ID"], &row["Compliance level"]), (&json!("CVE-2026-1,CVE-2026-2"), &json!("CRITICAL")));
    assert_eq!((row.as_object().expect("an object").len(), answer["Rows"].as_u64()), (17, Some(2)));
    assert_eq!(api.ok("Patchwave.GetComplianceReport", of(&nodes[1])).await["Rows"], 0);
    api.refused("Patchwave.GetComplianceReport", of("mi-0000000000000ffff"), "InvalidInstanceId").await;
    let both = json!({ "Format": "CSV", "InstanceId": nodes[0], "PatchGroup": "web" });
    api.refused("Patchwave.GetComplianceReport", both, "ValidationException").await;
    api.refused("Patchwave.GetComplianceReport", json!({ "Format": "XML" }), "ValidationException").await;
}

#[tokio::test]
async fn stored_report_is_what_is_answered() {
    let (api, nodes) = fleet().await;
    let input = json!({ "Format": "CSV", "InstanceId": nodes[0] });
    api.refused("Patchwave.ExportComplianceReport", input.clone(), "ValidationException").await;
    let artifacts = Artifacts::open("memory:").expect("a store");
    let api = api.with_artifacts(artifacts.clone());
    let stored = api.ok("Patchwave.ExportComplianceReport", input.clone()).await;
    let key = stored["Key"].as_str().expect("a key");
    assert!(key.starts_with(&format!("compliance/{}/", nodes[0])) && key.ends_with(".csv"), "{key}");
    let content = artifacts.get(key).await.expect("an artifact");
    assert_eq!(stored["Bytes"], json!(content.len()));
    let answered = api.ok("Patchwave.GetComplianceReport", input).await;
    assert_eq!(answered["Content"], json!(String::from_utf8(content).expect("text")));
}
