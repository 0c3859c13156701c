//! Events of a history, in the shape and the words of GetExecutionHistory. Nothing is decided by them.

use serde_json::{Value, json};

use super::frame::Effect;
use super::machine::Kind;
use super::resource::Resource;
use crate::calls::Failure;

/// The first part of the names of a state's events.
pub(super) fn prefix(kind: &Kind) -> &'static str {
    match kind {
        Kind::Pass { .. } => "Pass",
        Kind::Task { .. } => "Task",
        Kind::Choice { .. } => "Choice",
        Kind::Wait(_) => "Wait",
        Kind::Succeed => "Succeed",
        Kind::Fail { .. } => "Fail",
        Kind::Parallel { .. } => "Parallel",
        Kind::Map { .. } => "Map",
    }
}

fn event(name: String, member: &str, details: Value) -> Effect {
    let mut event = json!({ "type": name });
    event[member] = details;
    Effect::History(event)
}

pub(super) fn entered(kind: &Kind, name: &str, input: &Value) -> Effect {
    let details = json!({ "name": name, "input": input.to_string() });
    event(format!("{}StateEntered", prefix(kind)), "stateEnteredEventDetails", details)
}

pub(super) fn exited(kind: &Kind, name: &str, output: &Value) -> Effect {
    let details = json!({ "name": name, "output": output.to_string() });
    event(format!("{}StateExited", prefix(kind)), "stateExitedEventDetails", details)
}

pub(super) fn execution_started(input: &Value, role_arn: &str) -> Effect {
    let details = json!({ "input": input.to_string(), "roleArn": role_arn });
    event("ExecutionStarted".to_owned(), "executionStartedEventDetails", details)
}

pub(super) fn execution_ended(outcome: &Result<Value, Failure>) -> Effect {
    match outcome {
        Ok(output) => event(
            "ExecutionSucceeded".to_owned(),
            "executionSucceededEventDetails",
            json!({ "output": output.to_string() }),
        ),
        Err(failure) => event(
            "ExecutionFailed".to_owned(),
            "executionFailedEventDetails",
            json!({ "error": failure.error, "cause": failure.cause }),
        ),
    }
}

pub(super) fn task_scheduled(
    resource: &Resource,
    parameters: &Value,
    timeout: Option<u64>,
    heartbeat: Option<u64>,
) -> Effect {
    let (kind, name) = resource.shown();
    let mut details = json!({
        "resourceType": kind,
        "resource": name,
        "region": "local",
        "parameters": parameters.to_string(),
    });
    if let Some(seconds) = timeout {
        details["timeoutInSeconds"] = json!(seconds);
    }
    if let Some(seconds) = heartbeat {
        details["heartbeatInSeconds"] = json!(seconds);
    }
    event("TaskScheduled".to_owned(), "taskScheduledEventDetails", details)
}

pub(super) fn task_ended(resource: &Resource, outcome: Result<&Value, &Failure>) -> Effect {
    let (kind, name) = resource.shown();
    let mut details = json!({ "resourceType": kind, "resource": name });
    match outcome {
        Ok(output) => {
            details["output"] = json!(output.to_string());
            event("TaskSucceeded".to_owned(), "taskSucceededEventDetails", details)
        }
        Err(failure) => {
            details["error"] = json!(failure.error);
            details["cause"] = json!(failure.cause);
            let timed_out = matches!(failure.error.as_str(), "States.Timeout" | "States.HeartbeatTimeout");
            match timed_out {
                true => event("TaskTimedOut".to_owned(), "taskTimedOutEventDetails", details),
                false => event("TaskFailed".to_owned(), "taskFailedEventDetails", details),
            }
        }
    }
}

/// A Parallel or Map begins, ends or fails.
pub(super) fn children_started(kind: &Kind, count: u64) -> Effect {
    match kind {
        Kind::Map { .. } => {
            event("MapStateStarted".to_owned(), "mapStateStartedEventDetails", json!({ "length": count }))
        }
        _ => Effect::History(json!({ "type": "ParallelStateStarted" })),
    }
}

pub(super) fn children_ended(kind: &Kind, succeeded: bool) -> Effect {
    let word = if succeeded { "Succeeded" } else { "Failed" };
    Effect::History(json!({ "type": format!("{}State{word}", prefix(kind)) }))
}

/// An iteration of a Map begins, succeeds, fails or is aborted.
pub(super) fn iteration(word: &str, name: &str, index: u64) -> Effect {
    let member = format!("mapIteration{word}EventDetails");
    event(format!("MapIteration{word}"), &member, json!({ "name": name, "index": index }))
}
