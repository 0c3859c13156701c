//! Command documents: which there are, what their parameters may be, and what they do on a node.
//!
//! Pure. `builtin` has SSM's documents that come with the program, `content` reads documents of the
//! operator's own, `parameters` checks values against what a document declares, `render` fills
//! them in. Parameters never become part of a script's text: a parameter either *is* the script, as
//! `commands` of AWS-RunShellScript, or reaches it as an environment variable.

use std::collections::BTreeMap;

use patchwave_schemas::command::{Action, HookPhase, PatchOperation, RebootOption, RenderedDocument};

mod builtin;
mod content;
mod hooks;
mod parameters;
mod references;
mod render;

pub use builtin::{
    DOCUMENTS, Document, NOOP, Parameter, RUN_PATCH_BASELINE, RUN_PATCH_BASELINE_WITH_HOOKS, RUN_SHELL_SCRIPT,
    StepTemplate, find, render,
};
pub use content::{ContentError, Definition, ScriptStep};
pub use hooks::{Course, HOOKS, hook_documents, render_with_hooks};
pub use parameters::{ParameterDefinition, ParameterType};
pub use render::{ENVIRONMENT_PREFIX, render_own};

/// Bytes of a document with its parameters filled in (SSM: 64 KB).
pub const DOCUMENT_BYTES_MAX: usize = 65_536;
/// Seconds a script may take unless it says otherwise (SSM's default).
const SCRIPT_TIMEOUT_SECONDS: u32 = 3_600;

/// Why a document cannot be run with these parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No document of this name.
    #[error("document `{name}` does not exist")]
    Unknown {
        /// The name.
        name: String,
    },
    /// No such version.
    #[error("document `{name}` has no version `{version}`; allowed are $DEFAULT, $LATEST and {known}")]
    UnknownVersion {
        /// The document.
        name: String,
        /// The version.
        version: String,
        /// The versions there are.
        known: String,
    },
    /// A parameter is unknown, missing or has a value that is not allowed.
    #[error("parameter `{parameter}` of {document}: {problem}")]
    Parameter {
        /// The document.
        document: String,
        /// The parameter.
        parameter: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// Larger than a document may be.
    #[error("document {document} is {bytes} bytes long with its parameters; at most {DOCUMENT_BYTES_MAX} are allowed")]
    TooLarge {
        /// The document.
        document: String,
        /// Its size.
        bytes: usize,
    },
}

/// Parameters as SSM carries them: every value is a list.
pub type Parameters = BTreeMap<String, Vec<String>>;

/// Bytes of parameters with their names.
fn bytes_of(parameters: &Parameters) -> usize {
    parameters.iter().map(|(key, value)| key.len() + value.iter().map(String::len).sum::<usize>()).sum()
}

/// A timeout of a step in seconds, within SSM's 5 to 172800.
fn timeout_of(text: &str) -> Option<u32> {
    text.parse().ok().filter(|seconds| (5..=172_800).contains(seconds))
}

/// Seconds that all steps together may take.
#[must_use]
pub fn execution_seconds(document: &RenderedDocument) -> u32 {
    document.steps.iter().map(|step| step.timeout_seconds).fold(0, u32::saturating_add)
}

/// Whether a document may restart the node it runs on.
#[must_use]
pub fn may_reboot(document: &RenderedDocument) -> bool {
    document.steps.iter().any(|step| {
        let installs = matches!(
            step.action,
            Action::PatchBaseline {
                operation: PatchOperation::Install,
                reboot_option: RebootOption::RebootIfNeeded,
                ..
            }
        );
        // With hooks, installing and restarting are steps of their own.
        installs || step.phase == Some(HookPhase::Reboot)
    })
}

/// Whether a document patches, and so needs a baseline.
#[must_use]
pub fn needs_baseline(document: &RenderedDocument) -> bool {
    document.steps.iter().any(|step| matches!(step.action, Action::PatchBaseline { .. }))
}
