//! The small things: what is left behind, what is too long, names outside their register.
//!
//! Each rule is a test of its own, and says where and what to do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use patchwave_schemas::topology::{
    DEAD_EXCHANGE, EVENTS_EXCHANGE, HOST_QUEUE_PREFIX, NODE_QUEUE_PREFIX, REPORTS_EXCHANGE, TOPIC_CHANNEL_PREFIX,
    WorkQueue,
};

/// Directories that are not ours to tidy, or not in the repository.
const SKIPPED: &[&str] = &[".git", "target"];

/// Lines a source file may have, its tests beside the rule included.
const LINES_MAX: usize = 600;

/// A text file of the repository.
struct File {
    /// Relative to the root.
    path: PathBuf,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }

    /// Whether the whole file is a test or serves tests alone.
    fn is_test(&self) -> bool {
        let in_tests =
            self.path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "benches")));
        let name = self.path.file_stem().unwrap().to_str().unwrap();
        in_tests || name == "tests" || name.ends_with("_tests")
    }

    /// The lines before the tests, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines().take_while(|line| *line != "#[cfg(test)]"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every text file.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    gather(root(), &mut found);
    assert!(found.iter().filter(|file| file.is_rust()).count() > 100, "the sources were not found");
    found
}

fn gather(directory: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                gather(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push(File { path: path.strip_prefix(root()).unwrap().to_owned(), text });
        }
    }
}

fn sources() -> Vec<File> {
    files().into_iter().filter(File::is_rust).collect()
}

/// Collects every fault of a rule, so that one run shows them all.
fn check(faults: Vec<String>, rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n{}", faults.join("\n"));
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Split, so that this file does not find itself.
    let leftovers = [concat!("to", "do!("), concat!("db", "g!("), concat!("unimple", "mented!("), concat!("FIX", "ME")];
    let mut faults = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if leftovers.iter().any(|word| line.contains(word)) {
                faults.push(format!("{}:{number}: {}", file.path.display(), line.trim()));
            }
        }
    }
    check(faults, "finish it or take it out");
}

#[test]
fn rust_files_have_no_tabs_and_no_trailing_blanks() {
    let mut faults = Vec::new();
    for file in sources() {
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.contains('\t') || line.ends_with(' ') {
                faults.push(format!("{}:{number}", file.path.display()));
            }
        }
    }
    check(faults, "write `\\t` in strings, and run `make fmt`");
}

#[test]
fn every_rust_file_begins_with_what_it_is_for() {
    let headless = sources().into_iter().filter(|file| !file.text.starts_with("//!"));
    check(headless.map(|file| file.path.display().to_string()).collect(), "begin with `//!`: what it is for");
}

#[test]
fn no_file_holds_two_subjects_by_its_length() {
    let long = sources().into_iter().filter(|file| !file.is_test() && file.text.lines().count() > LINES_MAX);
    let faults = long.map(|file| format!("{}: {} lines", file.path.display(), file.text.lines().count())).collect();
    check(faults, "split at the second subject");
}

/// The migrator keeps one row for each number: two files with the same one stop every start.
#[test]
fn migrations_have_numbers_of_their_own() {
    let mut seen = std::collections::BTreeMap::new();
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root().join("platform/migrations")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let number = name.split('_').next().unwrap_or_default().to_owned();
        if let Some(other) = seen.insert(number, name.clone()) {
            faults.push(format!("platform/migrations: {name} and {other} have one number"));
        }
    }
    assert!(!seen.is_empty());
    check(faults, "each migration has a number of its own");
}

#[test]
fn names_on_the_bus_are_spelled_in_the_topology_alone() {
    let mut names: Vec<String> = WorkQueue::ALL.iter().map(|queue| format!("\"{}\"", queue.name())).collect();
    names.extend([EVENTS_EXCHANGE, REPORTS_EXCHANGE, DEAD_EXCHANGE].map(|name| format!("\"{name}\"")));
    names.extend([NODE_QUEUE_PREFIX, HOST_QUEUE_PREFIX, TOPIC_CHANNEL_PREFIX].map(|prefix| format!("\"{prefix}")));
    let mut faults = Vec::new();
    for file in sources().into_iter().filter(|file| !file.is_test() && !file.path.ends_with("schemas/src/topology.rs"))
    {
        for (number, line) in file.code() {
            let code = line.trim_start();
            // The type of a message may begin like the queue of a node.
            let is_type = code.starts_with("const TYPE:");
            if !is_type && !code.starts_with("//") && names.iter().any(|name| code.contains(name)) {
                faults.push(format!("{}:{number}: {code}", file.path.display()));
            }
        }
    }
    check(faults, "use the constant of schemas::topology");
}

#[test]
fn types_of_messages_are_spelled_at_their_message_alone() {
    let mut faults = Vec::new();
    for file in sources().into_iter().filter(|file| !file.is_test() && !file.path.starts_with("schemas")) {
        for (number, line) in file.code() {
            let code = line.trim_start();
            let is_type =
                |entry: &patchwave_schemas::catalogue::Entry| code.contains(&format!("\"{}\"", entry.message_type));
            if !code.starts_with("//") && patchwave_schemas::catalogue::MESSAGES.iter().any(is_type) {
                faults.push(format!("{}:{number}: {code}", file.path.display()));
            }
        }
    }
    check(faults, "use `Message::TYPE`");
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let places = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];
    let mut faults = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            let absolute = |place: &&str| {
                line.match_indices(*place).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | '/')))
                })
            };
            if places.iter().any(absolute) {
                faults.push(format!("{}:{number}: {}", file.path.display(), line.trim()));
            }
        }
    }
    check(faults, "paths are relative to the repository, or come from outside");
}
