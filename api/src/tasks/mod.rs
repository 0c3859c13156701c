//! Tasks registered with a maintenance window: commands, functions and state machines.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_platform::store::windows::{
    CutoffBehavior, LambdaParameters, RunCommandParameters, StepFunctionsParameters, WindowTask,
};
use patchwave_schemas::event::{ErrorMode, Target};
use patchwave_schemas::{WindowId, WindowTaskId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::wire::{Error, Filter, Request, check_filters, id, present, required};
use crate::{Api, windows};

mod check;

/// The task types that are carried out here.
const RUN_COMMAND: &str = "RUN_COMMAND";
const LAMBDA: &str = "LAMBDA";
const STEP_FUNCTIONS: &str = "STEP_FUNCTIONS";
/// What SSM shows as the limits of a task without targets, which has none.
const NO_LIMIT: &str = "1";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    window_task_id: Option<String>,
    targets: Option<Vec<Target>>,
    task_arn: Option<String>,
    service_role_arn: Option<String>,
    task_type: Option<String>,
    /// Deprecated; honoured when `TaskInvocationParameters` is absent.
    task_parameters: Option<BTreeMap<String, TaskParameter>>,
    task_invocation_parameters: Option<InvocationParameters>,
    priority: Option<u32>,
    max_concurrency: Option<String>,
    max_errors: Option<String>,
    error_mode: Option<ErrorMode>,
    rollout_plan: Option<String>,
    cutoff_behavior: Option<CutoffBehavior>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    replace: bool,
    #[serde(default)]
    filters: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskParameter {
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InvocationParameters {
    run_command: Option<RunCommandParameters>,
    automation: Option<Value>,
    lambda: Option<LambdaParameters>,
    step_functions: Option<StepFunctionsParameters>,
}

impl Input {
    fn window_id(&self) -> Result<WindowId, Error> {
        id("windowId", self.window_id.as_deref())
    }

    fn window_task_id(&self) -> Result<WindowTaskId, Error> {
        id("windowTaskId", self.window_task_id.as_deref())
    }

    /// `MaxConcurrency` and `MaxErrors`: needed with targets, refused without (SSM).
    fn limits(&mut self, task_type: &str) -> Result<(Option<String>, Option<String>), Error> {
        let (concurrency, errors) = (self.max_concurrency.take(), self.max_errors.take());
        if task_type == RUN_COMMAND || self.targets.as_ref().is_some_and(|targets| !targets.is_empty()) {
            let targets = required("targets", self.targets.take())?;
            self.targets = Some(targets);
            return Ok((Some(required("maxConcurrency", concurrency)?), Some(required("maxErrors", errors)?)));
        }
        for (name, given) in [("MaxConcurrency", concurrency), ("MaxErrors", errors)] {
            if given.is_some_and(|given| given != NO_LIMIT) {
                let message = format!("Maintenance window tasks without targets don't support {name} values");
                return Err(Error::validation(message));
            }
        }
        Ok((None, None))
    }
}

/// RegisterTaskWithMaintenanceWindow.
pub(crate) async fn register(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut input: Input = request.read()?;
    let now = Timestamp::now();
    let task_type = required("taskType", input.task_type.take())?;
    let parameters = parameters(&mut input, &task_type)?.unwrap_or_default();
    let limits = input.limits(&task_type)?;
    let task = WindowTask {
        window_task_id: WindowTaskId::random(),
        window_id: input.window_id()?,
        task_type,
        task_arn: required("taskArn", input.task_arn)?,
        targets: input.targets.unwrap_or_default(),
        priority: input.priority.unwrap_or(0),
        max_concurrency: limits.0,
        max_errors: limits.1,
        error_mode: input.error_mode.unwrap_or_default(),
        cutoff_behavior: input.cutoff_behavior.unwrap_or_default(),
        run_command: parameters.run_command,
        lambda: parameters.lambda,
        step_functions: parameters.step_functions,
        rollout_plan: input.rollout_plan,
        service_role_arn: input.service_role_arn,
        name: input.name,
        description: input.description,
    };
    check::alone(&task)?;
    let response = json!({ "WindowTaskId": task.window_task_id });
    let mut tx = api.store.begin().await?;
    if let Some(earlier) = request.repeated(&mut tx, &response, now).await? {
        return Ok(earlier);
    }
    let window = tx.lock_window(&task.window_id).await?.ok_or_else(|| windows::missing(&task.window_id))?;
    let (targets, _) = tx.window_registrations(&task.window_id).await?;
    check::beside_window(&task, &window, &targets)?;
    tx.put_window_task(&task, now).await?;
    tx.commit().await?;
    Ok(response)
}

/// UpdateMaintenanceWindowTask. `TaskInvocationParameters` are replaced as a whole.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut input: Input = request.read()?;
    let (window_id, task_id) = (input.window_id()?, input.window_task_id()?);
    let mut tx = api.store.begin().await?;
    let window = tx.lock_window(&window_id).await?.ok_or_else(|| windows::missing(&window_id))?;
    let (targets, tasks) = tx.window_registrations(&window_id).await?;
    let mut task =
        tasks.into_iter().find(|task| task.window_task_id == task_id).ok_or_else(|| missing(task_id, &window_id))?;
    let names_targets = input.targets.is_some();
    let parameters = parameters(&mut input, &task.task_type)?;
    if input.replace {
        let limits = input.limits(&task.task_type)?;
        task.targets = input.targets.unwrap_or_default();
        task.task_arn = required("taskArn", input.task_arn)?;
        (task.max_concurrency, task.max_errors) = limits;
        task.priority = input.priority.unwrap_or(0);
        task.error_mode = input.error_mode.unwrap_or_default();
        task.cutoff_behavior = input.cutoff_behavior.unwrap_or_default();
        parameters.unwrap_or_default().put(&mut task);
        task.rollout_plan = input.rollout_plan;
        task.service_role_arn = input.service_role_arn;
        task.name = input.name;
        task.description = input.description;
    } else {
        task.targets = input.targets.unwrap_or(task.targets);
        task.task_arn = input.task_arn.unwrap_or(task.task_arn);
        task.max_concurrency = input.max_concurrency.or(task.max_concurrency);
        task.max_errors = input.max_errors.or(task.max_errors);
        task.priority = input.priority.unwrap_or(task.priority);
        task.error_mode = input.error_mode.unwrap_or(task.error_mode);
        task.cutoff_behavior = input.cutoff_behavior.unwrap_or(task.cutoff_behavior);
        if let Some(parameters) = parameters {
            parameters.put(&mut task);
        }
        task.rollout_plan = input.rollout_plan.or(task.rollout_plan);
        task.service_role_arn = input.service_role_arn.or(task.service_role_arn);
        task.name = input.name.or(task.name);
        task.description = input.description.or(task.description);
    }
    check::alone(&task)?;
    // A target that was deregistered meanwhile is no reason to refuse another change.
    if names_targets {
        check::beside_window(&task, &window, &targets)?;
    }
    tx.put_window_task(&task, Timestamp::now()).await?;
    tx.commit().await?;
    Ok(full_view(&task))
}

/// GetMaintenanceWindowTask.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (window_id, task_id) = (input.window_id()?, input.window_task_id()?);
    let task = api.store.window_task(task_id).await?.filter(|task| task.window_id == window_id);
    task.map(|task| full_view(&task)).ok_or_else(|| missing(task_id, &window_id))
}

