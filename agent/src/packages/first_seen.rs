//! When each available version counts as released, kept over restarts.
//!
//! apt's archives carry no release dates. The best there is, is the modification time of the list
//! in which a version first turned up (apt sets it to the archive's Last-Modified), else the time
//! at which this agent first saw it. Either must be remembered: the list's time moves on with
//! every change of the archive, and a delay that starts over each time would never end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::PackageError;

/// Name of the file in the agent's state directory.
const FILE: &str = "first-seen.json";

/// Release instants by `name:arch=version`. An instant, once noted, never becomes later.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FirstSeen {
    known: BTreeMap<String, Timestamp>,
    /// What this scan asked for; the rest is forgotten when saved.
    current: BTreeMap<String, Timestamp>,
}

impl FirstSeen {
    /// Loads what earlier scans noted. A missing file is an empty one, and so is an unreadable
    /// one: the cost is a delay that starts over, which is no reason to refuse a scan.
    #[must_use]
    pub fn load(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let known = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "first-seen notes are damaged, starting anew");
                BTreeMap::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "first-seen notes are unreadable, starting anew");
                }
                BTreeMap::new()
            }
        };
        Self { known, current: BTreeMap::new() }
    }

    /// The instant from which a version's delay counts: what was noted earlier, else the list's
    /// time, else `now`. A list from the future counts as of `now`.
    pub fn released(
        &mut self,
        name: &str,
        architecture: &str,
        version: &str,
        list: Option<Timestamp>,
        now: Timestamp,
    ) -> Timestamp {
        let key = format!("{name}:{architecture}={version}");
        let seen = list.unwrap_or(now).min(now);
        let instant = self.known.get(&key).map_or(seen, |noted| (*noted).min(seen));
        self.current.insert(key, instant);
        instant
    }

    /// Writes the notes of this scan, atomically, when they differ from the earlier ones.
    ///
    /// # Errors
    /// [`PackageError::Write`]; the earlier file is then untouched.
    pub fn save(&self, state_dir: &Path) -> Result<(), PackageError> {
        if self.current == self.known {
            return Ok(());
        }
        let path = state_dir.join(FILE);
        write_atomically(&path, &self.current)
            .map_err(|source| PackageError::Write { path: PathBuf::from(&path), source })
    }
}

fn write_atomically(path: &Path, notes: &BTreeMap<String, Timestamp>) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension("json.new");
    let mut file = io::BufWriter::new(File::create(&temporary)?);
    serde_json::to_writer(&mut file, notes)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{FILE, FirstSeen};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn noted_instant_does_not_move_with_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = FirstSeen::load(dir.path());
        assert_eq!(first.released("a", "amd64", "2", Some(at(1_000)), at(5_000)), at(1_000));
        assert_eq!(first.released("b", "amd64", "2", None, at(5_000)), at(5_000));
        first.save(dir.path()).unwrap();

        let mut second = FirstSeen::load(dir.path());
        assert_eq!(second.released("a", "amd64", "2", Some(at(9_000)), at(10_000)), at(1_000));
        assert_eq!(second.released("b", "amd64", "2", None, at(10_000)), at(5_000));
        assert_eq!(second.released("a", "amd64", "3", Some(at(9_000)), at(10_000)), at(9_000));
    }

    #[test]
    fn list_from_the_future_counts_as_of_now() {
        assert_eq!(FirstSeen::default().released("a", "amd64", "2", Some(at(9_000)), at(5_000)), at(5_000));
    }

    #[test]
    fn versions_that_are_gone_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = FirstSeen::load(dir.path());
        first.released("a", "amd64", "2", None, at(1));
        first.save(dir.path()).unwrap();
        let mut second = FirstSeen::load(dir.path());
        second.released("b", "amd64", "2", None, at(2));
        second.save(dir.path()).unwrap();
        assert_eq!(FirstSeen::load(dir.path()).released("a", "amd64", "2", None, at(3)), at(3));
    }

    #[test]
    fn damaged_notes_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"a:amd64=2\": tru").unwrap();
        let mut seen = FirstSeen::load(dir.path());
        assert_eq!(seen.released("a", "amd64", "2", None, at(7)), at(7));
        seen.save(dir.path()).unwrap();
        assert_eq!(FirstSeen::load(dir.path()).released("a", "amd64", "2", None, at(9)), at(7));
    }
}
