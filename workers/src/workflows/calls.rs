//! Placing and withdrawing the calls of an execution.
//!
//! Commands and executions are launched in the very transaction that stores the call, under ids that
//! follow from its token: they happen once. Functions, endpoints, scripts and operations of our own
//! are left to the caller.

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calls::{Call, CallOutcome, Failure};
use patchwave_platform::launch::{Launch, LaunchError, launch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Tx;
use patchwave_platform::store::calls::{NewCall, OwnerKind, StoredCall};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::workflows::Workflow;
use patchwave_platform::workflows::{
    Happening, StartError, execution_arn, execution_id, failed, start_state_machine, state_machine_name, tell,
};
use patchwave_schemas::CommandId;
use patchwave_schemas::event::{CancelCause, CommandRequested, RolloutCancelRequested, Timer};
use patchwave_schemas::ids::derived_uuid;
use serde_json::{Value, json};

use crate::HandlerError;
use crate::audit::{self, Actor};

/// Longest time that a function, an endpoint, a script or an operation may take (Lambda's).
const LONGEST_CALL: SignedDuration = SignedDuration::from_mins(15);
/// Executions that start each other, one within the other.
const DEPTH_MAX: u64 = 20;

/// A call to be placed.
pub(super) struct Placing<'a> {
    pub(super) workflow: &'a Workflow,
    pub(super) token: String,
    /// What the engine knows it by, as JSON.
    pub(super) about: String,
    pub(super) call: Call,
    /// Whether whoever has the token ends the task, and not the call's answer.
    pub(super) by_token: bool,
    pub(super) deadline_at: Option<Timestamp>,
}

/// What placing a call led to.
pub(super) struct Placed {
    pub(super) messages: Vec<OutboxMessage>,
    /// How it ended, where that is known at once.
    pub(super) outcome: Option<CallOutcome>,
}

impl Placed {
    fn over(outcome: CallOutcome) -> Self {
        Self { messages: Vec::new(), outcome: Some(outcome) }
    }
}

/// Stores a call and, where it is one of ours, carries it out.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction. A refusal is an outcome.
pub(super) async fn place(
    tx: &mut Tx,
    master_key: &MasterKey,
    placing: Placing<'_>,
    now: Timestamp,
) -> Result<Placed, HandlerError> {
    let row = |call: Call, token: String, reference: Option<String>| NewCall {
        token,
        owner_kind: OwnerKind::Workflow,
        owner_id: placing.workflow.workflow_id.to_string(),
        about: placing.about.clone(),
        call,
        reference,
        deadline_at: placing.deadline_at,
    };
    if placing.by_token {
        tx.add_call(&row(Call::Token, placing.token.clone(), None), false, now).await?;
        if placing.call == Call::Token {
            return Ok(Placed { messages: Vec::new(), outcome: None });
        }
    }
    // Of a task that waits for its token the call itself is another one; only its failure counts.
    let token = if placing.by_token { format!("{}/made", placing.token) } else { placing.token.clone() };
    let wait = !placing.by_token;
    let placed = match placing.call.clone() {
        Call::Command { request, wait: to_its_end } => {
            let command_id = CommandId::derived(&token);
            match command(tx, master_key, placing.workflow, command_id, *request, now).await? {
                Err(refused) => Placed::over(refused),
                Ok((messages, view)) if !(wait && to_its_end) => {
                    Placed { messages, outcome: Some(CallOutcome::Succeeded(view)) }
                }
                Ok((messages, _)) => {
                    tx.add_call(&row(placing.call.clone(), token, Some(command_id.to_string())), false, now).await?;
                    Placed { messages, outcome: None }
                }
            }
        }
        Call::StateMachine { state_machine, name, input, wait: to_its_end } => {
            let waits = wait && to_its_end;
            let name = name.unwrap_or_else(|| token.replace('/', "-"));
            match execution(tx, placing.workflow, (&state_machine, &name), &input, waits.then_some(&token), now).await?
            {
                Err(refused) => Placed::over(refused),
                Ok((messages, view)) if !waits => Placed { messages, outcome: Some(CallOutcome::Succeeded(view)) },
                Ok((messages, _)) => {
                    let reference = execution_id(state_machine_name(&state_machine), &name).to_string();
                    tx.add_call(&row(placing.call.clone(), token, Some(reference)), false, now).await?;
                    Placed { messages, outcome: None }
                }
            }
        }
        Call::Automation { .. } => Placed::over(failed("States.Runtime", "automations are not carried out here yet")),
        Call::Token => Placed { messages: Vec::new(), outcome: None },
        call @ (Call::Function(_) | Call::Http(_) | Call::Script(_) | Call::Api { .. }) => {
            let deadline = now + LONGEST_CALL;
            let mut new = row(call, token, None);
            new.deadline_at = Some(new.deadline_at.map_or(deadline, |at| at.min(deadline)));
            let messages = tx.add_call(&new, true, now).await?.into_iter().collect();
            Placed { messages, outcome: None }
        }
    };
    // Only its failure ends a task that waits for its token.
    let outcome = placed.outcome.filter(|outcome| !placing.by_token || matches!(outcome, CallOutcome::Failed(_)));
    Ok(Placed { messages: placed.messages, outcome })
}

