//! The wording of notifications: SSM's payloads, plus what SSM's lack.
//!
//! Each change has one id derived from what changed, so that a repeated step raises the same
//! notification and not another one.

use jiff::Timestamp;
use patchwave_engine::invocation::State;
use patchwave_engine::rollout::waves::Stage;
use patchwave_platform::store::commands::LockedRollout;
use patchwave_platform::store::executions::Execution;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_schemas::NodeId;
use patchwave_schemas::event::{NotificationConfig, NotificationType};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::notification::{DEFAULT_TOPIC, NotificationRaised};
use serde_json::{Value, json};

const SOURCE: &str = "/patchwave/worker";

/// A notification on its way to the notifier.
fn raise(topic: &str, key: &str, subject: String, message: Value, now: Timestamp) -> OutboxMessage {
    let id = derived_uuid("notification:", &format!("{topic}/{key}"));
    OutboxMessage::event(id, SOURCE, now, NotificationRaised { topic: topic.to_owned(), subject, message })
}

/// The topic's name: the last part of an SNS ARN, or the text itself.
fn topic_of(config: &NotificationConfig) -> &str {
    config.notification_arn.rsplit(':').next().unwrap_or(&config.notification_arn)
}

fn wants(config: &NotificationConfig, status: &str) -> bool {
    config.notification_events.is_empty()
        || config.notification_events.iter().any(|event| event == "All" || event == status)
}

/// A command's status changed.
#[must_use]
pub fn command_changed(locked: &LockedRollout, now: Timestamp) -> Vec<OutboxMessage> {
    let command = locked.command_id;
    let rollout = &locked.plan.rollout;
    let (status, details) = rollout.status();
    let message = json!({
        "commandId": command,
        "documentName": locked.document_name,
        "instanceIds": [],
        "requestedDateTime": locked.requested_at,
        "status": status,
        "statusDetails": details,
        "targetCount": rollout.targets,
        "completedCount": rollout.ended.ended(),
        "errorCount": rollout.ended.errors(),
        "terminatedCount": rollout.ended.terminated,
        "windowExecutionId": locked.plan.window_execution_id,
        "eventTime": now,
    });
    let key = format!("command/{command}/{details}");
    let subject = headline(locked, details);
    let mut raised = vec![raise(DEFAULT_TOPIC, &key, subject.clone(), message.clone(), now)];
    if let Some(config) = &locked.plan.notify
        && config.notification_type == NotificationType::Command
        && wants(config, status)
    {
        raised.push(raise(topic_of(config), &key, subject, message, now));
    }
    raised
}

/// A rollout crossed its error threshold: nothing more is released.
#[must_use]
pub fn threshold_crossed(locked: &LockedRollout, now: Timestamp) -> OutboxMessage {
    let command = locked.command_id;
    let rollout = &locked.plan.rollout;
    let message = json!({
        "commandId": command,
        "documentName": locked.document_name,
        "status": "InProgress",
        "note": "ERROR_THRESHOLD_CROSSED",
        "targetCount": rollout.targets,
        "errorCount": rollout.ended.errors(),
        "errorsAllowed": rollout.errors_allowed,
        "terminatedCount": rollout.ended.terminated,
        "windowExecutionId": locked.plan.window_execution_id,
        "eventTime": now,
    });
    let key = format!("command/{command}/threshold");
    raise(DEFAULT_TOPIC, &key, headline(locked, "error threshold crossed"), message, now)
}

/// A wave of a rollout is over and the next one waits: for the bake time, or for somebody's answer.
#[must_use]
pub fn gate_waits(locked: &LockedRollout, now: Timestamp) -> Option<OutboxMessage> {
    let (note, until) = match locked.plan.waves.as_ref()?.stage {
        Stage::Baking { until } => ("WAVE_BAKING", until),
        Stage::AwaitingApproval { until } => ("APPROVAL_AWAITED", until),
        Stage::Open | Stage::Stopped { .. } => return None,
    };
    let what = if note == "WAVE_BAKING" { "bakes" } else { "waits for an approval" };
    gate(locked, note, what, json!({ "until": until }), now)
}

