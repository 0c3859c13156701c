//! `command`: documents run on nodes, now.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::pairs::{Pair, parameters, parse_pair};
use super::request::Request;
use super::targets::TargetArgs;
use super::window::elements;
use super::window_task::notification_config;
use super::{Context, watch};
use crate::client::{Client, ClientError};
use crate::failure::Failure;
use crate::{table, times};

/// Commands.
#[derive(Debug, Subcommand)]
pub enum CommandCommand {
    /// Run a document on nodes; prints the command's id
    Send(Box<SendArgs>),
    /// List commands, newest first
    List {
        /// Only commands in this status, such as `InProgress`
        #[arg(long)]
        status: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show a command and what became of it on each node
    Show {
        /// Id of the command
        command: String,
        /// Show this node's output instead
        #[arg(long)]
        node: Option<String>,
        /// Of a document with several steps: which step's output
        #[arg(long, requires = "node")]
        step: Option<String>,
    },
    /// Let the next wave of a command follow that waits for it
    Approve(AnswerArgs),
    /// Stop a command whose next wave waits
    Reject(AnswerArgs),
    /// Cancel a command, on all its nodes or on some
    Cancel {
        /// Id of the command
        command: String,
        /// Only on this node; several with commas; repeatable
        #[arg(long = "node", value_name = "NODE", value_delimiter = ',')]
        nodes: Vec<String>,
    },
}

/// Arguments of `command approve` and `command reject`.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// Id of the command
    command: String,
    /// For the record, at most 256 characters
    #[arg(long)]
    comment: Option<String>,
}

/// Arguments of `command send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Document to run, such as `AWS-RunShellScript`
    document: String,
    /// Parameter of the document; given again with the same name it adds a value
    #[arg(long = "parameter", short = 'p', value_name = "NAME=VALUE", value_parser = parse_pair)]
    parameters: Vec<Pair>,
    /// Version of the document: a number, `$DEFAULT` or `$LATEST`
    #[arg(long, value_name = "VERSION")]
    document_version: Option<String>,
    /// Comment, at most 100 characters
    #[arg(long)]
    comment: Option<String>,
    /// Nodes at work at the same time: a number or a percentage [default: 50]
    #[arg(long, value_name = "N|N%")]
    max_concurrency: Option<String>,
    /// Failures that are allowed: the one after them stops the command [default: 0]
    #[arg(long, value_name = "N|N%")]
    max_errors: Option<String>,
    /// How failures are counted: `ssm`, where what is under way may still fail after the threshold,
    /// or `strict`, where no more than one failure above --max-errors can ever happen [default: ssm]
    #[arg(long, value_name = "MODE", value_parser = ["ssm", "strict"])]
    error_mode: Option<String>,
    /// Seconds a node has to take the command, 30 to 2592000 [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Topic that changes are published to
    #[arg(long, value_name = "TOPIC")]
    notify: Option<String>,
    /// Rollout plan that cuts it into waves, by its name
    #[arg(long, value_name = "PLAN")]
    rollout_plan: Option<String>,
    /// Follow the command until it ends
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    targets: TargetArgs,
}

pub(super) async fn run(command: CommandCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        CommandCommand::Send(args) => send(*args, cx).await,
        CommandCommand::List { status, limit } => list(status, limit, cx).await,
        CommandCommand::Show { command, node: Some(node), step } => show_output(command, node, step, cx).await,
        CommandCommand::Show { command, node: None, .. } => show(&command, cx).await,
        CommandCommand::Approve(args) => answer(args, "Approve", cx).await,
        CommandCommand::Reject(args) => answer(args, "Reject", cx).await,
        CommandCommand::Cancel { command, nodes } => {
            let request = Request::new().set("CommandId", command).unless_empty("InstanceIds", nodes).done();
            let answer = cx.client.ssm("CancelCommand", &request).await?;
            if cx.output.is_json() {
                cx.output.json(&answer)?;
            }
            Ok(())
        }
    }
}

async fn answer(args: AnswerArgs, signal: &str, cx: &Context) -> anyhow::Result<()> {
    let request =
        Request::new().set("CommandId", args.command).set("Signal", signal).maybe("Comment", args.comment).done();
    let answer = cx.client.patchwave("SignalApproval", &request).await?;
    if cx.output.is_json() {
        cx.output.json(&answer)?;
    }
    Ok(())
}

