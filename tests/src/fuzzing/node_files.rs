//! What an agent reads on its node: its own journal, and the files of the package manager.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use patchwave_agent::journal::{FileJournal, Journal as _};
use patchwave_agent::packages::apt::{Apt, AptRoot};
use patchwave_agent::packages::{PackageManager as _, os_release as read_os_release};
use patchwave_agent::policy_file;
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::node::{Accept, NodePolicy};
use serde_json::json;
use tempfile::TempDir;

use super::parts;

/// What the prefix of every list of the source below is.
const LIST: &str = "archive.example.org_debian_dists_stable";

thread_local! {
    /// One scratch directory for each thread: making one costs more than reading it.
    static SCRATCH: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Runs `work` with an empty directory.
fn scratch(work: impl FnOnce(&Path)) {
    SCRATCH.with_borrow_mut(|kept| {
        let directory = kept.get_or_insert_with(|| TempDir::new().expect("a temporary directory can be made"));
        for entry in fs::read_dir(directory.path()).expect("it can be read").flatten() {
            let gone =
                if entry.path().is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            gone.expect("what was put there can be taken away");
        }
        work(directory.path());
    });
}

/// Writes a file of a system.
fn put(root: &Path, path: &str, content: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("a directory can be made");
    fs::write(path, content).expect("a file can be written");
}

/// The bytes of a journal, as a crash or a stray program may leave them.
///
/// A journal that opens and replays does both again with the same entries: what was cut off once is
/// not missed the second time.
///
/// # Panics
/// When that does not hold.
pub fn journal(data: &[u8]) {
    scratch(|directory| {
        let path = directory.join("journal.jsonl");
        fs::write(&path, data).expect("a file can be written");
        let mut first = FileJournal::open(&path).expect("bytes are no reason not to open it");
        let Ok(entries) = first.replay() else { return };
        drop(first);
        let mut second = FileJournal::open(&path).expect("it opened before");
        let again = second.replay().expect("it replayed before");
        assert_eq!(format!("{entries:?}"), format!("{again:?}"));
    });
}

/// dpkg's status file, apt's sources, an archive's Release file and a list of packages, with zero
/// bytes between them.
///
/// # Panics
/// When a scan does: an error is an answer.
pub fn apt_files(data: &[u8]) {
    let [status, sources, release, packages] = parts(data);
    scratch(|root| {
        put(root, "var/lib/dpkg/status", status);
        put(root, "etc/apt/sources.list", b"deb http://archive.example.org/debian stable main\n");
        put(root, "etc/apt/sources.list.d/more.sources", sources);
        put(root, "etc/apt/sources.list.d/more.list", sources);
        put(root, &format!("var/lib/apt/lists/{LIST}_InRelease"), release);
        // Apt keeps lists plain or compressed; the first bytes of an archive are no list's.
        let extension = match packages {
            [0x1f, 0x8b, ..] => ".gz",
            [0xfd, b'7', ..] => ".xz",
            [0x04, 0x22, ..] => ".lz4",
            _ => "",
        };
        put(root, &format!("var/lib/apt/lists/{LIST}_main_binary-amd64_Packages{extension}"), packages);
        let apt = Apt::new(AptRoot::new(root, root.join("state")));
        let now = Timestamp::from_second(1_774_656_000).expect("a second of this century");
        if let Err(error) = apt.scan(&everything(), now) {
            assert!(!error.to_string().is_empty());
        }
    });
}

/// A baseline that looks at all that is known of a version.
fn everything() -> BaselineSnapshot {
    let rules = json!({
        "OperatingSystem": "DEBIAN",
        "ApprovalRules": { "PatchRules": [{
            "PatchFilterGroup": { "PatchFilters": [{ "Key": "SECTION", "Values": ["*"] }] },
            "ApproveAfterDays": 7,
            "EnableNonSecurity": true,
        }] },
        "RejectedPatches": ["linux-*"],
    });
    let rules = serde_json::from_value(rules).expect("the rules are well-formed");
    BaselineSnapshot::new("fuzzing", BaselineId::from_bits(1), "fuzzing", rules)
}

/// The file that says which system this is.
///
/// # Panics
/// When reading does: an error is an answer.
pub fn os_release(data: &[u8]) {
    scratch(|root| {
        put(root, "etc/os-release", data);
        match read_os_release(root) {
            Ok(release) => drop(release.profile()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

/// The node's own policy, as its owner wrote it.
///
/// What is read is told to the control plane as it is read. Nothing that stands below a setting makes
/// it wider: the file is then refused, or says what its first line says.
///
/// # Panics
/// When that does not hold.
pub fn policy(data: &[u8]) {
    let read = |content: &[u8]| {
        let mut read = None;
        scratch(|directory| {
            put(directory, "policy.toml", content);
            read = Some(policy_file::read(Some(&directory.join("policy.toml"))));
        });
        read.expect("it was read a moment ago")
    };
    match read(data) {
        Ok(policy) => {
            let told = serde_json::to_string(&policy).expect("plain values always serialise");
            assert_eq!(serde_json::from_str::<NodePolicy>(&told).ok().as_ref(), Some(&policy), "{told}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(policy) = read(&[b"accept = \"scan\"\n", data].concat()) {
        assert!(policy.accept == Accept::Scan && !policy.is_open());
    }
}
