//! ListCommandInvocations and GetCommandInvocation: a command on one node.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::store::commands::Command;
use patchwave_platform::store::from_json;
use patchwave_platform::store::invocations::Invocation;
use patchwave_platform::store::reads::commands::CommandQuery;
use patchwave_schemas::command::RenderedDocument;
use patchwave_schemas::report::{Outcome, StepResult};
use patchwave_schemas::{CommandId, NodeId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::auth::Caller;
use crate::commands::{CommandFilter, command_id, document_version, existing, narrow};
use crate::nodes::node_id;
use crate::wire::{Error, Request, epoch, present, required};

/// Characters of a step's output in a list (SSM).
const PLUGIN_OUTPUT_CHARS_MAX: usize = 2_500;
/// Characters of a trace in a list (SSM).
const TRACE_OUTPUT_CHARS_MAX: usize = 2_500;
/// What separates the two streams in a list (SSM).
const ERROR_SEPARATOR: &str = "\n----------ERROR-------\n";
/// Commands looked through at a time.
const SCAN_COMMANDS: u32 = 20;
/// Commands looked through for one page at most: then it is short, perhaps empty, and the next one
/// goes on.
const COMMANDS_MAX: u32 = 100;
/// Invocations looked through for one page at most, likewise.
const ROWS_MAX: usize = 5_000;
/// Invocations read at a time while looking for those that the caller may see.
const SCAN_ROWS: u32 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    command_id: Option<String>,
    instance_id: Option<String>,
    plugin_name: Option<String>,
    #[serde(default)]
    details: bool,
    #[serde(default)]
    filters: Vec<CommandFilter>,
}

/// Where a list stands: the command it is in, and the last node seen of it.
struct Position {
    millis: i64,
    command: String,
    node: String,
}

/// ListCommandInvocations: newest command first, then by node.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let mut query = CommandQuery {
        command_id: input.command_id.as_deref().map(command_id).transpose()?,
        node_id: input.instance_id.as_deref().map(node_id).transpose()?,
        ..CommandQuery::default()
    };
    let mut statuses = Vec::new();
    for filter in &input.filters {
        match filter.key.as_str() {
            "Status" => statuses.push(filter.value.clone()),
            "ExecutionStage" => {
                let message = "filter key is `ExecutionStage`; allowed are InvokedAfter, InvokedBefore, Status, \
                               DocumentName";
                return Err(Error::new("InvalidFilterKey", message));
            }
            _ => narrow(&mut query, filter)?,
        }
    }

    // No filter shows every state.
    let states = (!statuses.is_empty())
        .then(|| State::all().filter(|state| statuses.iter().all(|asked| state.is_shown_as(asked))).collect());
    let mut scan = Scan {
        api,
        caller: request.caller(),
        node: query.node_id.clone(),
        states,
        rows: Vec::new(),
        rows_max: paging.rows(),
        commands: 0,
        looked_at: 0,
        last: None,
    };
    let mut before = None;
    if let Some(at) = paging.after().and_then(position) {
        // The last page may have ended in the middle of a command.
        scan.add(command_id(&at.command)?, at.node).await?;
        before = Some((at.millis, at.command));
    }
    let mut is_last = false;
    while !scan.is_full() && !is_last {
        let from = before.as_ref().map(|(millis, command)| (*millis, command.as_str()));
        let found = api.store.find_commands(&query, from, SCAN_COMMANDS).await?;
        is_last = found.len() < SCAN_COMMANDS as usize;
        if let Some((at, id)) = found.last() {
            before = Some((at.as_millisecond(), id.to_string()));
        }
        for (_, id) in found {
            scan.add(id, String::new()).await?;
        }
    }
    let rest = if scan.is_exhausted() { scan.last.map(|key| paging.token(&key)) } else { None };
    let (rows, next) = paging.of_rows(scan.rows, |(command, one)| key(command, &one.node_id));
    let next = next.or(rest);
    let ids: Vec<NodeId> = rows.iter().map(|(_, one)| one.node_id.clone()).collect();
    // A node that has been taken out of management has no name any more.
    let names: HashMap<NodeId, String> = api
        .store
        .nodes_named(&ids)
        .await?
        .into_iter()
        .map(|node| (node.facts.node_id, node.facts.computer_name))
        .collect();
    let list: Vec<Value> =
        rows.iter().map(|(command, one)| view(command, one, names.get(&one.node_id), input.details)).collect();
    Ok(present(json!({ "CommandInvocations": list, "NextToken": next })))
}

