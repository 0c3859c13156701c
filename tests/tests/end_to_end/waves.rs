//! Patch Now in waves: gates that stop a rollout, and gates that wait for somebody.

use std::time::Duration;

use patchwave_tests::fleet::{Agents, Api, Role, Rollout, System, Urls, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// An installation on ten nodes, two of them first.
async fn patch_now<'a>(api: &'a Api, gate: Value) -> Rollout<'a> {
    let input = json!({
        "Operation": "Install",
        "Targets": [{ "Key": "tag:Patch Group", "Values": ["canary"] }],
        "RebootOption": "NoReboot",
        "MaxConcurrency": "100%",
        "MaxErrors": "100%",
        "Waves": { "Waves": [{ "Name": "first", "Size": "2", "Gate": gate }, { "Name": "rest" }] },
    });
    let answer = api.ok("Patchwave.PatchNow", input).await;
    Rollout::new(api, answer["Command"]["CommandId"].as_str().unwrap())
}

/// Waits until the first wave is over and its gate waits for somebody; then approves.
async fn approve(api: &Api, rollout: &Rollout<'_>) {
    let waiting = eventually("the gate waits for an approval", async || {
        let now = rollout.look().await?;
        (now["Waves"]["State"] == "AwaitingApproval").then_some(now)
    })
    .await;
    assert_eq!((&waiting["Ended"]["Success"], &waiting["Held"]), (&json!(2), &json!(8)), "{waiting}");
    assert_eq!((&waiting["InFlight"], &waiting["Pending"]), (&json!(0), &json!(0)), "{waiting}");
    api.ok("Patchwave.SignalApproval", json!({ "CommandId": rollout.command_id(), "Signal": "Approve" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wave_that_fails_its_gate_is_the_last_one() {
    let system = System::start(Urls::shared("waves-gate").unwrap(), &[Role::Up]).await.unwrap();
    let options = ["--tag", "Patch Group=canary", "--failure-rate", "1.0", "--duration-ms", "20..60"];
    let _nodes = Agents::simulate(&system, 10, &options).unwrap();
    system.online(10, "Patch Group=canary").await;
    let rollout = patch_now(system.api(), json!({ "MaxFailed": 0 })).await;
    let watched = rollout.finish(PATIENCE).await;
    assert_eq!((watched.count("Failed"), watched.count("Terminated")), (2, 8), "{watched:?}");
    assert_eq!(watched.rollout["Status"], "Failed", "{watched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wave_that_somebody_approves_is_followed_by_the_next() {
    let system = System::start(Urls::shared("waves-approval").unwrap(), &[Role::Up]).await.unwrap();
    let options = ["--tag", "Patch Group=canary", "--duration-ms", "20..60"];
    let _nodes = Agents::simulate(&system, 10, &options).unwrap();
    system.online(10, "Patch Group=canary").await;
    let rollout = patch_now(system.api(), json!({ "MaxFailed": 0, "ApprovalWithinSeconds": 600 })).await;
    approve(system.api(), &rollout).await;
    let watched = rollout.finish(PATIENCE).await;
    assert_eq!((watched.details(), watched.count("Success")), ("Success", 10), "{watched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waves_are_the_same_without_a_broker() {
    let options = ["--simulate", "10", "--simulate-patch-groups", "canary=1"];
    let system = System::start_with(Urls::embedded(), &[Role::Up], &options).await.unwrap();
    system.online(10, "Patch Group=canary").await;
    let rollout = patch_now(system.api(), json!({ "MinSuccessPercent": 100, "ApprovalWithinSeconds": 600 })).await;
    approve(system.api(), &rollout).await;
    let watched = rollout.finish(PATIENCE).await;
    assert_eq!((watched.details(), watched.count("Success")), ("Success", 10), "{watched:?}");
}
