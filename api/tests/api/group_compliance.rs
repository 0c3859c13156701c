//! Compliance by patch group: now, over time, and when a report is too old to be believed.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::PatchState;
use serde_json::json;

use crate::nodes::report;
use crate::support::Harness;

const STALE_AFTER: &str = "/patchwave/compliance/stale-after-hours";

#[tokio::test]
async fn nodes_are_counted_by_group_and_what_is_old_is_stale() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..5, &[("Patch Group", "web")]).await;
    let now = Timestamp::now();
    let ago = |hours| (now - SignedDuration::from_hours(hours)).to_string();
    let scans = [
        report(&nodes[0], &ago(1), &[PatchState::Missing]),
        report(&nodes[1], &ago(1), &[PatchState::Installed]),
        report(&nodes[2], &ago(30), &[PatchState::Installed]),
    ];
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(&scans).await.expect("stored");
    tx.commit().await.expect("a commit");
    let counts = async || {
        let answer = api.ok("Patchwave.ListGroupCompliance", json!({ "PatchGroup": "web" })).await;
        let group = answer["PatchGroups"][0].clone();
        ["Nodes", "Compliant", "NonCompliant", "Stale", "NeverScanned"].map(|name| group[name].as_u64().expect(name))
    };
    assert_eq!(counts().await, [4, 2, 1, 0, 1]);
    let setting = |hours: &str| json!({ "SettingId": STALE_AFTER, "SettingValue": hours });
    api.ok("UpdateServiceSetting", setting("24")).await;
    assert_eq!(counts().await, [4, 1, 1, 1, 1]);
    for wrong in ["0", "9999", "soon"] {
        let message = api.refused("UpdateServiceSetting", setting(wrong), "ValidationException").await;
        assert!(message.contains(wrong) && message.contains("1 to 8760"), "{message}");
    }
    let id = json!({ "SettingId": STALE_AFTER });
    let read = api.ok("GetServiceSetting", id.clone()).await["ServiceSetting"].clone();
    assert_eq!((&read["SettingValue"], &read["Status"]), (&json!("24"), &json!("Customized")));
    let reset = api.ok("ResetServiceSetting", id).await["ServiceSetting"].clone();
    assert_eq!((&reset["SettingValue"], &reset["Status"]), (&json!("168"), &json!("Default")));
    assert_eq!(counts().await, [4, 2, 1, 0, 1]);

    let groups = api.store.group_compliance(now, SignedDuration::from_hours(24), |_| true).await.expect("counted");
    let mut tx = api.store.begin().await.expect("a transaction");
    for hours in [0, 1, 2] {
        tx.record_compliance(&groups, now - SignedDuration::from_hours(hours)).await.expect("recorded");
    }
    tx.commit().await.expect("a commit");
    let asked = json!({ "PatchGroup": "web", "Since": ago(2) });
    let list = "ComplianceHistory";
    let pages = api.pages("Patchwave.ListComplianceHistory", asked, 1, list).await;
    assert_eq!(pages.concat().len(), 2, "{pages:?}");
    assert_eq!((&pages[0][0]["Stale"], &pages[0][0]["PatchGroup"]), (&json!(1), &json!("web")));
    let none = json!({ "PatchGroup": "db" });
    assert_eq!(api.ok("Patchwave.ListComplianceHistory", none).await[list], json!([]));
}
