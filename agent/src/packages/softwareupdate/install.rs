//! An installation: one call for each update, judged by the list after it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};

use super::super::{InstallProgress, InstallResult, PackageError, ScanResult, tool};
use super::root::MacRoot;
use super::{pending, scan};

/// Installs; see [`super::super::PackageManager::install`].
pub(super) async fn install(
    root: &MacRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
    progress: &(dyn Fn(InstallProgress) + Send + Sync),
) -> Result<InstallResult, PackageError> {
    progress(InstallProgress::Scanning);
    let before = scan_off_thread(root, baseline, now).await?;
    let labels: Vec<String> = before
        .evaluation
        .decisions
        .iter()
        .filter(|decision| decision.to_install().is_some())
        .map(|decision| decision.name.clone())
        .collect();
    if labels.is_empty() {
        return Ok(InstallResult { scan: before, ..InstallResult::default() });
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut complaints = BTreeMap::new();
    for (done, label) in labels.iter().enumerate() {
        progress(InstallProgress::Installing { done, total: labels.len() });
        let command = root.softwareupdate(&["--install", label]);
        let finished = tool::run(root.state_dir(), "softwareupdate", command).await?;
        let said = finished.stdout.clone() + &finished.stderr;
        if wants_restart(&said) {
            pending::note(root, label, Timestamp::now())?;
        }
        complaints.insert(label.clone(), complaint(&said, &finished.status.to_string()));
        stdout.push_str(&finished.stdout);
        stderr.push_str(&finished.stderr);
    }
    progress(InstallProgress::Installing { done: labels.len(), total: labels.len() });

    progress(InstallProgress::Verifying);
    let mut after = scan_off_thread(root, baseline, now).await?;
    for (decision, record) in after.evaluation.decisions.iter_mut().zip(&mut after.patches) {
        if decision.state == PatchState::Missing
            && let Some(why) = complaints.get(&decision.name)
        {
            decision.state = PatchState::Failed;
            decision.reason = format!("installation failed: {why}");
            record.state = decision.state;
            record.reason.clone_from(&decision.reason);
        }
    }
    let first = |text: String, max| text.chars().take(max).collect();
    Ok(InstallResult {
        scan: after,
        attempted: labels,
        stdout: first(stdout, OUTPUT_CHARS_MAX),
        stderr: first(stderr, ERROR_CHARS_MAX),
    })
}

async fn scan_off_thread(
    root: &MacRoot,
    baseline: &BaselineSnapshot,
    now: Timestamp,
) -> Result<ScanResult, PackageError> {
    let (root, baseline) = (root.clone(), baseline.clone());
    tokio::task::spawn_blocking(move || scan::scan(&root, &baseline, now))
        .await
        .map_err(|_| PackageError::Interrupted)?
}

/// `You have installed one or more updates that requires that you restart your computer. Please
/// restart immediately.`; older ones say `requires that you shut down`, or `Please call halt(8)`.
fn wants_restart(said: &str) -> bool {
    said.lines().any(|line| {
        line.contains("Please restart immediately")
            || line.contains("requires that you restart")
            || line.contains("requires that you shut down")
            || line.contains("Please call halt")
    })
}

/// The most telling line of what softwareupdate printed about an update that is still missing.
fn complaint(said: &str, exit: &str) -> String {
    const TELLING: [&str; 5] = ["not enough", "no such update", "error", "fail", "password"];
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines().find(|line| {
        let line = line.to_ascii_lowercase();
        TELLING.iter().any(|word| line.contains(word))
    });
    let line = telling.or_else(|| lines().next_back()).map(str::to_owned);
    line.unwrap_or_else(|| format!("softwareupdate ended with {exit} and no message"))
}

#[cfg(test)]
mod tests {
    use super::{complaint, wants_restart};

    #[test]
    fn reason_of_a_failure_is_the_line_that_tells_it() {
        for (said, expected) in [
            ("Software Update Tool\n\nX: No such update\nNo updates are available.\n", "X: No such update"),
            (
                "Downloading\nNot enough free disk space: 9 GB needed\nDone.\n",
                "Not enough free disk space: 9 GB needed",
            ),
            ("Downloading X\n", "Downloading X"),
            ("", "softwareupdate ended with exit status: 2 and no message"),
        ] {
            assert_eq!(complaint(said, "exit status: 2"), expected);
        }
    }

    #[test]
    fn only_the_tools_own_words_mean_a_restart() {
        assert!(wants_restart(
            "Done.\nYou have installed one or more updates that requires that you restart your computer.  Please restart immediately.\n"
        ));
        assert!(!wants_restart("Downloaded X\nrestart\n"));
    }
}
