//! Compliance of patches and of what other programs put.

use jiff::Timestamp;
use patchwave_platform::store::baselines::predefined_id;
use patchwave_platform::store::invocations::NewInvocation;
use patchwave_schemas::CommandId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::report::NodeScanned;
use serde_json::{Value, json};

use crate::support::Harness;

async fn scan(api: &Harness, node: &str, patches: &[(&str, PatchState, ComplianceLevel)]) {
    let patches = patches.iter().map(|(name, state, level)| PatchRecord {
        kb_id: format!("{name}.amd64"),
        title: format!("{name}.amd64:1.0"),
        classification: "Security".to_owned(),
        severity: "Important".to_owned(),
        state: *state,
        counts_against: false,
        compliance_level: *level,
        cve_ids: Vec::new(),
        released_at: None,
        released_by: None,
        installed_at: None,
        reason: String::new(),
    });
    let command_id = CommandId::derived(&format!("scan of {node}"));
    let report = NodeScanned {
        node_id: node.parse().expect("an id"),
        command_id,
        baseline_id: predefined_id("AWS-DebianDefaultPatchBaseline"),
        snapshot_id: "s".to_owned(),
        patch_group: "web".to_owned(),
        operation: PatchOperation::Scan,
        reboot_option: None,
        started_at: Timestamp::from_second(1_700_000_000).expect("an instant"),
        finished_at: Timestamp::from_second(1_700_000_100).expect("an instant"),
        patches: patches.collect(),
        not_applicable_count: 0,
        inventory: None,
        next_change: None,
        baseline_version: 0,
    };
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(std::slice::from_ref(&report)).await.expect("stored");
    let baseline_key = Some(format!("{}/web", report.baseline_id));
    let asked = NewInvocation { node_id: report.node_id.clone(), ordinal: 0, baseline_key };
    tx.add_invocations(command_id, &[asked]).await.expect("asked for");
    tx.note_patches(&[report], Timestamp::now()).await.expect("noted");
    tx.commit().await.expect("a commit");
}

fn put(node: &str, statuses: &[(&str, &str)]) -> Value {
    let items: Vec<Value> = statuses
        .iter()
        .map(|(id, status)| {
            json!({ "Id": id, "Title": "a check", "Severity": "HIGH", "Status": status,
            "Details": { "found": "it" } })
        })
        .collect();
    json!({ "ResourceId": node, "ResourceType": "ManagedInstance", "ComplianceType": "Custom:Cis",
        "ExecutionSummary": { "ExecutionTime": 1_700_000_000.5, "ExecutionId": "run-1" }, "Items": items })
}

