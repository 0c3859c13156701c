//! Nodes, their tags, and their patches.

use jiff::Timestamp;
use patchwave_platform::store::baselines::predefined_id;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState, ReleaseDateSource};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, CommandId};
use serde_json::{Value, json};

use crate::support::Harness;

pub(crate) fn report(node: &str, at: &str, states: &[PatchState]) -> NodeScanned {
    let finished_at: Timestamp = at.parse().expect("an instant");
    NodeScanned {
        node_id: node.parse().expect("a node id"),
        command_id: CommandId::derived("scan"),
        baseline_id: BaselineId::from_bits(7),
        snapshot_id: "snapshot".to_owned(),
        patch_group: "web".to_owned(),
        operation: PatchOperation::Scan,
        reboot_option: None,
        started_at: finished_at,
        finished_at,
        patches: states
            .iter()
            .enumerate()
            .map(|(index, state)| PatchRecord {
                kb_id: format!("package-{index:02}.amd64"),
                title: format!("package-{index:02}.amd64:1.0"),
                classification: "Security".to_owned(),
                severity: "Important".to_owned(),
                state: *state,
                counts_against: false,
                compliance_level: ComplianceLevel::Critical,
                cve_ids: Vec::new(),
                released_at: None,
                released_by: None,
                installed_at: None,
                reason: String::new(),
            })
            .collect(),
        not_applicable_count: 3,
        inventory: None,
        next_change: None,
        baseline_version: 0,
    }
}

async fn store(api: &Harness, reports: &[NodeScanned]) {
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(reports).await.expect("stored reports");
    tx.commit().await.expect("a commit");
}

