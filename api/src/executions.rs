//! Executions of maintenance windows: the firing, its tasks, and the command of each task.
//!
//! SSM runs one command for each registered target of a task; here one command runs for all of
//! them together, so a task execution has one invocation at most.

use jiff::Timestamp;
use patchwave_engine::calls::{Call, CallOutcome};
use patchwave_platform::fan_outs::fan_out_id;
use patchwave_platform::outbox;
use patchwave_platform::store::calls::{OwnerKind, StoredCall};
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::workflows::{execution_arn, state_machine_name};
use patchwave_schemas::event::WindowCancelRequested;
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::{TaskExecutionId, WindowExecutionId, WindowId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::start::SOURCE;
use crate::wire::{Error, Filter, Paging, Request, check_filters, epoch, id, instant_key, present, required};

/// SSM's one list of statuses.
const STATUSES: [&str; 8] =
    ["PENDING", "IN_PROGRESS", "SUCCESS", "FAILED", "TIMED_OUT", "CANCELLING", "CANCELLED", "SKIPPED_OVERLAPPING"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    window_execution_id: Option<String>,
    task_id: Option<String>,
    invocation_id: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

impl Input {
    async fn execution(&self, api: &Api) -> Result<Execution, Error> {
        let id: WindowExecutionId = id("windowExecutionId", self.window_execution_id.as_deref())?;
        let missing = || Error::does_not_exist(format_args!("maintenance window execution {id}"));
        api.store.execution(id).await?.ok_or_else(missing)
    }

    async fn task(&self, api: &Api) -> Result<(Execution, TaskExecution), Error> {
        let execution = self.execution(api).await?;
        let task_id: TaskExecutionId = id("taskId", self.task_id.as_deref())?;
        let tasks = api.store.tasks_of(execution.window_execution_id).await?;
        let task = tasks.into_iter().find(|task| task.task_execution_id == task_id).ok_or_else(|| {
            let execution = execution.window_execution_id;
            Error::does_not_exist(format_args!("task {task_id} of maintenance window execution {execution}"))
        })?;
        Ok((execution, task))
    }

    /// The statuses asked for; none asks for all.
    fn statuses(&self) -> Result<Option<&Filter>, Error> {
        check_filters(&self.filters, &["STATUS"])?;
        let filter = self.filters.first();
        if let Some(status) =
            filter.and_then(|filter| filter.values.iter().find(|value| !STATUSES.contains(&value.as_str())))
        {
            let allowed = STATUSES.join(", ");
            return Err(Error::validation(format!("filter STATUS has the value `{status}`; allowed are {allowed}")));
        }
        Ok(filter)
    }
}

/// DescribeMaintenanceWindowExecutions, newest first.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
    check_filters(&input.filters, &["ExecutedBefore", "ExecutedAfter"])?;
    let bound = |key: &str| {
        let filter = input.filters.iter().find(|filter| filter.key == key);
        filter.map(|filter| instant(key, filter.values.first().map_or("", String::as_str))).transpose()
    };
    let (executed_before, executed_after) = (bound("ExecutedBefore")?, bound("ExecutedAfter")?);
    let mut before = position(&paging)?;
    let mut rows: Vec<Execution> = Vec::new();
    while rows.len() <= paging.size() {
        let batch = api.store.executions(&window_id, before, paging.rows()).await?;
        let Some(last) = batch.last() else { break };
        before = Some((last.started_at, last.window_execution_id));
        // The list goes back in time: nothing further down is late enough.
        let done = executed_after.is_some_and(|after| last.started_at <= after);
        rows.extend(batch.into_iter().filter(|one| {
            executed_before.is_none_or(|before| one.started_at < before)
                && executed_after.is_none_or(|after| one.started_at > after)
        }));
        if done {
            break;
        }
    }
    rows.truncate(paging.size() + 1);
    let (rows, next) = paging.of_rows(rows, |one| instant_key(one.started_at, one.window_execution_id));
    let list: Vec<Value> = rows
        .iter()
        .map(|one| {
            let mut view = view(one);
            view["WindowId"] = json!(one.window_id);
            present(view)
        })
        .collect();
    Ok(present(json!({ "WindowExecutions": list, "NextToken": next })))
}

/// GetMaintenanceWindowExecution.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let execution = input.execution(api).await?;
    let tasks = api.store.tasks_of(execution.window_execution_id).await?;
    let mut view = view(&execution);
    view["TaskIds"] = tasks.iter().map(|task| json!(task.task_execution_id)).collect();
    view["WindowId"] = json!(execution.window_id);
    Ok(present(view))
}

