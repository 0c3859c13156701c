//! Commands, their invocations, and documents.

use jiff::Timestamp;
use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::store::invocations::Change;
use patchwave_schemas::report::{InvocationFinished, Outcome, StepResult};
use patchwave_schemas::{CommandId, NodeId};
use serde_json::{Value, json};

use crate::support::{Harness, id};

fn script() -> Value {
    json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{ "Key": "tag:Stage", "Values": ["prod"] }],
        "Parameters": { "commands": ["uptime"] },
        "Comment": "how long",
    })
}

/// Records that a node finished a command.
async fn finish(api: &Harness, command: &str, node: &str) {
    let (command_id, node_id): (CommandId, NodeId) = (command.parse().expect("id"), node.parse().expect("id"));
    let started_at: Timestamp = "2026-03-02T10:00:00Z".parse().expect("an instant");
    let finished_at: Timestamp = "2026-03-02T10:00:01.25Z".parse().expect("an instant");
    let report = InvocationFinished {
        command_id,
        node_id: node_id.clone(),
        outcome: Outcome::Failed,
        reason: String::new(),
        started_at,
        finished_at,
        steps: vec![StepResult {
            name: "runShellScript".to_owned(),
            outcome: Outcome::Failed,
            exit_code: 3,
            started_at,
            finished_at,
            stdout: "out".to_owned(),
            stderr: "err".to_owned(),
        }],
    };
    let change = Change { command_id, node_id, state: State::Ended(Ending::Failed), report: Some(report), late: false };
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.change_invocations(&[change], finished_at).await.expect("stored");
    tx.commit().await.expect("a commit");
}

#[tokio::test]
async fn sent_command_is_stored_published_and_readable_at_once() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..4, &[("Stage", "prod")]).await;
    let command = api.ok("SendCommand", script()).await["Command"].clone();
    for (member, value) in [
        ("Status", json!("Pending")),
        ("StatusDetails", json!("Pending")),
        ("TargetCount", json!(3)),
        ("CompletedCount", json!(0)),
        ("MaxConcurrency", json!("50")),
        ("MaxErrors", json!("0")),
        ("Comment", json!("how long")),
        ("Targets", script()["Targets"].clone()),
        ("Parameters", script()["Parameters"].clone()),
        ("InstanceIds", json!([])),
    ] {
        assert_eq!(command[member], value, "{member}");
    }
    let seconds = |member: &str| command[member].as_f64().expect("seconds");
    let lasts = seconds("ExpiresAfter") - seconds("RequestedDateTime");
    assert!((lasts - 7200.0).abs() < 0.01, "3600 s to deliver and 3600 s to run, not {lasts}");
    assert_eq!(api.bus.types(), ["patchwave.rollout.started.v1"]);

    let command_id = id(&command, "CommandId");
    let list = api.ok("ListCommandInvocations", json!({ "CommandId": command_id })).await;
    let list = list["CommandInvocations"].as_array().expect("a list").clone();
    let listed: Vec<String> = list.iter().map(|one| id(one, "InstanceId")).collect();
    assert_eq!(listed, nodes);
    assert_eq!((&list[0]["Status"], &list[0]["InstanceName"]), (&json!("Pending"), &json!("host-1")));
    let one = json!({ "CommandId": command_id, "InstanceId": nodes[0] });
    let invocation = api.ok("GetCommandInvocation", one).await;
    assert_eq!((&invocation["ResponseCode"], &invocation["Status"]), (&json!(-1), &json!("Pending")));
    assert_eq!(invocation["ExecutionStartDateTime"], "");
    let rollout = api.ok("Patchwave.GetRollout", json!({ "CommandId": command_id })).await;
    assert_eq!((&rollout["Phase"], &rollout["Pending"]), (&json!("Planned"), &json!(3)));
}