/// DeregisterTaskFromMaintenanceWindow.
pub(crate) async fn deregister(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let (window_id, task_id) = (input.window_id()?, input.window_task_id()?);
    let mut tx = api.store.begin().await?;
    tx.lock_window(&window_id).await?.ok_or_else(|| windows::missing(&window_id))?;
    let (_, tasks) = tx.window_registrations(&window_id).await?;
    if !tasks.iter().any(|task| task.window_task_id == task_id) {
        return Err(missing(task_id, &window_id));
    }
    tx.delete_window_task(task_id).await?;
    tx.commit().await?;
    Ok(json!({ "WindowId": window_id, "WindowTaskId": task_id }))
}

/// DescribeMaintenanceWindowTasks.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id = input.window_id()?;
    let paging = request.paging(10..=100)?;
    check_filters(&input.filters, &["WindowTaskId", "TaskArn", "Priority", "TaskType"])?;
    windows::existing(api, &window_id).await?;
    let mut tasks = api.store.window_tasks(&window_id).await?;
    tasks.retain(|task| input.filters.iter().all(|filter| passes(task, filter)));
    let (tasks, next) = paging.of_list(tasks, |task| task.window_task_id.to_string());
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|task| {
            // The list says `Type` where the single task says `TaskType` (SSM).
            let mut view = view(task);
            view["Type"] = json!(task.task_type);
            present(view)
        })
        .collect();
    Ok(present(json!({ "Tasks": tasks, "NextToken": next })))
}

