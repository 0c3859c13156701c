//! Patch baselines and patch groups.

use serde_json::{Value, json};

use crate::support::{Harness, id};

fn baseline_input() -> Value {
    json!({
        "Name": "debian-7-days",
        "OperatingSystem": "DEBIAN",
        "ApprovalRules": { "PatchRules": [{
            "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRIORITY", "Values": ["Required", "Important"] }] },
            "ApproveAfterDays": 7,
            "ComplianceLevel": "HIGH",
        }] },
        "RejectedPatches": ["linux-*"],
        "RejectedPatchesAction": "BLOCK",
        "Tags": [{ "Key": "owner", "Value": "ops" }],
    })
}

async fn created(api: &Harness) -> String {
    id(&api.ok("CreatePatchBaseline", baseline_input()).await, "BaselineId")
}

#[tokio::test]
async fn created_baseline_is_read_back() {
    let api = Harness::new().await;
    let baseline_id = created(&api).await;
    let baseline = api.ok("GetPatchBaseline", json!({ "BaselineId": baseline_id })).await;
    for member in ["Name", "OperatingSystem", "RejectedPatches", "RejectedPatchesAction"] {
        assert_eq!(baseline[member], baseline_input()[member], "{member}");
    }
    let rule = &baseline["ApprovalRules"]["PatchRules"][0];
    assert_eq!((&rule["ApproveAfterDays"], &rule["ComplianceLevel"]), (&json!(7), &json!("HIGH")));
    assert_eq!(baseline["ApprovedPatchesComplianceLevel"], "UNSPECIFIED");
    assert_eq!(baseline["PatchGroups"], json!([]));
    let tags = json!({ "ResourceType": "PatchBaseline", "ResourceId": baseline_id });
    assert_eq!(api.ok("ListTagsForResource", tags).await["TagList"], baseline_input()["Tags"]);
}