fn ids(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list");
    list.iter().map(|one| one["InstanceId"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn nodes_are_listed_by_page_and_filter() {
    let api = Harness::new().await;
    let mut nodes = api.nodes(1..7, &[("Stage", "prod")]).await;
    nodes.extend(api.nodes(7..9, &[("Stage", "test")]).await);
    let pages = api.pages("DescribeInstanceInformation", json!({}), 5, "InstanceInformationList").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 3]);
    assert_eq!(ids(&Value::Array(pages.concat())), nodes);
    let first = &pages[0][0];
    assert_eq!((&first["PingStatus"], &first["PlatformType"]), (&json!("Online"), &json!("Linux")));
    assert!(first["LastPingDateTime"].is_f64() && first["Simulated"] == true, "{first}");

    for (filters, expected) in [
        (json!([{ "Key": "tag:Stage", "Values": ["test"] }]), &nodes[6..]),
        (json!([{ "Key": "InstanceIds", "Values": [nodes[2], "mi-0000000000000ffff"] }]), &nodes[2..3]),
        (json!([{ "Key": "PingStatus", "Values": ["ConnectionLost"] }]), &[]),
        (json!([{ "Key": "tag-key", "Values": ["Colour"] }]), &[]),
    ] {
        let found = api.ok("DescribeInstanceInformation", json!({ "Filters": filters })).await;
        assert_eq!(ids(&found["InstanceInformationList"]), expected, "{filters}");
    }
    let properties = |key: &str, values: Value, operator: &str| json!({ "FiltersWithOperator": [{ "Key": key, "Values": values, "Operator": operator }] });
    for (input, expected) in [
        (json!({}), &nodes[..]),
        (properties("tag:Stage", json!(["prod"]), "NotEqual"), &nodes[6..]),
        (properties("AgentVersion", json!(["0.1"]), "BeginWith"), &nodes[..]),
        (properties("PingStatus", json!(["Online"]), "Equal"), &nodes[..]),
        (properties("ActivationIds", json!(["00000000-0000-0000-0000-000000000000"]), "Equal"), &[]),
        (json!({ "InstancePropertyFilterList": [{ "key": "InstanceIds", "valueSet": [nodes[1]] }] }), &nodes[1..2]),
    ] {
        let found = api.ok("DescribeInstanceProperties", input.clone()).await;
        assert_eq!(ids(&found["InstanceProperties"]), expected, "{input}");
    }
    let older = json!({ "InstanceInformationFilterList": [{ "key": "PlatformTypes", "valueSet": ["Linux"] }] });
    let found = api.ok("DescribeInstanceInformation", older).await;
    assert_eq!(found["InstanceInformationList"].as_array().expect("a list").len(), 8);
    let unknown = json!({ "Filters": [{ "Key": "Colour", "Values": ["red"] }] });
    api.refused("DescribeInstanceInformation", unknown, "InvalidFilterKey").await;
    for (key, value) in [("PingStatus", "online"), ("PlatformTypes", "linux"), ("ResourceType", "Server")] {
        let wrong = json!({ "Filters": [{ "Key": key, "Values": [value] }] });
        let message = api.refused("DescribeInstanceInformation", wrong, "InvalidInstanceInformationFilterValue").await;
        assert!(message.contains(value), "{message}");
        let code = "InvalidInstancePropertyFilterValue";
        api.refused("DescribeInstanceProperties", properties(key, json!([value]), "NotEqual"), code).await;
    }
    // More filters than a statement may have parts.
    let many: Vec<Value> = (0..1_000).map(|_| json!({ "Key": "tag:Stage", "Values": ["test", "other"] })).collect();
    let found = api.ok("DescribeInstanceInformation", json!({ "Filters": many })).await;
    assert_eq!(ids(&found["InstanceInformationList"]), nodes[6..]);
    let wrong = json!({ "Filters": [{ "Key": "InstanceIds", "Values": ["host-1"] }] });
    api.refused("DescribeInstanceInformation", wrong, "InvalidInstanceId").await;
}

#[tokio::test]
async fn tags_of_nodes_and_windows_are_added_overwritten_and_removed() {
    let api = Harness::new().await;
    let node = api.nodes(1..2, &[("Stage", "prod")]).await.remove(0);
    let window = api.window().await;
    for (kind, id, before) in [("ManagedInstance", node, 1), ("MaintenanceWindow", window, 0)] {
        let with = |more: Value| {
            let mut input = json!({ "ResourceType": kind, "ResourceId": id });
            for (member, value) in more.as_object().expect("an object") {
                input[member] = value.clone();
            }
            input
        };
        for value in ["a", "b"] {
            let tags = with(json!({ "Tags": [{ "Key": "Patch Group", "Value": value }] }));
            assert_eq!(api.ok("AddTagsToResource", tags).await, json!({}));
        }
        let list = api.ok("ListTagsForResource", with(json!({}))).await;
        assert_eq!(list["TagList"].as_array().expect("a list").len(), before + 1);
        assert_eq!(list["TagList"][0], json!({ "Key": "Patch Group", "Value": "b" }));
        api.ok("RemoveTagsFromResource", with(json!({ "TagKeys": ["Patch Group", "none"] }))).await;
        let list = api.ok("ListTagsForResource", with(json!({}))).await;
        assert_eq!(list["TagList"].as_array().expect("a list").len(), before);

        let many: Vec<Value> = (0..51).map(|n| json!({ "Key": format!("k{n}"), "Value": "" })).collect();
        api.refused("AddTagsToResource", with(json!({ "Tags": many })), "ValidationException").await;
        let (most, rest) = many.split_at(49);
        api.ok("AddTagsToResource", with(json!({ "Tags": most }))).await;
        api.refused("AddTagsToResource", with(json!({ "Tags": rest })), "TooManyTagsError").await;
    }
    for (kind, id, code) in [
        ("Parameter", "x", "InvalidResourceType"),
        ("ManagedInstance", "i-1", "InvalidResourceId"),
        ("MaintenanceWindow", "mw-00000000000000000", "InvalidResourceId"),
    ] {
        api.refused("ListTagsForResource", json!({ "ResourceType": kind, "ResourceId": id }), code).await;
    }
}

#[tokio::test]
async fn patch_states_are_those_of_the_newest_report() {
    let api = Harness::new().await;
    let node = "mi-00000000000000001";
    use PatchState::{Installed, Missing};
    store(&api, &[report(node, "2026-03-02T00:00:00Z", &[Missing, Installed])]).await;
    let older = report(node, "2026-03-01T00:00:00Z", &[Missing, Missing, Missing]);
    store(&api, std::slice::from_ref(&older)).await;
    let asked = json!({ "InstanceIds": [node, "mi-00000000000000002"] });
    let states = api.ok("DescribeInstancePatchStates", asked).await;
    let states = states["InstancePatchStates"].as_array().expect("a list");
    assert_eq!(states.len(), 1, "a node without a report is absent");
    for (member, value) in [
        ("InstalledCount", json!(1)),
        ("MissingCount", json!(1)),
        ("NotApplicableCount", json!(3)),
        ("CriticalNonCompliantCount", json!(1)),
        ("Operation", json!("Scan")),
        ("PatchGroup", json!("web")),
        ("OperationEndTime", json!(1_772_409_600.0)),
    ] {
        assert_eq!(states[0][member], value, "{member}");
    }
    // Both in one batch: the newer counts, whichever comes first.
    let newest = report(node, "2026-03-03T00:00:00Z", &[Installed]);
    store(&api, &[newest, older]).await;
    let states = api.ok("DescribeInstancePatchStates", json!({ "InstanceIds": [node] })).await;
    assert_eq!(states["InstancePatchStates"][0]["MissingCount"], 0);
}

#[tokio::test]
async fn patch_group_is_described_node_by_node_and_in_numbers() {
    let api = Harness::new().await;
    use PatchState::{Failed, Installed, Missing};
    let nodes = api.nodes(1..4, &[]).await;
    let reports: Vec<NodeScanned> = [&[Installed][..], &[Missing, Missing], &[Failed]]
        .into_iter()
        .zip(&nodes)
        .map(|(states, node)| report(node, "2026-03-02T00:00:00Z", states))
        .collect();
    store(&api, &reports).await;
    let state = api.ok("DescribePatchGroupState", json!({ "PatchGroup": "web" })).await;
    for (member, nodes) in [
        ("Instances", 3),
        ("InstancesWithMissingPatches", 1),
        ("InstancesWithFailedPatches", 1),
        ("InstancesWithInstalledPatches", 1),
        ("InstancesWithSecurityNonCompliantPatches", 2),
    ] {
        assert_eq!(state[member], nodes, "{member}");
    }
    let filter = |key: &str, comparison: &str| json!({ "PatchGroup": "web", "Filters": [{ "Key": key, "Values": ["1"], "Type": comparison }] });
    let operation = "DescribeInstancePatchStatesForPatchGroup";
    let found = api.ok(operation, filter("MissingCount", "GreaterThan")).await;
    assert_eq!(ids(&found["InstancePatchStates"]), [&nodes[1]]);
    let found = api.ok(operation, filter("MissingCount", "LessThan")).await;
    assert_eq!(found["InstancePatchStates"].as_array().expect("a list").len(), 2);
    api.refused(operation, filter("Colour", "Equal"), "InvalidFilter").await;
    api.refused(operation, filter("MissingCount", "About"), "ValidationException").await;
    api.ok("DeregisterManagedInstance", json!({ "InstanceId": nodes[1] })).await;
    let state = api.ok("DescribePatchGroupState", json!({ "PatchGroup": "web" })).await;
    assert_eq!((&state["Instances"], &state["InstancesWithMissingPatches"]), (&json!(2), &json!(0)));
    let none = api.ok(operation, json!({ "PatchGroup": "db" })).await;
    assert_eq!(none["InstancePatchStates"], json!([]));
}

#[tokio::test]
async fn patches_of_a_node_are_listed_by_page_and_filter() {
    let api = Harness::new().await;
    let node = "mi-00000000000000001";
    let mut states = vec![PatchState::Installed; 11];
    states.push(PatchState::Missing);
    store(&api, &[report(node, "2026-03-02T00:00:00Z", &states)]).await;
    let pages = api.pages("DescribeInstancePatches", json!({ "InstanceId": node }), 10, "Patches").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 2]);
    let filters = json!({ "InstanceId": node, "Filters": [{ "Key": "State", "Values": ["Missing"] }] });
    let missing = api.ok("DescribeInstancePatches", filters).await;
    assert_eq!(missing["Patches"].as_array().expect("a list").len(), 1);
    assert_eq!(missing["Patches"][0]["KBId"], "package-11.amd64");
    assert_eq!(missing["Patches"][0]["InstalledTime"], 0.0);
    let unknown = json!({ "InstanceId": node, "Filters": [{ "Key": "Colour", "Values": ["red"] }] });
    api.refused("DescribeInstancePatches", unknown, "InvalidFilter").await;
    let silent = api.ok("DescribeInstancePatches", json!({ "InstanceId": "mi-00000000000000002" })).await;
    assert_eq!(silent["Patches"], json!([]));
}

