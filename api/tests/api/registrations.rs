//! Targets and tasks of maintenance windows.

use serde_json::{Value, json};

use crate::support::{Harness, id, window_input};

async fn target(api: &Harness, window_id: &str) -> String {
    let input = json!({ "WindowId": window_id, "ResourceType": "INSTANCE", "OwnerInformation": "team a",
        "Targets": [{ "Key": "tag:Stage", "Values": ["prod"] }] });
    id(&api.ok("RegisterTargetWithMaintenanceWindow", input).await, "WindowTargetId")
}

fn task_input(window_id: &str, target_id: &str) -> Value {
    json!({
        "WindowId": window_id,
        "Targets": [{ "Key": "WindowTargetIds", "Values": [target_id] }],
        "TaskArn": "AWS-RunPatchBaseline",
        "TaskType": "RUN_COMMAND",
        "Priority": 1,
        "MaxConcurrency": "10%",
        "MaxErrors": "0",
        "CutoffBehavior": "CANCEL_TASK",
        "TaskInvocationParameters": { "RunCommand": { "Comment": "c", "TimeoutSeconds": 600,
            "Parameters": { "Operation": ["Scan"] } } },
    })
}

#[tokio::test]
async fn targets_are_registered_changed_listed_and_deregistered() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let target_id = target(&api, &window_id).await;
    let update = json!({ "WindowId": window_id, "WindowTargetId": target_id, "Name": "prod" });
    let updated = api.ok("UpdateMaintenanceWindowTarget", update).await;
    assert_eq!((&updated["Name"], &updated["OwnerInformation"]), (&json!("prod"), &json!("team a")));
    let replace = json!({ "WindowId": window_id, "WindowTargetId": target_id, "Replace": true,
        "Targets": [{ "Key": "tag-key", "Values": ["Stage"] }] });
    let replaced = api.ok("UpdateMaintenanceWindowTarget", replace).await;
    assert!(replaced.get("Name").is_none() && replaced.get("OwnerInformation").is_none(), "{replaced}");

    let list = api.ok("DescribeMaintenanceWindowTargets", json!({ "WindowId": window_id })).await;
    assert_eq!(list["Targets"][0]["WindowTargetId"], json!(target_id));
    assert_eq!(list["Targets"][0]["ResourceType"], "INSTANCE");
    let filters = json!({ "WindowId": window_id, "Filters": [{ "Key": "Type", "Values": ["RESOURCE_GROUP"] }] });
    assert_eq!(api.ok("DescribeMaintenanceWindowTargets", filters).await["Targets"], json!([]));

    let gone = json!({ "WindowId": window_id, "WindowTargetId": target_id });
    api.ok("DeregisterTargetFromMaintenanceWindow", gone.clone()).await;
    api.refused("DeregisterTargetFromMaintenanceWindow", gone, "DoesNotExistException").await;
}

#[tokio::test]
async fn wrong_targets_are_refused() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    for (kind, targets, needle) in [
        ("INSTANCES", json!([{ "Key": "tag:a", "Values": ["b"] }]), "'resourceType'"),
        ("INSTANCE", json!([]), "0 keys"),
        ("INSTANCE", json!([{ "Key": "colour", "Values": ["b"] }]), "`colour`"),
        ("INSTANCE", json!([{ "Key": "InstanceIds", "Values": ["host-1"] }]), "`host-1`"),
        ("INSTANCE", json!([{ "Key": "resource-groups:Name", "Values": ["g"] }]), "RESOURCE_GROUP"),
        ("RESOURCE_GROUP", json!([{ "Key": "tag:a", "Values": ["b"] }]), "INSTANCE"),
        ("INSTANCE", json!([{ "Key": "tag:a" }]), "'targets.1.member.values'"),
    ] {
        let input = json!({ "WindowId": window_id, "ResourceType": kind, "Targets": targets });
        let message = api.refused("RegisterTargetWithMaintenanceWindow", input, "ValidationException").await;
        assert!(message.contains(needle), "{message} lacks {needle}");
    }
    let unknown = json!({ "WindowId": "mw-00000000000000000", "ResourceType": "INSTANCE",
        "Targets": [{ "Key": "tag:a", "Values": ["b"] }] });
    api.refused("RegisterTargetWithMaintenanceWindow", unknown, "DoesNotExistException").await;
}

#[tokio::test]
async fn safe_deregistration_spares_targets_that_tasks_use() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let target_id = target(&api, &window_id).await;
    api.ok("RegisterTaskWithMaintenanceWindow", task_input(&window_id, &target_id)).await;
    let mut input = json!({ "WindowId": window_id, "WindowTargetId": target_id, "Safe": true });
    api.refused("DeregisterTargetFromMaintenanceWindow", input.clone(), "TargetInUseException").await;
    input["Safe"] = json!(false);
    api.ok("DeregisterTargetFromMaintenanceWindow", input).await;
}

