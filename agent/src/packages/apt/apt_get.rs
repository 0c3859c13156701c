//! Running apt-get: one call, its locks, its output and what it complains about.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};
use tokio::time::{Instant, sleep};

use super::super::{InstallOptions, PackageError};
use super::lock;
use super::root::AptRoot;

/// How often a lock that apt-get itself does not wait for is tried again.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// apt-get on one root, and what it has printed so far.
pub(super) struct AptGet<'a> {
    pub(super) root: &'a AptRoot,
    pub(super) options: &'a InstallOptions,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl AptGet<'_> {
    /// Lets dpkg configure what was unpacked and left. How it ended, the next scan shows.
    pub(super) async fn finish_interrupted(&mut self) -> Result<(), PackageError> {
        let mut command = self.root.command("dpkg")?;
        command.args(["--force-confdef", "--force-confold", "--configure", "-a"]);
        let finished = self.spawn("dpkg", command).await?;
        self.keep(&finished);
        Ok(())
    }

    /// Adds what a tool printed to what is reported.
    pub(super) fn keep(&mut self, finished: &Finished) {
        // What is cut off at the end need not be collected.
        if self.stdout.len() < 4 * OUTPUT_CHARS_MAX {
            self.stdout.push_str(&finished.stdout);
        }
        if self.stderr.len() < 4 * ERROR_CHARS_MAX {
            self.stderr.push_str(&finished.stderr);
        }
    }

    /// Runs apt-get to its end, waiting for locks as long as we may.
    pub(super) async fn run(&mut self, arguments: &[&str]) -> Result<Finished, PackageError> {
        let deadline = Instant::now() + self.options.lock_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut command = self.root.command("apt-get")?;
            command.args(["-q", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]);
            // Covers dpkg's locks; those of the lists and of the archive are retried here.
            command.arg("-o").arg(format!("DPkg::Lock::Timeout={}", left.as_secs()));
            command.args(arguments);
            let finished = self.spawn("apt-get", command).await?;
            let Some(held) =
                (!finished.status.success()).then(|| lock::held(&finished.stdout, &finished.stderr)).flatten()
            else {
                return Ok(finished);
            };
            if deadline <= Instant::now() + LOCK_RETRY {
                let lock::Held { path, holder } = held;
                return Err(PackageError::Locked { path, holder, seconds: self.options.lock_timeout.as_secs() });
            }
            tracing::info!(lock.path = %held.path, lock.holder = %held.holder, "waiting for a lock");
            sleep(LOCK_RETRY).await;
        }
    }

    /// Runs a tool whose output goes to files: if we end before it does, it must neither be
    /// killed with us nor meet a closed pipe in the middle of unpacking.
    async fn spawn(&self, program: &str, mut command: Command) -> Result<Finished, PackageError> {
        let [out, err] = ["stdout", "stderr"].map(|name| self.root.state_dir().join(format!("{program}.{name}")));
        let write = |path: &Path| {
            fs::create_dir_all(self.root.state_dir())
                .and_then(|()| File::create(path))
                .map_err(|source| PackageError::Write { path: path.to_owned(), source })
        };
        command.stdout(write(&out)?).stderr(write(&err)?).process_group(0);
        let status = tokio::process::Command::from(command)
            .status()
            .await
            .map_err(|source| PackageError::Run { program: program.to_owned(), source })?;
        let read = |path: &Path| {
            fs::read(path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|source| PackageError::Read { path: path.to_owned(), source })
        };
        Ok(Finished { status, stdout: read(&out)?, stderr: read(&err)? })
    }
}

/// A tool that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    /// Why it failed, in a line.
    pub(super) fn complaint(&self) -> String {
        // What apt cannot satisfy it explains on standard output, as ` a : Depends: b (>= 2) but …`.
        let unmet = self.stdout.lines().map(str::trim).find(|line| line.contains(" : "));
        match unmet.filter(|_| self.stderr.contains("held broken packages")) {
            Some(unmet) => unmet.to_owned(),
            // apt runs dpkg on a terminal of its own and prints what it said, errors too.
            None => dpkg_error(&self.stdout).unwrap_or_else(|| last_complaint(&self.stderr)),
        }
    }

    /// An error unless it succeeded.
    pub(super) fn into_result(self, program: &str) -> Result<(), PackageError> {
        if self.status.success() {
            return Ok(());
        }
        let (program, message) = (program.to_owned(), last_complaint(&self.stderr));
        Err(PackageError::Failed { program, status: self.status.to_string(), message })
    }
}

/// The most telling line of a tool's standard error: dpkg's own error before apt's summary of it.
pub(super) fn last_complaint(stderr: &str) -> String {
    if let Some(error) = dpkg_error(stderr) {
        return error;
    }
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().find(|line| line.starts_with("E: ")).or_else(|| lines().next_back());
    line.unwrap_or("no message").trim_start_matches("E: ").to_owned()
}

/// The first error of dpkg in a tool's output, with the reason, which is on the line after.
fn dpkg_error(output: &str) -> Option<String> {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.find(|line| line.starts_with("dpkg: error"))?;
    Some(match lines.next() {
        Some(reason) if error.ends_with(':') => format!("{error} {reason}"),
        _ => error.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::last_complaint;

    #[test]
    fn dpkgs_own_error_says_more_than_apts_summary() {
        for (stderr, expected) in [
            (
                "dpkg: error processing archive /a.deb (--unpack):\n unable to open x: No space left on device\n\
                 Errors were encountered while processing:\n /a.deb\n\
                 E: Sub-process /usr/bin/dpkg returned an error code (1)\n",
                "dpkg: error processing archive /a.deb (--unpack): unable to open x: No space left on device",
            ),
            ("W: something\nE: Version '2' for 'a' was not found\nE: more\n", "Version '2' for 'a' was not found"),
            ("strange\n", "strange"),
            ("", "no message"),
        ] {
            assert_eq!(last_complaint(stderr), expected);
        }
    }
}
