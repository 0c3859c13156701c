//! `patchwave up` with nodes in its own process: this machine and simulated ones, and no broker.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use patchwave_tests::fleet::{Api, Role, Rollout, System, Urls, binary, eventually};
use serde_json::{Value, json};

const SIMULATED: usize = 5;

/// What `patchwave node list` says of the nodes that are there.
fn listed(api: &Api) -> Option<Vec<Value>> {
    let mut command = Command::new(binary("patchwave").unwrap());
    let arguments = ["node", "list", "--ping-status", "Online", "--output", "json", "--endpoint", api.endpoint()];
    let output =
        command.args(arguments).env_remove("PATCHWAVE_CONFIG").envs(api.variables("PATCHWAVE")).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    let nodes = answer["InstanceInformationList"].as_array()?.clone();
    (nodes.len() == SIMULATED + 1).then_some(nodes)
}

fn ids(nodes: &[Value]) -> Vec<String> {
    let mut ids: Vec<_> = nodes.iter().map(|node| node["InstanceId"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

async fn scan(api: &Api, nodes: &[String]) -> String {
    let parameters = json!({ "Operation": ["Scan"] });
    let input = json!({ "DocumentName": "AWS-RunPatchBaseline", "InstanceIds": nodes, "Parameters": parameters });
    let rollout = Rollout::send(api, input).await;
    let watched = rollout.finish(Duration::from_secs(90)).await;
    assert_eq!(watched.count("Success"), nodes.len() as u64, "{watched:?}");
    rollout.command_id().to_owned()
}

fn journal(data: &Path) -> String {
    std::fs::read_to_string(data.join("agent/journal.jsonl")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn up_patches_its_own_machine_and_simulated_nodes_and_knows_them_after_a_restart() {
    let simulated = SIMULATED.to_string();
    let options = [
        ["--local-node", "--local-node-tag", "Patch Group=this-machine", "--local-node-tag", "Site=here"].as_slice(),
        &["--simulate", &simulated, "--simulate-patch-groups", "canary"],
    ];
    let mut system = System::start_with(Urls::embedded(), &[Role::Up], &options.concat()).await.unwrap();
    let (api, data) = (system.api().clone(), system.directory().join("data"));
    let up = system.programs(Role::Up).next().unwrap();
    let appeared = async || eventually("all nodes are listed", async || listed(&api)).await;

    let nodes = appeared().await;
    let names: Vec<_> = nodes.iter().map(|node| node["ComputerName"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("simulated-")).count(), SIMULATED, "{names:?}");
    let real = nodes.iter().find(|node| !node["ComputerName"].as_str().unwrap().starts_with("simulated-")).unwrap();
    let real = real["InstanceId"].as_str().unwrap().to_owned();
    let tags = json!({ "ResourceType": "ManagedInstance", "ResourceId": real });
    let tags = api.ok("ListTagsForResource", tags).await;
    for tag in [json!({ "Key": "Patch Group", "Value": "this-machine" }), json!({ "Key": "Site", "Value": "here" })] {
        assert!(tags["TagList"].as_array().unwrap().contains(&tag), "{tags}");
    }
    let before = ids(&nodes);
    let first = scan(&api, &before).await;

    // Without a value the option allows scans alone.
    let input =
        json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [real], "Parameters": { "commands": ["true"] } });
    let refused = Rollout::send(&api, input).await.finish(Duration::from_secs(30)).await;
    assert_eq!(refused.nodes[&real], "Undeliverable", "{refused:?}");

    let ended = up.stop().unwrap().unwrap();
    assert!(ended.success(), "{ended}\n{}", up.log_tail());
    assert!(journal(&data).contains(&first), "{}", journal(&data));
    up.restart().unwrap();
    assert_eq!(ids(&appeared().await), before, "{}", up.log_tail());
    let second = scan(&api, &before).await;
    let journal = journal(&data);
    assert!(journal.contains(&first) && journal.contains(&second), "{journal}");
}
