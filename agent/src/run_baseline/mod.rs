//! `patchwave-agent run-baseline`: what a patch command would do here, without a control plane.
//!
//! The same document goes through the same executor, so that what is found, installed and said is
//! what a command would find, install and say. Only the restart is left to whoever called: there
//! is nothing that would go on after it.

mod show;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::baseline::{Evaluation, LeftOut, OVERRIDE_BYTES_MAX, OverrideListError, parse_override_list};
use patchwave_engine::documents::{self, RUN_PATCH_BASELINE};
use patchwave_schemas::baseline::{BaselineSnapshot, OverrideEntry, PatchRecord};
use patchwave_schemas::command::{PatchOperation, RunInvocation};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::Outcome;
use patchwave_schemas::{BaselineId, CommandId, NodeId};
use serde::Serialize;

pub use crate::baseline_file::{
    BASELINE_BYTES_MAX, BaselineFileError, parse_baseline, predefined_baseline, read_baseline,
};
use crate::execute::{
    Control, ExecutionEnd, FetchError, HostRunner, Job, Mode, StepContext, StepEnd, StepRunner, run_document,
};
use crate::packages::{self, InstallProgress, InstallResult, PackageError, ScanResult, os_release};

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Request {
    /// Scan or Install.
    pub operation: PatchOperation,
    /// The baseline's file; without one, what SSM has predefined for the system.
    pub baseline: Option<PathBuf>,
    /// The file of SSM's InstallOverrideList, which says what to install in the baseline's place.
    pub install_override_list: Option<PathBuf>,
    /// The system, as a directory.
    pub root: PathBuf,
    /// Absolute; the agent's directory, for its notes on release dates.
    pub state_dir: PathBuf,
}

/// Why nothing could be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunBaselineError {
    /// The system is unknown, or its packages cannot be read.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// The baseline is none for this system.
    #[error(transparent)]
    Baseline(#[from] BaselineFileError),
    /// The InstallOverrideList cannot be read.
    #[error("could not read InstallOverrideList `{path}`")]
    ReadList {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The InstallOverrideList is none.
    #[error("InstallOverrideList `{path}`")]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: OverrideListError,
    },
}

/// What was found and done. Its JSON is what `--output json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Scan or Install.
    pub operation: PatchOperation,
    /// By which rules.
    pub baseline: BaselineName,
    /// On what.
    pub node: Node,
    /// How it ended, as a command would have.
    pub outcome: Outcome,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The system says that something installed needs a restart to take effect.
    pub reboot_required: bool,
    /// Each patch with its state and the reason for it.
    pub patches: Vec<PatchRecord>,
    /// Patches that the node needs and the baseline does not approve, where nothing reports them.
    pub left_out: Vec<LeftOut>,
    /// Approved patches that do not apply here.
    pub not_applicable_count: u32,
    /// When the answer may differ although nothing changed: a waiting period ends.
    pub next_change: Option<Timestamp>,
    /// What the step printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// The baseline that judged.
#[derive(Debug, Clone, Serialize)]
pub struct BaselineName {
    /// All zeros for one that has none.
    pub baseline_id: BaselineId,
    /// Its name, or its file's.
    pub name: String,
}

/// The system as baselines see it.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// SSM's name.
    pub operating_system: OperatingSystem,
    /// For instance `12`.
    pub version: String,
    /// SSM's product, for instance `Debian12`; absent when the version is unknown.
    pub product: Option<String>,
}

