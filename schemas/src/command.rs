//! Messages to nodes: run this, stop that.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::baseline::BaselineSnapshot;
use crate::envelope::Message;
use crate::ids::{CommandId, NodeId};

/// Extension attribute of a command that gives an invocation its slot: the number of its delivery,
/// from 1. Absent from one that repeats a delivery which may have arrived. Of use to a gateway that
/// has to give a command back; nodes ignore it.
pub const RELEASE_ATTRIBUTE: &str = "releaseattempt";

/// Runs one invocation on one node. Published to the node's own queue, transient, mandatory.
///
/// A node may receive it more than once; its journal makes the second one a no-op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunInvocation {
    /// The command; with `node_id` the key by which duplicates are recognised.
    pub command_id: CommandId,
    /// The only node that may act on this.
    pub node_id: NodeId,
    /// Must not start before.
    pub not_before: Timestamp,
    /// Must not start after; what arrives later is refused.
    pub not_after: Timestamp,
    /// What to do.
    pub document: RenderedDocument,
    /// The rules, for documents that patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineSnapshot>,
}

impl Message for RunInvocation {
    const TYPE: &'static str = "patchwave.invocation.run.v1";
}

/// Stops an invocation: dropped when not started, killed when running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelInvocation {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
}

impl Message for CancelInvocation {
    const TYPE: &'static str = "patchwave.invocation.cancel.v1";
}

/// A document with its parameters filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderedDocument {
    /// Name of the document.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// One step of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Unique in the document.
    pub name: String,
    /// Seconds the step may take, 5..=172800; then it is killed and reported as timed out.
    pub timeout_seconds: u32,
    /// What the step does.
    pub action: Action,
    /// In a document with hooks, what the step is part of: it decides whether the step runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<HookPhase>,
}

/// The phases of a patching with hooks, in their order (SSM's AWS-RunPatchBaselineWithHooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HookPhase {
    /// Finding out what is missing.
    Scan,
    /// The hook before the installation.
    PreInstall,
    /// The installation, which restarts nothing.
    Install,
    /// The hook after it.
    PostInstall,
    /// The restart, and the judgement after it.
    Reboot,
    /// The hook at the end, whatever happened before.
    OnExit,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// SSM's `aws:runShellScript`.
    RunShellScript {
        /// Lines of one script for `sh`.
        commands: Vec<String>,
        /// Where it runs; the agent's choice when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        working_directory: Option<String>,
        /// Parameters, passed as environment variables and never pasted into the script.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        environment: BTreeMap<String, String>,
    },
    /// Scans or installs by the baseline of the message.
    PatchBaseline {
        /// Scan or Install.
        operation: PatchOperation,
        /// What may happen after an installation.
        reboot_option: RebootOption,
        /// SSM's `InstallOverrideList`: an `https` URL whose list says what to install in the
        /// baseline's place. Scans ignore it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        install_override_list: Option<String>,
        /// SSM's `BaselineOverride`: an `https` URL of baselines that take the place of the message's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline_override: Option<String>,
    },
}

/// SSM's `Operation` of AWS-RunPatchBaseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PatchOperation {
    /// Report only.
    Scan,
    /// Install what is approved and missing, then report.
    Install,
}

/// SSM's `RebootOption` of AWS-RunPatchBaseline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebootOption {
    /// When what was installed needs it.
    #[default]
    RebootIfNeeded,
    /// Never.
    NoReboot,
}
