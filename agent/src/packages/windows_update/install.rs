//! An installation: by update id, judged by the search after it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};

use super::super::{InstallProgress, InstallResult, PackageError, tool};
use super::answer::{Installed, parse};
use super::root::{WindowsRoot, last_line};
use super::scan::{self, Scanned};

/// Searches and installations in a row: an update may make the next one applicable (a servicing
/// stack before a rollup). More are left to the next run.
const ROUNDS_MAX: usize = 3;

/// Ids in one call. Windows takes some 32,000 characters in a command line, and an id has 36.
const IDS_MAX: usize = 200;

/// Installs; see [`super::super::PackageManager::install`].
pub(super) async fn install(
    root: &WindowsRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<InstallResult, PackageError> {
    progress(InstallProgress::Scanning);
    let mut scanned = scan_off_thread(root, baseline, now).await?;
    let mut attempted: Vec<String> = Vec::new();
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for _ in 0..ROUNDS_MAX {
        let targets: Vec<String> = targets(&scanned).filter(|id| !attempted.contains(id)).collect();
        if targets.is_empty() {
            break;
        }
        progress(InstallProgress::Installing { done: attempted.len(), total: attempted.len() + targets.len() });
        let owner: BTreeMap<&str, &str> = targets
            .iter()
            .flat_map(|id| scanned.update_ids[id].iter().map(move |update_id| (update_id.as_str(), id.as_str())))
            .collect();
        let update_ids: Vec<&str> = owner.keys().copied().filter(|id| is_update_id(id)).collect();
        for update_ids in update_ids.chunks(IDS_MAX) {
            let ids = update_ids.join(",");
            // What waits for its licence terms is no target, unless the baseline names it.
            let command = root.script(&["-Operation", "Install", "-UpdateIds", &ids, "-AcceptEulaOf", &ids])?;
            let finished = tool::run(root.state_dir(), "windows-update", command).await?;
            if finished.status.success() {
                let installed: Installed = parse("Install", finished.stdout.as_bytes())?;
                for result in &installed.results {
                    if let (Some(why), Some(id)) = (result.failure(), owner.get(result.update_id.as_str())) {
                        failures.insert((*id).to_owned(), why);
                    }
                }
            } else {
                let why = last_line(&finished.stderr);
                failures.extend(update_ids.iter().map(|id| (owner[id].to_owned(), why.clone())));
            }
            stdout.push_str(&finished.stdout);
            stderr.push_str(&finished.stderr);
        }
        attempted.extend(targets);
        progress(InstallProgress::Verifying);
        scanned = scan_off_thread(root, baseline, now).await?;
        if scanned.result.reboot_required {
            // The rest can be told only after the start.
            break;
        }
    }
    let mut scan = scanned.result;
    for (decision, record) in scan.evaluation.decisions.iter_mut().zip(&mut scan.patches) {
        if decision.state == PatchState::Missing && attempted.contains(&decision.name) {
            let why =
                failures.get(&decision.name).map_or("the Windows Update Agent did not install it", String::as_str);
            decision.state = PatchState::Failed;
            decision.reason = format!("installation failed: {why}");
            record.state = decision.state;
            record.reason.clone_from(&decision.reason);
        }
    }
    let first = |text: String, max| text.chars().take(max).collect();
    Ok(InstallResult {
        scan,
        attempted,
        stdout: first(stdout, OUTPUT_CHARS_MAX),
        stderr: first(stderr, ERROR_CHARS_MAX),
    })
}

/// Patches that are approved, needed and not held.
fn targets(scanned: &Scanned) -> impl Iterator<Item = String> {
    let decisions = scanned.result.evaluation.decisions.iter();
    decisions
        .filter(|decision| decision.to_install().is_some() && scanned.update_ids.contains_key(&decision.name))
        .map(|decision| decision.name.clone())
}

/// An id becomes part of an argument: nothing but what ids are made of.
fn is_update_id(id: &str) -> bool {
    !id.is_empty() && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

async fn scan_off_thread(
    root: &WindowsRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
) -> Result<Scanned, PackageError> {
    let (root, baseline) = (root.clone(), baseline.clone());
    tokio::task::spawn_blocking(move || scan::scan(&root, &baseline, now))
        .await
        .map_err(|_| PackageError::Interrupted)?
}

#[cfg(test)]
mod tests {
    use super::is_update_id;

    #[test]
    fn only_ids_become_arguments() {
        assert!(is_update_id("9d5a7bb5-6a1f-4b5a-8a9a-0d7c3f1f2e11"));
        for wrong in ["", "a; Remove-Item", "x,y", "\"a\""] {
            assert!(!is_update_id(wrong), "{wrong}");
        }
    }
}