/// Collects invocations until there are enough for a page.
struct Scan<'a> {
    api: &'a Api,
    /// Whose policy decides what is seen.
    caller: &'a Caller,
    /// Only this node's.
    node: Option<NodeId>,
    /// Only in these states.
    states: Option<Vec<State>>,
    rows: Vec<(Command, Invocation)>,
    rows_max: u32,
    /// Commands and invocations looked at so far.
    commands: u32,
    looked_at: usize,
    /// Where a page goes on that is not full.
    last: Option<String>,
}

fn key(command: &Command, node: &NodeId) -> String {
    format!("{}/{}/{node}", command.requested_at.as_millisecond(), command.command_id)
}

impl Scan<'_> {
    fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max as usize || self.is_exhausted()
    }

    /// Whether enough was looked at, whatever was found.
    fn is_exhausted(&self) -> bool {
        self.commands >= COMMANDS_MAX || self.looked_at >= ROWS_MAX
    }

    /// Adds the invocations of a command on nodes behind `after`.
    async fn add(&mut self, id: CommandId, mut after: String) -> Result<(), Error> {
        if self.is_full() {
            return Ok(());
        }
        let Some(command) = self.api.store.command(id).await? else { return Ok(()) };
        self.commands += 1;
        let limit = if self.caller.policy.is_some() { SCAN_ROWS } else { self.rows_max };
        loop {
            let batch = self.read(id, &after, limit).await?;
            let is_last = batch.len() < limit as usize;
            self.looked_at += batch.len();
            if let Some(last) = batch.last() {
                after = last.node_id.to_string();
            }
            let nodes: Vec<NodeId> = batch.iter().map(|one| one.node_id.clone()).collect();
            let visible: HashSet<NodeId> = self.api.visible(self.caller, &nodes).await?.into_iter().collect();
            let wanted = batch.into_iter().filter(|one| visible.contains(&one.node_id));
            self.rows.extend(wanted.map(|one| (command.clone(), one)));
            self.last = Some(format!("{}/{id}/{after}", command.requested_at.as_millisecond()));
            if is_last || self.is_full() {
                return Ok(());
            }
        }
    }

    /// The next invocations of a command that may be wanted.
    async fn read(&self, id: CommandId, after: &str, limit: u32) -> Result<Vec<Invocation>, Error> {
        let is_wanted = |one: &Invocation| self.states.as_ref().is_none_or(|states| states.contains(&one.state));
        Ok(match (&self.node, &self.states) {
            (Some(node), _) if node.as_str() > after => {
                self.api.store.invocation(id, node).await?.into_iter().filter(is_wanted).collect()
            }
            (Some(_), _) => Vec::new(),
            (None, None) => self.api.store.invocations_of(id, after, limit).await?,
            (None, Some(states)) => self.api.store.invocations_in(id, states, after, limit).await?,
        })
    }
}

fn position(key: &str) -> Option<Position> {
    let mut parts = key.splitn(3, '/');
    let millis = parts.next()?.parse().ok()?;
    Some(Position { millis, command: parts.next()?.to_owned(), node: parts.next()?.to_owned() })
}

/// GetCommandInvocation.
pub(crate) async fn get(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let command = existing(api, input.command_id.as_deref()).await?;
    let node = node_id(required("instanceId", input.instance_id.as_deref())?)?;
    api.check_nodes(request.caller(), std::slice::from_ref(&node)).await?;
    let one = api.store.invocation(command.command_id, &node).await?.ok_or_else(|| {
        let message = format!("command {} is not for node {node}", command.command_id);
        Error::new("InvocationDoesNotExist", message)
    })?;
    let names = step_names(api, &command).await?;
    let known = || names.join(", ");
    let name = match (input.plugin_name, names.as_slice()) {
        (Some(name), names) if names.contains(&name) => name,
        (Some(name), _) => {
            let message = format!("PluginName is `{name}`; allowed are {}", known());
            return Err(Error::new("InvalidPluginName", message));
        }
        (None, [only]) => only.clone(),
        (None, _) => {
            let message = format!("PluginName is needed, as the document has several steps: {}", known());
            return Err(Error::new("InvalidPluginName", message));
        }
    };
    let (status, details) = status_of(one.state);
    let step = one.report.as_ref().and_then(|report| report.steps.iter().find(|step| step.name == name));
    let started = step.filter(|step| step.exit_code != -1 || step.outcome != Outcome::Skipped);
    // What was refused on the node has a reason and no output.
    let reason = one.report.as_ref().map(|report| report.reason.as_str()).unwrap_or_default();
    let stderr = step.map(|step| step.stderr.as_str()).filter(|text| !text.is_empty()).unwrap_or(reason);
    Ok(json!({
        "CommandId": command.command_id,
        "InstanceId": node,
        "Comment": command.request.comment.as_deref().unwrap_or_default(),
        "DocumentName": command.request.document_name,
        "DocumentVersion": document_version(&command),
        "PluginName": name,
        "ResponseCode": step.map_or(-1, |step| step.exit_code),
        "ExecutionStartDateTime": started.map(|step| iso(step.started_at)).unwrap_or_default(),
        "ExecutionElapsedTime": started.map(elapsed).unwrap_or_default(),
        "ExecutionEndDateTime": started.map(|step| iso(step.finished_at)).unwrap_or_default(),
        "Status": status,
        "StatusDetails": details,
        "StandardOutputContent": step.map(|step| step.stdout.as_str()).unwrap_or_default(),
        "StandardOutputUrl": "",
        "StandardErrorContent": stderr,
        "StandardErrorUrl": "",
        "CloudWatchOutputConfig": { "CloudWatchLogGroupName": "", "CloudWatchOutputEnabled": false },
        "LateReport": one.late_report,
    }))
}

