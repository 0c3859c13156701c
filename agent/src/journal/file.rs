//! The journal of a real node: JSON lines in one file.
//!
//! Appended and flushed to disk; replaced, when it has grown, by way of a second file and a
//! rename. A torn last line is what a crash leaves of an entry whose step was not taken: it is
//! cut off. Damage anywhere else stops the agent, because running on a guess could run twice.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Entry, Journal, JournalError};

/// Bytes after which the journal is rewritten: hundreds of commands without output.
const BLOATED_BYTES: u64 = 1024 * 1024;

/// How long a lock is waited for. A predecessor may be just ending, and a process that it was about
/// to start holds its files for a moment more.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A journal in a file that no other agent has open.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    len: u64,
    /// Grows with what the last rewrite could not drop, so that a large rest is not rewritten
    /// again after every entry.
    bloated_at: u64,
    /// Keeps other agents out; held on a file of its own because `file` is replaced.
    _lock: File,
}

impl FileJournal {
    /// Opens the journal, creating it and its directory if need be, and cuts off a torn last line.
    ///
    /// # Errors
    /// [`JournalError::InUse`] if another agent has it; [`JournalError::Io`] otherwise.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let failed = |attempted: &'static str, path: &Path| {
            let path = path.display().to_string();
            move |source| JournalError::Io { attempted, path, source }
        };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed("create the directory of", &path))?;
        }
        let lock = lock(&path)?;
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed("open", &path))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed("read", &path))?;
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < content.len() {
            tracing::warn!(
                journal.path = %path.display(),
                torn_bytes = content.len() - whole,
                "cut off a torn entry at the end of the journal"
            );
            file.set_len(whole as u64).map_err(failed("repair", &path))?;
            file.sync_all().map_err(failed("repair", &path))?;
        }
        sync_directory(&path).map_err(failed("flush the directory of", &path))?;
        Ok(Self { path, file, len: whole as u64, bloated_at: BLOATED_BYTES, _lock: lock })
    }

    fn failed(&self, attempted: &'static str) -> impl FnOnce(std::io::Error) -> JournalError + use<> {
        let path = self.path.display().to_string();
        move |source| JournalError::Io { attempted, path, source }
    }
}

fn lock(journal: &Path) -> Result<File, JournalError> {
    let path = journal.with_extension("lock");
    let shown = path.display().to_string();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| JournalError::Io { attempted: "open the lock of", path: shown.clone(), source })?;
    let give_up_at = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(JournalError::InUse { path: journal.display().to_string() }),
            Err(TryLockError::Error(source)) => {
                return Err(JournalError::Io { attempted: "lock", path: shown, source });
            }
        }
    }
}

/// Makes a created or renamed file's name itself survive a crash.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(directory) => File::open(directory)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn to_lines(entries: &[Entry]) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, entry).expect("entries always serialise into memory");
        lines.push(b'\n');
    }
    lines
}

impl Journal for FileJournal {
    fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let lines = to_lines(entries);
        let written = self
            .file
            .write_all(&lines)
            .and_then(|()| if entries.iter().any(Entry::must_survive) { self.file.sync_data() } else { Ok(()) });
        if let Err(source) = written {
            // Half a line in the middle would damage the record for good: take it back.
            if let Err(error) = self.file.set_len(self.len) {
                tracing::error!(%error, "could not take back a failed write to the journal");
            }
            return Err(self.failed("write")(source));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    fn replay(&mut self) -> Result<Vec<Entry>, JournalError> {
        let mut content = Vec::new();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_to_end(&mut content))
            .map_err(self.failed("read"))?;
        let lines = content.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
        lines
            .map(|(index, line)| {
                serde_json::from_slice(line).map_err(|source| JournalError::Damaged {
                    path: self.path.display().to_string(),
                    line: index + 1,
                    source,
                })
            })
            .collect()
    }

    fn is_bloated(&self) -> bool {
        self.len > self.bloated_at
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let lines = to_lines(entries);
        let beside = self.path.with_extension("new");
        let replace = || {
            let mut file = File::create(&beside)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            let file = OpenOptions::new().read(true).append(true).open(&beside)?;
            std::fs::rename(&beside, &self.path)?;
            sync_directory(&self.path)?;
            Ok(file)
        };
        self.file = replace().map_err(self.failed("replace"))?;
        self.len = lines.len() as u64;
        self.bloated_at = BLOATED_BYTES.max(self.len * 2);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use patchwave_schemas::{CommandId, NodeId};
    use uuid::Uuid;

    use super::*;
    use crate::journal::RunKey;

    fn entry(number: u128) -> Entry {
        let command_id = CommandId::from_uuid(Uuid::from_u128(number));
        Entry::Started { key: RunKey { command_id, node_id: NodeId::from_bits(1) }, at: Timestamp::UNIX_EPOCH }
    }

    fn open(path: &Path) -> FileJournal {
        FileJournal::open(path).expect("opened")
    }

    fn replayed(path: &Path) -> Vec<Entry> {
        open(path).replay().expect("read")
    }

    #[test]
    fn torn_last_line_is_cut_off_wherever_it_is_torn() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state").join("journal.jsonl");
        open(&path).append(&[entry(1), entry(2)]).expect("written");
        let whole = std::fs::read(&path).expect("read");
        let second = whole.iter().position(|byte| *byte == b'\n').expect("two lines") + 1;
        for torn_at in second..whole.len() {
            std::fs::write(&path, &whole[..torn_at]).expect("torn");
            let mut journal = open(&path);
            assert_eq!(journal.replay().expect("read"), [entry(1)], "torn at {torn_at}");
            journal.append(&[entry(3)]).expect("written");
            drop(journal);
            assert_eq!(replayed(&path), [entry(1), entry(3)], "torn at {torn_at}");
        }
    }

    #[test]
    fn damage_before_the_end_is_refused_with_its_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.jsonl");
        open(&path).append(&[entry(1)]).expect("written");
        let mut content = std::fs::read(&path).expect("read");
        content.extend_from_slice(b"damage\n");
        std::fs::write(&path, content).expect("damaged");
        let error = open(&path).replay().expect_err("damaged");
        assert!(error.to_string().contains("line 2"), "{error}");
    }

    #[test]
    fn rewritten_journal_is_appended_to_and_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.jsonl");
        let mut journal = open(&path);
        journal.append(&[entry(1), entry(2)]).expect("written");
        journal.rewrite(&[entry(2)]).expect("replaced");
        journal.append(&[entry(3)]).expect("written");
        drop(journal);
        assert_eq!(replayed(&path), [entry(2), entry(3)]);
    }

    #[test]
    fn crash_in_the_middle_of_a_rewrite_leaves_the_old_record() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.jsonl");
        open(&path).append(&[entry(1)]).expect("written");
        std::fs::write(path.with_extension("new"), b"{\"entry\":").expect("half a file");
        let mut journal = open(&path);
        assert_eq!(journal.replay().expect("read"), [entry(1)]);
        journal.rewrite(&[entry(2)]).expect("replaced");
        assert_eq!(journal.replay().expect("read"), [entry(2)]);
    }

    #[test]
    fn second_agent_is_kept_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.jsonl");
        let first = open(&path);
        assert!(matches!(FileJournal::open(&path), Err(JournalError::InUse { .. })));
        drop(first);
        open(&path);
    }
}