#[tokio::test]
async fn a_patch_is_explained_with_its_reason_its_dates_and_its_baseline() {
    let api = Harness::new().await;
    let explain = |node: &str, patch: &str| json!({ "InstanceId": node, "Patch": patch });
    let stranger = "mi-0000000000000ffff";
    let unknown = api.refused("Patchwave.ExplainPatch", explain(stranger, "bash"), "InvalidInstanceId").await;
    assert!(unknown.contains(stranger), "{unknown}");
    let nodes = api.nodes(1..2, &[("Patch Group", "web")]).await;
    let node = nodes[0].as_str();
    let never = api.ok("Patchwave.ExplainPatch", explain(node, "bash")).await;
    assert_eq!((&never["NeverScanned"], &never["PatchCount"]), (&json!(true), &json!(0)));

    let mut scan = report(node, "2026-03-02T00:00:00Z", &[PatchState::Missing, PatchState::Installed]);
    scan.baseline_id = predefined_id("AWS-DebianDefaultPatchBaseline");
    let missing = &mut scan.patches[0];
    missing.reason = "approved by rule 1: released 2026-02-01, 7 days passed".to_owned();
    missing.cve_ids = vec!["CVE-2026-1".to_owned()];
    missing.released_at = Some("2026-02-01T00:00:00Z".parse().expect("an instant"));
    missing.released_by = Some(ReleaseDateSource::Advisory);
    store(&api, &[scan]).await;
    for name in ["package-00", "package-00.amd64", "package-00.amd64:1.0", "PACKAGE-00*", "CVE-2026-1"] {
        let explained = api.ok("Patchwave.ExplainPatch", explain(node, name)).await;
        assert_eq!(explained["PatchCount"], 1, "{name}");
        let patch = &explained["Patches"][0];
        assert_eq!((&patch["State"], &patch["ReleasedBy"]), (&json!("Missing"), &json!("Advisory")));
        assert_eq!(patch["Reason"], "approved by rule 1: released 2026-02-01, 7 days passed");
        assert_eq!(explained["JudgedBy"]["Name"], "AWS-DebianDefaultPatchBaseline");
    }
    let every = api.ok("Patchwave.ExplainPatch", explain(node, "*")).await;
    assert_eq!(every["PatchCount"], 2);
    let none = api.ok("Patchwave.ExplainPatch", explain(node, "package")).await;
    assert_eq!((&none["PatchCount"], &none["NeverScanned"]), (&json!(0), &json!(false)));
}