#[tokio::test]
async fn items_nodes_and_types_are_listed_with_patches_among_them() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..4, &[]).await;
    use {ComplianceLevel as Level, PatchState as State};
    let patches = [
        ("openssl", State::Missing, Level::Critical),
        ("bash", State::Installed, Level::Low),
        ("absent", State::NotApplicable, Level::Low),
    ];
    scan(&api, &nodes[0], &patches).await;
    scan(&api, &nodes[1], &patches[1..]).await;
    api.ok("PutComplianceItems", put(&nodes[0], &[("1.1", "COMPLIANT"), ("1.2", "NON_COMPLIANT")])).await;

    let of = |filters: Value| json!({ "ResourceIds": [nodes[0]], "Filters": filters });
    let all = api.ok("ListComplianceItems", of(json!([]))).await["ComplianceItems"].clone();
    let ids: Vec<_> = all.as_array().expect("a list").iter().map(|item| item["Id"].clone()).collect();
    assert_eq!(ids, ["1.1", "1.2", "bash.amd64", "openssl.amd64"]);
    assert_eq!(all[0]["ExecutionSummary"], json!({ "ExecutionTime": 1_700_000_000.5, "ExecutionId": "run-1" }));
    assert_eq!((&all[3]["Severity"], &all[3]["Details"]["PatchState"]), (&json!("CRITICAL"), &json!("Missing")));
    for (filters, count) in [
        (json!([{ "Key": "Status", "Values": ["NON_COMPLIANT"] }]), 2),
        (json!([{ "Key": "ComplianceType", "Values": ["Custom:"], "Type": "BEGIN_WITH" }]), 2),
        (json!([{ "Key": "Severity", "Values": ["CRITICAL"], "Type": "NOT_EQUAL" }]), 3),
    ] {
        let found = api.ok("ListComplianceItems", of(filters.clone())).await;
        assert_eq!(found["ComplianceItems"].as_array().map(Vec::len), Some(count), "{filters}");
    }

    let pages = api.pages("ListResourceComplianceSummaries", json!({}), 2, "ResourceComplianceSummaryItems").await;
    let resources = pages.concat();
    let shown: Vec<_> = resources
        .iter()
        .map(|one| (one["ResourceId"].clone(), one["ComplianceType"].clone(), one["Status"].clone()))
        .collect();
    assert_eq!(
        shown,
        [
            (json!(nodes[0]), json!("Custom:Cis"), json!("NON_COMPLIANT")),
            (json!(nodes[0]), json!("Patch"), json!("NON_COMPLIANT")),
            (json!(nodes[1]), json!("Patch"), json!("COMPLIANT")),
        ]
    );
    assert_eq!(resources[1]["OverallSeverity"], "CRITICAL");
    assert_eq!(resources[1]["NonCompliantSummary"]["SeveritySummary"]["CriticalCount"], 1);
    assert_eq!(resources[1]["CompliantSummary"]["CompliantCount"], 1);
    let only = json!({ "Filters": [{ "Key": "Status", "Values": ["COMPLIANT"] }] });
    let only = api.ok("ListResourceComplianceSummaries", only).await;
    assert_eq!(only["ResourceComplianceSummaryItems"].as_array().map(Vec::len), Some(1));

    let types = api.ok("ListComplianceSummaries", json!({})).await["ComplianceSummaryItems"].clone();
    assert_eq!(types[1]["ComplianceType"], "Patch");
    assert_eq!(types[1]["CompliantSummary"]["CompliantCount"], 1);
    assert_eq!(types[1]["NonCompliantSummary"]["SeveritySummary"]["CriticalCount"], 1);
}

#[tokio::test]
async fn items_are_replaced_or_merged_and_the_same_content_is_passed_over() {
    let api = Harness::new().await;
    let node = api.nodes(1..2, &[]).await.remove(0);
    let ids = async |api: &Harness| {
        let listed = api.ok("ListComplianceItems", json!({ "ResourceIds": [node] })).await["ComplianceItems"].clone();
        listed.as_array().expect("a list").iter().map(|item| item["Id"].clone()).collect::<Vec<_>>()
    };
    api.ok("PutComplianceItems", put(&node, &[("1", "COMPLIANT")])).await;
    api.ok("PutComplianceItems", put(&node, &[("2", "COMPLIANT")])).await;
    assert_eq!(ids(&api).await, ["2"]);
    let mut partial = put(&node, &[("3", "COMPLIANT")]);
    partial["UploadType"] = json!("PARTIAL");
    partial["ItemContentHash"] = json!("0".repeat(64));
    api.ok("PutComplianceItems", partial).await;
    assert_eq!(ids(&api).await, ["2", "3"]);
    let mut same = put(&node, &[]);
    same["ItemContentHash"] = json!("0".repeat(64));
    api.ok("PutComplianceItems", same).await;
    assert_eq!(ids(&api).await, ["2", "3"]);

    for (changes, code) in [
        (json!({ "ResourceId": "mi-0000000000000ffff" }), "InvalidResourceId"),
        (json!({ "ResourceType": "Rack" }), "InvalidResourceType"),
        (json!({ "ComplianceType": "Patch" }), "ValidationException"),
        (json!({ "Items": [{ "Severity": "HIGH", "Status": "COMPLIANT" }] }), "InvalidItemContentException"),
        (json!({ "Items": [{ "Id": "1", "Severity": "HIGH", "Status": "MAYBE" }] }), "ValidationException"),
        (json!({ "ExecutionSummary": { "ExecutionTime": "yesterday" } }), "ValidationException"),
    ] {
        let mut input = put(&node, &[("1", "COMPLIANT")]);
        for (member, value) in changes.as_object().expect("an object") {
            input[member] = value.clone();
        }
        api.refused("PutComplianceItems", input, code).await;
    }
    for number in 0..10 {
        let mut input = put(&node, &[("1", "COMPLIANT")]);
        input["ComplianceType"] = json!(format!("Custom:T{number}"));
        if number < 9 {
            api.ok("PutComplianceItems", input).await;
        } else {
            api.refused("PutComplianceItems", input, "ComplianceTypeCountLimitExceededException").await;
        }
    }
    api.refused("ListComplianceItems", json!({ "ResourceIds": [node, node] }), "InvalidResourceId").await;
    let unknown = json!({ "Filters": [{ "Key": "Colour", "Values": ["red"] }] });
    api.refused("ListComplianceSummaries", unknown, "InvalidFilter").await;
}