/// SSM's `Status` and `StatusDetails` of an invocation.
fn status_of(state: State) -> (&'static str, &'static str) {
    match state {
        State::Ended(ending) => (ending.status(), ending.details()),
        other => (other.status(), other.status()),
    }
}

async fn step_names(api: &Api, command: &Command) -> Result<Vec<String>, Error> {
    let Some(payload) = api.store.command_payload(command.command_id).await? else { return Ok(Vec::new()) };
    let document: RenderedDocument = from_json("commands.document", &payload.document)?;
    Ok(document.steps.into_iter().map(|step| step.name).collect())
}

/// SSM's `CommandInvocation`.
fn view(command: &Command, one: &Invocation, name: Option<&String>, details: bool) -> Value {
    let (status, status_details) = status_of(one.state);
    let steps = one.report.as_ref().map(|report| report.steps.as_slice()).unwrap_or_default();
    let plugins: Vec<Value> = if details { steps.iter().map(plugin).collect() } else { Vec::new() };
    present(json!({
        "CommandId": command.command_id,
        "InstanceId": one.node_id,
        "InstanceName": name,
        "Comment": command.request.comment.as_deref().unwrap_or_default(),
        "DocumentName": command.request.document_name,
        "DocumentVersion": document_version(command),
        "RequestedDateTime": epoch(command.requested_at),
        "Status": status,
        "StatusDetails": status_details,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
        "TraceOutput": reason_of(command, one),
        "CommandPlugins": plugins,
        "ServiceRole": "",
        "NotificationConfig": command.request.notification_config,
        "DeliveryAttempts": one.attempts,
        "LateReport": one.late_report,
    }))
}

/// Why the node did not do it, if it said so; or why it was never asked to.
fn reason_of(command: &Command, one: &Invocation) -> Option<String> {
    let said = one.report.as_ref().map(|report| report.reason.as_str()).filter(|reason| !reason.is_empty());
    let never_sent = one.state == State::Ended(Ending::Terminated);
    let gate = command.waves.as_ref().and_then(|waves| waves.stopped()).filter(|_| never_sent);
    let reason = said.or(gate);
    reason.map(|reason| reason.chars().take(TRACE_OUTPUT_CHARS_MAX).collect())
}

/// SSM's `CommandPlugin`.
fn plugin(step: &StepResult) -> Value {
    let status = match step.outcome {
        // A step that was skipped did no harm (SSM shows it so).
        Outcome::Success | Outcome::Skipped => "Success",
        Outcome::Failed | Outcome::Refused => "Failed",
        Outcome::TimedOut => "TimedOut",
        Outcome::Cancelled => "Cancelled",
    };
    let mut output = step.stdout.clone();
    if !step.stderr.is_empty() {
        output.push_str(ERROR_SEPARATOR);
        output.push_str(&step.stderr);
    }
    if let Some((at, _)) = output.char_indices().nth(PLUGIN_OUTPUT_CHARS_MAX) {
        output.truncate(at);
        output.push_str("---Output truncated---");
    }
    json!({
        "Name": step.name,
        "Status": status,
        "StatusDetails": status,
        "ResponseCode": step.exit_code,
        "ResponseStartDateTime": epoch(step.started_at),
        "ResponseFinishDateTime": epoch(step.finished_at),
        "Output": output,
        "StandardOutputUrl": "",
        "StandardErrorUrl": "",
    })
}

/// An instant as GetCommandInvocation writes it.
fn iso(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// An ISO 8601 duration in seconds.
fn elapsed(step: &StepResult) -> String {
    let took = step.finished_at.duration_since(step.started_at).max(SignedDuration::ZERO);
    format!("PT{}.{:03}S", took.as_secs(), took.subsec_millis())
}
