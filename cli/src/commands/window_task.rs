//! `window task`: what a maintenance window does.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::pairs::{Pair, key_values, parameters, parse_pair};
use super::request::Request;
use super::window::{elements, id};
use crate::table;

/// What a window does.
#[derive(Debug, Subcommand)]
pub enum WindowTaskCommand {
    /// Register a task; prints its id
    Add(Box<AddArgs>),
    /// List the tasks of a window, in the order they run
    List {
        /// Id of the window
        window: String,
    },
    /// Remove a task
    Remove {
        /// Id of the window
        window: String,
        /// Id of the task
        task: String,
    },
}

/// What happens to a task that is not done at the cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cutoff {
    /// It goes on, also to nodes that have not begun
    Continue,
    /// It is cancelled
    Cancel,
}

/// Arguments of `window task add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Id of the window
    window: String,
    /// Document to run, such as `AWS-RunPatchBaseline`
    document: String,
    /// Parameter of the document; given again with the same name it adds a value
    #[arg(long = "parameter", short = 'p', value_name = "NAME=VALUE", value_parser = parse_pair)]
    parameters: Vec<Pair>,
    /// Version of the document: a number, `$DEFAULT` or `$LATEST`
    #[arg(long, value_name = "VERSION")]
    document_version: Option<String>,
    /// Order: 0 runs first, tasks of equal priority run together
    #[arg(long, default_value_t = 0)]
    priority: u32,
    /// Nodes at work at the same time: a number or a percentage
    #[arg(long, value_name = "N|N%", default_value = "50")]
    max_concurrency: String,
    /// Failures that are allowed: the one after them stops the task
    #[arg(long, value_name = "N|N%", default_value = "0")]
    max_errors: String,
    /// How failures are counted: `ssm`, where what is under way may still fail after the threshold,
    /// or `strict`, where no more than one failure above --max-errors can ever happen [default: ssm]
    #[arg(long, value_name = "MODE", value_parser = ["ssm", "strict"])]
    error_mode: Option<String>,
    /// What happens to the task at the window's cutoff: `continue`, also to nodes that have not
    /// begun, or `cancel`
    #[arg(long, value_enum, default_value = "continue", value_name = "ACTION", hide_possible_values = true)]
    at_cutoff: Cutoff,
    /// Seconds a node has to take the command, 30 to 2592000
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Topic that changes are published to
    #[arg(long, value_name = "TOPIC")]
    notify: Option<String>,
    /// Rollout plan that cuts it into waves, by its name
    #[arg(long, value_name = "PLAN")]
    rollout_plan: Option<String>,
    /// Name of the task
    #[arg(long)]
    name: Option<String>,
    /// Description
    #[arg(long)]
    description: Option<String>,
    /// Comment of the command
    #[arg(long)]
    comment: Option<String>,
    /// A target registered with the window, by its id; repeatable
    #[arg(long = "window-target", value_name = "TARGET", help_heading = "Which nodes")]
    window_targets: Vec<String>,
    /// A node by its id, without a registered target; several with commas; repeatable
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',', help_heading = "Which nodes")]
    nodes: Vec<String>,
}

pub(super) async fn run(command: WindowTaskCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        WindowTaskCommand::Add(args) => add(*args, cx).await,
        WindowTaskCommand::List { window } => list(&window, cx).await,
        WindowTaskCommand::Remove { window, task } => {
            let request = Request::new().set("WindowId", window).set("WindowTaskId", task).done();
            let answer = cx.client.ssm("DeregisterTaskFromMaintenanceWindow", &request).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["WindowTaskId"]))?)
        }
    }
}

async fn add(args: AddArgs, cx: &Context) -> anyhow::Result<()> {
    // A task names nothing else, as in SSM: tags and groups are registered with the window first.
    let named = [("InstanceIds".to_owned(), args.nodes), ("WindowTargetIds".to_owned(), args.window_targets)];
    let targets = key_values(named.into_iter().filter(|(_, values)| !values.is_empty()));
    let run_command = Request::new()
        .unless_empty("Parameters", parameters(&args.parameters))
        .maybe("DocumentVersion", args.document_version)
        .maybe("TimeoutSeconds", args.timeout)
        .maybe("Comment", args.comment)
        .maybe("NotificationConfig", args.notify.as_deref().map(notification_config))
        .done();
    let request = Request::new()
        .set("WindowId", args.window)
        .set("TaskType", "RUN_COMMAND")
        .set("TaskArn", args.document)
        .set("Targets", targets)
        .set("Priority", args.priority)
        .set("MaxConcurrency", args.max_concurrency)
        .set("MaxErrors", args.max_errors)
        .maybe("ErrorMode", args.error_mode)
        .maybe("RolloutPlan", args.rollout_plan)
        .set("CutoffBehavior", if args.at_cutoff == Cutoff::Cancel { "CANCEL_TASK" } else { "CONTINUE_TASK" })
        .maybe("Name", args.name)
        .maybe("Description", args.description)
        .set("TaskInvocationParameters", json!({"RunCommand": run_command}))
        .done();
    let answer = cx.client.ssm("RegisterTaskWithMaintenanceWindow", &request).await?;
    Ok(cx.output.either(&answer, || table::text(&answer["WindowTaskId"]))?)
}

async fn list(window: &str, cx: &Context) -> anyhow::Result<()> {
    let mut answer = cx.client.ssm_all("DescribeMaintenanceWindowTasks", &id(window), "Tasks", None).await?;
    if let Some(tasks) = answer["Tasks"].as_array_mut().filter(|_| !cx.output.is_json()) {
        tasks.sort_by_key(|task| task["Priority"].as_u64());
    }
    let columns = [
        table::member("PRIORITY", "Priority"),
        table::member("ID", "WindowTaskId"),
        table::member("NAME", "Name"),
        table::member("TYPE", "Type"),
        table::member("RUNS", "TaskArn"),
        table::member("CONCURRENCY", "MaxConcurrency"),
        table::member("ERRORS", "MaxErrors"),
        table::member("AT CUTOFF", "CutoffBehavior"),
        table::member("TARGETS", "Targets"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Tasks")))?)
}

/// SSM's `NotificationConfig` for every change of a command and of its invocations' ends.
pub(super) fn notification_config(topic: &str) -> Value {
    json!({"NotificationArn": topic_arn(topic), "NotificationEvents": ["All"], "NotificationType": "Command"})
}

/// A topic's ARN; one that was given as such stays.
fn topic_arn(topic: &str) -> String {
    if topic.starts_with("arn:") { topic.to_owned() } else { format!("arn:aws:sns:local:000000000000:{topic}") }
}