#[tokio::test]
async fn patches_are_known_from_scans_with_what_their_baseline_made_of_them() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..3, &[]).await;
    use {ComplianceLevel as Level, PatchState as State};
    let rejected = ("lib.so", State::InstalledRejected, Level::Unspecified);
    scan(&api, &nodes[0], &[("openssl", State::Missing, Level::Critical), rejected]).await;
    scan(
        &api,
        &nodes[1],
        &[("openssl", State::Installed, Level::Critical), ("mine", State::InstalledOther, Level::Low)],
    )
    .await;
    let titles = |answer: &Value| {
        let patches = answer["Patches"].as_array().expect("a list").iter();
        patches.map(|patch| patch["Title"].clone()).collect::<Vec<_>>()
    };
    let all = api.ok("DescribeAvailablePatches", json!({})).await;
    assert_eq!(titles(&all), ["lib.so.amd64:1.0", "mine.amd64:1.0", "openssl.amd64:1.0"]);
    let shown = &all["Patches"][0];
    assert_eq!((&shown["Name"], &shown["Arch"], &shown["Version"]), (&json!("lib.so"), &json!("amd64"), &json!("1.0")));
    for (filters, count) in [
        (json!([{ "Key": "NAME", "Values": ["open*"] }]), 1),
        (json!([{ "Key": "OPERATING_SYSTEM", "Values": ["UBUNTU"] }]), 0),
        (json!([{ "Key": "CLASSIFICATION", "Values": ["Security"] }, { "Key": "ARCH", "Values": ["amd64"] }]), 3),
    ] {
        let found = api.ok("DescribeAvailablePatches", json!({ "Filters": filters })).await;
        assert_eq!(titles(&found).len(), count, "{filters}");
    }
    let product = json!({ "Filters": [{ "Key": "PRODUCT", "Values": ["Debian12"] }] });
    api.refused("DescribeAvailablePatches", product, "ValidationException").await;

    let id = predefined_id("AWS-DebianDefaultPatchBaseline");
    let operation = "DescribeEffectivePatchesForPatchBaseline";
    let effective = api.ok(operation, json!({ "BaselineId": id })).await["EffectivePatches"].clone();
    let statuses: Vec<_> = effective
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["Patch"]["Name"].clone(), one["PatchStatus"]["DeploymentStatus"].clone()))
        .collect();
    assert_eq!(statuses, [(json!("lib.so"), json!("EXPLICIT_REJECTED")), (json!("openssl"), json!("APPROVED"))]);
    let unknown = json!({ "BaselineId": "pb-00000000000000000" });
    api.refused(operation, unknown, "DoesNotExistException").await;

    let property = |name: &str| json!({ "OperatingSystem": "DEBIAN", "Property": name });
    for (name, expected) in [("PRODUCT", "Debian12"), ("CLASSIFICATION", "Security"), ("PRIORITY", "Important")] {
        let found = api.ok("DescribePatchProperties", property(name)).await;
        assert_eq!(found["Properties"], json!([{ "Name": expected }]), "{name}");
    }
    api.refused("DescribePatchProperties", property("MSRC_SEVERITY"), "ValidationException").await;
}
