//! What commands a node takes at all.

use patchwave_schemas::command::{Action, PatchOperation, RunInvocation};

/// A restriction set on the node itself, whatever the control plane asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Refuse every document that does anything but scan for patches.
    pub scan_only: bool,
}

impl Policy {
    /// Why the node does not take a command; `None` when it does.
    #[must_use]
    pub fn refusal(&self, invocation: &RunInvocation) -> Option<String> {
        if !self.scan_only {
            return None;
        }
        let other = invocation
            .document
            .steps
            .iter()
            .find(|step| !matches!(step.action, Action::PatchBaseline { operation: PatchOperation::Scan, .. }))?;
        Some(format!(
            "this node only allows scans; step `{}` of document `{}` does more",
            other.name, invocation.document.name
        ))
    }
}
