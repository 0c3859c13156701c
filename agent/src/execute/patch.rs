//! The step that scans or installs by a baseline.
//!
//! How an installation went is told by the scan after it, never by an exit code.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use patchwave_engine::baseline::Inventory;
use patchwave_schemas::baseline::{BaselineSnapshot, PatchRecord, PatchState};
use patchwave_schemas::command::{PatchOperation, RebootOption};
use patchwave_schemas::report::{ERROR_CHARS_MAX, NodeScanned, OUTPUT_CHARS_MAX, Outcome};

use super::document::{StepContext, StepEnd, StepRunner};
use super::output;
use super::overrides::Rules;
use crate::packages::{InstallProgress, InstallResult, PackageError, ScanResult};

/// What a patch step is to do.
#[derive(Debug)]
pub(super) struct PatchRequest<'a> {
    pub(super) rules: &'a Rules,
    pub(super) operation: PatchOperation,
    pub(super) reboot_option: RebootOption,
    pub(super) started_at: Timestamp,
    pub(super) judge: Judge,
}

/// Whether an installation is only judged, because it was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// It was not tried.
    No,
    /// The agent died in it.
    Interrupted,
    /// The node was restarted for it.
    AfterReboot,
}

/// What a patch step brought.
#[derive(Debug)]
pub(super) struct Patched {
    pub(super) end: StepEnd,
    /// Absent when the packages could not be read or the step did not get there, and for rules whose
    /// findings are not reported.
    pub(super) scan: Option<NodeScanned>,
    pub(super) reboot_required: bool,
    pub(super) found: Found,
}

/// What the documents with hooks decide by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// Approved patches that are missing and may be installed.
    pub(super) missing: usize,
    /// Something waits for a restart.
    pub(super) pending_reboot: bool,
    /// An installation was tried.
    pub(super) attempted: bool,
}

pub(super) async fn run(runner: &dyn StepRunner, context: &StepContext<'_>, request: &PatchRequest<'_>) -> Patched {
    let limit = Duration::from_secs(u64::from(context.step.timeout_seconds));
    tokio::select! {
        // In this order, and the timer inside a block: work that is done at once, as on simulated
        // nodes, makes no timer and needs no runtime that has them.
        biased;
        patched = work(runner, context, request) => patched,
        () = context.control.cancel.cancelled() => stopped(Outcome::Cancelled, "cancelled; a tool that was at work finishes by itself".to_owned()),
        () = async { tokio::time::sleep(limit).await } => {
            let why = format!("not done after {} s; a tool that was at work finishes by itself", limit.as_secs());
            stopped(Outcome::TimedOut, why)
        }
    }
}

fn stopped(outcome: Outcome, why: String) -> Patched {
    Patched { end: StepEnd::not_started(outcome, why), scan: None, reboot_required: false, found: Found::default() }
}

async fn work(runner: &dyn StepRunner, context: &StepContext<'_>, request: &PatchRequest<'_>) -> Patched {
    let installs = request.operation == PatchOperation::Install;
    let found: Result<InstallResult, PackageError> = if installs && request.judge == Judge::No {
        let progress = context.control.progress.clone();
        let say = move |at: InstallProgress| progress.say(in_words(at));
        runner.install(request.rules.installing(), &say).await
    } else {
        let judged = runner.scan(request.rules.installing()).await;
        judged.map(|scan| InstallResult { scan, ..InstallResult::default() })
    };
    let result = match found {
        Ok(result) => result,
        Err(error) => return stopped(Outcome::Failed, output::chain(&error)),
    };
    if request.rules.list.is_none() {
        return judged(runner, context, request, result, None);
    }
    // Whatever the list brought, compliance is the baseline's matter.
    match runner.scan(&request.rules.baseline).await {
        Ok(mut by_baseline) => {
            carry_failures(&result.scan, &mut by_baseline);
            judged(runner, context, request, result, Some(by_baseline))
        }
        Err(error) => stopped(Outcome::Failed, output::chain(&error)),
    }
}

/// What the list could not bring and the baseline approves as well is not missing but failed.
fn carry_failures(by_list: &ScanResult, by_baseline: &mut ScanResult) {
    let failed: HashMap<&str, &PatchRecord> = by_list
        .patches
        .iter()
        .filter(|patch| patch.state == PatchState::Failed)
        .map(|patch| (patch.kb_id.as_str(), patch))
        .collect();
    for patch in by_baseline.patches.iter_mut().filter(|patch| patch.state == PatchState::Missing) {
        if let Some(failed) = failed.get(patch.kb_id.as_str()) {
            patch.state = PatchState::Failed;
            patch.reason.clone_from(&failed.reason);
        }
    }
}

