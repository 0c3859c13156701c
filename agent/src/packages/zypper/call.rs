//! Calling zypper to change something: its lock, its output, and how it ended.

use std::time::Duration;

use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX};
use tokio::time::{Instant, sleep};

use super::super::{InstallOptions, PackageError, tool};
use super::exit::{Meaning, meaning};
use super::plan::Said;
use super::root::ZypperRoot;

/// How often a lock is tried again. zypper itself waits for none.
const LOCK_RETRY: Duration = Duration::from_secs(1);

/// zypper on one root, and what it has printed so far.
pub(super) struct Calls<'a> {
    pub(super) root: &'a ZypperRoot,
    pub(super) options: &'a InstallOptions,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// A call that has ended, other than for a lock.
pub(super) struct Ended {
    pub(super) meaning: Meaning,
    /// In words, for people.
    pub(super) exit: String,
    pub(super) said: Said,
    pub(super) finished: tool::Finished,
}

impl Calls<'_> {
    /// Runs zypper to its end, waiting for its lock as long as we may.
    pub(super) async fn run(&self, options: &[&str], arguments: &[&str]) -> Result<Ended, PackageError> {
        let deadline = Instant::now() + self.options.lock_timeout;
        loop {
            let mut command = self.root.command(&["--xmlout"]);
            command.args(options).args(arguments);
            let finished = tool::run(self.root.state_dir(), "zypper", command).await?;
            let (exit, meaning) = (finished.status.to_string(), meaning(finished.status.code()));
            let said = Said::parse(&finished.stdout);
            if meaning != Meaning::Locked {
                return Ok(Ended { meaning, exit, said, finished });
            }
            let holder = holder(&said.complaint(&exit));
            let path = self.root.path("run/zypp.pid").display().to_string();
            if deadline <= Instant::now() + LOCK_RETRY {
                return Err(PackageError::Locked { path, holder, seconds: self.options.lock_timeout.as_secs() });
            }
            tracing::info!(lock.path = %path, lock.holder = %holder, "waiting for a lock");
            sleep(LOCK_RETRY).await;
        }
    }

    /// Adds what a call printed to what is reported.
    pub(super) fn keep(&mut self, ended: &Ended) {
        // What is cut off at the end need not be collected.
        if self.stdout.len() < 4 * OUTPUT_CHARS_MAX {
            self.stdout
                .extend(ended.finished.stdout.split_inclusive('\n').filter(|line| !line.starts_with("<progress ")));
        }
        if self.stderr.len() < 4 * ERROR_CHARS_MAX {
            self.stderr.push_str(&ended.finished.stderr);
        }
    }
}

/// `System management is locked by the application with pid 4321 (zypper).`
fn holder(message: &str) -> String {
    let named = message.split_once(" with pid ").map(|(_, who)| who.trim_end_matches('.').to_owned());
    named.map_or_else(|| "another process".to_owned(), |who| format!("process {who}"))
}

#[cfg(test)]
mod tests {
    use super::holder;

    #[test]
    fn holder_of_the_lock_is_named_as_zypper_names_it() {
        let message = "System management is locked by the application with pid 4321 (packagekitd).";
        assert_eq!(holder(message), "process 4321 (packagekitd)");
        assert_eq!(holder("locked"), "another process");
    }
}