#[tokio::test]
async fn wrong_commands_are_refused_by_ssms_names() {
    let api = Harness::new().await;
    let node = api.nodes(1..2, &[]).await.remove(0);
    for (changes, code) in [
        (json!({ "DocumentName": null }), "ValidationException"),
        (json!({ "DocumentName": "AWS-Nothing" }), "InvalidDocument"),
        (json!({ "DocumentVersion": "9" }), "InvalidDocumentVersion"),
        (json!({ "Parameters": {} }), "InvalidParameters"),
        (json!({ "Parameters": { "commands": "uptime" } }), "SerializationException"),
        (json!({ "MaxConcurrency": "0" }), "ValidationException"),
        (json!({ "TimeoutSeconds": 5 }), "ValidationException"),
        (json!({ "Targets": [] }), "ValidationException"),
        (json!({ "Targets": [], "InstanceIds": [node, node] }), "DuplicateInstanceId"),
        (json!({ "Targets": [], "InstanceIds": ["mi-0000000000000ffff"] }), "InvalidInstanceId"),
        (json!({ "InstanceIds": [node] }), "ValidationException"),
        (json!({ "ErrorMode": "lax" }), "ValidationException"),
        (json!({ "OutputS3BucketName": "logs" }), "InvalidOutputFolder"),
        (json!({ "CloudWatchOutputConfig": { "CloudWatchOutputEnabled": true } }), "ValidationException"),
        (json!({ "AlarmConfiguration": { "Alarms": [{ "Name": "a" }] } }), "ValidationException"),
        (
            json!({ "NotificationConfig": { "NotificationArn": "t", "NotificationEvents": ["Sometimes"] } }),
            "ValidationException",
        ),
    ] {
        let mut input = script();
        for (member, value) in changes.as_object().expect("an object") {
            input[member] = value.clone();
        }
        api.refused("SendCommand", input, code).await;
    }
    assert!(api.bus.types().is_empty());
    assert_eq!(api.ok("ListCommands", json!({})).await["Commands"], json!([]));
}

#[tokio::test]
async fn command_for_no_node_at_all_is_accepted() {
    let api = Harness::new().await;
    let command = api.ok("SendCommand", script()).await["Command"].clone();
    assert_eq!(command["TargetCount"], 0);
    let list = api.ok("ListCommandInvocations", json!({ "CommandId": command["CommandId"] })).await;
    assert_eq!(list["CommandInvocations"], json!([]));
}

#[tokio::test]
async fn repeated_token_sends_once() {
    let api = Harness::new().await;
    let mut input = script();
    input["ClientToken"] = json!("once");
    let first = api.ok("SendCommand", input.clone()).await;
    assert_eq!(api.ok("SendCommand", input).await, first);
    assert_eq!(api.ok("ListCommands", json!({})).await["Commands"].as_array().expect("a list").len(), 1);
    assert_eq!(api.bus.types().len(), 1);
}

#[tokio::test]
async fn reported_output_is_shown_with_times_and_exit_code() {
    let api = Harness::new().await;
    let node = api.nodes(1..2, &[("Stage", "prod")]).await.remove(0);
    let command = id(&api.ok("SendCommand", script()).await["Command"], "CommandId");
    finish(&api, &command, &node).await;
    let key = json!({ "CommandId": command, "InstanceId": node });
    let one = api.ok("GetCommandInvocation", key.clone()).await;
    for (member, value) in [
        ("Status", "Failed"),
        ("StatusDetails", "Failed"),
        ("StandardOutputContent", "out"),
        ("StandardErrorContent", "err"),
        ("ExecutionStartDateTime", "2026-03-02T10:00:00.000Z"),
        ("ExecutionElapsedTime", "PT1.250S"),
        ("PluginName", "runShellScript"),
    ] {
        assert_eq!(one[member], value, "{member}");
    }
    assert_eq!(one["ResponseCode"], 3);

    let list = api.ok("ListCommandInvocations", json!({ "CommandId": command, "Details": true })).await;
    let plugin = &list["CommandInvocations"][0]["CommandPlugins"][0];
    assert_eq!(plugin["Output"], "out\n----------ERROR-------\nerr");
    assert_eq!(plugin["ResponseCode"], 3);

    let mut wrong = key.clone();
    wrong["PluginName"] = json!("other");
    let message = api.refused("GetCommandInvocation", wrong, "InvalidPluginName").await;
    assert!(message.contains("runShellScript"), "{message}");
    let elsewhere = json!({ "CommandId": command, "InstanceId": "mi-0000000000000ffff" });
    api.refused("GetCommandInvocation", elsewhere, "InvocationDoesNotExist").await;
}

