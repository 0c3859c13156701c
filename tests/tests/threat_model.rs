//! The threat model against the repository: every test it names exists, and every line names one or
//! says why there is none.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Headers of the column that names tests.
const COLUMN: &str = "shown by";
/// What stands there when no test does.
const NONE: &str = "no test: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/threat-model.md")).unwrap()
}

/// The cells of each row below a header that ends with the column, with the row's line number.
fn rows(document: &str) -> Vec<(usize, Vec<&str>)> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for (number, line) in (1..).zip(document.lines()) {
        let Some(inner) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        if cells.last() == Some(&COLUMN) {
            in_table = true;
        } else if in_table && !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
            rows.push((number, cells));
        }
    }
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Names of all tests: Rust functions with a test's attribute, and scenarios of the clients.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    gather(root(), &mut names);
    assert!(names.len() > 500, "the tests were not found");
    names
}

fn gather(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", ".git"].contains(&name) {
                gather(&path, names);
            }
            continue;
        }
        let text = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => fs::read_to_string(&path).unwrap(),
            Some("py") if path.starts_with(root().join("tests/clients")) => {
                let scenarios = fs::read_to_string(&path).unwrap();
                let named = scenarios.lines().filter_map(|line| line.strip_prefix("def ")?.split_once("(world)"));
                names.extend(named.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('_')));
                continue;
            }
            _ => continue,
        };
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let function = line.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            if line.starts_with("#[") || line.starts_with("//") {
                is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            } else if let (true, Some((name, _))) = (is_test, function) {
                names.insert(name.to_owned());
                is_test = false;
            } else {
                is_test = false;
            }
            // The contract suites run each of their functions on both stores.
            if let Some((name, _)) = line.split_once("(place: Place)") {
                names.extend(name.strip_prefix("async fn ").map(str::to_owned));
            }
            // `targets! { name: "target", }` makes a test of each.
            if path.ends_with("tests/tests/fuzzing.rs")
                && let Some((name, _)) = line.split_once(": \"")
            {
                names.insert(name.to_owned());
            }
        }
    }
}

#[test]
fn every_line_names_a_test_that_exists_or_says_why_there_is_none() {
    let (document, tests) = (document(), tests());
    let rows = rows(&document);
    assert!(rows.len() > 30, "only {} lines were found", rows.len());
    let mut faults = Vec::new();
    for (number, cells) in &rows {
        let shown = cells.last().unwrap();
        if shown.starts_with(NONE) {
            continue;
        }
        if quoted(shown).next().is_none() {
            faults.push(format!("line {number}: names no test, and does not say `{NONE}…`"));
        }
        for name in quoted(shown).filter(|name| !tests.contains(*name)) {
            faults.push(format!("line {number}: there is no test `{name}`"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_compromise_says_what_does_not_hold() {
    let document = document();
    for section in document.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        let rows = rows(section);
        assert!(!rows.is_empty(), "{title} has no lines");
        assert!(rows.iter().any(|(_, cells)| !cells[2].is_empty()), "{title}: nothing is perfect");
    }
}

#[test]
fn names_are_found_where_they_are_made() {
    let tests = tests();
    for name in ["names_are_found_where_they_are_made", "unsigned_requests_are_refused", "versions_have_one_order"] {
        assert!(tests.contains(name), "{name}");
    }
    assert!(!tests.contains("gather") && !tests.contains("main"));
}
