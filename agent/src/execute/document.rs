//! A document: its steps in order, each with its own end.
//!
//! A failed step does not stop the document (SSM); a cancelled one does, and so do the exit codes
//! 168 and 169 of scripts. Of a document with hooks, the rules in `engine` say which steps run. What a
//! step does is the runner's matter.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use patchwave_engine::documents::{self, Course};
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::{Action, PatchOperation, RebootOption, RunInvocation, Step};
use patchwave_schemas::node::{OperatingSystem, PlatformType};
use patchwave_schemas::report::{InvocationProgressed, NodeScanned, Outcome, StepResult};
use tokio_util::sync::CancellationToken;

use super::fetch::FetchError;
use super::overrides::{Asked, Rules};
use super::patch::{self, PatchRequest};
use super::{Execution, ExecutionEnd, Job, Mode, RebootPoint};
use crate::packages::{InstallProgress, InstallResult, PackageError, ScanResult};

/// How the execution is told to stop, and where it tells how far it is.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Cancelled when the execution is to stop.
    pub cancel: CancellationToken,
    /// How far it is.
    pub progress: Progress,
}

/// How far an execution is, to be looked at from outside whenever a report is due.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    // Written between steps and read once a minute: a plain mutex never waits.
    inner: Arc<Mutex<(u32, String)>>,
}

impl Progress {
    /// Tells what is being done, for people.
    pub fn say(&self, message: String) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1 = message;
    }

    fn begin_step(&self, done: usize, message: String) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = (u32::try_from(done).unwrap_or(u32::MAX), message);
    }

    /// As a report carries it.
    #[must_use]
    pub fn report(&self, invocation: &RunInvocation) -> InvocationProgressed {
        let (steps_done, message) = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        InvocationProgressed {
            command_id: invocation.command_id,
            node_id: invocation.node_id.clone(),
            steps_done,
            steps_total: u32::try_from(invocation.document.steps.len()).unwrap_or(u32::MAX),
            message,
        }
    }
}

/// What a step is told about the run it belongs to.
#[derive(Debug)]
pub struct StepContext<'a> {
    /// The command.
    pub invocation: &'a RunInvocation,
    /// The step.
    pub step: &'a Step,
    /// Stop, and progress.
    pub control: &'a Control,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// Its outcome.
    pub outcome: Outcome,
    /// Its exit code; -1 when nothing was started.
    pub exit_code: i32,
    /// What it printed, within the limits of a report.
    pub stdout: String,
    /// What it complained about, likewise.
    pub stderr: String,
    /// Whether the steps behind it are skipped.
    pub ends_document: bool,
}

impl StepEnd {
    /// A step that did not get as far as starting anything.
    #[must_use]
    pub fn not_started(outcome: Outcome, why: impl Into<String>) -> Self {
        Self { outcome, exit_code: -1, stdout: String::new(), stderr: why.into(), ends_document: false }
    }
}

