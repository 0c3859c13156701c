//! SendCommand, CancelCommand, ListCommands, and the rollout behind a command.

use std::collections::BTreeSet;

use jiff::Timestamp;
use patchwave_engine::documents::{self, DocumentError};
use patchwave_engine::rollout::Phase;
use patchwave_platform::launch::{Launch, LaunchError, launch_within};
use patchwave_platform::outbox;
use patchwave_platform::store::commands::Command;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::reads::commands::CommandQuery;
use patchwave_schemas::event::{CancelCause, CommandRequested, RolloutCancelRequested};
use patchwave_schemas::{CommandId, NodeId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documents::{bare_name, check_hash};
use crate::nodes::node_id;
use crate::start::SOURCE;
use crate::wire::{Error, Request, epoch, instant_key, present, required};
use crate::{Api, approvals};

/// Invocations read at a time while looking for those that a caller may cancel.
const CANCEL_ROWS: u32 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    command_id: Option<String>,
    instance_id: Option<String>,
    #[serde(default)]
    instance_ids: Vec<String>,
    #[serde(default)]
    filters: Vec<CommandFilter>,
}

/// One filter of the two lists of Run Command: one value, lower-case members.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CommandFilter {
    #[serde(alias = "Key")]
    pub(crate) key: String,
    #[serde(alias = "Value")]
    pub(crate) value: String,
}

/// SendCommand.
pub(crate) async fn send(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut asked: CommandRequested = request.read()?;
    asked.document_name = bare_name(&asked.document_name).to_owned();
    let hash: DocumentHash = request.read()?;
    if let Some(hash_text) = &hash.document_hash {
        if hash.document_hash_type.as_deref().is_some_and(|kind| kind != "Sha256") {
            return Err(Error::validation("DocumentHashType is `Sha1`; allowed is Sha256"));
        }
        // The version is fixed with it: another may become the default before the command is stored.
        let version = asked.document_version.as_deref();
        asked.document_version = Some(check_hash(api, &asked.document_name, version, hash_text).await?);
    }
    let now = Timestamp::now();
    let command_id = CommandId::random();
    let mut tx = api.store.begin().await?;
    let remembered = json!({ "CommandId": command_id });
    if let Some(earlier) = request.repeated(&mut tx, &remembered, now).await? {
        drop(tx);
        let earlier = earlier["CommandId"].as_str().unwrap_or_default();
        return Ok(json!({ "Command": view(&existing(api, Some(earlier)).await?) }));
    }
    let asked = Launch { command_id, request: asked, window: None };
    let only = request.caller().policy.as_ref();
    let launched = launch_within(&mut tx, asked, only, now).await.map_err(refused)?;
    tx.commit().await?;
    // Read before anything is released: the answer says `Pending` (SSM).
    let command = existing(api, Some(&command_id.to_string())).await?;
    outbox::flush(&api.store, api.bus.as_ref(), &launched.messages).await;
    Ok(json!({ "Command": view(&command) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DocumentHash {
    document_hash: Option<String>,
    document_hash_type: Option<String>,
}

/// CancelCommand. A command that has ended is left so.
pub(crate) async fn cancel(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let command = existing(api, Some(required("commandId", input.command_id.as_deref())?)).await?;
    let mut node_ids: Vec<NodeId> = Vec::new();
    let mut seen = BTreeSet::new();
    for text in &input.instance_ids {
        let node = node_id(text)?;
        if !seen.insert(node.clone()) {
            let message = format!("InstanceIds names `{text}` more than once");
            return Err(Error::new("DuplicateInstanceId", message));
        }
        if api.store.invocation(command.command_id, &node).await?.is_none() {
            let message = format!("InstanceIds names `{text}`, which command {} is not for", command.command_id);
            return Err(Error::new("InvalidInstanceId", message));
        }
        node_ids.push(node);
    }
    narrow_to_policy(api, request, &command, &mut node_ids).await?;
    if command.finished_at.is_some() {
        return Ok(json!({}));
    }
    let now = Timestamp::now();
    let event = RolloutCancelRequested {
        command_id: command.command_id,
        node_ids,
        cause: CancelCause::Requested,
        reason: "cancelled on request".to_owned(),
    };
    let messages = [OutboxMessage::event(Uuid::now_v7(), SOURCE, now, event)];
    let mut tx = api.store.begin().await?;
    tx.enqueue(&messages, now).await?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), &messages).await;
    Ok(json!({}))
}

/// Leaves a caller with a policy the nodes that it allows: those that are named must be within it,
/// and a whole command means its nodes that are.
async fn narrow_to_policy(
    api: &Api,
    request: &Request,
    command: &Command,
    node_ids: &mut Vec<NodeId>,
) -> Result<(), Error> {
    let caller = request.caller();
    if caller.policy.is_none() {
        return Ok(());
    }
    if !node_ids.is_empty() {
        return api.check_nodes(caller, node_ids).await;
    }
    let mut after = String::new();
    loop {
        let batch = api.store.invocations_of(command.command_id, &after, CANCEL_ROWS).await?;
        let Some(last) = batch.last() else { break };
        after = last.node_id.to_string();
        let nodes: Vec<NodeId> = batch.into_iter().map(|one| one.node_id).collect();
        node_ids.extend(api.visible(caller, &nodes).await?);
    }
    if node_ids.is_empty() {
        let message = format!(
            "access key {} is limited to nodes with certain tags, and command {} is for none of them",
            caller.access_key_id, command.command_id
        );
        return Err(Error::new("AccessDeniedException", message));
    }
    Ok(())
}

/// ListCommands, newest first.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let mut query = CommandQuery {
        command_id: input.command_id.as_deref().map(command_id).transpose()?,
        node_id: input.instance_id.as_deref().map(node_id).transpose()?,
        ..CommandQuery::default()
    };
    for filter in &input.filters {
        narrow(&mut query, filter)?;
    }
    let found = api.store.find_commands(&query, paging.after_instant()?, paging.rows()).await?;
    let (found, next) = paging.of_rows(found, |(at, id)| instant_key(*at, id));
    let mut commands = Vec::with_capacity(found.len());
    for (_, id) in found {
        commands.extend(api.store.command(id).await?.map(|command| view(&command)));
    }
    Ok(present(json!({ "Commands": commands, "NextToken": next })))
}

