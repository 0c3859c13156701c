//! Nodes that are not there when a command is for them.

use std::time::Duration;

use patchwave_tests::fleet::{Agents, Events, Role, Rollout, System, Urls, cloud_event, eventually};
use serde_json::{Value, json};
use uuid::Uuid;

/// Delivery timeout of these commands in seconds: the least that SSM allows.
const TIMEOUT: u64 = 30;
/// Execution timeout in seconds, the least again. An invocation is given up after both (SSM).
const EXECUTION: u64 = 5;
/// How late that may be noticed: rollouts are looked at every 15 s.
const NOTICED: u64 = 25;

async fn enrol(system: &System, node: &str) {
    let facts = json!({ "facts": {
        "node_id": node, "computer_name": node, "operating_system": "DEBIAN", "platform_name": "Debian GNU/Linux",
        "platform_version": "12", "agent_version": "0.1.0", "simulated": false, "tags": { "Kind": "away" },
    } });
    let event = cloud_event(Uuid::new_v4(), "patchwave.node.upserted.v1", &facts);
    let events = Events::connect(&system.urls().bus).await.unwrap();
    events.publish("node.upserted", &event).await.unwrap();
}

fn request(runs: &std::path::Path) -> Value {
    json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{ "Key": "tag:Kind", "Values": ["away"] }],
        "Parameters": {
            "commands": [format!("echo $AWS_SSM_INSTANCE_ID >> {}", runs.display())],
            "executionTimeout": [EXECUTION.to_string()],
        },
        "MaxConcurrency": "1",
        "MaxErrors": "0",
        "TimeoutSeconds": TIMEOUT,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_nodes_hold_up_nobody_get_their_command_late_or_time_out() {
    let system = System::start(Urls::shared("offline").unwrap(), &[Role::Up]).await.unwrap();
    let api = system.api();
    let [never, later, gone, there] = ["1", "2", "3", "f"].map(|number| format!("mi-{number:0>17}"));
    let mut agent = Agents::real(&system, &gone, &["--tag", "Kind=away"]).unwrap();
    let _there = Agents::real(&system, &there, &["--tag", "Kind=away"]).unwrap();
    system.online(2, "Kind=away").await;
    // Its queue goes with its connection, whatever the store still believes.
    agent.program().kill().unwrap();
    for node in [&never, &later] {
        enrol(&system, node).await;
    }
    eventually("all four are known", async || {
        let nodes = api.all("DescribeInstanceInformation", json!({}), "InstanceInformationList").await.ok()?;
        (nodes.len() == 4).then_some(())
    })
    .await;

    let runs = system.directory().join("runs");
    let rollout = Rollout::send(api, request(&runs)).await;
    // One may be in flight at a time, and three of four are away.
    eventually("the node that is there has run it", async || {
        let rollout = rollout.look().await?;
        (rollout["Ended"]["Success"] == 1 && rollout["Waiting"] == 3).then_some(())
    })
    .await;

    let _later = Agents::real(&system, &later, &["--tag", "Kind=away"]).unwrap();
    agent.program().restart().unwrap();
    rollout.ended(3).await;

    let watched = rollout.finish(Duration::from_secs(TIMEOUT + EXECUTION + NOTICED)).await;
    assert_eq!(watched.nodes[&never], "DeliveryTimedOut", "{watched:?}");
    assert_eq!(watched.count("Success"), 3, "{watched:?}");
    assert_eq!(watched.rollout["Status"], "TimedOut", "{watched:?}");
    let ran = std::fs::read_to_string(&runs).unwrap();
    let mut ran: Vec<&str> = ran.lines().collect();
    ran.sort_unstable();
    assert_eq!(ran, [&later, &gone, &there], "each ran it once");
}
