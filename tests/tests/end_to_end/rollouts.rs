//! Commands that go wrong, and commands that are stopped.

use std::time::Duration;

use patchwave_tests::fleet::{Agents, News, Role, Rollout, System, Urls, eventually};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

fn script(tag: &str, value: &str, concurrency: &str, errors: &str) -> Value {
    json!({
        "DocumentName": "AWS-RunShellScript",
        "Targets": [{ "Key": format!("tag:{tag}"), "Values": [value] }],
        "Parameters": { "commands": ["true"] },
        "MaxConcurrency": concurrency,
        "MaxErrors": errors,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossed_threshold_ends_its_rollout_and_no_other() {
    let urls = Urls::shared("threshold").unwrap();
    let news = News::listen(&urls.topics).await.unwrap();
    let system = System::start(urls, &[Role::Up]).await.unwrap();
    let api = system.api();
    let bad = ["--seed", "2", "--tag", "Kind=bad", "--failure-rate", "1.0", "--duration-ms", "20..60"];
    let _bad = Agents::simulate(&system, 60, &bad).unwrap();
    let _good =
        Agents::simulate(&system, 60, &["--seed", "3", "--tag", "Kind=good", "--duration-ms", "50..100"]).unwrap();
    system.online(60, "Kind=bad").await;
    system.online(60, "Kind=good").await;

    let good = Rollout::send(api, script("Kind", "good", "5", "0")).await;
    let strict = {
        let mut input = script("Kind", "bad", "5", "10%");
        input["ErrorMode"] = json!("strict");
        Rollout::send(api, input).await
    };
    let bad = Rollout::send(api, script("Kind", "bad", "5", "3")).await;

    let bad = (bad.command_id().to_owned(), bad.finish(PATIENCE).await);
    let failed = bad.1.count("Failed");
    // Four errors cross the threshold of three; four more may have been in flight.
    assert!((4..=8).contains(&failed), "{:?}", bad.1);
    assert_eq!(bad.1.count("Terminated"), 60 - failed, "{:?}", bad.1);
    assert_eq!(bad.1.rollout["Status"], "Failed", "{:?}", bad.1);

    let strict = strict.finish(PATIENCE).await;
    assert!(strict.count("Failed") <= 7, "at most 10 % of 60, and one: {strict:?}");
    assert_eq!(strict.count("Failed") + strict.count("Terminated"), 60, "{strict:?}");

    let good = good.finish(PATIENCE).await;
    assert_eq!((good.details(), good.count("Success")), ("Success", 60), "the others went on");

    let heard = eventually("subscribers hear of the failure", async || {
        let heard = news.about("commandId", &bad.0);
        heard.into_iter().map(|(_, payload)| payload).find(|payload| payload["status"] == "Failed")
    })
    .await;
    assert_eq!(heard["terminatedCount"], 60 - failed, "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_command_stops_what_runs_and_starts_nothing_more() {
    let system = System::start(Urls::shared("cancel").unwrap(), &[Role::Up]).await.unwrap();
    let api = system.api();
    // Longer than the test lasts: only a cancellation ends them.
    let _slow = Agents::simulate(&system, 20, &["--tag", "Kind=slow", "--duration-ms", "600000"]).unwrap();
    system.online(20, "Kind=slow").await;
    let rollout = Rollout::send(api, script("Kind", "slow", "10", "0")).await;
    eventually("ten are in flight", async || (rollout.look().await?["InFlight"] == 10).then_some(())).await;

    let in_flight =
        json!({ "CommandId": rollout.command_id(), "Filters": [{ "key": "Status", "value": "InProgress" }] });
    let in_flight = api.list("ListCommandInvocations", in_flight, "CommandInvocations").await;
    let one = in_flight[0]["InstanceId"].as_str().unwrap();
    api.ok("CancelCommand", json!({ "CommandId": rollout.command_id(), "InstanceIds": [one] })).await;
    eventually("one has been stopped, and another has its place", async || {
        let now = rollout.look().await?;
        (now["Ended"]["Cancelled"] == 1 && now["InFlight"] == 10).then_some(())
    })
    .await;
    let input = json!({ "CommandId": rollout.command_id(), "InstanceId": one });
    assert_eq!(api.ok("GetCommandInvocation", input).await["StatusDetails"], "Cancelled");

    api.ok("CancelCommand", json!({ "CommandId": rollout.command_id() })).await;
    let watched = rollout.finish(PATIENCE).await;
    assert_eq!(watched.count("Cancelled"), 20, "{watched:?}");
    assert_eq!(watched.rollout["Status"], "Cancelled", "{watched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_script_is_killed_with_what_it_started() {
    let system = System::start(Urls::shared("cancel-script").unwrap(), &[Role::Up]).await.unwrap();
    let api = system.api();
    let node = "mi-0000000000000000a";
    let _agent = Agents::real(&system, node, &["--tag", "Kind=real"]).unwrap();
    system.online(1, "Kind=real").await;
    let pids = system.directory().join("pids");
    let mut input = script("Kind", "real", "1", "0");
    let start = format!("sleep 600 & echo $! $$ > {}", pids.display());
    input["Parameters"]["commands"] = json!([start, "wait"]);
    let rollout = Rollout::send(api, input).await;
    let pids = eventually("the script has started", async || {
        let text = std::fs::read_to_string(&pids).ok()?;
        text.ends_with('\n').then_some(text)
    })
    .await;
    let running = || pids.split_whitespace().filter(|pid| is_running(pid)).count();
    assert_eq!(running(), 2, "{pids}");

    api.ok("CancelCommand", json!({ "CommandId": rollout.command_id() })).await;
    let watched = rollout.finish(PATIENCE).await;
    assert_eq!(watched.nodes[node], "Cancelled", "{watched:?}");
    eventually("its processes are gone", async || (running() == 0).then_some(())).await;
}

/// Whether a process exists and is no mere entry that waits to be collected.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