/// GetRollout: where a command's invocations are, in numbers.
pub(crate) async fn rollout(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let command = existing(api, Some(required("commandId", input.command_id.as_deref())?)).await?;
    let rollout = &command.rollout;
    let (phase, cause) = match rollout.phase {
        Phase::Planned => ("Planned", None),
        Phase::Running => ("Running", None),
        Phase::Stopping(cause) => ("Stopping", Some(format!("{cause:?}"))),
        Phase::Finished(_) => ("Finished", None),
    };
    let (status, details) = rollout.status();
    let ended = &rollout.ended;
    Ok(present(json!({
        "CommandId": command.command_id,
        "DocumentName": command.request.document_name,
        "Status": status,
        "StatusDetails": details,
        "Phase": phase,
        "Cause": cause,
        "TargetCount": rollout.targets,
        "Concurrency": rollout.concurrency,
        "ErrorsAllowed": rollout.errors_allowed,
        "ErrorMode": rollout.error_mode,
        "Pending": rollout.pending,
        "InFlight": rollout.in_flight,
        "Waiting": rollout.waiting,
        "Ready": rollout.ready,
        "Ended": {
            "Success": ended.success,
            "Failed": ended.failed,
            "ExecutionTimedOut": ended.execution_timed_out,
            "DeliveryTimedOut": ended.delivery_timed_out,
            "Cancelled": ended.cancelled,
            "Terminated": ended.terminated,
            "Undeliverable": ended.undeliverable,
        },
        "RequestedDateTime": epoch(command.requested_at),
        "FinishedDateTime": command.finished_at.map(epoch),
        "Held": rollout.held,
        "Waves": command.waves.as_ref().map(|waves| present(approvals::view(&command, waves))),
        "WindowExecutionId": command.window_execution_id,
        "TaskExecutionId": command.task_execution_id,
    })))
}

