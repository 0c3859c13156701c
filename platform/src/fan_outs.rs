//! A window's task that makes one call for each of its targets: a rollout whose invocations are calls.
//!
//! It is stored as a workflow, so that its inbox, hints and sweeps are those of every execution; the
//! engine's rollout says how many calls run at a time and when errors stop it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use patchwave_engine::calls::{Call, FunctionCall, InvocationType};
use patchwave_engine::limits::Limit;
use patchwave_engine::pseudo_parameters::fill;
use patchwave_engine::rollout::{Phase, Rollout};
use patchwave_schemas::event::ErrorMode;
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::{TaskExecutionId, WindowExecutionId, WorkflowId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::store::outbox::OutboxMessage;
use crate::store::workflows::Kind;
use crate::store::{Error, Tx, from_json, to_json};
use crate::workflows::{NewExecution, start};

/// What each target's call is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Template {
    /// An execution of a state machine.
    StateMachine {
        /// Its name or ARN.
        state_machine: String,
        /// JSON with pseudo parameters; an empty object where absent.
        input: Option<String>,
        /// Name of the execution, with pseudo parameters.
        name: Option<String>,
    },
    /// A function.
    Function {
        /// Its name or ARN.
        function: String,
        /// Version or alias.
        qualifier: Option<String>,
        /// Base64 of a JSON object.
        client_context: Option<String>,
        /// Base64 of JSON with pseudo parameters; an empty object where absent.
        payload: Option<String>,
    },
}

impl Template {
    /// What is called, by name or ARN.
    #[must_use]
    pub fn called(&self) -> &str {
        match self {
            Self::StateMachine { state_machine, .. } => state_machine,
            Self::Function { function, .. } => function,
        }
    }
}

/// The state of such a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanOut {
    /// The firing.
    pub window_execution_id: WindowExecutionId,
    /// Its task.
    pub task_execution_id: TaskExecutionId,
    /// Counters and limits.
    pub rollout: Rollout,
    /// The next target's number.
    pub cursor: u32,
    /// Ids of nodes; one empty text for a task without targets.
    pub targets: Vec<String>,
    /// What is called.
    pub template: Template,
    /// Pseudo parameters that all calls share.
    pub names: BTreeMap<String, String>,
}

/// A fan-out that is to start.
#[derive(Debug, Clone)]
pub struct NewFanOut {
    /// The firing.
    pub window_execution_id: WindowExecutionId,
    /// Its task; starting the same task twice starts it once.
    pub task_execution_id: TaskExecutionId,
    /// Ids of nodes in the order in which they are called for; `None` for a task without targets.
    pub targets: Option<Vec<String>>,
    /// What is called.
    pub template: Template,
    /// Pseudo parameters that all calls share.
    pub names: BTreeMap<String, String>,
    /// How many calls run at a time.
    pub concurrency: Limit,
    /// How many may fail.
    pub errors: Limit,
    /// How errors are bounded.
    pub error_mode: ErrorMode,
}

/// The workflow of a task.
#[must_use]
pub fn fan_out_id(task: TaskExecutionId) -> WorkflowId {
    WorkflowId::derived(&format!("task/{task}"))
}

/// Stores a fan-out and lets it begin.
///
/// # Errors
/// [`Error::Database`].
pub async fn start_fan_out(tx: &mut Tx, new: NewFanOut, now: Timestamp) -> Result<Option<OutboxMessage>, Error> {
    let targets = new.targets.unwrap_or_else(|| vec![String::new()]);
    let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
    let rollout = Rollout::plan(count, new.concurrency, new.errors, new.error_mode);
    let state = FanOut {
        window_execution_id: new.window_execution_id,
        task_execution_id: new.task_execution_id,
        rollout,
        cursor: 0,
        targets,
        template: new.template,
        names: new.names,
    };
    let execution = NewExecution {
        workflow_id: fan_out_id(new.task_execution_id),
        kind: Kind::FanOut,
        definition_name: state.template.called().to_owned(),
        definition_version: String::new(),
        definition_id: "fan-out".to_owned(),
        definition: String::new(),
        name: new.task_execution_id.to_string(),
        status: "Running",
        input: to_json(&state),
        parent_token: None,
        record: json!({}),
    };
    start(tx, execution, now).await
}

impl FanOut {
    /// Id of the invocation of a target.
    #[must_use]
    pub fn invocation_id(&self, ordinal: u32) -> String {
        derived_uuid("task invocation:", &format!("{}/{ordinal}", self.task_execution_id)).to_string()
    }

    /// The call for a target.
    ///
    /// # Errors
    /// A sentence about a template that makes none.
    pub fn call(&self, ordinal: u32) -> Result<Call, String> {
        let target =
            usize::try_from(ordinal).ok().and_then(|index| self.targets.get(index)).cloned().unwrap_or_default();
        let mut values: BTreeMap<&str, String> =
            self.names.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        values.insert("INVOCATION_ID", self.invocation_id(ordinal));
        values.insert("TARGET_ID", target.clone());
        values.insert("RESOURCE_ID", target);
        match &self.template {
            Template::StateMachine { state_machine, input, name } => {
                let input = filled_json("StepFunctions.Input", input.as_deref(), &values)?;
                let name = name.as_ref().map(|text| {
                    let filled = fill(text, &values);
                    // One name for several executions would start one.
                    let is_one = self.targets.len() > 1 && filled == fill(text, &BTreeMap::new());
                    if is_one { format!("{filled}-{ordinal}") } else { filled }
                });
                Ok(Call::StateMachine { state_machine: state_machine.clone(), name, input, wait: true })
            }
            Template::Function { function, qualifier, client_context, payload } => {
                let name = function.split_once(":function:").map_or(function.as_str(), |(_, name)| name);
                let decoded = payload.as_ref().map(|payload| {
                    let bytes = STANDARD.decode(payload).ok();
                    bytes
                        .and_then(|bytes| String::from_utf8(bytes).ok())
                        .ok_or("Lambda.Payload is not the Base64 of a text")
                });
                let decoded = decoded.transpose()?;
                Ok(Call::Function(FunctionCall {
                    function: name.to_owned(),
                    qualifier: qualifier.clone(),
                    payload: filled_json("Lambda.Payload", decoded.as_deref(), &values)?,
                    client_context: client_context.clone(),
                    invocation_type: InvocationType::RequestResponse,
                }))
            }
        }
    }
}

/// A template of JSON, filled in; an empty object where there is none.
fn filled_json(field: &str, text: Option<&str>, values: &BTreeMap<&str, String>) -> Result<Value, String> {
    match text {
        None => Ok(json!({})),
        Some(text) => serde_json::from_str(&fill(text, values))
            .map_err(|error| format!("{field} is not JSON once its parameters are filled in: {error}")),
    }
}

impl Tx {
    /// How far a task's fan-out has come; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn fan_out_phase(&mut self, task: TaskExecutionId) -> Result<Option<Phase>, Error> {
        let Some(workflow) = self.lock_workflow(fan_out_id(task)).await? else { return Ok(None) };
        if workflow.state.is_empty() {
            return Ok(None);
        }
        let state: FanOut = from_json("workflows.state", &workflow.state)?;
        Ok(Some(state.rollout.phase))
    }
}