#[tokio::test]
async fn wrong_baselines_are_refused_with_field_value_and_what_is_allowed() {
    let api = Harness::new().await;
    for (member, value, needles) in [
        ("Name", json!("a"), &["'name'"][..]),
        ("OperatingSystem", json!("PLAN9"), &["'operatingSystem'", "'PLAN9'", "DEBIAN"]),
        ("ApprovedPatches", json!(vec!["x"; 51]), &["'approvedPatches'", "less than or equal to 50"]),
        (
            "ApprovalRules",
            json!({ "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 361 }] }),
            &["approvalRules.patchRules.1.member.approveAfterDays", "361", "360"],
        ),
        ("AvailableSecurityUpdatesComplianceStatus", json!("MAYBE"), &["MAYBE", "NON_COMPLIANT"]),
    ] {
        let mut input = baseline_input();
        input[member] = value;
        let message = api.refused("CreatePatchBaseline", input, "ValidationException").await;
        for needle in needles {
            assert!(message.contains(needle), "{message} lacks {needle}");
        }
    }
    let id = "pb-00000000000000000";
    api.refused("GetPatchBaseline", json!({ "BaselineId": id }), "DoesNotExistException").await;
    api.refused("GetPatchBaseline", json!({ "BaselineId": "short" }), "ValidationException").await;
    let other = "something-else-entirely";
    api.refused("GetPatchBaseline", json!({ "BaselineId": other }), "InvalidResourceId").await;
}

#[tokio::test]
async fn update_replaces_lists_whole_and_replace_clears_the_rest() {
    let api = Harness::new().await;
    let baseline_id = created(&api).await;
    let patch = json!({ "BaselineId": baseline_id, "RejectedPatches": ["vim*"] });
    let patched = api.ok("UpdatePatchBaseline", patch).await;
    assert_eq!(patched["RejectedPatches"], json!(["vim*"]));
    assert_eq!(patched["RejectedPatchesAction"], "BLOCK");
    let put = json!({ "BaselineId": baseline_id, "Name": "put", "Replace": true });
    let replaced = api.ok("UpdatePatchBaseline", put).await;
    assert_eq!(replaced["RejectedPatches"], json!([]));
    assert_eq!(replaced["OperatingSystem"], "DEBIAN");
}

#[tokio::test]
async fn every_operating_system_has_a_default_until_another_is_registered() {
    let api = Harness::new().await;
    let debian = json!({ "OperatingSystem": "DEBIAN" });
    let original = id(&api.ok("GetDefaultPatchBaseline", debian.clone()).await, "BaselineId");
    let baseline = api.ok("GetPatchBaseline", json!({ "BaselineId": original })).await;
    assert_eq!(baseline["Name"], "AWS-DebianDefaultPatchBaseline");
    let windows = api.ok("GetDefaultPatchBaseline", json!({})).await;
    assert_eq!(windows["OperatingSystem"], "WINDOWS");

    let own = created(&api).await;
    api.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": own })).await;
    assert_eq!(id(&api.ok("GetDefaultPatchBaseline", debian.clone()).await, "BaselineId"), own);
    api.refused("DeletePatchBaseline", json!({ "BaselineId": own }), "ResourceInUseException").await;

    // A start must not undo the choice; the ARN of the original does.
    api.store.ensure_predefined_baselines(jiff::Timestamp::now()).await.expect("predefined baselines");
    assert_eq!(id(&api.ok("GetDefaultPatchBaseline", debian.clone()).await, "BaselineId"), own);
    let arn = format!("arn:aws:ssm:local:000000000000:patchbaseline/{original}");
    api.ok("RegisterDefaultPatchBaseline", json!({ "BaselineId": arn })).await;
    assert_eq!(id(&api.ok("GetDefaultPatchBaseline", debian).await, "BaselineId"), original);
    api.ok("DeletePatchBaseline", json!({ "BaselineId": own })).await;
    api.ok("DeletePatchBaseline", json!({ "BaselineId": own })).await;
}

#[tokio::test]
async fn predefined_baselines_cannot_be_changed_or_deleted() {
    let api = Harness::new().await;
    let baseline_id = id(&api.ok("GetDefaultPatchBaseline", json!({})).await, "BaselineId");
    for operation in ["UpdatePatchBaseline", "DeletePatchBaseline"] {
        let message = api.refused(operation, json!({ "BaselineId": baseline_id }), "ValidationException").await;
        assert!(message.contains("predefined"), "{message}");
    }
}

#[tokio::test]
async fn baselines_are_listed_by_owner_system_and_page() {
    let api = Harness::new().await;
    let own = created(&api).await;
    let mine = json!({ "Filters": [{ "Key": "OWNER", "Values": ["Self"] }] });
    let list = api.ok("DescribePatchBaselines", mine).await;
    assert_eq!(list["BaselineIdentities"].as_array().expect("a list").len(), 1);
    assert_eq!(list["BaselineIdentities"][0]["BaselineId"], json!(own));
    assert_eq!(list["BaselineIdentities"][0]["DefaultBaseline"], false);
    let debian = json!({ "Filters": [{ "Key": "OPERATING_SYSTEM", "Values": ["DEBIAN"] }] });
    let pages = api.pages("DescribePatchBaselines", debian, 1, "BaselineIdentities").await;
    assert_eq!(pages.concat().len(), 2);
}

#[tokio::test]
async fn patch_group_has_one_baseline_for_each_operating_system() {
    let api = Harness::new().await;
    let (first, second) = (created(&api).await, created(&api).await);
    let register = |id: &str| json!({ "BaselineId": id, "PatchGroup": "Web Servers" });
    api.ok("RegisterPatchBaselineForPatchGroup", register(&first)).await;
    api.ok("RegisterPatchBaselineForPatchGroup", register(&first)).await;
    let message = api.refused("RegisterPatchBaselineForPatchGroup", register(&second), "AlreadyExistsException").await;
    assert!(message.contains("Web Servers") && message.contains("DEBIAN") && message.contains(&first), "{message}");

    let asked = json!({ "PatchGroup": "Web Servers", "OperatingSystem": "DEBIAN" });
    assert_eq!(id(&api.ok("GetPatchBaselineForPatchGroup", asked.clone()).await, "BaselineId"), first);
    let other_case = json!({ "PatchGroup": "web servers", "OperatingSystem": "DEBIAN" });
    let default = api.ok("GetDefaultPatchBaseline", json!({ "OperatingSystem": "DEBIAN" })).await;
    let fallback = api.ok("GetPatchBaselineForPatchGroup", other_case).await;
    assert_eq!(fallback["BaselineId"], default["BaselineId"], "names are compared exactly");

    let groups = api.ok("DescribePatchGroups", json!({})).await;
    assert_eq!(groups["Mappings"][0]["PatchGroup"], "Web Servers");
    assert_eq!(groups["Mappings"][0]["BaselineIdentity"]["BaselineId"], json!(first));
    api.refused("DeletePatchBaseline", json!({ "BaselineId": first }), "ResourceInUseException").await;
    api.ok("DeregisterPatchBaselineForPatchGroup", register(&first)).await;
    api.ok("DeletePatchBaseline", json!({ "BaselineId": first })).await;
    api.ok("RegisterPatchBaselineForPatchGroup", register(&second)).await;
}

/// A node whose inventory holds these packages, each with a security update to version 2.
async fn scanned(api: &Harness, node: &str, outdated: &[&str]) {
    use std::sync::Arc;

    use patchwave_engine::baseline::{AvailableVersion, InstalledPackage, Inventory, NodeProfile, Origin};

    let origin = Arc::new(Origin { archive: "stable-security".to_owned(), trusted: true, ..Origin::default() });
    let package = |name: &&str| InstalledPackage {
        name: (*name).to_owned(),
        architecture: "amd64".to_owned(),
        version: "1".to_owned(),
        priority: "optional".to_owned(),
        ..InstalledPackage::default()
    };
    let offer = |name: &&str| AvailableVersion {
        name: (*name).to_owned(),
        architecture: "amd64".to_owned(),
        version: "2".to_owned(),
        priority: "optional".to_owned(),
        origins: vec![Arc::clone(&origin)],
        released_at: Some(jiff::Timestamp::UNIX_EPOCH),
        ..AvailableVersion::default()
    };
    let profile = NodeProfile {
        operating_system: patchwave_schemas::node::OperatingSystem::Debian,
        version: "12".to_owned(),
        codename: String::new(),
    };
    let (installed, available) = (outdated.iter().map(package).collect(), outdated.iter().map(offer).collect());
    let inventory = Inventory::of_packages(profile, installed, available).pack().expect("it is small");
    let report = patchwave_schemas::report::NodeScanned {
        inventory: Some(inventory),
        ..crate::nodes::report(node, "2026-01-01T00:00:00Z", &[])
    };
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_inventories(&[report], jiff::Timestamp::now()).await.expect("stored");
    tx.commit().await.expect("a commit");
}

#[tokio::test]
async fn a_preview_shows_what_changes_and_saves_nothing() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..4, &[]).await;
    scanned(&api, &nodes[0], &["openssl", "vim"]).await;
    scanned(&api, &nodes[1], &["vim"]).await;
    let default = api.ok("GetDefaultPatchBaseline", json!({ "OperatingSystem": "DEBIAN" })).await;
    let baseline = &default["BaselineId"];
    let input = json!({ "BaselineId": baseline, "RejectedPatches": ["vim*"] });
    let preview = api.ok("Patchwave.PreviewPatchBaseline", input.clone()).await;
    let count = |member: &str| preview[member].as_u64().unwrap_or(99);
    assert_eq!((count("Nodes"), count("NodesWithoutInventory"), count("ChangedNodes")), (2, 1, 2), "{preview}");
    assert_eq!((count("NodesTurningCompliant"), count("NodesTurningNonCompliant")), (1, 0));
    assert_eq!((&preview["Before"]["MissingCount"], &preview["After"]["MissingCount"]), (&json!(3), &json!(1)));
    let [patch] = preview["Patches"].as_array().expect("a list").as_slice() else { panic!("{preview}") };
    assert_eq!((&patch["KBId"], &patch["Nodes"]), (&json!("vim.amd64"), &json!(2)));
    assert_eq!((&patch["Before"]["State"], &patch["Before"]["Title"]), (&json!("Missing"), &json!("vim.amd64:2")));
    assert_eq!(patch["After"]["State"], "InstalledOther");
    assert!(patch["After"]["Reason"].as_str().is_some_and(|why| why.contains("vim*")), "{patch}");
    let turned = &preview["NodeChanges"][0];
    assert_eq!((&turned["InstanceId"], &turned["After"]), (&json!(nodes[1]), &json!("COMPLIANT")), "{preview}");
    let unchanged = api.ok("Patchwave.PreviewPatchBaseline", json!({ "BaselineId": baseline })).await;
    assert_eq!((&unchanged["ChangedNodes"], &unchanged["Before"]["MissingCount"]), (&json!(0), &json!(3)));
    let wrong = json!({ "BaselineId": baseline, "ApprovedPatches": vec!["x"; 51] });
    api.refused("Patchwave.PreviewPatchBaseline", wrong, "ValidationException").await;
    let nobodys = json!({ "BaselineId": "pb-00000000000000000" });
    api.refused("Patchwave.PreviewPatchBaseline", nobodys, "DoesNotExistException").await;
}