/// What steps do on one machine: a real one or a simulated one.
#[async_trait]
pub trait StepRunner: Send + Sync {
    /// The node.
    fn node_id(&self) -> &NodeId;
    /// Which documents and baselines apply.
    fn operating_system(&self) -> OperatingSystem;
    /// The time, for results.
    fn now(&self) -> Timestamp;
    /// Whether the node may be restarted by us.
    fn can_reboot(&self) -> bool;
    /// Whether every step ends without waiting for anything, so that no task is needed for it.
    fn is_instant(&self) -> bool {
        false
    }
    /// Runs a script to its end, its timeout or its cancellation.
    async fn shell(&self, context: &StepContext<'_>) -> StepEnd;
    /// Fetches what a command names by its URL, if it is at most `bytes_max` long.
    ///
    /// # Errors
    /// [`FetchError`], whose words hold nothing of what stands behind the URL's `?`.
    async fn fetch(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError>;
    /// Judges the installed packages.
    ///
    /// # Errors
    /// [`PackageError`] when the packages cannot be read.
    async fn scan(&self, baseline: &BaselineSnapshot) -> Result<ScanResult, PackageError>;
    /// Installs what is approved and missing. Dropping the future must be safe.
    ///
    /// # Errors
    /// [`PackageError`] when nothing could be tried.
    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError>;
}

/// Executes a job to its end, or to the step that needs the node to restart.
pub async fn run_document(runner: &dyn StepRunner, job: &Job, control: &Control) -> Execution {
    let invocation = &*job.invocation;
    let (first, mut results, mut scans) = match &job.mode {
        Mode::Fresh | Mode::Judge => (0, Vec::new(), Vec::new()),
        Mode::AfterReboot(point) => (point.step, point.results.clone(), point.scans.clone()),
    };
    let mut skip_rest = false;
    let mut course = Course::default();
    let may_reboot = documents::may_reboot(&invocation.document);
    // Of the phase that is going on: whether a step of it failed, and whether one ended it.
    let (mut phase, mut phase_failed, mut phase_ended) = (None, false, false);
    for (index, step) in invocation.document.steps.iter().enumerate().skip(first) {
        control.progress.begin_step(index, step.name.clone());
        let mut started_at = runner.now();
        let mut printed = String::new();
        let mut kept = None;
        if let (Mode::AfterReboot(point), true) = (&job.mode, index == first) {
            kept = point.overriding.as_deref();
            started_at = point.step_started_at;
            printed.clone_from(&point.stdout);
        }
        let context = StepContext { invocation, step, control };
        if step.phase != phase {
            course.failed |= phase_failed;
            (phase, phase_failed, phase_ended) = (step.phase, false, false);
        }
        // What restarted the node is judged, whatever its course was before.
        let is_resumed = matches!(job.mode, Mode::AfterReboot(_)) && index == first;
        let skips = step.phase.filter(|_| !is_resumed).and_then(|phase| course.skips(phase, may_reboot));
        let end = if control.cancel.is_cancelled() {
            StepEnd::not_started(Outcome::Cancelled, "")
        } else if skip_rest || phase_ended {
            StepEnd::not_started(Outcome::Skipped, "an earlier step ended the document")
        } else if let Some(why) = skips {
            StepEnd::not_started(Outcome::Skipped, why)
        } else {
            let judge = match job.mode {
                Mode::Fresh => patch::Judge::No,
                Mode::Judge => patch::Judge::Interrupted,
                Mode::AfterReboot(_) if index == first => patch::Judge::AfterReboot,
                Mode::AfterReboot(_) => patch::Judge::No,
            };
            match run_step(runner, &context, started_at, judge, kept).await {
                Ended::Step { end, scan, found } => {
                    scans.extend(scan);
                    if let Some(found) = found {
                        course.missing = found.missing;
                        course.pending_reboot = found.pending_reboot;
                        course.installed |= found.attempted;
                    }
                    end
                }
                Ended::NeedsReboot { stdout, scan, overriding } => {
                    scans.extend(scan);
                    let step_started_at = started_at;
                    let point = RebootPoint { step: index, results, step_started_at, stdout, scans, overriding };
                    return Execution { command_id: invocation.command_id, end: ExecutionEnd::NeedsReboot(point) };
                }
            }
        };
        // A hook that ends its document ends the hook's own: the patching goes on by its rules.
        skip_rest |= end.ends_document && step.phase.is_none();
        phase_ended |= end.ends_document && step.phase.is_some();
        phase_failed |= !matches!(end.outcome, Outcome::Success | Outcome::Skipped);
        results.push(StepResult {
            name: step.name.clone(),
            outcome: end.outcome,
            exit_code: end.exit_code,
            started_at,
            finished_at: runner.now(),
            stdout: printed + &end.stdout,
            stderr: end.stderr,
        });
    }
    let end = ExecutionEnd::Done { steps: results, scans, reason: String::new() };
    Execution { command_id: invocation.command_id, end }
}

/// Executes a job whose runner [never waits](StepRunner::is_instant), without any runtime.
#[must_use]
pub fn run_document_now(runner: &dyn StepRunner, job: &Job) -> Execution {
    run_document(runner, job, &Control::default())
        .now_or_never()
        .unwrap_or_else(|| Execution::defect(job, "a step waited although its runner never does"))
}

enum Ended {
    Step { end: StepEnd, scan: Option<NodeScanned>, found: Option<patch::Found> },
    NeedsReboot { stdout: String, scan: Option<NodeScanned>, overriding: Option<Box<BaselineSnapshot>> },
}

async fn run_step(
    runner: &dyn StepRunner,
    context: &StepContext<'_>,
    started_at: Timestamp,
    judge: patch::Judge,
    kept: Option<&BaselineSnapshot>,
) -> Ended {
    let platform = runner.operating_system().platform_type();
    match &context.step.action {
        Action::RunShellScript { .. } => {
            let end = if platform == PlatformType::Windows {
                StepEnd::not_started(Outcome::Skipped, "shell scripts do not run on Windows")
            } else {
                runner.shell(context).await
            };
            Ended::Step { end, scan: None, found: None }
        }
        Action::PatchBaseline { operation, reboot_option, install_override_list, baseline_override } => {
            let Some(baseline) = &context.invocation.baseline else {
                let end = StepEnd::not_started(Outcome::Failed, "the command carries no baseline to patch by");
                return Ended::Step { end, scan: None, found: None };
            };
            if baseline.rules.operating_system.platform_type() != platform {
                let end = StepEnd::not_started(Outcome::Skipped, "the baseline is for another platform");
                return Ended::Step { end, scan: None, found: None };
            }
            let asked = Asked {
                baseline,
                operation: *operation,
                list_url: install_override_list.as_deref(),
                baseline_url: baseline_override.as_deref(),
                kept,
            };
            let rules = tokio::select! {
                biased;
                rules = Rules::resolve(runner, asked) => rules,
                () = context.control.cancel.cancelled() => {
                    let end = StepEnd::not_started(Outcome::Cancelled, "cancelled while the override was fetched");
                    return Ended::Step { end, scan: None, found: None };
                }
            };
            let rules = match rules {
                Ok(rules) => rules,
                Err(why) => {
                    let end = StepEnd::not_started(Outcome::Failed, why);
                    return Ended::Step { end, scan: None, found: None };
                }
            };
            let request =
                PatchRequest { rules: &rules, operation: *operation, reboot_option: *reboot_option, started_at, judge };
            let patched = patch::run(runner, context, &request).await;
            if patched.reboot_required && wants_reboot(&request, runner) {
                let overriding = rules.to_keep().map(Box::new);
                return Ended::NeedsReboot { stdout: patched.end.stdout, scan: patched.scan, overriding };
            }
            Ended::Step { end: patched.end, scan: patched.scan, found: Some(patched.found) }
        }
    }
}

fn wants_reboot(request: &PatchRequest<'_>, runner: &dyn StepRunner) -> bool {
    // A judged step has had its restart: judging it may fail it, but never restarts again.
    request.operation == PatchOperation::Install
        && request.reboot_option == RebootOption::RebootIfNeeded
        && request.judge == patch::Judge::No
        && runner.can_reboot()
}
