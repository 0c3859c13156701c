//! An installation: planned and done by zypper, judged by what it lists afterwards.
//!
//! First the patches of the package manager itself, after which everything is looked at again (exit
//! code 103 asks for that second pass). Then everything in one transaction. If zypper refuses that
//! or it fails, what is still needed is halved, and halved again, until the bad patch stands alone:
//! it fails, the others do not. Every transaction is simulated before it runs, and does not run when
//! it would remove a package or bring in what the baseline blocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::baseline::forbidden;
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};

use super::super::{InstallOptions, InstallProgress, InstallResult, PackageError};
use super::call::{Calls, Ended};
use super::contents;
use super::exit::Meaning;
use super::listing::Status;
use super::plan::{Said, name_of};
use super::root::ZypperRoot;
use super::scan::{self, Scanned};

/// Installs; see [`super::super::PackageManager::install`].
pub(super) async fn install(
    root: &ZypperRoot,
    baseline: &BaselineSnapshot,
    options: &InstallOptions,
    now: Timestamp,
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<InstallResult, PackageError> {
    let calls = Calls { root, options, stdout: String::new(), stderr: String::new() };
    let mut work = Work { calls, baseline, failures: BTreeMap::new(), attempted: Vec::new(), touched: false };
    if options.refresh {
        progress(InstallProgress::Refreshing);
        work.refresh().await?;
    }
    progress(InstallProgress::Scanning);
    let mut before = scan_off_thread(root, baseline, now).await?;
    if targets(&before).is_empty() {
        return Ok(work.into_result(before));
    }
    let stack: Vec<String> =
        targets(&before).into_iter().filter(|name| before.listing.patches[name].package_manager).collect();
    if !stack.is_empty() {
        work.install_all(&stack, targets(&before).len(), progress).await?;
        // A newer package manager may see more, or otherwise.
        before = scan_off_thread(root, baseline, now).await?;
    }
    let rest: Vec<String> = targets(&before).into_iter().filter(|name| !work.attempted.contains(name)).collect();
    // A licence is agreed to for those patches only that the baseline names.
    let (agreed, rest): (Vec<String>, Vec<String>) =
        rest.into_iter().partition(|name| scan::is_agreed(&baseline.rules, name));
    let total = work.attempted.len() + agreed.len() + rest.len();
    for patches in [agreed, rest] {
        work.install_all(&patches, total, progress).await?;
    }
    progress(InstallProgress::Installing { done: total, total });

    progress(InstallProgress::Verifying);
    let mut after = scan_off_thread(root, baseline, now).await?;
    work.mark_failures(&mut after);
    Ok(work.into_result(after))
}

/// Names of the patches that are approved, needed and not held.
fn targets(scanned: &Scanned) -> Vec<String> {
    let decisions = scanned.result.evaluation.decisions.iter();
    decisions.filter(|decision| decision.to_install().is_some()).map(|decision| decision.name.clone()).collect()
}

async fn scan_off_thread(
    root: &ZypperRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
) -> Result<Scanned, PackageError> {
    let (root, baseline) = (root.clone(), baseline.clone());
    tokio::task::spawn_blocking(move || scan::scan(&root, &baseline, now))
        .await
        .map_err(|_| PackageError::Interrupted)?
}

/// How a transaction ended.
enum Outcome {
    Done,
    /// Not planned, not allowed or failed: why. Fewer patches at once may go better.
    Refused(String),
    /// Nothing else would go better either: why.
    Hopeless(String),
}

struct Work<'a> {
    calls: Calls<'a>,
    baseline: &'a BaselineSnapshot,
    /// Why a patch could not be installed, by name.
    failures: BTreeMap<String, String>,
    attempted: Vec<String>,
    /// Something was changed, so that what follows must not end in an error.
    touched: bool,
}

