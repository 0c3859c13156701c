//! What agents report. Published to the reports exchange, persistent, confirmed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::baseline::PatchRecord;
use crate::command::{PatchOperation, RebootOption};
use crate::envelope::Message;
use crate::ids::{BaselineId, CommandId, NodeId};
use crate::node::{NodeFacts, NodePolicy, is_short};

/// Characters of standard output a step keeps (SSM: 24,000).
pub const OUTPUT_CHARS_MAX: usize = 24_000;
/// Characters of standard error a step keeps (SSM: 8,000).
pub const ERROR_CHARS_MAX: usize = 8_000;

/// An agent is connected and can be reached at `address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeConnected {
    /// Who it is and what it runs on.
    pub facts: NodeFacts,
    /// The queue its commands go to: `patchwave.node.…` or `patchwave.host.…`.
    pub address: String,
    /// Differs for each connection.
    pub session: String,
    /// What the machine looks like, see [`crate::registration::Registration::fingerprint`]; absent
    /// from nodes that never registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// What the node takes at all, by its own policy; absent when it takes everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<NodePolicy>,
}

impl NodeConnected {
    /// Checks what the types do not: nothing that is stored with each node is longer than that is
    /// good for.
    ///
    /// # Errors
    /// A sentence that names the field, the value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        self.facts.check()?;
        is_short("session", &self.session)?;
        self.policy.as_ref().map_or(Ok(()), NodePolicy::check)
    }
}

impl Message for NodeConnected {
    const TYPE: &'static str = "patchwave.node.connected.v1";
}

/// A gateway does not serve a node any more, or had commands for one that it does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDisconnected {
    /// The node.
    pub node_id: NodeId,
    /// The gateway's queue, which the node named in its hello.
    pub address: String,
    /// The last session of the node there that has ended. Sessions of one address sort by their
    /// beginning: those after it are not meant.
    pub session: String,
    /// Commands that certainly did not reach the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<ReturnedCommand>,
}

impl Message for NodeDisconnected {
    const TYPE: &'static str = "patchwave.node.disconnected.v1";
}

/// A command that did not reach its node although the bus took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReturnedCommand {
    /// The command.
    pub command_id: CommandId,
    /// Which delivery of it, where that was the delivery of a release and so gives its slot back:
    /// see [`RELEASE_ATTRIBUTE`](crate::command::RELEASE_ATTRIBUTE).
    pub attempt: i64,
}

/// An agent is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeHeartbeat {
    /// The node.
    pub node_id: NodeId,
    /// The connection it speaks of.
    pub session: String,
}

impl Message for NodeHeartbeat {
    const TYPE: &'static str = "patchwave.node.heartbeat.v1";
}

/// An invocation is running and takes longer than a few seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvocationProgressed {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// Steps completed.
    pub steps_done: u32,
    /// Steps in all.
    pub steps_total: u32,
    /// What is being done, for people; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Message for InvocationProgressed {
    const TYPE: &'static str = "patchwave.invocation.progressed.v1";
}

/// An invocation has come to its end on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvocationFinished {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where the outcome alone does not say; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When the first step started.
    pub started_at: Timestamp,
    /// When the last step ended.
    pub finished_at: Timestamp,
    /// What each step did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepResult>,
}

impl Message for InvocationFinished {
    const TYPE: &'static str = "patchwave.invocation.finished.v1";
}

/// How an invocation or a step ended on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Every step succeeded or was skipped.
    Success,
    /// Some step failed.
    Failed,
    /// Some step exceeded its own timeout.
    TimedOut,
    /// Stopped on request.
    Cancelled,
    /// Refused before it started: late or not allowed on this node.
    Refused,
    /// Not run because an earlier step ended the document, or the platform does not match.
    Skipped,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// Name of the step.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Exit code; -1 when nothing was started.
    pub exit_code: i32,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// First [`OUTPUT_CHARS_MAX`] characters of its standard output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// First [`ERROR_CHARS_MAX`] characters of its standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

/// The patches of a node as a scan or an installation left them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeScanned {
    /// The node.
    pub node_id: NodeId,
    /// The command that asked for it.
    pub command_id: CommandId,
    /// Which baseline judged.
    pub baseline_id: BaselineId,
    /// Which version of it, as the command said; 0 when it said nothing.
    #[serde(default, skip_serializing_if = "crate::baseline::is_zero")]
    pub baseline_version: u32,
    /// SSM's `SnapshotId`.
    pub snapshot_id: String,
    /// The node's patch group, empty when it has none.
    #[serde(default)]
    pub patch_group: String,
    /// Scan or Install.
    pub operation: PatchOperation,
    /// Of an installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_option: Option<RebootOption>,
    /// When the operation started.
    pub started_at: Timestamp,
    /// When it ended; an older report never replaces a newer one.
    pub finished_at: Timestamp,
    /// Every patch that is relevant to the node.
    pub patches: Vec<PatchRecord>,
    /// Approved patches that do not apply to this node; counted, not listed.
    #[serde(default)]
    pub not_applicable_count: u32,
    /// What was judged, packed, so that it can be judged again without asking the node: at most
    /// 1 MiB of base64, whose making is the engine's. Absent where the node cannot say.
    ///
    /// Sent with every report: beside the patches it is small, and nobody needs to know what the
    /// other side still has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
    /// When the next waiting period ends: the answer may then be another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<Timestamp>,
}

impl Message for NodeScanned {
    const TYPE: &'static str = "patchwave.node.scanned.v1";
}
