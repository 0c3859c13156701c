//! An installation: planned and done by apt-get, judged by a scan.
//!
//! First everything in one transaction. If apt refuses that or it fails, what is still missing is
//! halved, and halved again, until the bad package stands alone: it fails, the others do not. With
//! one bad package among n that takes some 2·log2(n) transactions, never more than 2·n. Every
//! transaction is simulated before it runs, and does not run when it would remove something or
//! bring in what the baseline blocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::baseline::forbidden;
use patchwave_engine::versions::deb;
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};

use super::super::{InstallOptions, InstallProgress, InstallResult, PackageError, ScanResult};
use super::apt_get::AptGet;
use super::plan::Plan;
use super::root::AptRoot;
use super::{dpkg, scan};

/// Installs; see [`super::super::PackageManager::install`].
pub(super) async fn install(
    root: &AptRoot,
    baseline: &BaselineSnapshot,
    options: &InstallOptions,
    now: Timestamp,
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<InstallResult, PackageError> {
    let mut apt = AptGet { root, options, stdout: String::new(), stderr: String::new() };
    if options.refresh {
        progress(InstallProgress::Refreshing);
        let updated = apt.run(&["update"]).await?;
        // Archives that could not be reached this once are complained about, and no error.
        apt.stderr.push_str(&updated.stderr);
        updated.into_result("apt-get update")?;
    }
    progress(InstallProgress::Scanning);
    let before = scan_off_thread(root, baseline, now).await?;
    let targets = targets(&before);
    let unfinished = before.patches.iter().any(|patch| patch.state == PatchState::Failed);
    if targets.is_empty() && !unfinished {
        return Ok(apt.into_result(before, Vec::new()));
    }
    if unfinished {
        // What was unpacked and not configured may go better this time.
        apt.finish_interrupted().await?;
    }

    let total = targets.len();
    let failures = apt.install_all(baseline, &targets, progress).await?;
    progress(InstallProgress::Installing { done: total, total });

    progress(InstallProgress::Verifying);
    let mut after = scan_off_thread(root, baseline, now).await?;
    mark_failures(&mut after, &targets, &failures);
    Ok(apt.into_result(after, targets.into_iter().map(|target| target.key).collect()))
}

/// One version to be installed.
#[derive(Debug, Clone)]
struct Target {
    /// `name.arch`, as reports have it.
    key: String,
    name: String,
    architecture: String,
    version: String,
}

impl Target {
    /// As apt-get takes it.
    fn argument(&self) -> String {
        if self.architecture == "all" {
            format!("{}={}", self.name, self.version)
        } else {
            format!("{}:{}={}", self.name, self.architecture, self.version)
        }
    }
}

fn targets(scan: &ScanResult) -> Vec<Target> {
    let target = |decision: &patchwave_engine::baseline::Decision| {
        Some(Target {
            key: format!("{}.{}", decision.name, decision.architecture),
            name: decision.name.clone(),
            architecture: decision.architecture.clone(),
            version: decision.to_install()?.to_owned(),
        })
    };
    scan.evaluation.decisions.iter().filter_map(target).collect()
}

/// The targets whose installed version is still older, or unpacked and not configured.
fn still_missing(root: &AptRoot, targets: &[Target]) -> Result<Vec<Target>, PackageError> {
    let installed = dpkg::installed(root)?;
    let is_there = |target: &Target| {
        installed.iter().any(|package| {
            package.name == target.name
                && package.architecture == target.architecture
                && !package.unconfigured
                && deb::compare(&package.version, &target.version).is_ge()
        })
    };
    Ok(targets.iter().filter(|target| !is_there(target)).cloned().collect())
}

/// What was tried and is still missing has failed; what the scan itself says has failed gets the
/// tool's reason.
fn mark_failures(scan: &mut ScanResult, targets: &[Target], failures: &BTreeMap<String, String>) {
    for (decision, record) in scan.evaluation.decisions.iter_mut().zip(&mut scan.patches) {
        let tried = targets.iter().any(|target| target.key == record.kb_id);
        if tried && matches!(decision.state, PatchState::Missing | PatchState::Failed) {
            let why = failures.get(&record.kb_id).map_or("apt-get did not install it", String::as_str);
            decision.state = PatchState::Failed;
            decision.reason = format!("installation failed: {why}");
            record.state = decision.state;
            record.reason.clone_from(&decision.reason);
        }
    }
}

async fn scan_off_thread(
    root: &AptRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
) -> Result<ScanResult, PackageError> {
    let (root, baseline) = (root.clone(), baseline.clone());
    tokio::task::spawn_blocking(move || scan::scan(&root, &baseline, now))
        .await
        .map_err(|_| PackageError::Interrupted)?
}

/// How a transaction ended.
enum Outcome {
    Done,
    /// Not planned, not allowed or failed: why.
    Refused(String),
}

impl AptGet<'_> {
    fn into_result(self, scan: ScanResult, attempted: Vec<String>) -> InstallResult {
        let first = |text: String, max| text.chars().take(max).collect();
        InstallResult {
            scan,
            attempted,
            stdout: first(self.stdout, OUTPUT_CHARS_MAX),
            stderr: first(self.stderr, ERROR_CHARS_MAX),
        }
    }

    /// Installs what can be installed; returns why the rest cannot, by `name.arch`.
    async fn install_all(
        &mut self,
        baseline: &BaselineSnapshot,
        targets: &[Target],
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<BTreeMap<String, String>, PackageError> {
        let total = targets.len();
        let mut failures = BTreeMap::new();
        // None when there was only something to finish.
        let mut batches: Vec<Vec<Target>> = if targets.is_empty() { Vec::new() } else { vec![targets.to_vec()] };
        let mut anything_tried = false;
        while let Some(batch) = batches.pop() {
            let left = batch.len() + batches.iter().map(Vec::len).sum::<usize>();
            progress(InstallProgress::Installing { done: total - left, total });
            match self.transact(baseline, &batch).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Refused(why)) => {
                    tracing::warn!(packages = batch.len(), reason = %why, "a transaction failed");
                    let mut missing = still_missing(self.root, &batch)?;
                    if let ([target], 1) = (missing.as_slice(), batch.len()) {
                        failures.insert(target.key.clone(), why);
                        continue;
                    }
                    let second_half = missing.split_off(missing.len().div_ceil(2));
                    batches.extend([second_half, missing].into_iter().filter(|half| !half.is_empty()));
                }
                // What has been installed must be reported, so a lock met later fails the rest only.
                Err(error @ PackageError::Locked { .. }) if anything_tried => {
                    let rest = batches.iter().flatten().chain(&batch);
                    failures.extend(rest.map(|target| (target.key.clone(), error.to_string())));
                    break;
                }
                Err(error) => return Err(error),
            }
            anything_tried = true;
        }
        Ok(failures)
    }

    async fn transact(&mut self, baseline: &BaselineSnapshot, targets: &[Target]) -> Result<Outcome, PackageError> {
        let versions: Vec<String> = targets.iter().map(Target::argument).collect();
        let mut arguments = vec!["--only-upgrade", "--no-remove", "-y", "install"];
        arguments.extend(versions.iter().map(String::as_str));

        let simulation: Vec<&str> = std::iter::once("-s").chain(arguments.iter().copied()).collect();
        let planned = self.run(&simulation).await?;
        if !planned.status.success() {
            return Ok(Outcome::Refused(planned.complaint()));
        }
        if let Some(why) = refusal(baseline, &Plan::parse(&planned.stdout)) {
            return Ok(Outcome::Refused(why));
        }

        let mut done = self.run(&arguments).await?;
        if done.stderr.contains("dpkg --configure -a") {
            // Somebody's earlier installation was cut off: finish it, then try once more.
            self.finish_interrupted().await?;
            done = self.run(&arguments).await?;
        }
        self.keep(&done);
        Ok(if done.status.success() { Outcome::Done } else { Outcome::Refused(done.complaint()) })
    }
}

