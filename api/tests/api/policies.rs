//! What a key that is limited to some nodes learns of the others: nothing, from any operation.
//!
//! Every operation of the model is called, so that a new one is looked at without anybody thinking
//! of it. One that a limited key may call needs a request here that would show the other node.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use jiff::Timestamp;
use patchwave_engine::access::Role;
use patchwave_platform::store::baselines::predefined_id;
use patchwave_platform::store::invocations::NewInvocation;
use patchwave_schemas::CommandId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::report::NodeScanned;
use serde_json::{Value, json};

use crate::support::{Harness, id};

/// What only the other node has, and what names it.
const MARKS: [&str; 4] = ["mi-000000000000000ff", "host-255", "Castrop", "secretware"];
/// Operations that a limited key may call, and that show other keys every node.
const NARROWED: [&str; 4] = [
    "AmazonSSM.DescribeInstanceInformation",
    "AmazonSSM.DescribeInstancePatchStatesForPatchGroup",
    "AmazonSSM.DescribeInstanceProperties",
    "AmazonSSM.ListCommandInvocations",
];

/// A fleet of one node in Bonn and one in Castrop, of which everything there is to tell is stored.
struct Fleet {
    api: Harness,
    mine: String,
    other: String,
    window: String,
    command: String,
    baseline: String,
}

async fn fleet() -> Fleet {
    let api = Harness::new().await;
    let calendar = "BEGIN:VCALENDAR\nX-CALENDAR-TYPE:DEFAULT_OPEN\nEND:VCALENDAR\n";
    let calendar = json!({ "Name": "freeze", "Content": calendar, "DocumentType": "ChangeCalendar",
        "DocumentFormat": "TEXT" });
    api.ok("CreateDocument", calendar).await;
    let mine = api.nodes(1..2, &[("Site", "Bonn"), ("Patch Group", "web")]).await.remove(0);
    let other = api.nodes(255..256, &[("Site", "Castrop"), ("Patch Group", "web")]).await.remove(0);
    assert_eq!(other, MARKS[0]);
    let baseline = predefined_id("AWS-DebianDefaultPatchBaseline");
    let report = NodeScanned {
        node_id: other.parse().expect("an id"),
        command_id: CommandId::derived("scan"),
        baseline_id: baseline.clone(),
        snapshot_id: "s".to_owned(),
        patch_group: "web".to_owned(),
        operation: PatchOperation::Scan,
        reboot_option: None,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::now(),
        patches: vec![PatchRecord {
            kb_id: "secretware.amd64".to_owned(),
            title: "secretware.amd64:1.0".to_owned(),
            classification: "secretware".to_owned(),
            severity: "Important".to_owned(),
            state: PatchState::Missing,
            counts_against: false,
            compliance_level: ComplianceLevel::Critical,
            cve_ids: Vec::new(),
            released_at: None,
            released_by: None,
            installed_at: None,
            reason: String::new(),
        }],
        not_applicable_count: 0,
        inventory: None,
        next_change: None,
        baseline_version: 0,
    };
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.put_patch_reports(std::slice::from_ref(&report)).await.expect("stored");
    let baseline_key = Some(format!("{baseline}/web"));
    let asked = NewInvocation { node_id: report.node_id.clone(), ordinal: 0, baseline_key };
    tx.add_invocations(report.command_id, &[asked]).await.expect("asked for");
    tx.note_patches(&[report], Timestamp::now()).await.expect("noted");
    tx.commit().await.expect("a commit");
    let item = json!({ "TypeName": "Custom:Ware", "SchemaVersion": "1.0", "CaptureTime": "2026-04-07T14:29:00Z",
        "Content": [{ "secretware": "secretware" }] });
    api.ok("PutInventory", json!({ "InstanceId": other, "Items": [item] })).await;

    let script = json!({ "commands": ["secretware"] });
    let command = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": script, "InstanceIds": [mine, other] });
    let command = id(&api.ok("SendCommand", command).await["Command"], "CommandId");
    let window = api.window().await;
    let named = json!([{ "Key": "InstanceIds", "Values": [other] }]);
    let target = json!({ "WindowId": window, "ResourceType": "INSTANCE", "Targets": named });
    let target = id(&api.ok("RegisterTargetWithMaintenanceWindow", target).await, "WindowTargetId");
    let task = json!({ "WindowId": window, "TaskArn": "AWS-RunShellScript", "TaskType": "RUN_COMMAND",
        "Targets": [{ "Key": "WindowTargetIds", "Values": [target] }], "MaxConcurrency": "1", "MaxErrors": "0",
        "TaskInvocationParameters": { "RunCommand": { "Parameters": script } } });
    api.ok("RegisterTaskWithMaintenanceWindow", task).await;
    Fleet { api, mine, other, window, command, baseline: baseline.to_string() }
}

