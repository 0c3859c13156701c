//! What a patch step goes by: the command's baseline, or what was given in its place.
//!
//! SSM's rules: an InstallOverrideList says what is installed, and compliance stays the baseline's
//! matter; scans ignore it. A BaselineOverride judges and installs in the baseline's place, and what
//! it finds is printed and not reported.

use patchwave_engine::baseline::{OVERRIDE_BYTES_MAX, parse_override_list};
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::PatchOperation;

use super::document::StepRunner;
use super::output::chain;
use crate::baseline_file::{BASELINE_BYTES_MAX, parse_baseline};

/// The rules of one patch step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// Judges, and installs unless a list does.
    pub(super) baseline: BaselineSnapshot,
    /// The same with the list by which to install in its place.
    pub(super) list: Option<BaselineSnapshot>,
    /// Whether what is found is told to the control plane.
    pub(super) is_reported: bool,
}

/// What a step asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) baseline: &'a BaselineSnapshot,
    pub(super) operation: PatchOperation,
    pub(super) list_url: Option<&'a str>,
    pub(super) baseline_url: Option<&'a str>,
    /// What the step went by before it restarted the node: it is judged by the same.
    pub(super) kept: Option<&'a BaselineSnapshot>,
}

impl Rules {
    /// The rules, fetched where they are elsewhere; or why they could not be had.
    pub(super) async fn resolve(runner: &dyn StepRunner, asked: Asked<'_>) -> Result<Self, String> {
        let Asked { baseline, operation, list_url, baseline_url, kept } = asked;
        let mut rules = Self { baseline: baseline.clone(), list: None, is_reported: true };
        // Without a control plane the list comes with the baseline.
        let brought = std::mem::take(&mut rules.baseline.install_override);
        if let Some(url) = baseline_url {
            rules.is_reported = false;
            rules.baseline = match kept {
                Some(kept) => kept.clone(),
                None => fetched_baseline(runner, url, baseline).await?,
            };
        } else if operation == PatchOperation::Install {
            let entries = match (kept, list_url) {
                (Some(kept), _) => kept.install_override.clone(),
                (None, Some(url)) => {
                    let text = runner.fetch(url, OVERRIDE_BYTES_MAX).await.map_err(|error| chain(&error))?;
                    parse_override_list(&text).map_err(|error| format!("InstallOverrideList: {error}"))?
                }
                (None, None) => brought,
            };
            if !entries.is_empty() {
                rules.list = Some(BaselineSnapshot { install_override: entries, ..rules.baseline.clone() });
            }
        }
        Ok(rules)
    }

    /// What decides on what is installed.
    pub(super) fn installing(&self) -> &BaselineSnapshot {
        self.list.as_ref().unwrap_or(&self.baseline)
    }

    /// What must outlive a restart of the node.
    pub(super) fn to_keep(&self) -> Option<BaselineSnapshot> {
        if self.is_reported { self.list.clone() } else { Some(self.baseline.clone()) }
    }
}

async fn fetched_baseline(
    runner: &dyn StepRunner,
    url: &str,
    replaced: &BaselineSnapshot,
) -> Result<BaselineSnapshot, String> {
    let bytes_max = usize::try_from(BASELINE_BYTES_MAX).unwrap_or(usize::MAX);
    let json = runner.fetch(url, bytes_max).await.map_err(|error| chain(&error))?;
    let read = parse_baseline(&json, "BaselineOverride", runner.operating_system());
    let mut baseline = read.map_err(|error| format!("BaselineOverride: {error}"))?;
    // One operation's nodes and its second look after a restart stay one.
    baseline.snapshot_id.clone_from(&replaced.snapshot_id);
    Ok(baseline)
}
