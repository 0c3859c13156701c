//! A maintenance window from its schedule to the compliance of its nodes.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use patchwave_tests::fleet::{Agents, Api, News, Role, Rollout, System, Urls, eventually};
use serde_json::{Value, json};

/// A window that fires a few seconds from now, with one target group and two tasks: a scan, then
/// a script.
async fn window(api: &Api, tag: &str) -> String {
    let at = (Timestamp::now() + 3.seconds()).strftime("at(%Y-%m-%dT%H:%M:%S)").to_string();
    let input = json!({ "Name": "nightly", "Schedule": at, "Duration": 2, "Cutoff": 1,
        "AllowUnassociatedTargets": false });
    let window = api.id("CreateMaintenanceWindow", input, "WindowId").await;
    let (key, value) = tag.split_once('=').unwrap();
    let target = json!({ "WindowId": window, "ResourceType": "INSTANCE",
        "Targets": [{ "Key": format!("tag:{key}"), "Values": [value] }] });
    let target = api.id("RegisterTargetWithMaintenanceWindow", target, "WindowTargetId").await;
    for (priority, document, parameters) in [
        (1, "AWS-RunPatchBaseline", json!({ "Operation": ["Scan"] })),
        (2, "AWS-RunShellScript", json!({ "commands": ["echo hello"] })),
    ] {
        let task = json!({
            "WindowId": window, "TaskArn": document, "TaskType": "RUN_COMMAND", "Priority": priority,
            "Targets": [{ "Key": "WindowTargetIds", "Values": [target] }],
            "MaxConcurrency": "10", "MaxErrors": "0",
            "TaskInvocationParameters": { "RunCommand": { "Parameters": parameters } },
        });
        api.ok("RegisterTaskWithMaintenanceWindow", task).await;
    }
    window
}

/// Follows the window's one execution to its end.
async fn executed(api: &Api, window: &str) -> Value {
    eventually("the window's execution has ended", async || {
        let input = json!({ "WindowId": window });
        let executions = api.all("DescribeMaintenanceWindowExecutions", input, "WindowExecutions").await.ok()?;
        assert!(executions.len() < 2, "the window fired twice: {executions:?}");
        executions.into_iter().find(|one| !one["EndTime"].is_null())
    })
    .await
}

async fn scheduled_window_patches_its_group(roles: &[Role], name: &str) {
    let urls = Urls::shared(name).unwrap();
    let news = News::listen(&urls.topics).await.unwrap();
    let system = System::start(urls, roles).await.unwrap();
    let api = system.api();
    let _fleet = Agents::simulate(&system, 30, &["--patch-groups", "canary=1", "--duration-ms", "10..50"]).unwrap();
    let nodes = system.online(30, "Patch Group=canary").await;

    let baseline = json!({ "Name": "soon", "OperatingSystem": "DEBIAN", "ApprovalRules": { "PatchRules": [{
        "PatchFilterGroup": { "PatchFilters": [{ "Key": "PRODUCT", "Values": ["*"] }] }, "ApproveAfterDays": 0 }] } });
    let baseline = api.id("CreatePatchBaseline", baseline, "BaselineId").await;
    let group = json!({ "BaselineId": baseline, "PatchGroup": "canary" });
    api.ok("RegisterPatchBaselineForPatchGroup", group).await;

    let window = window(api, "Patch Group=canary").await;
    let execution = executed(api, &window).await;
    assert_eq!(execution["Status"], "SUCCESS", "{execution}");

    let id = execution["WindowExecutionId"].as_str().unwrap();
    let tasks = json!({ "WindowExecutionId": id });
    let tasks = api.list("DescribeMaintenanceWindowExecutionTasks", tasks, "WindowExecutionTaskIdentities").await;
    let arns: Vec<&str> = tasks.iter().filter_map(|task| task["TaskArn"].as_str()).collect();
    assert_eq!(arns, ["AWS-RunPatchBaseline", "AWS-RunShellScript"]);
    let instant = |task: &Value, member: &str| task[member].as_f64().unwrap();
    assert!(instant(&tasks[0], "EndTime") <= instant(&tasks[1], "StartTime"), "by priority: {tasks:?}");
    for task in &tasks {
        assert_eq!(task["Status"], "SUCCESS", "{task}");
        let one = json!({ "WindowExecutionId": id, "TaskId": task["TaskExecutionId"] });
        let list = "WindowExecutionTaskInvocationIdentities";
        let invocations = api.list("DescribeMaintenanceWindowExecutionTaskInvocations", one, list).await;
        assert_eq!(invocations.len(), 1, "{invocations:?}");
        let command = invocations[0]["ExecutionId"].as_str().unwrap();
        let watched = Rollout::new(api, command).finish(Duration::from_secs(5)).await;
        assert_eq!(watched.count("Success"), 30);
        assert!(watched.nodes.keys().eq(nodes.iter()), "the targets are the group");
    }

    let of_group = json!({ "PatchGroup": "canary" });
    let states = eventually("every node's scan is stored", async || {
        let list = "InstancePatchStates";
        let states = api.all("DescribeInstancePatchStatesForPatchGroup", of_group.clone(), list).await.ok()?;
        (states.len() == 30).then_some(states)
    })
    .await;
    for state in &states {
        assert_eq!((&state["PatchGroup"], &state["Operation"]), (&json!("canary"), &json!("Scan")), "{state}");
    }
    assert!(states.iter().any(|state| state["BaselineId"] == baseline.as_str()), "Debian nodes meet the baseline");
    let summary = api.ok("DescribePatchGroupState", of_group).await;
    assert_eq!(summary["Instances"], 30, "{summary}");
    assert!(summary["InstancesWithMissingPatches"].as_u64() > Some(0), "{summary}");

    let heard = eventually("subscribers hear of the end", async || {
        let heard = news.about("window-execution-id", id);
        heard.iter().any(|(_, payload)| payload["status"] == "SUCCESS").then_some(heard)
    })
    .await;
    for (envelope, _) in heard {
        assert_eq!(envelope["Type"], "Notification", "{envelope}");
        assert_eq!(envelope["TopicArn"], "arn:aws:sns:local:000000000000:patchwave");
        assert!(envelope["MessageId"].is_string() && envelope["Timestamp"].is_string(), "{envelope}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_window_patches_its_group_in_one_process() {
    scheduled_window_patches_its_group(&[Role::Up], "window-up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_window_patches_its_group_with_separate_roles() {
    let roles = [Role::Api, Role::Scheduler, Role::Worker, Role::Worker];
    scheduled_window_patches_its_group(&roles, "window-roles").await;
}