#[tokio::test]
async fn commands_are_listed_newest_first_by_page_and_filter() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..3, &[("Stage", "prod")]).await;
    let mut sent = Vec::new();
    for number in 0..5 {
        let mut input = script();
        if number == 0 {
            input["Targets"] = json!([]);
            input["InstanceIds"] = json!([nodes[0]]);
        }
        sent.insert(0, id(&api.ok("SendCommand", input).await["Command"], "CommandId"));
    }
    let pages = api.pages("ListCommands", json!({}), 2, "Commands").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
    let mut listed: Vec<String> = pages.concat().iter().map(|one| id(one, "CommandId")).collect();
    let times: Vec<f64> =
        pages.concat().iter().map(|one| one["RequestedDateTime"].as_f64().expect("seconds")).collect();
    assert!(times.is_sorted_by(|later, earlier| later >= earlier), "{times:?}");
    listed.sort();
    let mut expected = sent.clone();
    expected.sort();
    assert_eq!(listed, expected, "each once");

    let of_node = api.ok("ListCommands", json!({ "InstanceId": nodes[1] })).await;
    assert_eq!(of_node["Commands"].as_array().expect("a list").len(), 4, "one was not for this node");
    for (key, value, count) in [
        ("Status", "Pending", 5),
        ("Status", "Success", 0),
        ("ExecutionStage", "Executing", 5),
        ("ExecutionStage", "Complete", 0),
        ("DocumentName", "AWS-RunPatchBaseline", 0),
        ("InvokedBefore", "2020-01-01T00:00:00Z", 0),
        ("InvokedAfter", "2020-01-01T00:00:00Z", 5),
    ] {
        let list = api.ok("ListCommands", json!({ "Filters": [{ "key": key, "value": value }] })).await;
        assert_eq!(list["Commands"].as_array().expect("a list").len(), count, "{key}={value}");
    }
    let unknown = json!({ "Filters": [{ "key": "Colour", "value": "red" }] });
    api.refused("ListCommands", unknown, "ValidationException").await;
    let id = "x".repeat(36);
    api.refused("ListCommands", json!({ "CommandId": id }), "InvalidCommandId").await;
}

#[tokio::test]
async fn invocations_of_all_commands_are_listed_once_each_across_pages() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..4, &[("Stage", "prod")]).await;
    let mut commands = Vec::new();
    for _ in 0..3 {
        commands.push(id(&api.ok("SendCommand", script()).await["Command"], "CommandId"));
    }
    let key = |one: &Value| (id(one, "CommandId"), id(one, "InstanceId"));
    for size in [1, 2, 4, 50] {
        let pages = api.pages("ListCommandInvocations", json!({}), size, "CommandInvocations").await;
        let mut listed: Vec<_> = pages.concat().iter().map(key).collect();
        assert_eq!(listed.len(), 9, "pages of {size}");
        listed.sort();
        listed.dedup();
        assert_eq!(listed.len(), 9, "pages of {size}");
    }
    let of_node = json!({ "InstanceId": nodes[1] });
    let pages = api.pages("ListCommandInvocations", of_node, 2, "CommandInvocations").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);

    finish(&api, &commands[1], &nodes[2]).await;
    let failed = json!({ "Filters": [{ "key": "Status", "value": "Failed" }] });
    let pages = api.pages("ListCommandInvocations", failed, 1, "CommandInvocations").await;
    let listed: Vec<_> = pages.concat().iter().map(key).collect();
    assert_eq!(listed, [(commands[1].clone(), nodes[2].clone())]);

    // One page looks through 100 commands at most: what is found further back comes with a later one.
    for _ in 0..110 {
        api.ok("SendCommand", script()).await;
    }
    let failed = json!({ "Filters": [{ "key": "Status", "value": "Failed" }] });
    let pages = api.pages("ListCommandInvocations", failed, 50, "CommandInvocations").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test]