/// DescribeMaintenanceWindowExecutionTasks.
pub(crate) async fn describe_tasks(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let statuses = input.statuses()?;
    let execution = input.execution(api).await?;
    let mut tasks = api.store.tasks_of(execution.window_execution_id).await?;
    tasks.retain(|task| statuses.is_none_or(|filter| filter.accepts(&task.status)));
    let (tasks, next) = paging.of_list(tasks, |task| format!("{:010}", task.ordinal));
    let list: Vec<Value> = tasks
        .iter()
        .map(|task| {
            let mut view = task_view(task);
            view["TaskType"] = json!(task.task.task_type);
            present(view)
        })
        .collect();
    Ok(present(json!({ "WindowExecutionTaskIdentities": list, "NextToken": next })))
}

/// GetMaintenanceWindowExecutionTask.
pub(crate) async fn get_task(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (_, task) = input.task(api).await?;
    let definition = &task.task;
    let mut view = task_view(&task);
    for (member, value) in [
        ("ServiceRole", json!(definition.service_role_arn)),
        // Here SSM says `Type`, in the list `TaskType`.
        ("Type", json!(definition.task_type)),
        ("TaskParameters", json!([])),
        ("Priority", json!(definition.priority)),
        ("MaxConcurrency", json!(definition.max_concurrency)),
        ("MaxErrors", json!(definition.max_errors)),
        ("ErrorMode", json!(definition.error_mode)),
        ("CommandId", json!(task.command_id)),
    ] {
        view[member] = value;
    }
    Ok(present(view))
}

/// DescribeMaintenanceWindowExecutionTaskInvocations.
pub(crate) async fn describe_invocations(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(10..=100)?;
    let statuses = input.statuses()?;
    let (execution, task) = input.task(api).await?;
    let mut invocations = invocation_views(api, &execution, &task).await?;
    invocations
        .retain(|view| statuses.is_none_or(|filter| filter.accepts(view["Status"].as_str().unwrap_or_default())));
    let (list, next) = paging.of_list(invocations, |view| view["InvocationId"].as_str().unwrap_or_default().to_owned());
    Ok(present(json!({ "WindowExecutionTaskInvocationIdentities": list, "NextToken": next })))
}

/// GetMaintenanceWindowExecutionTaskInvocation.
pub(crate) async fn get_invocation(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let asked = required("invocationId", input.invocation_id.as_deref())?;
    let (execution, task) = input.task(api).await?;
    invocation_views(api, &execution, &task)
        .await?
        .into_iter()
        .find(|view| view["InvocationId"] == asked)
        .ok_or_else(|| Error::does_not_exist(format_args!("invocation {asked} of task {}", task.task_execution_id)))
}

/// CancelMaintenanceWindowExecution. One that has ended is left so.
pub(crate) async fn cancel(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let execution = input.execution(api).await?;
    let execution_id = execution.window_execution_id;
    if execution.ended_at.is_none() {
        let now = Timestamp::now();
        let messages = [OutboxMessage::event(Uuid::now_v7(), SOURCE, now, WindowCancelRequested { execution_id })];
        let mut tx = api.store.begin().await?;
        tx.enqueue(&messages, now).await?;
        tx.commit().await?;
        outbox::flush(&api.store, api.bus.as_ref(), &messages).await;
    }
    Ok(json!({ "WindowExecutionId": execution_id }))
}

/// Where a list of executions goes on.
fn position(paging: &Paging) -> Result<Option<(Timestamp, WindowExecutionId)>, Error> {
    let Some((millis, id)) = paging.after_instant()? else { return Ok(None) };
    let at = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    Ok(id.parse().ok().map(|id| (at, id)))
}

fn instant(key: &str, text: &str) -> Result<Timestamp, Error> {
    text.parse().map_err(|_| {
        Error::validation(format!(
            "filter {key} has the value `{text}`; allowed is an instant such as 2026-04-07T14:29:00Z"
        ))
    })
}

