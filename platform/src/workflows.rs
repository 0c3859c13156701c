//! Starting executions of automations and state machines, and telling them what happened.
//!
//! The one way in, for the API, for windows' tasks and for other executions. It stores; carrying on
//! is the workflows worker's business, which the outbox message it leaves makes begin.

use jiff::Timestamp;
use patchwave_engine::calls::{CallOutcome, Failure};
use patchwave_schemas::WorkflowId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::calls::{OwnerKind, StoredCall};
use crate::store::outbox::OutboxMessage;
use crate::store::workflows::{Kind, Letter, Workflow};
use crate::store::{Error, Tx, to_json};

/// Something that happened to an execution, as its inbox holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Happening {
    /// It was stored and is to begin.
    Start,
    /// A call ended.
    CallEnded {
        /// What the engine knows the call by.
        about: String,
        /// How.
        outcome: CallOutcome,
    },
    /// Whoever answers a call is still at it.
    Heartbeat {
        /// What the engine knows the call by.
        about: String,
    },
    /// An instant it waits for has come.
    Timer {
        /// What the engine knows it by.
        about: String,
    },
    /// Somebody answers or interferes.
    Signal {
        /// `Approve`, `Reject`, `Resume`, `StartStep`, `StopStep` or `Revoke`.
        signal: String,
        /// Who, as the audit log names them.
        by: String,
        /// What came with it.
        payload: Value,
    },
    /// An event of the engine's own that a transaction had no room for.
    Engine {
        /// The frame.
        frame: String,
        /// The event.
        event: Value,
    },
    /// It is to stop.
    Stop {
        /// SSM's `Type`, `Cancel` or `Complete`; for a state machine its error's name.
        how: String,
        /// For people.
        cause: String,
    },
}

/// An execution that is to start.
#[derive(Debug, Clone)]
pub struct NewExecution {
    /// Its id; starting the same id twice starts once.
    pub workflow_id: WorkflowId,
    /// Which engine.
    pub kind: Kind,
    /// The state machine or document.
    pub definition_name: String,
    /// Its version or revision.
    pub definition_version: String,
    /// SHA-256 of its text.
    pub definition_id: String,
    /// Its text.
    pub definition: String,
    /// Name of the execution.
    pub name: String,
    /// Its status at the beginning, in the words of its API.
    pub status: &'static str,
    /// JSON text.
    pub input: String,
    /// The call that it answers when it ends.
    pub parent_token: Option<String>,
    /// What else was asked for.
    pub record: Value,
}

/// Stores an execution and lets it begin. Returns what is to be flushed after the commit, or nothing
/// where it had been stored before.
///
/// # Errors
/// [`Error::Database`].
pub async fn start(tx: &mut Tx, new: NewExecution, now: Timestamp) -> Result<Option<OutboxMessage>, Error> {
    let workflow = Workflow {
        workflow_id: new.workflow_id,
        kind: new.kind,
        definition_name: new.definition_name,
        definition_version: new.definition_version,
        definition_id: new.definition_id,
        name: new.name,
        status: new.status.to_owned(),
        input: new.input,
        output: None,
        error: None,
        cause: None,
        started_at: now,
        ended_at: None,
        state: String::new(),
        history_events: 0,
        parent_token: new.parent_token,
        record: to_json(&new.record),
    };
    if !tx.add_workflow(&workflow, &new.definition).await? {
        return Ok(None);
    }
    tell(tx, workflow.workflow_id, "start", &Happening::Start, now).await.map(Some)
}

/// Tells an execution that something happened. The key names the event: told twice it happened once,
/// as long as it was not applied yet; afterwards the engine recognises it.
///
/// # Errors
/// [`Error::Database`].
pub async fn tell(
    tx: &mut Tx,
    workflow_id: WorkflowId,
    key: &str,
    happening: &Happening,
    now: Timestamp,
) -> Result<OutboxMessage, Error> {
    let letter = Letter { event_key: key.to_owned(), event: to_json(happening) };
    tx.tell_workflow(workflow_id, &letter, now).await
}

/// Ends a call and tells whoever waits for it. Nothing follows from ending it again.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub async fn end_call(
    tx: &mut Tx,
    call: &StoredCall,
    outcome: CallOutcome,
    now: Timestamp,
) -> Result<Option<OutboxMessage>, Error> {
    if !tx.put_call_outcome(&call.token, &outcome, now).await? {
        return Ok(None);
    }
    match call.owner_kind {
        OwnerKind::Workflow => {
            let owner = call.owner_id.parse().map_err(Error::corrupt("calls.owner_id"))?;
            let happening = Happening::CallEnded { about: call.about.clone(), outcome };
            tell(tx, owner, &format!("call/{}", call.token), &happening, now).await.map(Some)
        }
        OwnerKind::FanOut => Ok(None),
    }
}

/// Answers the calls that wait for a command or an execution.
///
/// # Errors
/// [`Error::Database`], [`Error::Corrupt`].
pub async fn answer(
    tx: &mut Tx,
    reference: &str,
    outcome: &CallOutcome,
    now: Timestamp,
) -> Result<Vec<OutboxMessage>, Error> {
    let mut told = Vec::new();
    for call in tx.calls_of_reference(reference).await? {
        told.extend(end_call(tx, &call, outcome.clone(), now).await?);
    }
    Ok(told)
}

/// An outcome that is a failure.
#[must_use]
pub fn failed(error: &str, cause: impl Into<String>) -> CallOutcome {
    CallOutcome::Failed(Failure { error: error.to_owned(), cause: cause.into() })
}

