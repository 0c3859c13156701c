//! What commands a node takes at all.
//!
//! Set on the node itself; nothing that the control plane says widens it.

use patchwave_schemas::command::{Action, PatchOperation, RunInvocation};
use patchwave_schemas::node::{Accept, NodePolicy};

use crate::trust::Trust;

/// A restriction set on the node itself, whatever the control plane asks for.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Which kinds of steps, and which documents.
    pub rules: NodePolicy,
    /// Whose messages.
    pub trust: Trust,
}

impl Policy {
    /// Takes scans alone, or everything; from whomever.
    #[must_use]
    pub fn scan_only(scan_only: bool) -> Self {
        let accept = if scan_only { Accept::Scan } else { Accept::All };
        Self { rules: NodePolicy { accept, documents: None }, trust: Trust::default() }
    }

    /// Why the node does not take a command; `None` when it does.
    #[must_use]
    pub fn refusal(&self, invocation: &RunInvocation) -> Option<String> {
        let document = &invocation.document;
        if let Some(allowed) = &self.rules.documents
            && !allowed.contains(&document.name)
        {
            let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
            return Some(format!(
                "this node's policy does not allow document `{}`; allowed are: {}",
                document.name,
                allowed.join(", ")
            ));
        }
        let (takes, only): (fn(&Action) -> bool, &str) = match self.rules.accept {
            Accept::All => return None,
            Accept::Patch => (|action| matches!(action, Action::PatchBaseline { .. }), "patching"),
            Accept::Scan => (is_scan, "scans"),
        };
        let other = document.steps.iter().find(|step| !takes(&step.action))?;
        Some(format!(
            "this node's policy only allows {only}; step `{}` of document `{}` does more",
            other.name, document.name
        ))
    }
}

fn is_scan(action: &Action) -> bool {
    matches!(action, Action::PatchBaseline { operation: PatchOperation::Scan, .. })
}
