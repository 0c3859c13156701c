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