/// `by_baseline` is what is reported where a list said what to install.
fn judged(
    runner: &dyn StepRunner,
    context: &StepContext<'_>,
    request: &PatchRequest<'_>,
    result: InstallResult,
    by_baseline: Option<ScanResult>,
) -> Patched {
    let installs = request.operation == PatchOperation::Install;
    let scan = result.scan;
    let found = Found {
        missing: installable(&scan),
        pending_reboot: scan.reboot_required || count(&scan, PatchState::InstalledPendingReboot) > 0,
        attempted: !result.attempted.is_empty(),
    };
    let failure = if installs { shortcoming(&scan, request.judge) } else { None };
    let reboot_required = scan.reboot_required;
    let mut stdout = String::new();
    if by_baseline.is_some() {
        stdout = list_summary(&scan, &result.attempted);
    }
    let scan = by_baseline.unwrap_or(scan);
    let baseline = &request.rules.baseline;
    stdout.push_str(&summary(baseline, &scan));
    if !request.rules.is_reported {
        stdout.push_str(&shortcomings(&scan));
    }
    stdout.push_str(&result.stdout);
    let mut stderr = failure.clone().unwrap_or_default();
    if !result.stderr.is_empty() {
        if !stderr.is_empty() {
            stderr.push('\n');
        }
        stderr.push_str(&result.stderr);
    }
    let end = StepEnd {
        outcome: if failure.is_some() { Outcome::Failed } else { Outcome::Success },
        exit_code: i32::from(failure.is_some()),
        stdout: output::limited(&stdout, OUTPUT_CHARS_MAX),
        stderr: output::limited(&stderr, ERROR_CHARS_MAX),
        ends_document: false,
    };
    let report = NodeScanned {
        node_id: runner.node_id().clone(),
        command_id: context.invocation.command_id,
        baseline_id: baseline.baseline_id.clone(),
        baseline_version: baseline.baseline_version,
        snapshot_id: baseline.snapshot_id.clone(),
        patch_group: baseline.patch_group.clone(),
        operation: request.operation,
        reboot_option: installs.then_some(request.reboot_option),
        started_at: request.started_at,
        finished_at: runner.now(),
        not_applicable_count: scan.evaluation.not_applicable_count,
        patches: scan.patches,
        inventory: scan.inventory.as_ref().and_then(packed),
        next_change: scan.evaluation.next_change(),
    };
    Patched { end, scan: request.rules.is_reported.then_some(report), reboot_required, found }
}

/// What was judged, as reports carry it. Without it the report is as good for now.
fn packed(inventory: &Inventory) -> Option<String> {
    inventory.pack().inspect_err(|error| tracing::warn!(%error, "a report goes without its inventory")).ok()
}

/// What an installation left undone, in one sentence.
fn shortcoming(scan: &ScanResult, judge: Judge) -> Option<String> {
    let failed = count(scan, PatchState::Failed);
    let missing = installable(scan);
    match (failed, missing, judge) {
        (0, 0, Judge::AfterReboot) if scan.reboot_required => Some("the node still needs a restart".to_owned()),
        (0, 0, _) => None,
        (0, missing, Judge::Interrupted) => {
            Some(format!("the agent was restarted during the installation; {missing} approved patches are missing"))
        }
        (0, missing, _) => Some(format!("{missing} approved patches are missing after the installation")),
        (failed, _, _) => Some(format!("{failed} patches could not be installed")),
    }
}

/// Held packages are missing too, but nobody is to install them.
fn installable(scan: &ScanResult) -> usize {
    let decisions = scan.evaluation.decisions.iter();
    decisions.filter(|decision| decision.state == PatchState::Missing && decision.to_install().is_some()).count()
}

fn count(scan: &ScanResult, state: PatchState) -> usize {
    scan.patches.iter().filter(|patch| patch.state == state).count()
}

/// What was tried by a list, by name: nothing else says it, for the report is the baseline's.
fn list_summary(by_list: &ScanResult, attempted: &[String]) -> String {
    let failed = by_list.patches.iter().filter(|patch| patch.state == PatchState::Failed);
    let failed: Vec<String> = failed.map(|patch| format!("{} ({})", patch.kb_id, patch.reason)).collect();
    let some = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("Tried by the InstallOverrideList: {}; failed: {}.\n", some(attempted), some(&failed))
}

/// What is not as the baseline wants it, a line each: of a BaselineOverride nothing is reported.
fn shortcomings(scan: &ScanResult) -> String {
    let wrong = scan.patches.iter().filter(|patch| !patch.is_compliant());
    wrong.map(|patch| format!("{:?} {}: {}\n", patch.state, patch.title, patch.reason)).collect()
}

fn summary(baseline: &BaselineSnapshot, scan: &ScanResult) -> String {
    format!(
        "Baseline {} ({}): {} installed, {} pending reboot, {} missing, {} failed.\n",
        baseline.name,
        baseline.baseline_id,
        count(scan, PatchState::Installed),
        count(scan, PatchState::InstalledPendingReboot),
        count(scan, PatchState::Missing),
        count(scan, PatchState::Failed),
    )
}

fn in_words(progress: InstallProgress) -> String {
    match progress {
        InstallProgress::Refreshing => "fetching the package lists".to_owned(),
        InstallProgress::Scanning => "finding out what is missing".to_owned(),
        InstallProgress::Installing { done, total } => format!("installing packages, {done} of {total} done"),
        InstallProgress::Verifying => "verifying what is installed".to_owned(),
    }
}