impl Work<'_> {
    async fn refresh(&mut self) -> Result<(), PackageError> {
        let ended = self.calls.run(&[], &["refresh"]).await?;
        // Repositories that could not be reached this once are complained about, and no error.
        let some = ended.meaning == Meaning::ReposSkipped
            || ended.finished.stdout.contains("Some of the repositories have not been refreshed");
        if some {
            self.calls.stderr.push_str(&ended.said.complaint(&ended.exit));
            self.calls.stderr.push('\n');
        } else if ended.meaning != Meaning::Done {
            let message = ended.said.complaint(&ended.exit);
            return Err(PackageError::Failed { program: "zypper refresh".to_owned(), status: ended.exit, message });
        }
        Ok(())
    }

    /// Installs what can be installed of these; notes why the rest cannot.
    async fn install_all(
        &mut self,
        patches: &[String],
        total: usize,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<(), PackageError> {
        self.attempted.extend_from_slice(patches);
        let mut batches: Vec<Vec<String>> = if patches.is_empty() { Vec::new() } else { vec![patches.to_vec()] };
        while let Some(batch) = batches.pop() {
            let left = batch.len() + batches.iter().map(Vec::len).sum::<usize>();
            progress(InstallProgress::Installing { done: self.attempted.len() - left, total });
            match self.transact(&batch).await {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Refused(why)) => {
                    tracing::warn!(patches = batch.len(), reason = %why, "a transaction failed");
                    let mut missing = self.still_needed(&batch).await?;
                    if let ([name], 1) = (missing.as_slice(), batch.len()) {
                        self.failures.insert(name.clone(), why);
                        continue;
                    }
                    let second_half = missing.split_off(missing.len().div_ceil(2));
                    batches.extend([second_half, missing].into_iter().filter(|half| !half.is_empty()));
                }
                Ok(Outcome::Hopeless(why)) => {
                    let rest = batches.iter().flatten().chain(&batch);
                    self.failures.extend(rest.map(|name| (name.clone(), why.clone())));
                    break;
                }
                // What has been installed must be reported, so a lock met later fails the rest only.
                Err(error @ PackageError::Locked { .. }) if self.touched => {
                    let rest = batches.iter().flatten().chain(&batch);
                    self.failures.extend(rest.map(|name| (name.clone(), error.to_string())));
                    break;
                }
                Err(error) => return Err(error),
            }
            self.touched = true;
        }
        Ok(())
    }

    async fn still_needed(&self, names: &[String]) -> Result<Vec<String>, PackageError> {
        let root = self.calls.root.clone();
        let listing = tokio::task::spawn_blocking(move || scan::list(&root)).await;
        let listing = listing.map_err(|_| PackageError::Interrupted)??;
        let needed = |name: &&String| listing.patches.get(*name).is_some_and(|patch| patch.status == Status::Needed);
        Ok(names.iter().filter(needed).cloned().collect())
    }

    async fn transact(&mut self, names: &[String]) -> Result<Outcome, PackageError> {
        let mut arguments = vec!["install", "-t", "patch"];
        if names.iter().all(|name| scan::is_agreed(&self.baseline.rules, name)) {
            arguments.push("--auto-agree-with-licenses");
        }
        let dry_run: Vec<&str> = arguments.iter().copied().chain(["--dry-run", "--"]).collect();
        arguments.push("--");
        let named = |start: Vec<&str>| -> Vec<String> {
            start.into_iter().map(str::to_owned).chain(names.iter().cloned()).collect()
        };

        // The lists are those that the scan saw: nothing else may come in now.
        let planned = self.call(&named(dry_run)).await?;
        if let Some(outcome) = failure(&planned) {
            return Ok(outcome);
        }
        if let Some(why) = refusal(self.baseline, &planned.said) {
            return Ok(Outcome::Refused(why));
        }
        let done = self.call(&named(arguments)).await?;
        self.calls.keep(&done);
        self.blame_scripts(names, &done.said);
        Ok(failure(&done).unwrap_or(Outcome::Done))
    }

    async fn call(&self, arguments: &[String]) -> Result<Ended, PackageError> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.calls.run(&["--no-refresh"], &arguments).await
    }

    /// Notes the patches that brought a package whose script failed. zypper takes them for applied,
    /// and rpm keeps no note of it, so that only this installation can tell.
    fn blame_scripts(&mut self, names: &[String], said: &Said) {
        if said.script_failures.is_empty() {
            return;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let contents = contents::ask(self.calls.root, &names).unwrap_or_default();
        for (package, why) in &said.script_failures {
            let brings = |name: &&str| {
                contents.get(*name).is_some_and(|packages| packages.iter().any(|p| p == name_of(package)))
            };
            let mut guilty: Vec<&str> = names.iter().copied().filter(brings).collect();
            if guilty.is_empty() {
                // A dependency's script: any of them may have brought it.
                guilty.clone_from(&names);
            }
            self.failures.extend(guilty.into_iter().map(|name| (name.to_owned(), why.clone())));
        }
    }

    /// What was tried and is still missing has failed, and so has what is there and not in order.
    fn mark_failures(&self, after: &mut Scanned) {
        let result = &mut after.result;
        for (decision, record) in result.evaluation.decisions.iter_mut().zip(&mut result.patches) {
            let failure = self.failures.get(&decision.name);
            let missing = decision.state == PatchState::Missing && self.attempted.contains(&decision.name);
            let broken = matches!(decision.state, PatchState::Installed | PatchState::InstalledPendingReboot);
            if missing || (broken && failure.is_some()) {
                let why = failure.map_or("zypper did not install it", String::as_str);
                decision.state = PatchState::Failed;
                decision.reason = format!("installation failed: {why}");
                record.state = decision.state;
                record.reason.clone_from(&decision.reason);
            }
        }
    }

    fn into_result(self, scanned: Scanned) -> InstallResult {
        let first = |text: String, max| text.chars().take(max).collect();
        InstallResult {
            scan: scanned.result,
            attempted: self.attempted,
            stdout: first(self.calls.stdout, OUTPUT_CHARS_MAX),
            stderr: first(self.calls.stderr, ERROR_CHARS_MAX),
        }
    }
}

/// How a call failed, if it did.
fn failure(ended: &Ended) -> Option<Outcome> {
    match ended.meaning {
        // A failed script has been blamed on its patch; the others are in.
        Meaning::Done
        | Meaning::RebootNeeded
        | Meaning::RestartNeeded
        | Meaning::ReposSkipped
        | Meaning::ScriptFailed => None,
        Meaning::Refused => Some(Outcome::Refused(ended.said.complaint(&ended.exit))),
        Meaning::Locked | Meaning::Interrupted | Meaning::Unusable => {
            Some(Outcome::Hopeless(ended.said.complaint(&ended.exit)))
        }
    }
}

/// Why a planned transaction must not run, if it must not.
fn refusal(baseline: &BaselineSnapshot, plan: &Said) -> Option<String> {
    if let Some(name) = plan.removals.first() {
        return Some(format!("it would remove `{name}`"));
    }
    plan.installs.iter().find_map(|planned| forbidden(baseline, &planned.name, &planned.architecture, &planned.version))
}
