//! Carrying a command out: the steps of its document, one after the other.
//!
//! Whether and when a command runs is decided in [`crate::node`]; what a step does on this
//! machine is behind [`StepRunner`]. Nothing here journals or reports.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::CommandId;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::RunInvocation;
use patchwave_schemas::report::{NodeScanned, StepResult};
use serde::{Deserialize, Serialize};

mod document;
mod fetch;
mod host;
mod output;
mod overrides;
mod patch;
mod shell;
#[cfg(test)]
mod tests;

pub use document::{Control, Progress, StepContext, StepEnd, StepRunner, run_document, run_document_now};
pub use fetch::FetchError;
pub use host::HostRunner;
pub(crate) use output::chain as error_chain;

/// Something to execute. From [`crate::node::NodeCore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The command.
    pub invocation: Arc<RunInvocation>,
    /// Where its first step was started, before any interruption.
    pub started_at: Timestamp,
    /// How to go about it.
    pub mode: Mode,
}

/// How a job starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// From the first step.
    Fresh,
    /// From the first step, after the agent died in it: installations are not repeated but judged
    /// by a scan. Only for documents that do nothing but patch.
    Judge,
    /// From the step that restarted the node, which is judged by a scan.
    AfterReboot(RebootPoint),
}

/// Where to go on after the node has restarted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebootPoint {
    /// Index of the step that needed it.
    pub step: usize,
    /// Results of the steps before it.
    #[serde(default)]
    pub results: Vec<StepResult>,
    /// When the step started that needed it.
    pub step_started_at: Timestamp,
    /// What the step printed before the restart.
    #[serde(default)]
    pub stdout: String,
    /// Scans made before it.
    #[serde(default)]
    pub scans: Vec<NodeScanned>,
    /// What the step went by in place of the command's baseline, so that it is judged by the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overriding: Option<Box<BaselineSnapshot>>,
}

/// What became of a job. To [`crate::node::NodeCore::finished`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The command.
    pub command_id: CommandId,
    /// How far it got.
    pub end: ExecutionEnd,
}

impl Execution {
    /// The end of a job that we, not its steps, have failed.
    pub(crate) fn defect(job: &Job, what: &str) -> Self {
        let reason = format!("{what}; this is a defect of the agent");
        let end = ExecutionEnd::Done { steps: Vec::new(), scans: Vec::new(), reason };
        Self { command_id: job.invocation.command_id, end }
    }
}

/// How far a job got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionEnd {
    /// To its end.
    Done {
        /// What each step did.
        steps: Vec<StepResult>,
        /// The patches as it left them.
        scans: Vec<NodeScanned>,
        /// Why it failed, where the steps do not say; empty otherwise.
        reason: String,
    },
    /// To a step that needs the node to restart before it can be judged.
    NeedsReboot(RebootPoint),
}