fn view(execution: &Execution) -> Value {
    json!({
        "WindowExecutionId": execution.window_execution_id,
        "Status": execution.status,
        "StatusDetails": said(&execution.status_details),
        "StartTime": epoch(execution.started_at),
        "EndTime": execution.ended_at.map(epoch),
        "ScheduledTime": epoch(execution.scheduled_at),
        "Reason": said(&execution.reason),
    })
}

fn task_view(task: &TaskExecution) -> Value {
    json!({
        "WindowExecutionId": task.window_execution_id,
        "TaskExecutionId": task.task_execution_id,
        "TaskArn": task.task.task_arn,
        "Status": task.status,
        "StatusDetails": said(&task.status_details),
        "StartTime": task.started_at.map(epoch),
        "EndTime": task.ended_at.map(epoch),
    })
}

/// A task's invocations: its command, or the calls that it has made so far.
async fn invocation_views(api: &Api, execution: &Execution, task: &TaskExecution) -> Result<Vec<Value>, Error> {
    if task.command_id.is_some() || task.started_at.is_none() {
        return Ok(invocation_view(execution, task).into_iter().collect());
    }
    let owner = fan_out_id(task.task_execution_id).to_string();
    let calls = api.store.calls_of_owner(OwnerKind::Workflow, &owner).await?;
    Ok(calls.iter().map(|call| call_view(api, execution, task, call)).collect())
}

/// An execution of a state machine as an invocation of a task.
fn call_view(api: &Api, execution: &Execution, task: &TaskExecution, call: &StoredCall) -> Value {
    let (status, details) = match &call.outcome {
        None => ("IN_PROGRESS", None),
        Some(CallOutcome::Succeeded(_)) => ("SUCCESS", None),
        Some(CallOutcome::Failed(failure)) => ("FAILED", Some(failure.cause.chars().take(250).collect::<String>())),
    };
    let (started, input) = match &call.call {
        Call::StateMachine { state_machine, name, input, .. } => {
            let name = name.clone().unwrap_or_else(|| call.token.clone());
            (execution_arn(api.account_id(), state_machine_name(state_machine), &name), input.to_string())
        }
        _ => (call.token.clone(), String::new()),
    };
    present(json!({
        "WindowExecutionId": execution.window_execution_id,
        "TaskExecutionId": task.task_execution_id,
        "InvocationId": call.token,
        "ExecutionId": started,
        "TaskType": task.task.task_type,
        "Parameters": json!({ "stateMachineArn": task.task.task_arn, "input": input }).to_string(),
        "Status": status,
        "StatusDetails": details,
        "StartTime": epoch(call.requested_at),
        "EndTime": call.ended_at.map(epoch),
    }))
}

/// The task's one invocation, once it has started.
fn invocation_view(execution: &Execution, task: &TaskExecution) -> Option<Value> {
    let command = task.command_id?;
    let definition = &task.task;
    let named: Vec<&String> = definition.targets.iter().flat_map(|target| &target.values).collect();
    let registered = execution
        .snapshot
        .targets
        .iter()
        .find(|target| named.iter().any(|value| **value == target.window_target_id.to_string()));
    let parameters = json!({
        "documentName": definition.task_arn,
        "documentVersion": definition.run_command.document_version,
        "maxConcurrency": definition.max_concurrency,
        "maxErrors": definition.max_errors,
        "parameters": definition.run_command.parameters,
    });
    Some(present(json!({
        "WindowExecutionId": task.window_execution_id,
        "TaskExecutionId": task.task_execution_id,
        "InvocationId": derived_uuid("task invocation:", &task.task_execution_id.to_string()),
        "ExecutionId": command,
        "TaskType": definition.task_type,
        "Parameters": parameters.to_string(),
        "Status": task.status,
        "StatusDetails": said(&task.status_details),
        "StartTime": task.started_at.map(epoch),
        "EndTime": task.ended_at.map(epoch),
        "OwnerInformation": registered.and_then(|target| target.owner_information.as_ref()),
        "WindowTargetId": registered.map(|target| target.window_target_id),
    })))
}

/// A text worth showing.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
