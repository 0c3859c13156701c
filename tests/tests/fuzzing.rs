//! What reads bytes from outside, on inputs worth keeping and on changed ones.
//!
//! libFuzzer finds such inputs (`scripts/fuzz.sh`); they are kept in `fuzz/corpus`, and from then on
//! every `make test` runs them. A failure prints the input; put it there together with its fix.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use patchwave_tests::fuzzing::{Mutator, TARGETS, Target};

/// Directories with inputs for a target besides its own.
const BESIDES: &[(&str, &str)] = &[("message", "schemas/examples")];

/// Longest time for an input, on a busy machine and unoptimised: a little that costs much is an
/// attack. The usual is far below a millisecond.
const TIME_MAX: Duration = Duration::from_secs(5);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Files under a directory, in order.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    files(&root().join("fuzz/corpus").join(target.name), &mut found);
    for (_, directory) in BESIDES.iter().filter(|(name, _)| *name == target.name) {
        files(&root().join(directory), &mut found);
    }
    found.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs a target on an input; says which one when it panics, or takes its time.
fn run(target: &Target, input: &[u8], which: impl FnOnce() -> String) {
    let started = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = started.elapsed();
    if ended.is_err() || took > TIME_MAX {
        panic!("target {}, {}, {} ms: {}", target.name, which(), took.as_millis(), input.escape_ascii());
    }
}

fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap()
}

/// Runs the corpus of a target, then inputs made of it.
fn check(name: &str) {
    let target = target(name);
    let corpus = corpus(target);
    assert!(corpus.len() >= 2, "fuzz/corpus/{name} has inputs");
    for (path, input) in &corpus {
        run(target, input, || path.display().to_string());
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(1);
    for number in 0..target.tries {
        run(target, &mutator.next(&inputs), || format!("try {number}"));
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        /// The targets that have a test below.
        const TESTED: &[&str] = &[$($name),*];

        $(#[test]
        fn $test() {
            check($name);
        })*
    };
}

targets! {
    packages_of_a_node_are_read_whatever_their_files_hold: "apt_files",
    baselines_judge_whatever_passes_their_check: "baseline",
    contents_of_documents_let_no_parameter_into_a_script: "content",
    documents_are_filled_in_or_refused: "document",
    ids_are_read_as_they_are_written: "ids",
    journals_open_whatever_a_crash_left: "journal",
    limits_are_read_or_refused: "limits",
    logins_come_apart_as_they_were_put_together: "login",
    messages_are_read_by_one_type_at_most: "message",
    systems_are_told_apart_whatever_their_file_holds: "os_release",
    a_node_takes_no_more_than_its_policy_says: "policy",
    registrations_bring_no_key_that_nobody_vouches_for: "registration",
    requests_are_read_or_refused_in_words: "request",
    schedules_run_in_order_or_are_refused: "schedule",
    signatures_are_of_one_message_and_no_other: "signed",
    nothing_is_accepted_that_nobody_signed: "sigv4",
    targets_are_understood_or_refused: "targets",
    versions_have_one_order: "versions",
}

#[test]
fn every_target_has_a_test_a_program_and_a_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert!(names.is_sorted());
    assert_eq!(TESTED, names);
    let manifest: toml::Table = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap().parse().unwrap();
    let programs: Vec<&str> =
        manifest["bin"].as_array().unwrap().iter().map(|program| program["name"].as_str().unwrap()).collect();
    assert_eq!(programs, names);
    for name in names {
        let program = fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzzing::{name}(data)")), "{program}");
    }
}
