//! Executions of windows, their tasks and invocations.

use jiff::{Timestamp, ToSpan};
use patchwave_engine::window_execution::{Phase, WindowExecution};
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::windows::RegisteredWindow;
use patchwave_schemas::{CommandId, TaskExecutionId, WindowExecutionId};
use serde_json::{Value, json};

use crate::support::{Harness, id};

/// A window with a target and a task, and some executions of it an hour apart.
struct Fired {
    window_id: String,
    executions: Vec<WindowExecutionId>,
    task: TaskExecutionId,
    command: CommandId,
}

async fn fired(api: &Harness, count: i64) -> Fired {
    let window_id = api.window().await;
    let target = json!({ "WindowId": window_id, "ResourceType": "INSTANCE", "OwnerInformation": "team a",
        "Targets": [{ "Key": "tag:Stage", "Values": ["prod"] }] });
    let target = id(&api.ok("RegisterTargetWithMaintenanceWindow", target).await, "WindowTargetId");
    let task = json!({ "WindowId": window_id, "TaskArn": "AWS-RunPatchBaseline", "TaskType": "RUN_COMMAND",
        "Targets": [{ "Key": "WindowTargetIds", "Values": [target] }], "MaxConcurrency": "1", "MaxErrors": "0" });
    api.ok("RegisterTaskWithMaintenanceWindow", task).await;

    let parsed = window_id.parse().expect("a window id");
    let mut tx = api.store.begin().await.expect("a transaction");
    let window = tx.lock_window(&parsed).await.expect("read").expect("a window");
    let (targets, tasks) = tx.window_registrations(&parsed).await.expect("registrations");
    let first: Timestamp = "2026-03-02T00:00:00Z".parse().expect("an instant");
    let mut executions = Vec::new();
    for number in 0..count {
        let started_at = first + number.hours();
        let execution = Execution {
            window_execution_id: WindowExecutionId::derived(&format!("{window_id}/{number}")),
            window_id: parsed.clone(),
            scheduled_at: started_at,
            started_at,
            ended_at: (number > 0).then_some(started_at),
            cutoff_at: started_at,
            end_at: started_at,
            status: if number > 0 { "SUCCESS" } else { "IN_PROGRESS" }.to_owned(),
            status_details: String::new(),
            reason: String::new(),
            state: WindowExecution { phase: Phase::Running, tasks: Vec::new(), waits: false },
            snapshot: RegisteredWindow { window: window.clone(), targets: targets.clone(), tasks: tasks.clone() },
        };
        tx.add_execution(&execution).await.expect("stored");
        executions.push(execution.window_execution_id);
    }
    let (task_id, command) = (TaskExecutionId::derived("task"), CommandId::derived("command"));
    let task = TaskExecution {
        task_execution_id: task_id,
        window_execution_id: executions[0],
        ordinal: 0,
        status: "IN_PROGRESS".to_owned(),
        status_details: String::new(),
        command_id: Some(command),
        started_at: Some(first),
        ended_at: None,
        task: tasks[0].clone(),
    };
    tx.put_task_execution(&task).await.expect("stored");
    tx.commit().await.expect("a commit");
    Fired { window_id, executions, task: task_id, command }
}

#[tokio::test]
async fn executions_are_listed_newest_first_by_page_and_time() {
    let api = Harness::new().await;
    let fired = fired(&api, 12).await;
    let input = json!({ "WindowId": fired.window_id });
    let pages = api.pages("DescribeMaintenanceWindowExecutions", input, 10, "WindowExecutions").await;
    let listed: Vec<String> = pages.concat().iter().map(|one| id(one, "WindowExecutionId")).collect();
    let expected: Vec<String> = fired.executions.iter().rev().map(ToString::to_string).collect();
    assert_eq!(listed, expected);
    assert_eq!(pages[0][0]["StartTime"], json!(1_772_409_600.0 + 11.0 * 3600.0));
    let between = json!({ "WindowId": fired.window_id, "Filters": [
        { "Key": "ExecutedAfter", "Values": ["2026-03-02T02:30:00Z"] },
        { "Key": "ExecutedBefore", "Values": ["2026-03-02T05:00:00Z"] },
    ] });
    let found = api.ok("DescribeMaintenanceWindowExecutions", between).await;
    let found: Vec<String> =
        found["WindowExecutions"].as_array().expect("a list").iter().map(|one| id(one, "WindowExecutionId")).collect();
    assert_eq!(found, [fired.executions[4].to_string(), fired.executions[3].to_string()]);
    let wrong = json!({ "WindowId": fired.window_id,
        "Filters": [{ "Key": "ExecutedAfter", "Values": ["yesterday"] }] });
    let message = api.refused("DescribeMaintenanceWindowExecutions", wrong, "ValidationException").await;
    assert!(message.contains("`yesterday`"), "{message}");
}

