//! Events between our own programs, and those that other systems may publish.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Message;
use crate::ids::{CommandId, NodeId, TaskExecutionId, WindowExecutionId, WindowId, WorkflowId};
use crate::node::NodeFacts;
use crate::waves::RolloutPlan;

/// A window's scheduled instant has come. From the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowStarted {
    /// The window.
    pub window_id: WindowId,
    /// The scheduled instant; with the window it names the execution.
    pub scheduled_at: Timestamp,
}

impl Message for WindowStarted {
    const TYPE: &'static str = "patchwave.window.started.v1";
}

/// Asks for a window to start now, whatever its schedule says. From other systems.
///
/// The event's `id` names the execution: publishing the same event twice starts one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowStartRequested {
    /// The window.
    pub window_id: WindowId,
    /// For the record; shown with the execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Message for WindowStartRequested {
    const TYPE: &'static str = "patchwave.window.start.requested.v1";
}

/// Asks for a running window execution to be cancelled. From the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowCancelRequested {
    /// The execution.
    pub execution_id: WindowExecutionId,
}

impl Message for WindowCancelRequested {
    const TYPE: &'static str = "patchwave.window.cancel.requested.v1";
}

/// SSM's `Target`: one key and the values that satisfy it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// `InstanceIds`, `tag:<key>`, `tag-key`, `resource-groups:Name`, or `WindowTargetIds` in tasks.
    pub key: String,
    /// Any one suffices (`tag-key`: all are needed).
    pub values: Vec<String>,
}

/// SSM's `NotificationConfig`, with a topic name or an SNS ARN ending in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct NotificationConfig {
    /// The topic.
    pub notification_arn: String,
    /// Subset of `All`, `InProgress`, `Success`, `TimedOut`, `Cancelled`, `Failed`.
    #[serde(default)]
    pub notification_events: Vec<String>,
    /// `Command` (one message for each change of the command) or `Invocation` (one for each node).
    #[serde(default)]
    pub notification_type: NotificationType,
}

/// SSM's `NotificationType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NotificationType {
    /// One message for each status change of the command.
    #[default]
    Command,
    /// One message for each status change of each invocation.
    Invocation,
}

/// Asks for a document to be run now ("patch now"). From other systems.
///
/// The fields are those of SSM's SendCommand. The event's `id` names the command: publishing the
/// same event twice runs it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct CommandRequested {
    /// The document.
    pub document_name: String,
    /// `$DEFAULT`, `$LATEST` or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_version: Option<String>,
    /// Nodes by id, at most 50; exclusive with `Targets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instance_ids: Vec<String>,
    /// Nodes by tag, group or id, at most 5 keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Every value is a list, as in SSM.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Count or percentage; default 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<String>,
    /// Count or percentage; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<String>,
    /// How errors are bounded; default `ssm`.
    #[serde(default)]
    pub error_mode: ErrorMode,
    /// Delivery timeout in seconds, 30..=2592000; default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// At most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where to tell of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_config: Option<NotificationConfig>,
    /// Name of the rollout plan that cuts it into waves; exclusive with `Waves`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_plan: Option<String>,
    /// The waves it is cut into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<RolloutPlan>,
}

impl Message for CommandRequested {
    const TYPE: &'static str = "patchwave.command.requested.v1";
}

/// How a rollout bounds errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErrorMode {
    /// SSM's counting: what is in flight when the threshold is crossed may still fail.
    #[default]
    Ssm,
    /// Nothing is released that could push failures beyond `MaxErrors + 1`.
    Strict,
}

/// A rollout's invocations are stored and wait to be released. From the resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStarted {
    /// The command whose rollout it is.
    pub command_id: CommandId,
}

impl Message for RolloutStarted {
    const TYPE: &'static str = "patchwave.rollout.started.v1";
}

/// Asks for a rollout, or some nodes of it, to be cancelled. From the API or a window's cutoff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutCancelRequested {
    /// The command whose rollout it is.
    pub command_id: CommandId,
    /// Only these nodes; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_ids: Vec<NodeId>,
    /// What decided it, and so how the command ends.
    #[serde(default)]
    pub cause: CancelCause,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What decided that a rollout is to be cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// Somebody's wish.
    #[default]
    Requested,
    /// The cutoff of the window whose task it is.
    Cutoff,
}

