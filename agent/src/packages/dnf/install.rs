//! An installation: planned and done by dnf, judged by a scan.
//!
//! The set is installed and halved as `halving` says. Every transaction is planned before it runs, and
//! does not run when it would remove something or bring in what the baseline blocks. What replaces a
//! package under another name comes in as a dependency only: only versions of installed names are
//! asked for.

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::baseline::forbidden;
use patchwave_engine::versions::rpm;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};
use tokio::time::{Duration, Instant, sleep};

use super::super::halving::{self, Outcome, Target, Transact};
use super::super::rpm::installed;
use super::super::tool::{self, Finished};
use super::super::{InstallOptions, InstallProgress, InstallResult, PackageError, ScanResult, os_release};
use super::plan::Plan;
use super::root::{DnfRoot, Tool};
use super::{output, scan};

/// How often a lock is tried again.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// Installs; see [`super::super::PackageManager::install`].
pub(super) async fn install(
    root: &DnfRoot,
    baseline: &BaselineSnapshot,
    options: &InstallOptions,
    now: Timestamp,
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<InstallResult, PackageError> {
    let node = os_release(root.directory())?.profile();
    let own = root.by_baseline(baseline, &node)?;
    let mut run = Run { root: &own, baseline, options, stdout: String::new(), stderr: String::new() };
    if options.refresh {
        progress(InstallProgress::Refreshing);
        run.refresh().await?;
    }
    progress(InstallProgress::Scanning);
    let before = scan_off_thread(root, baseline, now).await?;
    let targets = halving::targets(&before);
    if targets.is_empty() {
        return Ok(run.into_result(before, Vec::new()));
    }
    let total = targets.len();
    let failures = halving::install_all(&mut run, &targets, progress).await?;
    progress(InstallProgress::Installing { done: total, total });

    progress(InstallProgress::Verifying);
    let mut after = scan_off_thread(root, baseline, now).await?;
    halving::mark_failures(&mut after, root.tool().program(), &targets, &failures);
    Ok(run.into_result(after, targets.into_iter().map(|target| target.key).collect()))
}

async fn scan_off_thread(
    root: &DnfRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
) -> Result<ScanResult, PackageError> {
    let (root, baseline) = (root.clone(), baseline.clone());
    tokio::task::spawn_blocking(move || scan::scan(&root, &baseline, now))
        .await
        .map_err(|_| PackageError::Interrupted)?
}

/// dnf on one root, and what it has printed so far.
struct Run<'a> {
    root: &'a DnfRoot,
    baseline: &'a BaselineSnapshot,
    options: &'a InstallOptions,
    stdout: String,
    stderr: String,
}

