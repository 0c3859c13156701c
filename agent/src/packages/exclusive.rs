//! One package operation at a time on a node: a lock file in the agent's own directory.
//!
//! The agent works on one invocation after the other, so this is for two programs on one machine:
//! `run-baseline` beside the running agent, or two agents that share a state directory. The lock is
//! the kernel's and ends with its holder, however that ends; what the file says is for people only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::PackageError;

/// Name of the lock file in the state directory.
const FILE: &str = "packages.lock";
/// Time between two tries.
const TRY_EVERY: Duration = Duration::from_millis(200);
/// Bytes of the holder's name that are read back.
const HOLDER_BYTES_MAX: u64 = 256;

/// The right to change packages on this node; given back when dropped.
#[derive(Debug)]
pub struct Exclusive {
    // Held open: closing it unlocks.
    _file: File,
}

/// Waits up to `limit` for the right to change this node's packages.
///
/// `who` is how others are told of the holder, such as `patchwave-agent run-baseline`. Blocks: call
/// it off the async threads.
///
/// # Errors
/// [`PackageError::Locked`], which names the holder, and [`PackageError::Write`].
pub fn exclusive(state_dir: &Path, who: &str, limit: Duration) -> Result<Exclusive, PackageError> {
    let path = state_dir.join(FILE);
    let failed = |source| PackageError::Write { path: path.clone(), source };
    fs::create_dir_all(state_dir).map_err(failed)?;
    // Not truncated: until it is ours it says who holds it.
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if began.elapsed() < limit => {
                std::thread::sleep(TRY_EVERY.min(limit.saturating_sub(began.elapsed())));
            }
            Err(TryLockError::WouldBlock) => {
                let (path, seconds) = (path.display().to_string(), limit.as_secs());
                return Err(PackageError::Locked { path, holder: holder(&mut file), seconds });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    let name = format!("{who} (process {})\n", std::process::id());
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(name.as_bytes())).map_err(failed)?;
    Ok(Exclusive { _file: file })
}

/// What the holder wrote about itself; it may be about to.
fn holder(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not known: that somebody holds the lock is.
    let read = file.rewind().and_then(|()| file.take(HOLDER_BYTES_MAX).read_to_end(&mut bytes));
    let text: String = String::from_utf8_lossy(&bytes).trim().chars().filter(|c| !c.is_control()).collect();
    if read.is_err() || text.is_empty() { "another process".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_one_waits_and_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = exclusive(dir.path(), "the first", Duration::ZERO).expect("nobody has it");
        let limit = Duration::from_millis(300);
        let began = Instant::now();
        let error = exclusive(dir.path(), "the second", limit).expect_err("the first has it");
        assert!(began.elapsed() >= limit, "it waits as long as it may");
        let text = error.to_string();
        assert!(text.contains("the first (process ") && text.contains("packages.lock"), "{text}");
        drop(held);
        exclusive(dir.path(), "the second", Duration::ZERO).expect("given back");
    }

    #[test]
    fn one_that_waits_gets_it_when_it_is_given_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = exclusive(dir.path(), "the first", Duration::ZERO).expect("nobody has it");
        let path = dir.path().to_owned();
        let waiter = std::thread::spawn(move || exclusive(&path, "the second", Duration::from_secs(30)).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        drop(held);
        waiter.join().expect("no panic").expect("it was given back in time");
    }

    #[test]
    fn shorter_name_leaves_nothing_of_a_longer_one() {
        let dir = tempfile::tempdir().expect("a directory");
        drop(exclusive(dir.path(), "somebody with a long name", Duration::ZERO).expect("free"));
        let _held = exclusive(dir.path(), "x", Duration::ZERO).expect("free");
        let error = exclusive(dir.path(), "y", Duration::ZERO).expect_err("held").to_string();
        assert!(error.contains("by x (process ") && !error.contains("long name"), "{error}");
    }
}