#[tokio::test]
async fn execution_leads_to_its_task_and_the_command_of_that() {
    let api = Harness::new().await;
    let fired = fired(&api, 1).await;
    let key = json!({ "WindowExecutionId": fired.executions[0] });
    let execution = api.ok("GetMaintenanceWindowExecution", key.clone()).await;
    assert_eq!((&execution["Status"], &execution["TaskIds"]), (&json!("IN_PROGRESS"), &json!([fired.task])));
    assert!(execution.get("EndTime").is_none(), "{execution}");

    let tasks = api.ok("DescribeMaintenanceWindowExecutionTasks", key.clone()).await;
    assert_eq!(tasks["WindowExecutionTaskIdentities"][0]["TaskType"], "RUN_COMMAND");
    let with = |member: &str, value: Value| {
        let mut input = key.clone();
        input["TaskId"] = json!(fired.task);
        input[member] = value;
        input
    };
    let task = api.ok("GetMaintenanceWindowExecutionTask", with("TaskId", json!(fired.task))).await;
    assert_eq!((&task["Type"], &task["TaskArn"]), (&json!("RUN_COMMAND"), &json!("AWS-RunPatchBaseline")));

    let list = "DescribeMaintenanceWindowExecutionTaskInvocations";
    let found = api.ok(list, with("TaskId", json!(fired.task))).await;
    let invocation = &found["WindowExecutionTaskInvocationIdentities"][0];
    assert_eq!(invocation["ExecutionId"], json!(fired.command));
    assert_eq!(invocation["OwnerInformation"], "team a");
    let one = with("InvocationId", invocation["InvocationId"].clone());
    assert_eq!(&api.ok("GetMaintenanceWindowExecutionTaskInvocation", one).await, invocation);

    let filters = |status: &str| with("Filters", json!([{ "Key": "STATUS", "Values": [status] }]));
    let none = api.ok(list, filters("FAILED")).await;
    assert_eq!(none["WindowExecutionTaskInvocationIdentities"], json!([]));
    let message = api.refused(list, filters("GREAT"), "ValidationException").await;
    assert!(message.contains("GREAT") && message.contains("TIMED_OUT"), "{message}");
    let other = with("TaskId", json!(TaskExecutionId::derived("other")));
    api.refused("GetMaintenanceWindowExecutionTask", other, "DoesNotExistException").await;
    let no_such = with("InvocationId", json!("00000000-0000-0000-0000-000000000000"));
    api.refused("GetMaintenanceWindowExecutionTaskInvocation", no_such, "DoesNotExistException").await;
}

#[tokio::test]
async fn cancellation_is_published_unless_the_execution_has_ended() {
    let api = Harness::new().await;
    let fired = fired(&api, 2).await;
    for execution in [fired.executions[1], fired.executions[0]] {
        let answer = api.ok("CancelMaintenanceWindowExecution", json!({ "WindowExecutionId": execution })).await;
        assert_eq!(answer["WindowExecutionId"], json!(execution));
    }
    assert_eq!(api.bus.types(), ["patchwave.window.cancel.requested.v1"]);
    let unknown = json!({ "WindowExecutionId": WindowExecutionId::derived("none") });
    api.refused("CancelMaintenanceWindowExecution", unknown, "DoesNotExistException").await;
}
