//! What other systems publish: it is done when it is right, and kept with its reason when not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use patchwave_tests::fleet::{Agents, Api, Events, Role, Rollout, System, Urls, binary, cloud_event, eventually};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

/// Variable with the interpreter that has `pika`.
const PYTHON: &str = "PATCHWAVE_TEST_PYTHON";

async fn system(name: &str) -> System {
    System::start(Urls::shared(name).unwrap(), &[Role::Up]).await.unwrap()
}

async fn exists(api: &Api, command: &str) {
    eventually(&format!("command {command} is known"), async || {
        api.call("Patchwave.GetRollout", &json!({ "CommandId": command })).await.ok()
    })
    .await;
}

/// What `patchwave dead-letters <arguments> --output json` prints.
async fn dead_letters(system: &System, arguments: &[&str]) -> Value {
    let mut command = Command::new(binary("patchwave").unwrap());
    command.envs(system.api().variables("PATCHWAVE"));
    command.args(["dead-letters"]).args(arguments).args(["--output", "json", "--endpoint", system.api().endpoint()]);
    let output = command.current_dir(system.directory()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Waits until there are so many dead letters; returns them, oldest first.
async fn dead(system: &System, count: usize) -> Vec<Value> {
    let mut letters = eventually(&format!("{count} dead letters"), async || {
        let answer = dead_letters(system, &["list"]).await;
        let letters = answer["DeadLetters"].as_array().unwrap().clone();
        assert!(letters.len() <= count, "{letters:?}");
        (letters.len() == count).then_some(letters)
    })
    .await;
    letters.reverse();
    letters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_lines_of_python_patch_a_group_now() {
    let python = std::env::var(PYTHON)
        .unwrap_or_else(|_| panic!("{PYTHON} is not set: run the tests through `make test`, which provides Python"));
    let system = system("events-python").await;
    let _fleet = Agents::simulate(&system, 8, &["--patch-groups", "canary=1,other=1"]).unwrap();
    eventually("every node is known", async || {
        let list = "InstanceInformationList";
        let nodes = system.api().all("DescribeInstanceInformation", json!({}), list).await.ok()?;
        (nodes.len() == 8).then_some(())
    })
    .await;
    let group = system.online(1, "Patch Group=canary").await;
    assert!(group.len() < 8, "the other group is not empty");

    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/patch_now.py");
    let text = std::fs::read_to_string(&script).unwrap();
    assert!(text.lines().count() <= 10, "the README says ten lines");
    let output = Command::new(python).arg(script).args([&system.urls().bus, "canary"]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    let command = said.trim().strip_prefix("command ").unwrap();
    exists(system.api(), command).await;
    let watched = Rollout::new(system.api(), command).finish(Duration::from_secs(30)).await;
    assert_eq!(watched.details(), "Success", "{watched:?}");
    assert!(watched.nodes.keys().eq(&group), "exactly the group: {watched:?}");
    let state = json!({ "PatchGroup": "canary" });
    eventually("the installation is in the patch states", async || {
        let list = "InstancePatchStates";
        let states = system.api().all("DescribeInstancePatchStatesForPatchGroup", state.clone(), list).await.ok()?;
        (states.len() == group.len() && states.iter().all(|one| one["Operation"] == "Install")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requested_window_starts_once_for_each_event() {
    let system = system("events-window").await;
    let api = system.api();
    let window = json!({ "Name": "on-request", "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 1,
        "AllowUnassociatedTargets": true });
    let window = api.id("CreateMaintenanceWindow", window, "WindowId").await;
    let events = Events::connect(&system.urls().bus).await.unwrap();
    let data = json!({ "window_id": window, "reason": "from a test" });
    let first = cloud_event(Uuid::new_v4(), "patchwave.window.start.requested.v1", &data);
    let second = cloud_event(Uuid::new_v4(), "patchwave.window.start.requested.v1", &data);
    for (event, executions) in [(&first, 1), (&first, 1), (&second, 2)] {
        events.publish("window.start.requested", event).await.unwrap();
        eventually(&format!("{executions} executions have ended"), async || {
            let input = json!({ "WindowId": window });
            let list = api.all("DescribeMaintenanceWindowExecutions", input, "WindowExecutions").await.ok()?;
            assert!(list.len() <= executions, "{list:?}");
            (list.iter().filter(|one| one["Status"] == "SUCCESS").count() == executions).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_kept_with_its_reason_and_its_neighbours_are_processed() {
    let system = system("events-poison").await;
    let _fleet = Agents::simulate(&system, 2, &["--tag", "Kind=any"]).unwrap();
    system.online(2, "Kind=any").await;
    let events = Events::connect(&system.urls().bus).await.unwrap();
    let request = |document: &str| {
        json!({ "DocumentName": document, "Targets": [{ "Key": "tag:Kind", "Values": ["any"] }],
            "Parameters": { "commands": ["true"] } })
    };
    let (command, window) = ("patchwave.command.requested.v1", "patchwave.window.start.requested.v1");
    let good: Vec<Uuid> = (0..4).map(|_| Uuid::new_v4()).collect();
    let neighbour = |number: usize| cloud_event(good[number], command, &request("AWS-RunShellScript"));
    let poison: [(&str, Vec<u8>, &[&str]); 6] = [
        ("command.requested", b"\xff\x00 no JSON".to_vec(), &["CloudEvents 1.0"]),
        ("command.requested", b"{\"specversion\":\"1.0\"}".to_vec(), &["missing field"]),
        (
            "command.requested",
            cloud_event(Uuid::new_v4(), command, &json!({ "DocumentName": 7 })),
            &["DocumentName", "7"],
        ),
        ("command.requested", cloud_event(Uuid::new_v4(), command, &request("AWS-Nothing")), &["AWS-Nothing"]),
        (
            "window.invented",
            cloud_event(Uuid::new_v4(), "patchwave.window.invented.v1", &json!({})),
            &["patchwave.window.invented.v1"],
        ),
        (
            "window.start.requested",
            cloud_event(Uuid::new_v4(), window, &json!({ "window_id": "mw-00000000000000001" })),
            &["window_id", "mw-00000000000000001"],
        ),
    ];
    for (number, (key, body, _)) in poison.iter().enumerate() {
        events.publish(key, body).await.unwrap();
        if number < good.len() {
            events.publish("command.requested", &neighbour(number)).await.unwrap();
        }
    }

    for id in &good {
        exists(system.api(), &id.to_string()).await;
        let watched = Rollout::new(system.api(), id.to_string()).finish(Duration::from_secs(30)).await;
        assert_eq!(watched.count("Success"), 2, "{watched:?}");
    }
    let letters = dead(&system, poison.len()).await;
    for (_, body, needles) in &poison {
        let fits = |letter: &&Value| needles.iter().all(|needle| letter["Reason"].as_str().unwrap().contains(needle));
        let letter = letters.iter().find(fits).unwrap_or_else(|| panic!("no {needles:?} in {letters:#?}"));
        assert_eq!(letter["Queue"], "patchwave.resolver", "{letter}");
        let shown = dead_letters(&system, &["show", letter["DeadLetterId"].as_str().unwrap()]).await;
        if let Ok(body) = std::str::from_utf8(body) {
            assert_eq!(shown["DeadLetter"]["Body"], body, "kept as it came");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_dead_letter_is_processed_when_its_cause_is_gone() {
    let system = system("events-replay").await;
    let events = Events::connect(&system.urls().bus).await.unwrap();
    let node = "mi-00000000000000abc";
    let command = Uuid::new_v4();
    let request = json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [node],
        "Parameters": { "commands": ["true"] } });
    let request = cloud_event(command, "patchwave.command.requested.v1", &request);
    events.publish("command.requested", &request).await.unwrap();
    let letters = dead(&system, 1).await;
    assert!(letters[0]["Reason"].as_str().unwrap().contains(node), "{letters:?}");
    let id = letters[0]["DeadLetterId"].as_str().unwrap();

    // Nothing has changed: it comes back, and never gets lost on the way round.
    let mut buried_at = letters[0]["BuriedAt"].clone();
    for _ in 0..10 {
        dead_letters(&system, &["replay", id]).await;
        buried_at = eventually("the letter is back", async || {
            let letters = dead(&system, 1).await;
            let again = letters[0]["BuriedAt"].clone();
            (again != buried_at).then_some(again)
        })
        .await;
    }

    let _agent = Agents::real(&system, node, &["--tag", "Kind=late"]).unwrap();
    system.online(1, "Kind=late").await;
    dead_letters(&system, &["replay", id]).await;
    exists(system.api(), &command.to_string()).await;
    let watched = Rollout::new(system.api(), command.to_string()).finish(Duration::from_secs(30)).await;
    assert_eq!(watched.details(), "Success", "{watched:?}");
    dead(&system, 0).await;
}
