//! `execution`: what maintenance windows did.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::request::Request;
use super::window::{elements, id};
use crate::client::{Client, ClientError};
use crate::table;

/// Executions of maintenance windows.
#[derive(Debug, Subcommand)]
pub enum ExecutionCommand {
    /// List executions, newest first
    List {
        /// Id of the window [default: every window]
        window: Option<String>,
        /// How many of each window
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show an execution with its tasks and invocations
    Show {
        /// Id of the execution
        execution: String,
    },
    /// Cancel an execution: what has not started will not
    Cancel {
        /// Id of the execution
        execution: String,
    },
}

pub(super) async fn run(command: ExecutionCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        ExecutionCommand::List { window, limit } => list(window, limit, cx).await,
        ExecutionCommand::Show { execution } => show(&execution, cx).await,
        ExecutionCommand::Cancel { execution } => {
            let answer = cx.client.ssm("CancelMaintenanceWindowExecution", &execution_id(&execution)).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["WindowExecutionId"]))?)
        }
    }
}

/// An execution, its tasks, and their invocations.
///
/// # Errors
/// [`ClientError`], with code `DoesNotExistException` for an unknown id.
pub async fn fetch(client: &Client, execution: &str) -> Result<Value, ClientError> {
    let request = execution_id(execution);
    let mut found = client.ssm("GetMaintenanceWindowExecution", &request).await?;
    let list = "WindowExecutionTaskIdentities";
    let tasks = client.ssm_all("DescribeMaintenanceWindowExecutionTasks", &request, list, None).await?;
    let mut shown = Vec::new();
    for task in elements(&tasks, list) {
        let request = json!({"WindowExecutionId": execution, "TaskId": task["TaskExecutionId"]});
        let list = "WindowExecutionTaskInvocationIdentities";
        let operation = "DescribeMaintenanceWindowExecutionTaskInvocations";
        let invocations = client.ssm_all(operation, &request, list, None).await?;
        let mut task = task.clone();
        task["Invocations"] = invocations[list].clone();
        shown.push(task);
    }
    found["Tasks"] = Value::Array(shown);
    Ok(found)
}

fn execution_id(execution: &str) -> Value {
    Request::new().set("WindowExecutionId", execution).done()
}

async fn list(window: Option<String>, limit: u32, cx: &Context) -> anyhow::Result<()> {
    let windows = match window {
        Some(window) => vec![window],
        None => {
            let windows = cx.client.ssm_all("DescribeMaintenanceWindows", &json!({}), "WindowIdentities", None).await?;
            elements(&windows, "WindowIdentities").map(|window| table::text(&window["WindowId"])).collect()
        }
    };
    let mut executions: Vec<Value> = Vec::new();
    for window in windows {
        let limit = Some(usize::try_from(limit)?);
        let list = "WindowExecutions";
        let answer = cx.client.ssm_all("DescribeMaintenanceWindowExecutions", &id(&window), list, limit).await?;
        executions.extend(elements(&answer, list).cloned());
    }
    executions.sort_by(|a, b| started(b).total_cmp(&started(a)));
    let answer = json!({"WindowExecutions": executions});
    let columns = [
        table::member("ID", "WindowExecutionId"),
        table::member("WINDOW", "WindowId"),
        table::member("STATUS", "Status"),
        table::ago("STARTED", "StartTime"),
        table::ago("ENDED", "EndTime"),
        table::member("DETAILS", "StatusDetails"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "WindowExecutions")))?)
}

fn started(execution: &Value) -> f64 {
    execution["StartTime"].as_f64().unwrap_or(0.0)
}

async fn show(execution: &str, cx: &Context) -> anyhow::Result<()> {
    let found = fetch(&cx.client, execution).await?;
    if cx.output.is_json() {
        return Ok(cx.output.json(&found)?);
    }
    let mut head = found.clone();
    if let Some(members) = head.as_object_mut() {
        members.remove("Tasks");
        members.remove("TaskIds");
    }
    let tasks = table::rows(
        &[
            table::member("TASK", "TaskExecutionId"),
            table::member("RUNS", "TaskArn"),
            table::member("STATUS", "Status"),
            table::ago("STARTED", "StartTime"),
            table::ago("ENDED", "EndTime"),
            table::member("DETAILS", "StatusDetails"),
        ],
        elements(&found, "Tasks"),
    );
    let invocations = table::rows(
        &[
            table::member("INVOCATION", "InvocationId"),
            table::member("COMMAND", "ExecutionId"),
            table::member("STATUS", "Status"),
            table::member("OWNER", "OwnerInformation"),
            table::member("DETAILS", "StatusDetails"),
        ],
        elements(&found, "Tasks").flat_map(|task| elements(task, "Invocations")),
    );
    Ok(cx.output.line(&format!("{}\n\n{tasks}\n\n{invocations}", table::details(&head)))?)
}