async fn cancellation_is_published_for_the_nodes_asked_for() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..3, &[("Stage", "prod")]).await;
    let command = id(&api.ok("SendCommand", script()).await["Command"], "CommandId");
    let cancel = |nodes: Value| json!({ "CommandId": command, "InstanceIds": nodes });
    assert_eq!(api.ok("CancelCommand", cancel(json!([nodes[0]]))).await, json!({}));
    assert_eq!(api.bus.types()[1..], ["patchwave.rollout.cancel.requested.v1"]);
    let body = api.bus.published.lock().expect("no test panics with it")[1].body.clone();
    let event: Value = serde_json::from_slice(&body).expect("a JSON event");
    assert_eq!(event["data"]["node_ids"], json!([nodes[0]]));

    api.refused("CancelCommand", cancel(json!([nodes[0], nodes[0]])), "DuplicateInstanceId").await;
    api.refused("CancelCommand", cancel(json!(["mi-0000000000000ffff"])), "InvalidInstanceId").await;
    let unknown = json!({ "CommandId": CommandId::random() });
    api.refused("CancelCommand", unknown, "InvalidCommandId").await;
}

#[tokio::test]
async fn built_in_documents_are_listed_and_described() {
    let api = Harness::new().await;
    let pages = api.pages("ListDocuments", json!({}), 1, "DocumentIdentifiers").await;
    let names: Vec<String> = pages.concat().iter().map(|one| id(one, "Name")).collect();
    assert_eq!(names, ["AWS-Noop", "AWS-RunPatchBaseline", "AWS-RunPatchBaselineWithHooks", "AWS-RunShellScript"]);
    let name = json!({ "Name": "arn:aws:ssm:local::document/AWS-RunPatchBaseline" });
    let document = api.ok("DescribeDocument", name).await["Document"].clone();
    assert_eq!(document["Parameters"][0]["Name"], "Operation");
    let content = id(&api.ok("GetDocument", json!({ "Name": "AWS-RunShellScript" })).await, "Content");
    let content: Value = serde_json::from_str(&content).expect("JSON content");
    assert_eq!(content["schemaVersion"], "2.2");
    let step = &content["mainSteps"][0];
    assert_eq!((&step["action"], &step["name"]), (&json!("aws:runShellScript"), &json!("runShellScript")));
    assert_eq!(step["inputs"]["runCommand"], "{{ commands }}");
    api.refused("GetDocument", json!({ "Name": "AWS-Nothing" }), "InvalidDocument").await;
    let version = json!({ "Name": "AWS-RunShellScript", "DocumentVersion": "7" });
    api.refused("DescribeDocument", version, "InvalidDocumentVersion").await;
}