#[tokio::test]
async fn tasks_are_registered_read_changed_and_deregistered() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let target_id = target(&api, &window_id).await;
    let mut input = task_input(&window_id, &target_id);
    input["ErrorMode"] = json!("strict");
    let task_id = id(&api.ok("RegisterTaskWithMaintenanceWindow", input.clone()).await, "WindowTaskId");
    let key = json!({ "WindowId": window_id, "WindowTaskId": task_id });
    let task = api.ok("GetMaintenanceWindowTask", key.clone()).await;
    for member in
        ["TaskArn", "TaskType", "Targets", "Priority", "MaxConcurrency", "MaxErrors", "CutoffBehavior", "ErrorMode"]
    {
        assert_eq!(task[member], input[member], "{member}");
    }
    assert_eq!(task["TaskInvocationParameters"], input["TaskInvocationParameters"]);

    let list = api.ok("DescribeMaintenanceWindowTasks", json!({ "WindowId": window_id })).await;
    assert_eq!(list["Tasks"][0]["Type"], "RUN_COMMAND");

    let update = json!({ "WindowId": window_id, "WindowTaskId": task_id, "Priority": 5,
        "TaskInvocationParameters": { "RunCommand": { "Parameters": { "Operation": ["Install"] } } } });
    let updated = api.ok("UpdateMaintenanceWindowTask", update).await;
    assert_eq!((&updated["Priority"], &updated["MaxConcurrency"]), (&json!(5), &json!("10%")));
    let run_command = &updated["TaskInvocationParameters"]["RunCommand"];
    assert!(run_command.get("Comment").is_none(), "invocation parameters are replaced as a whole: {updated}");

    api.ok("DeregisterTaskFromMaintenanceWindow", key.clone()).await;
    api.refused("GetMaintenanceWindowTask", key, "DoesNotExistException").await;
}

#[tokio::test]
async fn wrong_tasks_are_refused_with_field_value_and_what_is_allowed() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let target_id = target(&api, &window_id).await;
    let node = "mi-00000000000000001";
    for (member, value, needle) in [
        ("TaskType", json!("AUTOMATION"), "`AUTOMATION`"),
        ("TaskType", json!("SHELL"), "[RUN_COMMAND, "),
        ("MaxConcurrency", json!("0"), "'maxConcurrency'"),
        ("MaxErrors", json!("101%"), "'101%'"),
        ("MaxErrors", Value::Null, "'maxErrors'"),
        ("Priority", json!(-1), "'priority'"),
        ("CutoffBehavior", json!("STOP"), "[CONTINUE_TASK, CANCEL_TASK]"),
        ("ErrorMode", json!("lax"), "[ssm, strict]"),
        ("Targets", json!([{ "Key": "InstanceIds", "Values": [node] }]), "AllowUnassociatedTargets"),
        ("Targets", json!([{ "Key": "tag:a", "Values": ["b"] }]), "`tag:a`"),
        ("Targets", json!([{ "Key": "WindowTargetIds", "Values": vec!["x"; 11] }]), "window targets is 10"),
        ("TaskInvocationParameters", json!({ "Lambda": {} }), "`Lambda`"),
        ("LoggingInfo", json!({ "S3BucketName": "logs", "S3Region": "eu-1" }), "LoggingInfo"),
        ("TaskInvocationParameters", json!({ "RunCommand": { "OutputS3BucketName": "logs" } }), "OutputS3BucketName"),
        ("TaskInvocationParameters", json!({ "RunCommand": { "DocumentHash": "ab" } }), "DocumentHash"),
        ("TaskInvocationParameters", json!({ "RunCommand": { "TimeoutSeconds": 5 } }), "timeoutSeconds"),
    ] {
        let mut input = task_input(&window_id, &target_id);
        input[member] = value;
        let message = api.refused("RegisterTaskWithMaintenanceWindow", input, "ValidationException").await;
        assert!(message.contains(needle), "{message} lacks {needle}");
    }
    let mut input = task_input(&window_id, "00000000-0000-0000-0000-000000000000");
    input["Priority"] = json!(0);
    let message = api.refused("RegisterTaskWithMaintenanceWindow", input, "DoesNotExistException").await;
    assert!(message.contains("00000000-0000"), "{message}");
}

#[tokio::test]
async fn window_that_allows_it_takes_tasks_for_nodes_by_id() {
    let api = Harness::new().await;
    let mut window = window_input();
    window["AllowUnassociatedTargets"] = json!(true);
    let window_id = id(&api.ok("CreateMaintenanceWindow", window).await, "WindowId");
    let mut input = task_input(&window_id, "");
    input["Targets"] = json!([{ "Key": "InstanceIds", "Values": ["mi-00000000000000001"] }]);
    // The older form of the parameters.
    input["TaskInvocationParameters"] = Value::Null;
    input["TaskParameters"] = json!({ "Operation": { "Values": ["Scan"] } });
    let task_id = id(&api.ok("RegisterTaskWithMaintenanceWindow", input).await, "WindowTaskId");
    let task = api.ok("GetMaintenanceWindowTask", json!({ "WindowId": window_id, "WindowTaskId": task_id })).await;
    assert_eq!(task["TaskInvocationParameters"]["RunCommand"]["Parameters"], json!({ "Operation": ["Scan"] }));
}