/// Narrows a list by SSM's filters of commands.
pub(crate) fn narrow(query: &mut CommandQuery, filter: &CommandFilter) -> Result<(), Error> {
    let value = &filter.value;
    let instant = || -> Result<Option<Timestamp>, Error> {
        value.parse().map(Some).map_err(|_| {
            Error::validation(format!(
                "filter {} has the value `{value}`; allowed is an instant such as 2026-04-07T14:29:00Z",
                filter.key
            ))
        })
    };
    match filter.key.as_str() {
        "InvokedAfter" => query.from = instant()?,
        "InvokedBefore" => query.until = instant()?,
        "Status" => query.status = Some(value.clone()),
        "DocumentName" => query.document_name = Some(bare_name(value).to_owned()),
        "ExecutionStage" => {
            query.finished = match value.as_str() {
                "Executing" => Some(false),
                "Complete" => Some(true),
                _ => {
                    return Err(Error::validation(format!(
                        "filter ExecutionStage has the value `{value}`; allowed are Executing and Complete"
                    )));
                }
            }
        }
        other => {
            return Err(Error::new(
                "InvalidFilterKey",
                format!(
                    "filter key is `{other}`; allowed are InvokedAfter, InvokedBefore, Status, DocumentName, \
                     ExecutionStage"
                ),
            ));
        }
    }
    Ok(())
}

/// The command id of a request.
pub(crate) fn command_id(text: &str) -> Result<CommandId, Error> {
    text.parse().map_err(|_| Error::new("InvalidCommandId", format!("CommandId is `{text}`; allowed is a UUID")))
}

/// Reads a command that must be there.
pub(crate) async fn existing(api: &Api, text: Option<&str>) -> Result<Command, Error> {
    let id = command_id(required("commandId", text)?)?;
    let missing = || Error::new("InvalidCommandId", format!("command {id} does not exist"));
    api.store.command(id).await?.ok_or_else(missing)
}

/// The version of a command's document, as lists show it.
pub(crate) fn document_version(command: &Command) -> &str {
    command.request.document_version.as_deref().unwrap_or("$DEFAULT")
}

/// SSM's `Command`.
pub(crate) fn view(command: &Command) -> Value {
    let asked = &command.request;
    let rollout = &command.rollout;
    let (status, details) = rollout.status();
    let default_concurrency = patchwave_engine::limits::DEFAULT_CONCURRENCY.to_string();
    let default_errors = patchwave_engine::limits::DEFAULT_ERRORS.to_string();
    present(json!({
        "CommandId": command.command_id,
        "DocumentName": asked.document_name,
        "DocumentVersion": document_version(command),
        "Comment": asked.comment.as_deref().unwrap_or_default(),
        "ExpiresAfter": epoch(command.expires_at),
        "Parameters": asked.parameters,
        "InstanceIds": asked.instance_ids,
        "Targets": asked.targets,
        "RequestedDateTime": epoch(command.requested_at),
        "Status": status,
        "StatusDetails": details,
        "OutputS3BucketName": "",
        "OutputS3KeyPrefix": "",
        "MaxConcurrency": asked.max_concurrency.clone().unwrap_or(default_concurrency),
        "MaxErrors": asked.max_errors.clone().unwrap_or(default_errors),
        "ErrorMode": asked.error_mode,
        "TargetCount": rollout.targets,
        "CompletedCount": rollout.ended.ended(),
        "ErrorCount": rollout.ended.errors(),
        "DeliveryTimedOutCount": rollout.ended.delivery_timed_out,
        "ServiceRole": "",
        "NotificationConfig": asked.notification_config,
        "RolloutPlan": asked.rollout_plan,
        "TimeoutSeconds": asked.timeout_seconds,
        "WindowExecutionId": command.window_execution_id,
    }))
}

/// SSM's name for each reason not to start a command.
pub(crate) fn refused(error: LaunchError) -> Error {
    let code = match &error {
        LaunchError::Document(DocumentError::Unknown { .. }) => "InvalidDocument",
        LaunchError::Document(DocumentError::UnknownVersion { .. }) => "InvalidDocumentVersion",
        LaunchError::Document(DocumentError::Parameter { .. }) => "InvalidParameters",
        LaunchError::Document(documents::DocumentError::TooLarge { .. }) => "MaxDocumentSizeExceeded",
        LaunchError::UnknownNode { .. } => "InvalidInstanceId",
        LaunchError::DuplicateNode { .. } => "DuplicateInstanceId",
        LaunchError::OutsidePolicy { .. } => "AccessDeniedException",
        LaunchError::Limit(_) | LaunchError::Target(_) | LaunchError::Plan(_) | LaunchError::Field { .. } => {
            "ValidationException"
        }
        LaunchError::Store(_) => {
            return match error {
                LaunchError::Store(error) => error.into(),
                other => Error::validation(other.to_string()),
            };
        }
    };
    Error::new(code, error.to_string())
}
