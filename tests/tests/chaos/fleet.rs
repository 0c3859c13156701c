//! The fleet that is broken: separate roles, simulated nodes for volume, and real agents whose
//! scripts leave a line behind for each run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use patchwave_tests::fleet::{Agents, Api, Role, Rollout, System, Urls, Watched, eventually};
use serde_json::{Value, json};

/// Simulated nodes.
pub(crate) const SIMULATED: usize = 300;
/// Agents that run scripts.
pub(crate) const REAL: usize = 6;
/// Invocations of one rollout in flight.
const CONCURRENCY: usize = 40;
/// How long the broken rollout may take. Repairs wait for checks: an unheard command is handed
/// over again after 30 s, looked for every 15 s; and an agent that lost its broker may wait up to
/// a minute before it connects again.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running system with its nodes.
pub(crate) struct Fleet {
    pub(crate) real: Vec<Agents>,
    pub(crate) simulated: Agents,
    pub(crate) system: System,
    runs: PathBuf,
}

/// Whether a node whose invocation ended must have run it exactly once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// Every node succeeds.
    Once,
    /// An agent died: what it was running is not started again and ends as failed.
    AtMostOnce,
}

impl Fleet {
    pub(crate) async fn start(urls: Urls) -> Self {
        let roles = [Role::Api, Role::Scheduler, Role::Worker, Role::Worker];
        let system = System::start(urls, &roles).await.unwrap();
        let options = ["--tag", "Fleet=chaos", "--duration-ms", "300..700"];
        let simulated = Agents::simulate(&system, SIMULATED, &options).unwrap();
        // Spread over the order of ids, so that some are released early and some late.
        let real = (0..REAL).map(|number| {
            let id = format!("mi-{number:x}{:016x}", 7);
            Agents::real(&system, &id, &["--tag", "Fleet=chaos"]).unwrap()
        });
        let real = real.collect();
        system.online(SIMULATED + REAL, "Fleet=chaos").await;
        let runs = system.directory().join("runs");
        Self { real, simulated, system, runs }
    }

    pub(crate) fn api(&self) -> &Api {
        self.system.api()
    }

    /// What runs on every node; real ones append a line for each run.
    pub(crate) fn script(&self) -> Value {
        let line = format!("echo \"$SSM_COMMAND_ID $AWS_SSM_INSTANCE_ID\" >> {}", self.runs.display());
        json!({ "commands": [line, "sleep 0.4"] })
    }

    /// A request for a rollout over all nodes.
    pub(crate) fn request(&self) -> Value {
        json!({
            "DocumentName": "AWS-RunShellScript",
            "Targets": [{ "Key": "tag:Fleet", "Values": ["chaos"] }],
            "Parameters": self.script(),
            "MaxConcurrency": CONCURRENCY.to_string(),
            "MaxErrors": "100%",
        })
    }

    /// Starts a rollout over all nodes and waits until it is under way.
    pub(crate) async fn under_way(&self) -> String {
        let rollout = Rollout::send(self.api(), self.request()).await;
        rollout.ended(50).await;
        rollout.command_id().to_owned()
    }

    /// Checks that a rollout has not ended: what was just broken was broken in the middle of it.
    pub(crate) async fn still_runs(&self, command: &str) {
        let rollout = Rollout::new(self.api(), command).look().await.unwrap();
        assert_eq!(rollout["Phase"], "Running", "the breakage came too late: {rollout}");
    }

    /// Follows a broken rollout to its end and checks it; then that nothing is broken any more.
    pub(crate) async fn check(&mut self, command: &str, ran: Ran) {
        self.finish(command, ran).await;
        assert!(self.system.is_running(), "a process of ours has ended");
        let again = Rollout::send(self.api(), self.request()).await.command_id().to_owned();
        self.finish(&again, Ran::Once).await;
        let dead = self.api().list("Patchwave.ListDeadLetters", json!({}), "DeadLetters").await;
        assert_eq!(dead, Vec::<Value>::new(), "nothing was poison");
        eventually("everything is ready again", async || self.api().is_ready().await.then_some(())).await;
    }

    /// Follows one rollout to its end and checks it.
    pub(crate) async fn finish(&self, command: &str, ran: Ran) -> Watched {
        let watched = Rollout::new(self.api(), command).finish(PATIENCE).await;
        assert_eq!(watched.nodes.len(), SIMULATED + REAL);
        let runs = self.runs_of(command);
        for node in (0..REAL).map(|number| format!("mi-{number:x}{:016x}", 7)) {
            let times = runs.get(&node).copied().unwrap_or_default();
            let ending = &watched.nodes[&node];
            match (ran, ending.as_str()) {
                (_, "Success") => assert_eq!(times, 1, "{node} ran {command} {times} times"),
                (Ran::AtMostOnce, "Failed") => assert!(times <= 1, "{node} ran {command} {times} times"),
                _ => panic!("{node} ended as {ending} after {times} runs: {:?}", watched.rollout),
            }
        }
        if ran == Ran::Once {
            assert_eq!(watched.count("Success") as usize, SIMULATED + REAL, "{:?}", watched.rollout);
        }
        watched
    }

    /// How often each node ran a command's script.
    fn runs_of(&self, command: &str) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for line in std::fs::read_to_string(&self.runs).unwrap().lines() {
            let (id, node) = line.split_once(' ').unwrap();
            if id == command {
                *runs.entry(node.to_owned()).or_default() += 1;
            }
        }
        runs
    }
}
