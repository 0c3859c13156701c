//! Executions of state machines, in Step Functions' own protocol.

use jiff::Timestamp;
use patchwave_platform::outbox;
use patchwave_platform::store::workflows::{Kind, Workflow, WorkflowQuery};
use patchwave_platform::workflows::{
    Happening, StartError, execution_arn, execution_id, execution_of_arn, start_state_machine, state_machine_arn,
    state_machine_name, tell,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::{Error, Request, epoch, instant_key, present, required};
use crate::{Api, state_machines};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    state_machine_arn: Option<String>,
    execution_arn: Option<String>,
    name: Option<String>,
    input: Option<String>,
    error: Option<String>,
    cause: Option<String>,
    status_filter: Option<String>,
    max_results: Option<usize>,
    #[serde(default)]
    reverse_order: bool,
    include_execution_data: Option<bool>,
}

impl Input {
    /// The execution that the request names.
    async fn execution(&self, api: &Api) -> Result<Workflow, Error> {
        let arn = self.execution_arn.as_deref().unwrap_or_default();
        let missing = || Error::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"));
        let (machine, name) = execution_of_arn(arn).ok_or_else(|| {
            Error::new("InvalidArn", format!("Invalid Arn: '{arn}'; allowed is the ARN of an execution"))
        })?;
        api.store.workflow(execution_id(machine, name)).await?.ok_or_else(missing)
    }
}

/// StartExecution. The same name with the same input starts one.
pub(crate) async fn start(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let machine = required("stateMachineArn", input.state_machine_arn)?;
    let name = input.name.unwrap_or_else(|| Uuid::new_v4().to_string());
    let text = input.input.unwrap_or_else(|| "{}".to_owned());
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    let started = start_state_machine(&mut tx, &machine, &name, &text, None, 0, now).await.map_err(refused)?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), started.message.as_slice()).await;
    Ok(json!({
        "executionArn": execution_arn(api.account_id(), &started.state_machine, &started.name),
        "startDate": epoch(started.started_at),
    }))
}

fn refused(error: StartError) -> Error {
    let code = match error {
        StartError::NoStateMachine { name } => return state_machines::missing(&name),
        StartError::Store(error) => return error.into(),
        StartError::NameTaken { .. } => "ExecutionAlreadyExists",
        StartError::Name { .. } => "InvalidName",
        StartError::Input { .. } => "InvalidExecutionInput",
    };
    Error::new(code, error.to_string())
}

/// StopExecution. One that has ended stays as it ended.
pub(crate) async fn stop(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let execution = input.execution(api).await?;
    let now = Timestamp::now();
    if let Some(ended) = execution.ended_at {
        return Ok(json!({ "stopDate": epoch(ended) }));
    }
    let how = input.error.unwrap_or_default();
    let happening = Happening::Stop { how, cause: input.cause.unwrap_or_default() };
    let mut tx = api.store.begin().await?;
    let message = tell(&mut tx, execution.workflow_id, "stop", &happening, now).await?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), &[message]).await;
    Ok(json!({ "stopDate": epoch(now) }))
}

/// DescribeExecution.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let execution = input.execution(api).await?;
    let mut view = summary(api, &execution);
    view["input"] = json!(execution.input);
    view["inputDetails"] = json!({ "included": true });
    view["output"] = json!(execution.output);
    view["error"] = json!(execution.error);
    view["cause"] = json!(execution.cause);
    view["redriveCount"] = json!(0);
    view["redriveStatus"] = json!("NOT_REDRIVABLE");
    Ok(present(view))
}

/// ListExecutions, newest first.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = state_machine_name(input.state_machine_arn.as_deref().unwrap_or_default()).to_owned();
    if api.store.state_machine(&name).await?.is_none() {
        return Err(state_machines::missing(&name));
    }
    let paging = request.states_paging(input.max_results)?;
    let query = WorkflowQuery {
        definition_name: Some(&name),
        status: input.status_filter.as_deref(),
        after: paging.after_instant()?,
        limit: paging.rows(),
    };
    let found = api.store.workflows(Kind::StateMachine, &query).await?;
    let (page, next) = paging.of_rows(found, |one| instant_key(one.started_at, one.workflow_id));
    let executions: Vec<Value> = page.iter().map(|one| present(summary(api, one))).collect();
    Ok(present(json!({ "executions": executions, "nextToken": next })))
}

/// GetExecutionHistory.
pub(crate) async fn history(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let execution = input.execution(api).await?;
    let paging = request.states_paging(input.max_results)?;
    let from = paging.after().and_then(|key| key.parse().ok());
    let rows = api.store.workflow_history(execution.workflow_id, from, input.reverse_order, paging.rows()).await?;
    let (page, next) = paging.of_rows(rows, |one| one.event_id.to_string());
    let with_data = input.include_execution_data.unwrap_or(true);
    let events: Vec<Value> = page
        .iter()
        .map(|one| {
            let mut event: Value = serde_json::from_str(&one.event).unwrap_or_default();
            event["id"] = json!(one.event_id);
            event["previousEventId"] = json!(one.event_id - 1);
            event["timestamp"] = epoch(one.at);
            if !with_data {
                without_data(&mut event);
            }
            event
        })
        .collect();
    Ok(present(json!({ "events": events, "nextToken": next })))
}

/// Leaves out inputs, outputs and causes.
fn without_data(event: &mut Value) {
    let Some(members) = event.as_object_mut() else { return };
    for details in members.values_mut().filter_map(Value::as_object_mut) {
        for name in ["input", "output", "cause", "parameters"] {
            details.remove(name);
        }
    }
}

fn summary(api: &Api, execution: &Workflow) -> Value {
    let account = api.account_id();
    json!({
        "executionArn": execution_arn(account, &execution.definition_name, &execution.name),
        "stateMachineArn": state_machine_arn(account, &execution.definition_name),
        "name": execution.name,
        "status": execution.status,
        "startDate": epoch(execution.started_at),
        "stopDate": execution.ended_at.map(epoch),
    })
}
