//! Following a command to its end, with the checks that hold for every rollout.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Api;

/// Pause between two looks at a rollout.
const POLL: Duration = Duration::from_millis(50);

/// States an invocation does not leave.
const TERMINAL: [&str; 7] =
    ["Success", "Failed", "ExecutionTimedOut", "DeliveryTimedOut", "Cancelled", "Terminated", "Undeliverable"];

/// A command and the API that knows it.
#[derive(Debug)]
pub struct Rollout<'a> {
    api: &'a Api,
    command_id: String,
}

/// How a rollout went.
#[derive(Debug)]
pub struct Watched {
    /// The last answer of `GetRollout`.
    pub rollout: Value,
    /// Most invocations that were seen in flight at one time.
    pub in_flight_max: u64,
    /// SSM's `StatusDetails` of each node's invocation.
    pub nodes: BTreeMap<String, String>,
}

impl<'a> Rollout<'a> {
    /// The rollout of a command that exists.
    pub fn new(api: &'a Api, command_id: impl Into<String>) -> Self {
        Self { api, command_id: command_id.into() }
    }

    /// Sends a command and returns its rollout.
    ///
    /// # Panics
    /// When the API refuses it.
    pub async fn send(api: &'a Api, input: Value) -> Self {
        let answer = api.ok("SendCommand", input).await;
        let command_id = answer["Command"]["CommandId"].as_str().unwrap_or_else(|| panic!("no id in {answer}"));
        Self::new(api, command_id)
    }

    /// The command's id.
    #[must_use]
    pub fn command_id(&self) -> &str {
        &self.command_id
    }

    /// Its numbers now; `None` while the API or its store does not answer.
    pub async fn look(&self) -> Option<Value> {
        self.api.call("Patchwave.GetRollout", &json!({ "CommandId": self.command_id })).await.ok()
    }

    /// Waits until so many invocations have ended: that is, until it is under way.
    ///
    /// # Panics
    /// When they have not in time.
    pub async fn ended(&self, count: u64) {
        super::eventually(&format!("{count} invocations of {} have ended", self.command_id), async || {
            (ended(&self.look().await?) >= count).then_some(())
        })
        .await;
    }

    /// Follows it to its end, then checks what holds for every rollout: every target is in one
    /// terminal state, the counters agree with the invocations, nothing is left in flight, and at
    /// no look was more in flight than allowed.
    ///
    /// # Panics
    /// When it does not end in time or a check fails.
    pub async fn finish(&self, patience: Duration) -> Watched {
        let deadline = Instant::now() + patience;
        let mut in_flight_max = 0;
        let mut last = Value::Null;
        let rollout = loop {
            if let Some(rollout) = self.look().await {
                in_flight_max = in_flight_max.max(number(&rollout, "InFlight"));
                if rollout["Phase"] == "Finished" {
                    break rollout;
                }
                last = rollout;
            }
            if Instant::now() >= deadline {
                panic!("command {} has not ended within {} s: {last}", self.command_id, patience.as_secs());
            }
            tokio::time::sleep(POLL).await;
        };
        let limit = number(&rollout, "Concurrency");
        assert!(in_flight_max <= limit, "{in_flight_max} invocations were in flight, {limit} are allowed: {rollout}");
        for left in ["Pending", "InFlight", "Waiting", "Ready"] {
            assert_eq!(rollout[left], 0, "{left}: {rollout}");
        }
        let targets = number(&rollout, "TargetCount");
        assert_eq!(ended(&rollout), targets, "every target has ended once: {rollout}");

        let input = json!({ "CommandId": self.command_id, "Details": true });
        let invocations = self.api.list("ListCommandInvocations", input, "CommandInvocations").await;
        let text = |one: &Value, member: &str| one[member].as_str().unwrap_or_default().to_owned();
        let nodes: BTreeMap<_, _> =
            invocations.iter().map(|one| (text(one, "InstanceId"), text(one, "StatusDetails"))).collect();
        assert_eq!(invocations.len() as u64, targets, "one invocation for each target");
        assert_eq!(nodes.len() as u64, targets, "no node has two");
        for details in TERMINAL {
            let found = nodes.values().filter(|one| *one == details).count() as u64;
            assert_eq!(found, number(&rollout["Ended"], details), "{details}: {rollout}");
        }
        let at_work = at_work_max(&invocations);
        assert!(at_work <= limit, "{at_work} nodes were at work at one time, {limit} are allowed");
        Watched { rollout, in_flight_max, nodes }
    }
}

impl Watched {
    /// Number of invocations with this ending.
    #[must_use]
    pub fn count(&self, ending: &str) -> u64 {
        number(&self.rollout["Ended"], ending)
    }

    /// SSM's `StatusDetails` of the whole command.
    #[must_use]
    pub fn details(&self) -> &str {
        self.rollout["StatusDetails"].as_str().unwrap_or_default()
    }
}

fn number(value: &Value, member: &str) -> u64 {
    value[member].as_u64().unwrap_or_default()
}

fn ended(rollout: &Value) -> u64 {
    TERMINAL.iter().map(|details| number(&rollout["Ended"], details)).sum()
}

/// Most nodes that were at work at one time, by their own clocks: here all nodes have the same.
fn at_work_max(invocations: &[Value]) -> u64 {
    let mut changes = Vec::new();
    for one in invocations {
        let steps = one["CommandPlugins"].as_array().map(Vec::as_slice).unwrap_or_default();
        let times = |member: &str| steps.iter().filter_map(|step| step[member].as_f64()).collect::<Vec<_>>();
        let (starts, ends) = (times("ResponseStartDateTime"), times("ResponseFinishDateTime"));
        if let (Some(start), Some(end)) = (starts.into_iter().reduce(f64::min), ends.into_iter().reduce(f64::max)) {
            changes.extend([(start, 1_i64), (end, -1)]);
        }
    }
    // Ends before starts of the same instant.
    changes.sort_by(|(a, up), (b, down)| a.total_cmp(b).then(up.cmp(down)));
    let mut now = 0;
    let most = changes.into_iter().map(|(_, change)| {
        now += change;
        now
    });
    most.max().unwrap_or_default().unsigned_abs()
}