/// The gate after a wave stopped the rollout.
#[must_use]
pub fn gate_stopped(locked: &LockedRollout, now: Timestamp) -> Option<OutboxMessage> {
    let reason = locked.plan.waves.as_ref()?.stopped()?;
    gate(locked, "GATE_STOPPED", "was stopped by a gate", json!({ "reason": reason }), now)
}

fn gate(locked: &LockedRollout, note: &str, what: &str, mut message: Value, now: Timestamp) -> Option<OutboxMessage> {
    let (command, rollout, waves) = (locked.command_id, &locked.plan.rollout, locked.plan.waves.as_ref()?);
    let wave = waves.waves.get(waves.current)?;
    message["commandId"] = json!(command);
    message["documentName"] = json!(locked.document_name);
    message["status"] = json!("InProgress");
    message["note"] = json!(note);
    message["wave"] = json!(waves.current + 1);
    message["waveName"] = json!(wave.name);
    message["waveCount"] = json!(waves.waves.len());
    message["targetCount"] = json!(rollout.targets);
    message["completedCount"] = json!(rollout.ended.ended());
    message["errorCount"] = json!(rollout.ended.errors());
    message["windowExecutionId"] = json!(locked.plan.window_execution_id);
    message["eventTime"] = json!(now);
    let key = format!("command/{command}/wave/{}/{note}", waves.current);
    let subject = headline(locked, &format!("{what} after {}", wave.name));
    Some(raise(DEFAULT_TOPIC, &key, subject, message, now))
}

/// For people: what, how far and how badly.
fn headline(locked: &LockedRollout, what: &str) -> String {
    let (document, rollout) = (&locked.document_name, &locked.plan.rollout);
    let (done, targets) = (rollout.ended.ended(), rollout.targets);
    let mut text = format!("{document} {what}: {done} of {targets} ended");
    for (count, kind) in [(rollout.ended.errors(), "failed"), (rollout.ended.terminated, "never started")] {
        if count > 0 {
            text.push_str(&format!(", {count} {kind}"));
        }
    }
    text
}

/// An invocation's status changed to that of `state`. Nothing unless somebody asked for each of
/// them.
#[must_use]
pub fn invocation_changed(
    locked: &LockedRollout,
    node: &NodeId,
    state: State,
    now: Timestamp,
) -> Option<OutboxMessage> {
    let (status, details) = (state.status(), state.details());
    let asked = locked.plan.notify.as_ref().filter(|_| locked.plan.notifies_invocations());
    let config = asked.filter(|config| wants(config, status))?;
    let command = locked.command_id;
    let message = json!({
        "commandId": command,
        "documentName": locked.document_name,
        "instanceId": node,
        "requestedDateTime": locked.requested_at,
        "status": status,
        "statusDetails": details,
        "eventTime": now,
    });
    let subject = format!("{} {details}: {node}", locked.document_name);
    // A node may go away and come back more than once: each time is a change of its own.
    let key = format!("invocation/{command}/{node}/{details}/{now}");
    Some(raise(topic_of(config), &key, subject, message, now))
}

/// A window execution's status changed, or it was skipped, missed or ran over.
#[must_use]
pub fn execution_changed(execution: &Execution, note: &str, now: Timestamp) -> OutboxMessage {
    let window = &execution.snapshot.window;
    let status = if note.is_empty() { execution.status.as_str() } else { note };
    let message = json!({
        "window-id": execution.window_id,
        "window-name": window.name,
        "window-execution-id": execution.window_execution_id,
        "scheduled-time": execution.scheduled_at,
        "start-time": execution.started_at,
        "end-time": execution.ended_at,
        "status": execution.status,
        "status-details": execution.status_details,
        "note": note,
    });
    let key = format!("execution/{}/{status}", execution.window_execution_id);
    raise(DEFAULT_TOPIC, &key, format!("Maintenance window {}: {status}", window.name), message, now)
}