/// Bytes of an execution's input or output (Step Functions' quota).
pub const PAYLOAD_BYTES_MAX: usize = 262_144;
/// Characters of the name of a state machine or an execution (Step Functions).
pub const NAME_CHARS_MAX: usize = 80;
/// The region that our ARNs name.
pub const REGION: &str = "local";

/// The name in a state machine's ARN; a text that is no ARN is the name itself. A version or an alias
/// behind the name is left out: here a machine is always what it was last made.
#[must_use]
pub fn state_machine_name(text: &str) -> &str {
    match text.strip_prefix("arn:").and_then(|rest| rest.split_once(":stateMachine:")) {
        Some((_, name)) => name.split(':').next().unwrap_or(name),
        None => text,
    }
}

/// The state machine and the name in an execution's ARN.
#[must_use]
pub fn execution_of_arn(arn: &str) -> Option<(&str, &str)> {
    arn.strip_prefix("arn:")?.split_once(":execution:")?.1.split_once(':')
}

/// An execution's id: the same for the same state machine and name, so that starting it again finds it.
#[must_use]
pub fn execution_id(state_machine: &str, name: &str) -> WorkflowId {
    WorkflowId::derived(&format!("{state_machine}:{name}"))
}

/// A state machine's ARN.
#[must_use]
pub fn state_machine_arn(account: &str, name: &str) -> String {
    format!("arn:aws:states:{REGION}:{account}:stateMachine:{name}")
}

/// An execution's ARN.
#[must_use]
pub fn execution_arn(account: &str, state_machine: &str, name: &str) -> String {
    format!("arn:aws:states:{REGION}:{account}:execution:{state_machine}:{name}")
}

/// Whether a text may be the name of a state machine or an execution (Step Functions' rule).
#[must_use]
pub fn is_name(text: &str) -> bool {
    const FORBIDDEN: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";
    (1..=NAME_CHARS_MAX).contains(&text.chars().count())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || FORBIDDEN.contains(c))
}

/// Why an execution of a state machine cannot start. Step Functions' errors are told apart by variant.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such state machine.
    #[error("state machine `{name}` does not exist")]
    NoStateMachine {
        /// The name.
        name: String,
    },
    /// There was an execution of this name, with another input or ended.
    #[error("execution `{name}` of state machine `{state_machine}` exists, with another input or at its end")]
    NameTaken {
        /// The state machine.
        state_machine: String,
        /// The name.
        name: String,
    },
    /// The name is none.
    #[error("name is `{name}`; allowed are 1 to 80 characters without blanks, brackets, wildcards and special ones")]
    Name {
        /// The name.
        name: String,
    },
    /// The input is not JSON, or too long.
    #[error("input {problem}; allowed is JSON of up to 262144 bytes")]
    Input {
        /// What is wrong.
        problem: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// An execution that was started, or had been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub workflow_id: WorkflowId,
    /// The state machine's name.
    pub state_machine: String,
    /// Its own name.
    pub name: String,
    /// When it began.
    pub started_at: Timestamp,
    /// To be flushed after the commit; none where it had been started before.
    pub message: Option<OutboxMessage>,
}

/// Starts an execution of a state machine. The same name with the same input starts it once. `depth` is
/// how many executions it was started by, one within the other.
///
/// # Errors
/// [`StartError`]; the caller drops the transaction.
pub async fn start_state_machine(
    tx: &mut Tx,
    state_machine: &str,
    name: &str,
    input: &str,
    parent_token: Option<&str>,
    depth: u64,
    now: Timestamp,
) -> Result<Started, StartError> {
    let machine_name = state_machine_name(state_machine);
    if !is_name(name) {
        return Err(StartError::Name { name: name.chars().take(NAME_CHARS_MAX).collect() });
    }
    if input.len() > PAYLOAD_BYTES_MAX {
        return Err(StartError::Input { problem: format!("has {} bytes", input.len()) });
    }
    if let Err(error) = serde_json::from_str::<Value>(input) {
        return Err(StartError::Input { problem: format!("is not JSON: {error}") });
    }
    let missing = || StartError::NoStateMachine { name: machine_name.to_owned() };
    let workflow_id = execution_id(machine_name, name);
    if let Some(known) = tx.lock_workflow(workflow_id).await? {
        let same = known.ended_at.is_none() && known.input == input && known.parent_token.as_deref() == parent_token;
        if !same {
            return Err(StartError::NameTaken { state_machine: machine_name.to_owned(), name: name.to_owned() });
        }
        return Ok(Started {
            workflow_id,
            state_machine: machine_name.to_owned(),
            name: name.to_owned(),
            started_at: known.started_at,
            message: None,
        });
    }
    let machine = tx.lock_state_machine(machine_name).await?.ok_or_else(missing)?;
    let definition = tx.workflow_definition(&machine.definition_id).await?.ok_or_else(missing)?;
    let new = NewExecution {
        workflow_id,
        kind: Kind::StateMachine,
        definition_name: machine.name.clone(),
        definition_version: machine.revision.to_string(),
        definition_id: machine.definition_id,
        definition,
        name: name.to_owned(),
        status: "RUNNING",
        input: input.to_owned(),
        parent_token: parent_token.map(str::to_owned),
        record: serde_json::json!({ "roleArn": machine.role_arn, "depth": depth }),
    };
    let message = start(tx, new, now).await?;
    Ok(Started { workflow_id, state_machine: machine.name, name: name.to_owned(), started_at: now, message })
}