/// A command as `ListCommands` has it; `None` if there is none with that id.
///
/// # Errors
/// [`ClientError`].
pub async fn find(client: &Client, command: &str) -> Result<Option<Value>, ClientError> {
    let mut answer = match client.ssm("ListCommands", &json!({"CommandId": command})).await {
        Ok(answer) => answer,
        Err(error) if error.code() == Some("InvalidCommandId") => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(answer["Commands"].get_mut(0).map(Value::take))
}

async fn send(args: SendArgs, cx: &Context) -> anyhow::Result<()> {
    if args.targets.is_empty() {
        return Err(Failure::usage("no node was given")
            .with_hint("say which nodes with --node, --tag, --patch-group, --group or --target")
            .into());
    }
    let request = Request::new()
        .set("DocumentName", args.document)
        .set("Targets", args.targets.targets())
        .unless_empty("Parameters", parameters(&args.parameters))
        .maybe("DocumentVersion", args.document_version)
        .maybe("Comment", args.comment)
        .maybe("MaxConcurrency", args.max_concurrency)
        .maybe("MaxErrors", args.max_errors)
        .maybe("ErrorMode", args.error_mode)
        .maybe("TimeoutSeconds", args.timeout)
        .maybe("RolloutPlan", args.rollout_plan)
        .maybe("NotificationConfig", args.notify.as_deref().map(notification_config))
        .done();
    let answer = cx.client.ssm("SendCommand", &request).await?;
    let command = table::text(&answer["Command"]["CommandId"]);
    if answer["Command"]["TargetCount"] == 0 {
        cx.output.note("0 nodes matched the targets: the command has nothing to do");
    }
    if !args.watch {
        return Ok(cx.output.either(&answer, || command)?);
    }
    cx.output.note(&format!("command {command}"));
    watch::follow_to_success(&command, cx).await
}

async fn list(status: Option<String>, limit: u32, cx: &Context) -> anyhow::Result<()> {
    let filters: Vec<Value> = status.into_iter().map(|status| json!({"key": "Status", "value": status})).collect();
    let request = Request::new().unless_empty("Filters", filters).done();
    let limit = Some(usize::try_from(limit)?);
    let answer = cx.client.ssm_all("ListCommands", &request, "Commands", limit).await?;
    let columns = [
        table::member("ID", "CommandId"),
        table::member("DOCUMENT", "DocumentName"),
        table::member("STATUS", "StatusDetails"),
        table::computed("DONE", |row| {
            format!("{}/{}", table::text(&row["CompletedCount"]), table::text(&row["TargetCount"]))
        }),
        table::member("ERRORS", "ErrorCount"),
        table::ago("REQUESTED", "RequestedDateTime"),
        table::member("TARGETS", "Targets"),
        table::member("COMMENT", "Comment"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Commands")))?)
}

async fn show(command: &str, cx: &Context) -> anyhow::Result<()> {
    let Some(mut found) = find(&cx.client, command).await? else {
        return Err(Failure::failed(format!("there is no command `{command}`"))
            .with_hint("list the commands with `patchwave command list`")
            .into());
    };
    let request = json!({"CommandId": command});
    let invocations = cx.client.ssm_all("ListCommandInvocations", &request, "CommandInvocations", None).await?;
    let mut rollout = cx.client.patchwave("GetRollout", &request).await?;
    if rollout["Waves"].is_object() {
        found["Waves"] = rollout["Waves"].take();
    }
    if cx.output.is_json() {
        found["CommandInvocations"] = invocations["CommandInvocations"].clone();
        return Ok(cx.output.json(&found)?);
    }
    let waves = found.as_object_mut().and_then(|members| members.remove("Waves"));
    let waves = waves.map(|waves| format!("\n\n{}", waves_text(&waves))).unwrap_or_default();
    let columns = [
        table::member("NODE", "InstanceId"),
        table::member("NAME", "InstanceName"),
        table::member("STATUS", "Status"),
        table::member("DETAILS", "StatusDetails"),
        table::ago("REQUESTED", "RequestedDateTime"),
        table::member("REASON", "TraceOutput"),
    ];
    let rows = table::rows(&columns, elements(&invocations, "CommandInvocations"));
    Ok(cx.output.line(&format!("{}{waves}\n\n{rows}", table::details(&found)))?)
}

/// Which wave a command is in, what it waits for and until when, and the waves as a table.
fn waves_text(waves: &Value) -> String {
    let text = |name: &str| table::text(&waves[name]);
    let mut first =
        format!("Wave {} of {} ({}): {}", text("Current"), text("Count"), text("CurrentName"), text("State"));
    if let Some(until) = times::instant(&waves["WaitsUntil"]) {
        first.push_str(&format!(" until {}", times::absolute(until)));
    }
    if let Some(reason) = waves["Reason"].as_str() {
        first.push_str(&format!(": {reason}"));
    }
    let columns = [
        table::member("WAVE", "Name"),
        table::member("STATE", "State"),
        table::member("NODES", "TargetCount"),
        table::member("BAKE (S)", "BakeSeconds"),
        table::member("MIN SUCCESS %", "MinSuccessPercent"),
        table::member("MAX FAILED", "MaxFailed"),
        table::member("APPROVAL WITHIN (S)", "ApprovalWithinSeconds"),
    ];
    format!("{first}\n\n{}", table::rows(&columns, elements(waves, "List")))
}

async fn show_output(command: String, node: String, step: Option<String>, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new().set("CommandId", command).set("InstanceId", node).maybe("PluginName", step).done();
    let mut answer = cx.client.ssm("GetCommandInvocation", &request).await?;
    if cx.output.is_json() {
        return Ok(cx.output.json(&answer)?);
    }
    let mut take = |name: &str| match answer.as_object_mut().and_then(|members| members.remove(name)) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (stdout, stderr) = (take("StandardOutputContent"), take("StandardErrorContent"));
    cx.output.note(&table::details(&answer));
    if !stderr.is_empty() {
        cx.output.note(&format!("--- standard error\n{}\n---", printable(&stderr)));
    }
    Ok(cx.output.line(printable(&stdout).trim_end_matches('\n'))?)
}

/// Output of a node without the control characters that could drive a terminal; line breaks and
/// tabs stay.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
