//! What is watched, as it stands at one instant.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, ClientError};
use crate::commands::window::elements;
use crate::commands::{command, execution};
use crate::failure::Failure;
use crate::table;

/// Looks at an unknown id before it counts as a wrong one: five seconds. A worker takes an execution
/// up within milliseconds, unless it is just being restarted.
const APPEARS_WITHIN_LOOKS: u32 = 20;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// What is watched.
#[derive(Debug)]
pub(super) struct Watched {
    id: String,
    kind: Kind,
    /// What the commands run, by their ids: it never changes, so it is asked for once.
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Execution,
    Command,
}

/// What is watched, as it stands at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What it is, with its id.
    pub label: String,
    /// Its id.
    pub id: String,
    /// Whether it is a window execution; else it is a command.
    pub is_execution: bool,
    /// SSM's status.
    pub status: String,
    /// Why, if the API says so.
    pub details: String,
    /// The commands it consists of.
    pub rollouts: Vec<Rollout>,
}

/// One command: a document on its way to nodes under a rate limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Id of the command.
    pub id: String,
    /// What it runs.
    pub label: String,
    /// SSM's status.
    pub status: String,
    /// SSM's detailed status.
    pub details: String,
    /// Nodes in all; 0 while they are not resolved.
    pub targets: u64,
    /// Nodes that have ended, however.
    pub completed: u64,
    /// Other counts worth showing: what they count, and how many.
    pub counts: Vec<(&'static str, u64)>,
    /// The API's own description.
    pub raw: Value,
}

impl Snapshot {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        is_terminal(&self.status)
    }

    /// Whether it ended well.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.eq_ignore_ascii_case("success")
    }

    /// Status and reason.
    #[must_use]
    pub fn status_text(&self) -> String {
        with_details(&self.status, &self.details)
    }

    pub(super) fn show_command(&self) -> String {
        let noun = if self.is_execution { "execution" } else { "command" };
        format!("patchwave {noun} show {}", self.id)
    }
}