impl Run<'_> {
    fn into_result(self, scan: ScanResult, attempted: Vec<String>) -> InstallResult {
        let first = |text: &str, max| output::without_passwords(text).chars().take(max).collect();
        InstallResult {
            scan,
            attempted,
            stdout: first(&self.stdout, OUTPUT_CHARS_MAX),
            stderr: first(&self.stderr, ERROR_CHARS_MAX),
        }
    }

    /// Fetches the metadata of every repository, whatever its age.
    async fn refresh(&mut self) -> Result<(), PackageError> {
        let arguments: &[&str] = match self.root.tool() {
            Tool::Dnf => &["-q", "makecache", "--refresh"],
            Tool::Yum => &["-q", "makecache", "fast", "--setopt=metadata_expire=0"],
        };
        let finished = self.run(arguments).await?;
        self.stderr.push_str(&finished.stderr);
        if finished.status.success() {
            return Ok(());
        }
        let program = format!("{} makecache", self.root.tool().program());
        let message = output::complaint(&finished.stdout, &finished.stderr);
        Err(PackageError::Failed { program, status: finished.status.to_string(), message })
    }

    /// Adds what a tool printed to what is reported.
    fn keep(&mut self, finished: &Finished) {
        // What is cut off at the end need not be collected.
        if self.stdout.len() < 4 * OUTPUT_CHARS_MAX {
            self.stdout.push_str(&finished.stdout);
        }
        if self.stderr.len() < 4 * ERROR_CHARS_MAX {
            self.stderr.push_str(&finished.stderr);
        }
    }

    /// Runs the tool to its end, waiting for locks as long as we may.
    async fn run(&self, arguments: &[&str]) -> Result<Finished, PackageError> {
        let deadline = Instant::now() + self.options.lock_timeout;
        let program = self.root.tool().program();
        loop {
            let mut command = self.root.command()?;
            command.args(arguments);
            let finished = tool::run(self.root.state_dir(), program, command).await?;
            let failed = !finished.status.success();
            let Some(pid) = failed.then(|| output::lock_holder(&finished.stdout, &finished.stderr)).flatten() else {
                return Ok(finished);
            };
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let holder = format!("process {pid} ({})", name.trim());
            if deadline <= Instant::now() + LOCK_RETRY {
                let path = format!("the lock of {program}");
                return Err(PackageError::Locked { path, holder, seconds: self.options.lock_timeout.as_secs() });
            }
            tracing::info!(lock.holder = %holder, "waiting for a lock");
            sleep(LOCK_RETRY).await;
        }
    }

    /// The versions as the tool takes them. The architecture is said only where a name is installed
    /// for several: a version may have moved to or from `noarch`.
    fn arguments(&self, targets: &[Target]) -> Result<Vec<String>, PackageError> {
        let installed = installed::installed(self.root.rpm())?;
        let written = |target: &Target| {
            let other = |package: &patchwave_engine::baseline::InstalledPackage| {
                package.name == target.name && package.architecture != target.architecture
            };
            let several = installed.iter().any(other);
            let Target { name, version, architecture, .. } = target;
            if several { format!("{name}-{version}.{architecture}") } else { format!("{name}-{version}") }
        };
        Ok(targets.iter().map(written).collect())
    }
}

#[async_trait]
impl Transact for Run<'_> {
    async fn transact(&mut self, targets: &[Target]) -> Result<Outcome, PackageError> {
        let versions = self.arguments(targets)?;
        let mut arguments: Vec<&str> = match self.root.tool() {
            // Otherwise what cannot be had is left out in silence, and nobody says why.
            Tool::Dnf => vec!["--best", "upgrade"],
            Tool::Yum => vec!["upgrade"],
        };
        arguments.extend(versions.iter().map(String::as_str));

        // Metadata was fetched before; a repository that changes meanwhile would change the plan.
        let planning: Vec<&str> = ["-C", "--assumeno"].into_iter().chain(arguments.iter().copied()).collect();
        let planned = self.run(&planning).await?;
        let plan = Plan::parse(&planned.stdout);
        if plan.installs.is_empty() {
            return Ok(Outcome::Refused(output::complaint(&planned.stdout, &planned.stderr)));
        }
        if let Some(why) = refusal(self.baseline, &plan) {
            return Ok(Outcome::Refused(why));
        }

        arguments.insert(0, "-y");
        let done = self.run(&arguments).await?;
        self.keep(&done);
        Ok(if done.status.success() {
            Outcome::Done
        } else {
            Outcome::Refused(output::complaint(&done.stdout, &done.stderr))
        })
    }

    fn still_missing(&self, targets: &[Target]) -> Result<Vec<Target>, PackageError> {
        let installed = installed::installed(self.root.rpm())?;
        let is_there = |target: &Target| {
            installed.iter().any(|package| {
                package.name == target.name && rpm::compare_evr(&package.version, &target.version).is_ge()
            })
        };
        Ok(targets.iter().filter(|target| !is_there(target)).cloned().collect())
    }
}

/// Why a planned transaction must not run, if it must not.
fn refusal(baseline: &BaselineSnapshot, plan: &Plan) -> Option<String> {
    if let Some(name) = plan.real_removals().next() {
        return Some(format!("it would remove `{name}`"));
    }
    plan.installs.iter().find_map(|planned| forbidden(baseline, &planned.name, &planned.architecture, &planned.version))
}