/// Requests that would show the other node, or act on it, if nobody cared. Those of operations
/// that are refused whatever they ask for need not be understood.
fn requests(fleet: &Fleet, operation: &str) -> Vec<Value> {
    let Fleet { mine, other, window, command, baseline, .. } = fleet;
    let named = json!([{ "Key": "InstanceIds", "Values": [other] }]);
    let script = json!({ "commands": ["true"] });
    match operation {
        "GetMaintenanceWindow" => vec![json!({ "WindowId": window })],
        "DescribeMaintenanceWindowSchedule" => vec![
            json!({ "WindowId": window, "Filters": [{ "Key": "ScheduledBefore", "Values": ["2000-01-01T00:00:00Z"] }] }),
            json!({ "Targets": named, "ResourceType": "INSTANCE" }),
            json!({ "Targets": [{ "Key": "InstanceIds", "Values": [mine] }, { "Key": "instanceids", "Values": [other] }] }),
        ],
        "DescribeMaintenanceWindowsForTarget" => vec![json!({ "Targets": named, "ResourceType": "INSTANCE" })],
        "GetPatchBaseline" => vec![json!({ "BaselineId": baseline })],
        "GetPatchBaselineForPatchGroup" => vec![json!({ "PatchGroup": "web", "OperatingSystem": "DEBIAN" })],
        "DescribeInstancePatchStates" => vec![json!({ "InstanceIds": [mine, other] })],
        "DescribeInstancePatchStatesForPatchGroup" => vec![json!({ "PatchGroup": "web" })],
        "DescribeInstancePatches" => vec![json!({ "InstanceId": other })],
        "ListGroupCompliance" => vec![json!({}), json!({ "PatchGroup": "web" })],
        "ExplainPatch" => vec![json!({ "InstanceId": other, "Patch": "*" })],
        "DescribeInstanceInformation" => {
            vec![json!({}), json!({ "Filters": [{ "Key": "InstanceIds", "Values": [other] }] })]
        }
        "SendCommand" => vec![
            json!({ "DocumentName": "AWS-RunShellScript", "Parameters": script, "InstanceIds": [other] }),
            json!({ "DocumentName": "AWS-RunShellScript", "Parameters": script, "Targets": named }),
            json!({ "DocumentName": "AWS-RunShellScript", "Parameters": script,
                "Targets": [{ "Key": "tag:Site", "Values": ["Bonn", "elsewhere"] }] }),
        ],
        "PatchNow" => vec![
            json!({ "Operation": "Scan", "InstanceIds": [other] }),
            json!({ "Operation": "Scan", "Targets": named }),
            json!({ "Operation": "Scan", "AllNodes": true }),
        ],
        "CancelCommand" => vec![json!({ "CommandId": command, "InstanceIds": [other] })],
        "ListCommandInvocations" => vec![
            json!({ "CommandId": command, "Details": true }),
            json!({ "CommandId": command, "InstanceId": other }),
            json!({ "Details": true }),
        ],
        "GetCommandInvocation" => vec![json!({ "CommandId": command, "InstanceId": other })],
        "GetCalendarState" => vec![json!({ "CalendarNames": ["freeze"] })],
        "DescribeDocument" | "GetDocument" | "ListDocumentVersions" => vec![json!({ "Name": "AWS-RunShellScript" })],
        "DescribeDocumentPermission" => vec![json!({ "Name": "AWS-RunShellScript", "PermissionType": "Share" })],
        "GetServiceSetting" => vec![json!({ "SettingId": "/ssm/managed-instance/activation-tier" })],
        "ListTagsForResource" => vec![
            json!({ "ResourceType": "ManagedInstance", "ResourceId": other }),
            json!({ "ResourceType": "MaintenanceWindow", "ResourceId": window }),
        ],
        _ => vec![json!({})],
    }
}

/// Every operation that is served, with its service, from the files that requests are checked by.
fn operations() -> Vec<String> {
    let read = |text: &str| serde_json::from_str::<Value>(text).expect("a model");
    let ssm = read(include_str!("../../model/ssm-2014-11-06.json"));
    let own = read(include_str!("../../model/patchwave.json"));
    let names = |model: &Value, service: &str| {
        let operations = model["operations"].as_object().expect("operations");
        let served = operations.iter().filter(|(_, operation)| !operation.is_null());
        served.map(|(name, _)| format!("{service}.{name}")).collect::<Vec<_>>()
    };
    [names(&ssm, "AmazonSSM"), names(&own, "Patchwave")].concat()
}

#[tokio::test]
async fn no_operation_shows_a_limited_key_another_node() {
    let fleet = fleet().await;
    let key = fleet.api.key(Role::Operator, Some(("Site", "Bonn"))).await;
    let marks = |answer: &Value| {
        let text = answer.to_string();
        MARKS.into_iter().filter(|mark| text.contains(mark)).collect::<Vec<_>>()
    };
    let all = operations();
    assert!(all.len() > 80, "the model was not read");
    let (mut narrowed, mut faults) = (BTreeSet::new(), Vec::new());
    for operation in &all {
        let name = operation.split_once('.').map_or(operation.as_str(), |(_, name)| name);
        for input in requests(&fleet, name) {
            let (status, answer) = fleet.api.target_as(&key, operation, input.to_string()).await;
            if answer["__type"] == "AccessDeniedException" {
                continue;
            }
            if status != StatusCode::OK {
                faults.push(format!("{operation} {input} needs a request that is understood: {answer}"));
            } else if !marks(&answer).is_empty() {
                faults.push(format!("{operation} {input} shows {:?}: {answer}", marks(&answer)));
            }
            // What the answer would have held: else the request shows nothing to anybody.
            let (_, whole) = fleet.api.target(operation, input.to_string()).await;
            if !marks(&whole).is_empty() {
                narrowed.insert(operation.as_str());
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(narrowed, NARROWED.into_iter().collect(), "operations that leave something out");
}