impl Message for RolloutCancelRequested {
    const TYPE: &'static str = "patchwave.rollout.cancel.requested.v1";
}

/// A rollout has ended. From whichever worker applied its last change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutFinished {
    /// The command whose rollout it is.
    pub command_id: CommandId,
    /// The window task it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_execution_id: Option<TaskExecutionId>,
    /// The window execution it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_execution_id: Option<WindowExecutionId>,
}

impl Message for RolloutFinished {
    const TYPE: &'static str = "patchwave.rollout.finished.v1";
}

/// A stored timer has come due. From the scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimerFired {
    /// What is due.
    pub timer: Timer,
    /// When it was due.
    pub due_at: Timestamp,
}

impl Message for TimerFired {
    const TYPE: &'static str = "patchwave.timer.fired.v1";
}

/// What a timer is for. Its text form is the timer's key in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Timer {
    /// The next occurrence of a window.
    Window {
        /// The window.
        window_id: WindowId,
    },
    /// No new task or, for `CANCEL_TASK`, invocation starts after this.
    WindowCutoff {
        /// The execution.
        execution_id: WindowExecutionId,
    },
    /// The window's duration is over.
    WindowEnd {
        /// The execution.
        execution_id: WindowExecutionId,
    },
    /// A firing waits for a change calendar, which may have opened.
    WindowCalendar {
        /// The execution.
        execution_id: WindowExecutionId,
    },
    /// Look at a rollout: deadlines passed, deliveries to repeat.
    RolloutCheck {
        /// The command whose rollout it is.
        command_id: CommandId,
    },
    /// An execution of an automation or a state machine waits until now.
    Workflow {
        /// The execution.
        workflow_id: WorkflowId,
        /// What it waits for, in its engine's own words; a late or repeated one is recognised by them.
        about: String,
    },
    /// A call that was taken on should have ended by now.
    Call {
        /// The call.
        token: String,
    },
}

impl Timer {
    /// The timer's natural key: setting it again moves it instead of adding another.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Window { window_id } => format!("window/{window_id}"),
            Self::WindowCutoff { execution_id } => format!("window-cutoff/{execution_id}"),
            Self::WindowEnd { execution_id } => format!("window-end/{execution_id}"),
            Self::WindowCalendar { execution_id } => format!("window-calendar/{execution_id}"),
            Self::RolloutCheck { command_id } => format!("rollout-check/{command_id}"),
            Self::Workflow { workflow_id, about } => format!("workflow/{workflow_id}/{about}"),
            Self::Call { token } => format!("call/{token}"),
        }
    }
}

/// An execution of an automation or a state machine has something to do. From whoever stored it.
///
/// What there is to do is in the store; this only says so, and may be said any number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkflowContinued {
    /// The execution.
    pub workflow_id: WorkflowId,
}

impl Message for WorkflowContinued {
    const TYPE: &'static str = "patchwave.workflow.continued.v1";
}

/// A call is stored and waits to be made: of a function, an endpoint, a script, or an operation of
/// our own. From whoever stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRequested {
    /// The call; making it twice under one token is one call to whoever looks at the token.
    pub token: String,
}

impl Message for CallRequested {
    const TYPE: &'static str = "patchwave.call.requested.v1";
}

/// Adds a node or replaces its facts and tags. From other systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeUpserted {
    /// The node as it is to be.
    pub facts: NodeFacts,
}

impl Message for NodeUpserted {
    const TYPE: &'static str = "patchwave.node.upserted.v1";
}

/// Takes a node out of management. From other systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeRemoved {
    /// The node.
    pub node_id: NodeId,
}

impl Message for NodeRemoved {
    const TYPE: &'static str = "patchwave.node.removed.v1";
}

/// Approves or rejects what waits for it: the next wave of a rollout. From other systems.
///
/// The event's `id` names the answer: publishing the same event twice answers once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalSignalled {
    /// The command whose rollout waits.
    pub execution_id: String,
    /// `Approve` or `Reject`.
    pub signal: ApprovalSignal,
    /// For the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalSignal {
    /// Go on.
    Approve,
    /// Stop.
    Reject,
}

impl Message for ApprovalSignalled {
    const TYPE: &'static str = "patchwave.approval.signalled.v1";
}