fn passes(task: &WindowTask, filter: &Filter) -> bool {
    match filter.key.as_str() {
        "WindowTaskId" => filter.accepts(&task.window_task_id.to_string()),
        "TaskArn" => filter.accepts(&task.task_arn),
        "Priority" => filter.accepts(&task.priority.to_string()),
        _ => filter.accepts(&task.task_type),
    }
}

/// What `TaskInvocationParameters` say: to a command, a function, a state machine.
#[derive(Default)]
struct Parameters {
    run_command: RunCommandParameters,
    lambda: Option<LambdaParameters>,
    step_functions: Option<StepFunctionsParameters>,
}

impl Parameters {
    fn put(self, task: &mut WindowTask) {
        task.run_command = self.run_command;
        task.lambda = self.lambda;
        task.step_functions = self.step_functions;
    }
}

/// Takes the parameters of what the task runs out of the request.
fn parameters(input: &mut Input, task_type: &str) -> Result<Option<Parameters>, Error> {
    let Some(parameters) = input.task_invocation_parameters.take() else {
        let deprecated = input.task_parameters.take().filter(|parameters| !parameters.is_empty());
        return Ok(deprecated.map(|parameters| {
            let parameters = parameters.into_iter().map(|(name, value)| (name, value.values)).collect();
            let run_command = RunCommandParameters { parameters, ..RunCommandParameters::default() };
            Parameters { run_command, ..Parameters::default() }
        }));
    };
    let own = match task_type {
        LAMBDA => "Lambda",
        STEP_FUNCTIONS => "StepFunctions",
        _ => "RunCommand",
    };
    for (name, is_there) in [
        ("Automation", parameters.automation.is_some_and(|other| !other.is_null())),
        ("Lambda", parameters.lambda.is_some()),
        ("StepFunctions", parameters.step_functions.is_some()),
        ("RunCommand", parameters.run_command.is_some()),
    ] {
        if is_there && name != own {
            return Err(Error::validation(format!(
                "TaskInvocationParameters has the member `{name}`; allowed for {task_type} is `{own}`"
            )));
        }
    }
    Ok(Some(Parameters {
        run_command: parameters.run_command.unwrap_or_default(),
        lambda: parameters.lambda,
        step_functions: parameters.step_functions,
    }))
}

fn missing(task_id: WindowTaskId, window_id: &WindowId) -> Error {
    Error::does_not_exist(format_args!("task {task_id} of maintenance window {window_id}"))
}

fn view(task: &WindowTask) -> Value {
    json!({
        "WindowId": task.window_id,
        "WindowTaskId": task.window_task_id,
        "Targets": task.targets,
        "TaskArn": task.task_arn,
        "ServiceRoleArn": task.service_role_arn,
        "Priority": task.priority,
        "MaxConcurrency": task.max_concurrency.as_deref().unwrap_or(NO_LIMIT),
        "MaxErrors": task.max_errors.as_deref().unwrap_or(NO_LIMIT),
        "ErrorMode": task.error_mode,
        "RolloutPlan": task.rollout_plan,
        "CutoffBehavior": task.cutoff_behavior,
        "TaskParameters": {},
        "Name": task.name,
        "Description": task.description,
    })
}

fn full_view(task: &WindowTask) -> Value {
    let mut view = view(task);
    view["TaskType"] = json!(task.task_type);
    view["TaskInvocationParameters"] = match task.task_type.as_str() {
        LAMBDA => json!({ "Lambda": task.lambda.clone().unwrap_or_default() }),
        STEP_FUNCTIONS => json!({ "StepFunctions": task.step_functions.clone().unwrap_or_default() }),
        _ => json!({ "RunCommand": task.run_command }),
    };
    present(view)
}
