//! Dependencies between the crates point one way, and the engine stays pure.
//!
//! `schemas ← engine ← platform ← {scheduler, workers, api} ← cli`; the agent sees `schemas` and
//! `engine` alone. Read from the manifests through `cargo metadata`, so that an arrow that nobody
//! has used yet is found too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate of ours may depend on. A crate that is not here fails the test.
const ARROWS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("engine", &["schemas"]),
    ("platform", &["schemas", "engine"]),
    ("scheduler", &["schemas", "engine", "platform"]),
    ("workers", &["schemas", "engine", "platform"]),
    ("api", &["schemas", "engine", "platform"]),
    ("agent", &["schemas", "engine"]),
    // `up` and `demo` hold every role in one process, simulated nodes among them.
    ("cli", &["schemas", "engine", "platform", "scheduler", "workers", "api", "agent"]),
    ("tests", &["schemas", "engine", "platform", "scheduler", "workers", "api", "agent", "cli"]),
    ("benches", &["schemas", "engine", "platform", "scheduler", "workers", "api", "agent", "cli", "tests"]),
];

/// What the tests of a crate may use besides. Nothing may test itself with what is above it.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    // Handlers are tested with the control plane's own producer of their messages, and the API with
    // what really changes its records.
    ("workers", &["scheduler"]),
    ("api", &["scheduler", "workers"]),
];

/// Everything the engine may use. It has no runtime, no I/O, no clock and no randomness. Packing an
/// inventory (`base64`, `flate2`) is a function of its bytes, and so are the hashes that state machines
/// can ask for.
const ENGINE_MAY_USE: &[&str] = &[
    "patchwave-schemas",
    "base64",
    "croner",
    "flate2",
    "jiff",
    "md-5",
    "regex",
    "serde",
    "serde-saphyr",
    "serde_json",
    "serde_json_path",
    "sha1",
    "sha2",
    "thiserror",
];

/// The same for the messages.
const SCHEMAS_MAY_USE: &[&str] =
    &["jiff", "schemars", "serde", "serde_json", "serde_path_to_error", "thiserror", "uuid"];

/// What the engine's sources must not name, with what to do instead.
///
/// `std::thread::scope` is allowed: its threads end before the call returns, so that a whole fleet
/// can be judged on as many as the caller says and the answer is still a function of the input.
const IMPURE: &[(&str, &str)] = &[
    ("std::fs", "the caller reads files"),
    ("std::net", "the caller speaks to others"),
    ("std::process", "the caller starts programs"),
    ("std::env", "the caller passes what it was told"),
    ("thread::spawn", "the caller decides where it runs; see std::thread::scope above"),
    ("thread::sleep", "take what changes with time as a parameter"),
    ("available_parallelism", "take the number of threads as a parameter"),
    ("SystemTime::now", "take `now` as a parameter"),
    ("Timestamp::now", "take `now` as a parameter"),
    ("Zoned::now", "take `now` as a parameter"),
    ("Instant::now", "take `now` as a parameter"),
    ("TimeZone::system", "take the time zone as a parameter"),
    ("::random()", "take the id as a parameter"),
    ("now_v7", "take the id as a parameter"),
    ("new_v4", "take the id as a parameter"),
];

struct Crate {
    directory: String,
    manifest: PathBuf,
    /// Packages it depends on, for building and for its programs.
    uses: BTreeSet<String>,
    /// Packages its tests depend on besides.
    tests_use: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn crates() -> BTreeMap<String, Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), read(package))).collect()
}

fn read(package: &Value) -> Crate {
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let directory = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let of_kind = |dev: bool| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        dependencies
            .filter(|dependency| (dependency["kind"] == "dev") == dev)
            .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
            .collect()
    };
    Crate { directory, manifest, uses: of_kind(false), tests_use: of_kind(true) }
}

fn allowed<'a>(table: &[(&str, &'a [&'a str])], directory: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(name, _)| *name == directory).map(|(_, others)| *others)
}

#[test]
fn arrows_between_crates_point_one_way() {
    let crates = crates();
    let directory_of = |package: &String| crates.get(package).map(|found| found.directory.as_str());
    assert_eq!(crates.len(), ARROWS.len(), "every crate has its line in ARROWS");
    for (name, found) in &crates {
        let directory = found.directory.as_str();
        let normal = allowed(ARROWS, directory).unwrap_or_else(|| panic!("{name} has no line in ARROWS"));
        let in_tests = allowed(TEST_ARROWS, directory).unwrap_or_default();
        for other in found.uses.iter().filter_map(directory_of) {
            assert!(normal.contains(&other), "{directory} must not depend on {other}; it may see {normal:?}");
        }
        for other in found.tests_use.iter().filter_map(directory_of) {
            let fine = normal.contains(&other) || in_tests.contains(&other);
            assert!(fine, "the tests of {directory} must not depend on {other}");
        }
    }
}

#[test]
fn arrows_have_no_circle() {
    for (index, (name, others)) in ARROWS.iter().enumerate() {
        for other in *others {
            let earlier = ARROWS.iter().position(|(name, _)| name == other);
            assert!(earlier.is_some_and(|earlier| earlier < index), "{name} → {other} points forward in ARROWS");
        }
    }
}

#[test]
fn engine_and_schemas_use_nothing_that_acts() {
    let crates = crates();
    for (name, may_use) in [("patchwave-engine", ENGINE_MAY_USE), ("patchwave-schemas", SCHEMAS_MAY_USE)] {
        for dependency in &crates[name].uses {
            assert!(
                may_use.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}: it has no runtime, no I/O and no clock; \
                 if {dependency} has none either, add it to the list in this test"
            );
        }
    }
}

#[test]
fn agent_brings_no_database_to_a_node() {
    for dependency in &crates()["patchwave-agent"].uses {
        let is_the_store_s = ["sqlx", "redis", "object_store", "axum"].contains(&dependency.as_str());
        assert!(!is_the_store_s, "the agent must not depend on {dependency}");
    }
}

#[test]
fn engine_sources_name_no_clock_no_files_and_no_network() {
    let mut files = Vec::new();
    rust_files(&root().join("engine/src"), &mut files);
    assert!(files.len() > 10, "only {} files were found", files.len());
    // Tests may ask the real tools what the answer is.
    files.retain(|file| {
        file.file_stem().is_some_and(|name| name != "tests" && !name.to_string_lossy().ends_with("_tests"))
    });
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let code = source.lines().take_while(|line| *line != "#[cfg(test)]");
        for (number, line) in code.enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (name, instead) in IMPURE {
                assert!(!code.contains(name), "{}:{}: `{name}`; {instead}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_crate_takes_lints_and_edition_from_the_workspace() {
    for (name, found) in crates() {
        let manifest = fs::read_to_string(&found.manifest).unwrap();
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{name} lacks `[lints] workspace = true`");
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            assert!(manifest.contains(&format!("\n{key}.workspace = true\n")), "{name} lacks `{key}.workspace = true`");
        }
    }
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}