/// Scans or installs, as AWS-RunPatchBaseline would.
///
/// # Errors
/// [`RunBaselineError`] when there is nothing to go by. A patch that fails is no error but part of
/// the [`Report`], and so is a package manager that does not answer.
pub async fn run_baseline(request: &Request) -> Result<Report, RunBaselineError> {
    let profile = os_release(&request.root)?.profile();
    let os = profile.operating_system;
    let mut baseline = match &request.baseline {
        Some(path) => read_baseline(path, os)?,
        None => predefined_baseline(os),
    };
    if let Some(path) = &request.install_override_list {
        baseline.install_override = read_override_list(path)?;
    }
    let packages = packages::detect(&request.root, &request.state_dir).map(Arc::from);
    let node_id = NodeId::from_bits(0);
    let runner = Watched {
        host: HostRunner {
            node_id: node_id.clone(),
            operating_system: os,
            state_dir: request.state_dir.clone(),
            packages,
            can_reboot: false,
        },
        last: Mutex::default(),
    };
    let started_at = Timestamp::now();
    let invocation = invocation(request.operation, baseline.clone(), node_id, started_at);
    let job = Job { invocation: Arc::new(invocation), started_at, mode: Mode::Fresh };
    let execution = run_document(&runner, &job, &Control::default()).await;
    let (step, scan) = match execution.end {
        ExecutionEnd::Done { steps, scans, .. } => (steps.into_iter().next_back(), scans.into_iter().next_back()),
        // Never: this runner may not restart anything.
        ExecutionEnd::NeedsReboot(_) => (None, None),
    };
    let seen = runner.last.into_inner().unwrap_or_else(PoisonError::into_inner);
    let step = step.map_or((Outcome::Failed, String::new(), String::new()), |s| (s.outcome, s.stdout, s.stderr));
    Ok(Report {
        operation: request.operation,
        baseline: BaselineName { baseline_id: baseline.baseline_id, name: baseline.name },
        node: Node {
            operating_system: os,
            product: patchwave_engine::baseline::product(&profile),
            version: profile.version,
        },
        outcome: step.0,
        started_at,
        finished_at: Timestamp::now(),
        reboot_required: seen.reboot_required,
        patches: scan.map(|scan| scan.patches).unwrap_or_default(),
        not_applicable_count: seen.evaluation.not_applicable_count,
        next_change: seen.evaluation.next_change(),
        left_out: seen.evaluation.left_out,
        stdout: step.1,
        stderr: step.2,
    })
}

fn read_override_list(path: &Path) -> Result<Vec<OverrideEntry>, RunBaselineError> {
    let read = |source| RunBaselineError::ReadList { path: path.to_owned(), source };
    let mut text = Vec::new();
    // One byte more than is allowed tells a list that is too long.
    let limit = OVERRIDE_BYTES_MAX as u64 + 1;
    File::open(path).map_err(read)?.take(limit).read_to_end(&mut text).map_err(read)?;
    parse_override_list(&text).map_err(|source| RunBaselineError::List { path: path.to_owned(), source })
}

/// The command that a control plane would send.
fn invocation(operation: PatchOperation, baseline: BaselineSnapshot, node_id: NodeId, now: Timestamp) -> RunInvocation {
    let operation = match operation {
        PatchOperation::Scan => "Scan",
        PatchOperation::Install => "Install",
    };
    let parameters = [("Operation".to_owned(), vec![operation.to_owned()])].into();
    let document = documents::render(RUN_PATCH_BASELINE, None, &parameters);
    RunInvocation {
        command_id: CommandId::derived("run-baseline"),
        node_id,
        not_before: now,
        not_after: Timestamp::MAX,
        document: document.expect("the built-in document takes its own parameters"),
        baseline: Some(baseline),
    }
}

/// What the last scan said that reports do not carry.
#[derive(Debug, Default)]
struct Seen {
    evaluation: Evaluation,
    reboot_required: bool,
}

/// The host's runner, looked over the shoulder of.
struct Watched {
    host: HostRunner,
    last: Mutex<Seen>,
}

impl Watched {
    fn see(&self, scan: &ScanResult) {
        let seen = Seen { evaluation: scan.evaluation.clone(), reboot_required: scan.reboot_required };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

#[async_trait]
impl StepRunner for Watched {
    fn node_id(&self) -> &NodeId {
        self.host.node_id()
    }

    fn operating_system(&self) -> OperatingSystem {
        self.host.operating_system()
    }

    fn now(&self) -> Timestamp {
        self.host.now()
    }

    fn can_reboot(&self) -> bool {
        self.host.can_reboot()
    }

    async fn shell(&self, context: &StepContext<'_>) -> StepEnd {
        self.host.shell(context).await
    }

    async fn fetch(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        self.host.fetch(url, bytes_max).await
    }

    async fn scan(&self, baseline: &BaselineSnapshot) -> Result<ScanResult, PackageError> {
        let scan = self.host.scan(baseline).await?;
        self.see(&scan);
        Ok(scan)
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        let result = self.host.install(baseline, progress).await?;
        self.see(&result.scan);
        Ok(result)
    }
}