type Begun = Result<(Vec<OutboxMessage>, Value), CallOutcome>;

/// Launches a command; says what SendCommand would.
async fn command(
    tx: &mut Tx,
    master_key: &MasterKey,
    workflow: &Workflow,
    command_id: CommandId,
    request: CommandRequested,
    now: Timestamp,
) -> Result<Begun, HandlerError> {
    match launch(tx, Launch { command_id, request, window: None }, now).await {
        Ok(launched) => {
            if !launched.repeated {
                let source = format!("/patchwave/workflows/{}", workflow.workflow_id);
                let what = (command_id, &launched.request);
                audit::launched(tx, master_key, &Actor::Event(&source), what, launched.rollout.targets, now).await?;
            }
            let view = json!({ "Command": {
                "CommandId": command_id,
                "DocumentName": launched.request.document_name,
                "Status": "Pending",
                "TargetCount": launched.rollout.targets,
            } });
            Ok(Ok((launched.messages, view)))
        }
        Err(LaunchError::Store(error)) => Err(error.into()),
        Err(refused) => Ok(Err(failed("Ssm.ValidationException", refused.to_string()))),
    }
}

/// Starts an execution of a state machine; says what StartExecution would.
async fn execution(
    tx: &mut Tx,
    workflow: &Workflow,
    (state_machine, name): (&str, &str),
    input: &Value,
    parent_token: Option<&String>,
    now: Timestamp,
) -> Result<Begun, HandlerError> {
    let record: Value = serde_json::from_str(&workflow.record).unwrap_or_default();
    let depth = record["depth"].as_u64().unwrap_or(0) + 1;
    if depth > DEPTH_MAX {
        let cause = format!("executions start each other {DEPTH_MAX} deep; more are not allowed");
        return Ok(Err(failed("States.Runtime", cause)));
    }
    let input = input.to_string();
    let parent = parent_token.map(String::as_str);
    match start_state_machine(tx, state_machine, name, &input, parent, depth, now).await {
        Ok(started) => {
            let view = json!({
                "executionArn": execution_arn("000000000000", &started.state_machine, &started.name),
                "startDate": started.started_at,
            });
            Ok(Ok((started.message.into_iter().collect(), view)))
        }
        Err(StartError::Store(error)) => Err(error.into()),
        Err(refused) => {
            let error = match refused {
                StartError::NoStateMachine { .. } => "StepFunctions.StateMachineDoesNotExistException",
                StartError::NameTaken { .. } => "StepFunctions.ExecutionAlreadyExistsException",
                _ => "StepFunctions.InvalidExecutionInputException",
            };
            Ok(Err(failed(error, refused.to_string())))
        }
    }
}

/// Withdraws a call that nobody waits for any more: what it became is cancelled, and its answer is
/// taken note of by nobody.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub(super) async fn withdraw(
    tx: &mut Tx,
    call: &StoredCall,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<OutboxMessage>, HandlerError> {
    let outcome = CallOutcome::Failed(Failure { error: "Patchwave.Withdrawn".to_owned(), cause: reason.to_owned() });
    if !tx.put_call_outcome(&call.token, &outcome, now).await? {
        return Ok(Vec::new());
    }
    tx.clear_timer(&Timer::Call { token: call.token.clone() }).await?;
    let mut messages = Vec::new();
    match (&call.call, call.reference.as_deref()) {
        (Call::Command { .. }, Some(reference)) => {
            if let Ok(command_id) = reference.parse() {
                let request = RolloutCancelRequested {
                    command_id,
                    node_ids: Vec::new(),
                    cause: CancelCause::Requested,
                    reason: reason.to_owned(),
                };
                let id = derived_uuid("withdrawn:", &call.token);
                let message = OutboxMessage::event(id, "/patchwave/workflows", now, request);
                tx.enqueue(std::slice::from_ref(&message), now).await?;
                messages.push(message);
            }
        }
        (Call::StateMachine { .. } | Call::Automation { .. }, Some(reference)) => {
            if let Ok(child) = reference.parse() {
                let stop = Happening::Stop { how: "Cancel".to_owned(), cause: reason.to_owned() };
                messages.push(tell(tx, child, "stop", &stop, now).await?);
            }
        }
        _ => {}
    }
    Ok(messages)
}
