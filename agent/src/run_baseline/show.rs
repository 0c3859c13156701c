//! A report for people: what is wrong first, then how much is right.

use std::fmt::Write as _;

use patchwave_schemas::baseline::{PatchRecord, PatchState};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::report::Outcome;

use super::Report;

impl Report {
    /// The report as lines of text: every patch that is not compliant with its reason, then counts.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_to(&mut text);
        text
    }

    fn write_to(&self, out: &mut String) -> std::fmt::Result {
        let node = self.node.product.clone().unwrap_or_else(|| format!("{:?}", self.node.operating_system));
        writeln!(out, "{:?} of {node} by {}", self.operation, self.baseline.name)?;
        let wrong: Vec<&PatchRecord> = self.patches.iter().filter(|patch| !patch.is_compliant()).collect();
        let widest = wrong.iter().map(|patch| patch.title.chars().count()).max().unwrap_or(0);
        for patch in &wrong {
            writeln!(out, "  {:<16} {:<widest$}  {}", short(patch.state), patch.title, patch.reason)?;
        }
        for patch in &self.left_out {
            writeln!(out, "  {:<16} {:<widest$}  {}", "not approved", patch.name, patch.reason)?;
        }
        let counts: Vec<String> = STATES
            .iter()
            .map(|state| (self.patches.iter().filter(|patch| patch.state == *state).count(), short(*state)))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        writeln!(out, "{}", if counts.is_empty() { "no patches".to_owned() } else { counts.join(", ") })?;
        if let Some(at) = self.next_change {
            writeln!(out, "a waiting period ends {}", at.strftime("%Y-%m-%dT%H:%MZ"))?;
        }
        if self.reboot_required {
            writeln!(out, "a restart is needed for what was installed to take effect")?;
        }
        if self.outcome != Outcome::Success {
            let failed = if self.operation == PatchOperation::Install { "installation" } else { "scan" };
            writeln!(out, "the {failed} ended as {:?}: {}", self.outcome, self.stderr.trim_end())?;
        }
        Ok(())
    }
}

const STATES: [PatchState; 8] = [
    PatchState::Missing,
    PatchState::Failed,
    PatchState::InstalledPendingReboot,
    PatchState::InstalledRejected,
    PatchState::AvailableSecurityUpdate,
    PatchState::Installed,
    PatchState::InstalledOther,
    PatchState::NotApplicable,
];

const fn short(state: PatchState) -> &'static str {
    match state {
        PatchState::Installed => "installed",
        PatchState::InstalledOther => "other",
        PatchState::InstalledPendingReboot => "pending reboot",
        PatchState::InstalledRejected => "rejected",
        PatchState::Missing => "missing",
        PatchState::NotApplicable => "not applicable",
        PatchState::Failed => "failed",
        PatchState::AvailableSecurityUpdate => "available",
    }
}
