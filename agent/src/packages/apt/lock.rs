//! Who holds apt's or dpkg's lock, as apt-get's complaint and the kernel tell it.

use std::fs::{self, File};
use std::path::Path;

use rustix::process::{Flock, FlockType, fcntl_getlk};

/// A lock that apt-get could not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The lock file.
    pub(super) path: String,
    /// For people: process id and name, or `another process`.
    pub(super) holder: String,
}

/// Whether apt-get failed because of a lock, by what it printed.
///
/// It says `Could not get lock PATH. It is held by process N (NAME)`: on standard error when it
/// did not wait, on standard output when it did and on standard error only that it gave up. Older
/// versions leave out the second sentence; the kernel is asked then.
pub(super) fn held(stdout: &str, stderr: &str) -> Option<Held> {
    let gave_up = "Unable to acquire the dpkg frontend lock (";
    let (line, path) = if let Some(line) = details(stderr) {
        (line, first_word(line))
    } else {
        let (path, _) = stderr.split_once(gave_up)?.1.split_once(')')?;
        (details(stdout).filter(|line| first_word(line) == path).unwrap_or_default(), path)
    };
    let named = line.split_once("held by process ").map(|(_, who)| format!("process {}", who.trim_end_matches('.')));
    let holder = named.or_else(|| holder(Path::new(path))).unwrap_or_else(|| "another process".to_owned());
    Some(Held { path: path.to_owned(), holder })
}

fn details(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| line.split_once("Could not get lock ")).map(|(_, rest)| rest.trim())
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default().trim_end_matches(['.', ','])
}

/// The process that holds a write lock on a file.
fn holder(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let pid = lock.pid?.as_raw_nonzero();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

#[cfg(test)]
mod tests {
    use super::{Held, held};

    fn check(stdout: &str, stderr: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(path, holder)| Held { path: path.into(), holder: holder.into() });
        assert_eq!(held(stdout, stderr), expected);
    }

    #[test]
    fn holder_is_taken_from_apts_complaint() {
        check(
            "",
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 4321 (unattended-upgr)\n\
             E: Unable to lock directory /var/lib/apt/lists/\n",
            Some(("/var/lib/apt/lists/lock", "process 4321 (unattended-upgr)")),
        );
    }

    #[test]
    fn holder_is_taken_from_what_apt_said_while_it_waited() {
        check(
            "Waiting for cache lock: Could not get lock /a/lock-frontend. It is held by process 1 (dpkg)...\n\
             Waiting for cache lock: Could not get lock /a/lock-frontend. It is held by process 8296 (apt-get)...\n",
            "E: Unable to acquire the dpkg frontend lock (/a/lock-frontend), is another process using it?\n",
            Some(("/a/lock-frontend", "process 8296 (apt-get)")),
        );
    }

    #[test]
    fn holder_that_nobody_knows_is_another_process() {
        check(
            "",
            "E: Could not get lock /nowhere/lock - open (11: Resource temporarily unavailable)\n",
            Some(("/nowhere/lock", "another process")),
        );
        let gave_up = "E: Unable to acquire the dpkg frontend lock (/nowhere/lock), is another process using it?\n";
        check("", gave_up, Some(("/nowhere/lock", "another process")));
    }

    #[test]
    fn lock_that_was_got_after_all_is_not_the_reason_of_a_failure() {
        let waited = "Waiting for cache lock: Could not get lock /a/lock. It is held by process 1 (dpkg)...\n";
        check(waited, "E: Sub-process /usr/bin/dpkg returned an error code (1)\n", None);
        check("", "", None);
    }
}
