//! This machine's own packages, only ever scanned.

use std::process::Command;
use std::time::Duration;

use patchwave_tests::fleet::{Agents, Role, Rollout, System, Urls, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scan_of_this_machine_finds_its_packages_and_changes_nothing() {
    let system = System::start(Urls::shared("machine").unwrap(), &[Role::Up]).await.unwrap();
    let api = system.api();
    let node = "mi-0000000000000beef";
    let _agent = Agents::real(&system, node, &["--scan-only", "--tag", "Patch Group=this-machine"]).unwrap();
    system.online(1, "Patch Group=this-machine").await;
    let send = |document: &str, parameters| {
        let input = json!({ "DocumentName": document, "InstanceIds": [node], "Parameters": parameters });
        Rollout::send(api, input)
    };

    let scan = send("AWS-RunPatchBaseline", json!({ "Operation": ["Scan"] })).await;
    let watched = scan.finish(Duration::from_secs(60)).await;
    let invocation = json!({ "CommandId": scan.command_id(), "InstanceId": node, "PluginName": null });
    assert_eq!(watched.nodes[node], "Success", "{:?}", api.call("GetCommandInvocation", &invocation).await);
    let states = json!({ "InstanceIds": [node] });
    let state = eventually("the scan is stored", async || {
        let states = api.all("DescribeInstancePatchStates", states.clone(), "InstancePatchStates").await.ok()?;
        states.into_iter().next()
    })
    .await;
    assert_eq!((&state["Operation"], &state["PatchGroup"]), (&json!("Scan"), &json!("this-machine")), "{state}");
    assert_eq!(state["FailedCount"], 0, "{state}");

    // The packages themselves, against what dpkg says.
    let patches = api.list("DescribeInstancePatches", json!({ "InstanceId": node }), "Patches").await;
    let installed: Vec<&str> = patches
        .iter()
        .filter(|patch| patch["State"].as_str().is_some_and(|state| state.starts_with("Installed")))
        .map(|patch| patch["Title"].as_str().unwrap())
        .collect();
    let listed = Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let known: Vec<&str> = listed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    assert!(!installed.is_empty(), "{state}");
    let name = |title: &str| title.split([' ', ':', '.']).next().unwrap_or_default().to_owned();
    for title in &installed {
        assert!(known.iter().any(|package| name(package) == name(title)), "{title} is not installed");
    }

    // A node that may only be scanned takes nothing else.
    for (document, parameters) in [
        ("AWS-RunShellScript", json!({ "commands": ["true"] })),
        ("AWS-RunPatchBaseline", json!({ "Operation": ["Install"], "RebootOption": ["NoReboot"] })),
    ] {
        let watched = send(document, parameters).await.finish(Duration::from_secs(30)).await;
        assert_eq!(watched.nodes[node], "Undeliverable", "{document}: {watched:?}");
    }
}
