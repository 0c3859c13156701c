//! A machine becomes a node with an activation, works, learns of new keys, and is cut off: with the
//! programs that an operator uses, and nothing prepared in the store.

use std::time::Duration;

use patchwave_tests::fleet::{Program, Role, Rollout, System, Urls, eventually};
use serde_json::{Value, json};

/// Runs a script on a node and waits for its end.
async fn works(system: &System, node: &str, word: &str) {
    let input = json!({
        "DocumentName": "AWS-RunShellScript",
        "InstanceIds": [node],
        "Parameters": { "commands": [format!("echo {word}")] },
    });
    let rollout = Rollout::send(system.api(), input).await;
    let watched = rollout.finish(Duration::from_secs(90)).await;
    assert_eq!(watched.nodes[node], "Success", "{watched:?}");
}

async fn audited(system: &System, action: &str) -> Vec<Value> {
    let entries = system.api().list("Patchwave.ListAuditEntries", json!({}), "AuditEntries").await;
    entries.into_iter().filter(|entry| entry["Action"] == action).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_registers_works_over_a_rotation_of_keys_and_is_cut_off() {
    let system = System::start(Urls::embedded(), &[Role::Up]).await.unwrap();
    let api = system.api();
    let asked = json!({
        "IamRole": "patchwave", "DefaultInstanceName": "web", "RegistrationLimit": 1,
        "Tags": [{ "Key": "Patch Group", "Value": "canary" }],
    });
    let activation = api.ok("CreateActivation", asked).await;
    let code = system.directory().join("code");
    std::fs::write(&code, activation["ActivationCode"].as_str().unwrap()).unwrap();

    let state = system.directory().join("agent").display().to_string();
    let code = code.display().to_string();
    let id = activation["ActivationId"].as_str().unwrap();
    let arguments = [
        "register",
        "--server",
        api.endpoint(),
        "--activation-id",
        id,
        "--activation-code-file",
        &code,
        "--state-dir",
        &state,
    ];
    let _registering = Program::start("patchwave-agent", arguments, system.directory(), "register").unwrap();
    let nodes = eventually("the machine registered", async || {
        let nodes = api.all("DescribeInstanceInformation", json!({}), "InstanceInformationList").await.ok()?;
        (!nodes.is_empty()).then_some(nodes)
    })
    .await;
    let node = nodes[0]["InstanceId"].as_str().unwrap().to_owned();
    assert_eq!((&nodes[0]["Name"], &nodes[0]["ActivationId"]), (&json!("web"), &json!(id)));
    assert_eq!(nodes[0]["PingStatus"], "ConnectionLost", "it has not said hello yet");
    eventually("its credentials are kept", async || {
        std::path::Path::new(&state).join("credentials.json").exists().then_some(())
    })
    .await;

    let arguments = ["--state-dir", &state, "--reconnect-max-seconds", "2", "--reboot-command", ""];
    let agent = Program::start("patchwave-agent", arguments, system.directory(), "agent").unwrap();
    assert_eq!(system.online(1, "Patch Group=canary").await, std::slice::from_ref(&node));
    works(&system, &node, "first").await;

    // The new key signs at once, which it never does unless it is told to: the node asks for it.
    let rotation = json!({ "SignsAfterSeconds": 0, "RetiresAfterSeconds": 3600 });
    api.ok("Patchwave.RotateSigningKey", rotation).await;
    works(&system, &node, "second").await;
    let keys = api.list("Patchwave.ListSigningKeys", json!({}), "SigningKeys").await;
    assert_eq!(keys.len(), 2, "{keys:?}");

    api.ok("DeregisterManagedInstance", json!({ "InstanceId": node })).await;
    let refused = api
        .call(
            "SendCommand",
            &json!({
                "DocumentName": "AWS-RunShellScript", "InstanceIds": [node], "Parameters": { "commands": ["true"] },
            }),
        )
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("InvalidInstanceId"), "{refused}");
    assert!(api.list("DescribeInstanceInformation", json!({}), "InstanceInformationList").await.is_empty());
    for action in ["RegisterManagedInstance", "DeregisterManagedInstance"] {
        assert!(!audited(&system, action).await.is_empty(), "{action} is in the audit log");
    }
    let verified = api.ok("Patchwave.VerifyAudit", json!({})).await;
    assert_eq!(verified["Faults"], json!([]), "{verified}");
    drop(agent);
}
