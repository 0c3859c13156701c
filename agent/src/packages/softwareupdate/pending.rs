//! Updates that were installed and wait for a restart: softwareupdate lists them until then as if
//! nothing had been done.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;

use super::super::PackageError;
use super::root::MacRoot;

/// Name of the file in the agent's state directory.
const FILE: &str = "softwareupdate-pending.json";

/// When each label was installed, as far as that was after the last start. Without a known start
/// nothing counts as pending: a note must not hide for ever what is not there.
pub(super) fn since_boot(root: &MacRoot) -> BTreeMap<String, Timestamp> {
    let noted: BTreeMap<String, Timestamp> = fs::read(root.state_dir().join(FILE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    match root.last_boot() {
        Some(boot) => noted.into_iter().filter(|(_, at)| *at > boot).collect(),
        None => BTreeMap::new(),
    }
}

/// Notes that a label was installed and waits. Written whole and renamed, so that no reader sees half.
///
/// # Errors
/// [`PackageError::Write`].
pub(super) fn note(root: &MacRoot, label: &str, at: Timestamp) -> Result<(), PackageError> {
    let mut noted = since_boot(root);
    noted.insert(label.to_owned(), at);
    let path = root.state_dir().join(FILE);
    let temporary = path.with_extension("json.new");
    let bytes = serde_json::to_vec(&noted).expect("a map of texts and times is JSON");
    fs::create_dir_all(root.state_dir())
        .and_then(|()| fs::write(&temporary, bytes))
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| PackageError::Write { path, source })
}