#[tokio::test]
async fn patch_now_tells_the_limits_it_chose_and_why() {
    let api = Harness::new().await;
    api.nodes(1..31, &[("Env", "prod")]).await;
    let prod = json!([{ "Key": "tag:Env", "Values": ["prod"] }]);
    let asked = json!({ "Operation": "Install", "Targets": prod, "RebootOption": "NoReboot", "ClientToken": "x" });
    let answer = api.ok("Patchwave.PatchNow", asked.clone()).await;
    assert_eq!(api.ok("Patchwave.PatchNow", asked).await, answer, "a repeated token patches once");
    let command = &answer["Command"];
    assert_eq!(command["DocumentName"], "AWS-RunPatchBaseline");
    assert_eq!(command["Parameters"], json!({ "Operation": ["Install"], "RebootOption": ["NoReboot"] }));
    assert_eq!((&command["MaxConcurrency"], &command["MaxErrors"]), (&json!("5%"), &json!("5")));
    let control = &answer["RateControl"];
    assert_eq!(control["NodeCount"], 30);
    assert_eq!(control["MaxConcurrencyReason"], "an installation on 25 to 100 nodes");

    let asked = json!({ "Operation": "Scan", "AllNodes": true, "MaxErrors": "3" });
    let answer = api.ok("Patchwave.PatchNow", asked).await;
    assert_eq!(answer["Command"]["TargetCount"], 30);
    assert_eq!(answer["Command"]["Targets"], json!([{ "Key": "InstanceIds", "Values": ["*"] }]));
    let control = &answer["RateControl"];
    assert_eq!((&control["MaxConcurrency"], &control["MaxErrors"]), (&json!("1000"), &json!("3")));
    assert_eq!(control["MaxErrorsReason"], "given with the request");

    for (asked, says) in [
        (json!({ "Operation": "Scan" }), "InstanceIds or Targets"),
        (json!({ "Operation": "Scan", "AllNodes": true, "Targets": prod }), "AllNodes"),
        (json!({ "Operation": "Scan", "Targets": prod, "OnExitHookDocName": "undrain" }), "undrain"),
    ] {
        let message = api.refused("Patchwave.PatchNow", asked, "ValidationException").await;
        assert!(message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn rollout_plans_cut_commands_into_waves_that_are_shown() {
    let api = Harness::new().await;
    api.nodes(1..11, &[("Env", "prod")]).await;
    let gate = json!({ "MinSuccessPercent": 90, "ApprovalWithinSeconds": 600 });
    let plan = json!({ "Waves": [{ "Name": "canary", "Size": "2", "BakeSeconds": 60, "Gate": gate }, {}] });
    let create = json!({ "Name": "careful", "Plan": plan });
    api.ok("Patchwave.CreateRolloutPlan", create.clone()).await;
    api.refused("Patchwave.CreateRolloutPlan", create, "AlreadyExistsException").await;
    let wrong = json!({ "Name": "wrong", "Plan": { "Waves": [{}, {}] } });
    let message = api.refused("Patchwave.CreateRolloutPlan", wrong, "ValidationException").await;
    assert!(message.contains("Plan.Waves[0].Size"), "{message}");
    let misspelt = json!({ "Name": "wrong", "Plan": { "Waves": [{ "Gates": {} }] } });
    let message = api.refused("Patchwave.CreateRolloutPlan", misspelt, "SerializationException").await;
    assert!(message.contains("Gates"), "{message}");
    let list = api.ok("Patchwave.ListRolloutPlans", json!({})).await;
    assert_eq!(list["RolloutPlans"][0]["Plan"]["Waves"][0]["Gate"], gate);

    let targets = json!([{ "Key": "tag:Env", "Values": ["prod"] }]);
    let send = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
        "Targets": targets, "RolloutPlan": "careful" });
    let command = id(&api.ok("SendCommand", send).await["Command"], "CommandId");
    let rollout = api.ok("Patchwave.GetRollout", json!({ "CommandId": command })).await;
    assert_eq!((&rollout["Pending"], &rollout["Held"]), (&json!(2), &json!(8)));
    let waves = &rollout["Waves"];
    assert_eq!((&waves["State"], &waves["Current"], &waves["Count"]), (&json!("Running"), &json!(1), &json!(2)));
    assert_eq!((&waves["CurrentName"], &waves["List"][1]["State"]), (&json!("canary"), &json!("Held")));
    let answer = json!({ "CommandId": command, "Signal": "Approve" });
    api.refused("Patchwave.SignalApproval", answer, "ValidationException").await;

    let patch = json!({ "Operation": "Install", "AllNodes": true, "RolloutPlan": "careful" });
    let command = id(&api.ok("Patchwave.PatchNow", patch.clone()).await["Command"], "CommandId");
    let rollout = api.ok("Patchwave.GetRollout", json!({ "CommandId": command })).await;
    assert_eq!(rollout["Held"], 8);
    api.ok("Patchwave.DeleteRolloutPlan", json!({ "Name": "careful" })).await;
    let message = api.refused("Patchwave.PatchNow", patch, "ValidationException").await;
    assert!(message.contains("`careful`"), "{message}");
}