/// Why a planned transaction must not run, if it must not.
fn refusal(baseline: &BaselineSnapshot, plan: &Plan) -> Option<String> {
    if let Some(name) = plan.removals.first() {
        return Some(format!("it would remove `{name}`"));
    }
    plan.installs.iter().find_map(|planned| forbidden(baseline, &planned.name, &planned.architecture, &planned.version))
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::BaselineId;
    use patchwave_schemas::baseline::BaselineSnapshot;
    use serde_json::json;

    use super::{Plan, refusal};

    #[test]
    fn plan_that_removes_or_brings_in_what_is_blocked_is_refused() {
        let rules = |action: &str| {
            let rules = serde_json::from_value(json!({
                "OperatingSystem": "DEBIAN", "RejectedPatches": ["libevil*"], "RejectedPatchesAction": action }));
            BaselineSnapshot::new("", BaselineId::from_bits(1), "test", rules.unwrap())
        };
        let plan = |text: &str| Plan::parse(text);
        let block = rules("BLOCK");
        assert_eq!(refusal(&block, &plan("Inst a [1] (2 stable [amd64])\n")), None);
        assert_eq!(refusal(&block, &plan("Remv b [1]\n")).as_deref(), Some("it would remove `b`"));
        let brings_in = "Inst a [1] (2 stable [amd64])\nInst libevil1 (1 stable [amd64])\n";
        assert_eq!(
            refusal(&block, &plan(brings_in)).as_deref(),
            Some("it needs `libevil1` 1, which pattern `libevil*` rejects")
        );
        assert_eq!(refusal(&rules("ALLOW_AS_DEPENDENCY"), &plan(brings_in)), None);
    }
}