impl Rollout {
    /// A rollout as `GetRollout` describes it.
    #[must_use]
    pub fn new(label: &str, raw: Value) -> Self {
        let text = |member: &str| raw[member].as_str().unwrap_or_default().to_owned();
        let ended = |member: &str| raw["Ended"][member].as_u64().unwrap_or(0);
        let counts = [
            ("in flight", raw["InFlight"].as_u64().unwrap_or(0)),
            ("waiting for their node", raw["Waiting"].as_u64().unwrap_or(0)),
            ("failed", ended("Failed")),
            ("timed out", ended("ExecutionTimedOut")),
            ("not delivered", ended("DeliveryTimedOut") + ended("Undeliverable")),
            ("cancelled", ended("Cancelled")),
            ("not started", ended("Terminated")),
        ];
        Self {
            id: text("CommandId"),
            label: label.to_owned(),
            status: text("Status"),
            details: text("StatusDetails"),
            targets: raw["TargetCount"].as_u64().unwrap_or(0),
            completed: raw["Ended"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum(),
            counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            raw,
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        is_terminal(&self.status)
    }

    /// Counts and status, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}/{}", self.completed, self.targets);
        for (what, count) in &self.counts {
            text.push_str(&format!(", {count} {what}"));
        }
        format!("{text}, {}", with_details(&self.status, &self.details))
    }
}

/// Windows shout their statuses, commands do not; the words are the same.
fn is_terminal(status: &str) -> bool {
    let plain = status.replace('_', "");
    ["success", "failed", "timedout", "cancelled", "skippedoverlapping"]
        .iter()
        .any(|terminal| plain.eq_ignore_ascii_case(terminal))
}

fn with_details(status: &str, details: &str) -> String {
    if details.is_empty() || details.eq_ignore_ascii_case(status) {
        status.to_owned()
    } else {
        format!("{status} ({details})")
    }
}

/// Finds out what `id` is.
///
/// An execution that was just asked for does not exist before a worker has taken it up, so an
/// unknown id is looked for a little longer.
pub(super) async fn find(id: &str, client: &Client) -> anyhow::Result<Watched> {
    for _ in 0..APPEARS_WITHIN_LOOKS {
        let mut is_id = false;
        match client.ssm("GetMaintenanceWindowExecution", &json!({"WindowExecutionId": id})).await {
            Ok(_) => return Ok(Watched::new(id, Kind::Execution)),
            Err(error) if error.code() == Some("DoesNotExistException") => is_id = true,
            Err(error) if error.code() == Some("ValidationException") => {}
            Err(error) => return Err(error.into()),
        }
        match command::find(client, id).await {
            Ok(Some(_)) => return Ok(Watched::new(id, Kind::Command)),
            Ok(None) => {}
            Err(error) if error.code() == Some("ValidationException") => {}
            Err(error) => return Err(error.into()),
        }
        if !is_id {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
    Err(unknown(id).into())
}

fn unknown(id: &str) -> Failure {
    Failure::failed(format!("`{id}` is neither a window execution nor a command"))
        .with_hint("list them with `patchwave execution list` and `patchwave command list`")
}

impl Watched {
    fn new(id: &str, kind: Kind) -> Self {
        Self { id: id.to_owned(), kind, labels: BTreeMap::new() }
    }

    /// Asks the API how it stands.
    pub(super) async fn look(&mut self, client: &Client) -> Result<Snapshot, ClientError> {
        match self.kind {
            Kind::Execution => self.look_at_execution(client).await,
            Kind::Command => {
                let id = self.id.clone();
                let rollout = self.rollout(&id, client).await?;
                Ok(Snapshot {
                    label: format!("command {id}"),
                    id,
                    is_execution: false,
                    status: rollout.status.clone(),
                    details: rollout.details.clone(),
                    rollouts: vec![rollout],
                })
            }
        }
    }

    async fn look_at_execution(&mut self, client: &Client) -> Result<Snapshot, ClientError> {
        let found = execution::fetch(client, &self.id).await?;
        let mut rollouts = Vec::new();
        for task in elements(&found, "Tasks") {
            for invocation in elements(task, "Invocations") {
                // Other task types have executions of other kinds, which `execution show` lists.
                if let (Some("RUN_COMMAND"), Some(command)) =
                    (invocation["TaskType"].as_str(), invocation["ExecutionId"].as_str())
                {
                    rollouts.push(self.rollout(command, client).await?);
                }
            }
        }
        let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
        Ok(Snapshot {
            label: format!("execution {}", self.id),
            id: self.id.clone(),
            is_execution: true,
            status: text("Status"),
            details: text("StatusDetails"),
            rollouts,
        })
    }

    async fn rollout(&mut self, command: &str, client: &Client) -> Result<Rollout, ClientError> {
        if !self.labels.contains_key(command) {
            let found = command::find(client, command).await?.unwrap_or(Value::Null);
            self.labels.insert(command.to_owned(), label_of(&found));
        }
        let raw = client.patchwave("GetRollout", &json!({"CommandId": command})).await?;
        Ok(Rollout::new(&self.labels[command], raw))
    }
}

/// Document and comment of a command. The comment comes from whoever sent it.
fn label_of(command: &Value) -> String {
    let document = table::text(&command["DocumentName"]);
    let label = match command["Comment"].as_str() {
        Some(comment) if !comment.is_empty() => format!("{document} ({comment})"),
        _ => document,
    };
    label.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_of_a_status_end_the_watch() {
        for status in ["SUCCESS", "Success", "TIMED_OUT", "TimedOut", "CANCELLED", "Failed", "SKIPPED_OVERLAPPING"] {
            assert!(is_terminal(status), "{status}");
        }
        for status in ["PENDING", "InProgress", "CANCELLING", "Cancelling", "Delayed", ""] {
            assert!(!is_terminal(status), "{status}");
        }
    }

    #[test]
    fn a_rollout_reads_in_one_line() {
        let label = label_of(&json!({"DocumentName": "AWS-RunPatchBaseline", "Comment": "night\u{1b}ly"}));
        let rollout = Rollout::new(
            &label,
            json!({
                "CommandId": "c", "Status": "InProgress", "StatusDetails": "InProgress", "TargetCount": 60,
                "InFlight": 5, "Waiting": 0, "Ended": {"Success": 40, "Failed": 3, "Terminated": 0},
            }),
        );
        assert_eq!(rollout.label, "AWS-RunPatchBaseline (nightly)");
        assert_eq!(rollout.text(), "43/60, 5 in flight, 3 failed, InProgress");
    }
}
