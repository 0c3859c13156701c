//! Configuration as a person meets it: precedence, and every fault at once.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::fs;

use support::{Run, patchwave, patchwave_in};

/// The line of one setting in the output of `patchwave config`.
#[track_caller]
fn setting<'a>(run: &'a Run, key: &str) -> &'a str {
    let start = format!("{key} = ");
    run.stdout.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no {key} in {run:?}"))
}

#[test]
fn flag_wins_over_variable_over_file_over_default() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = "listen = \"127.0.0.1:1001\"\nbus = \"amqp://file@h/\"\nlog = \"warn\"\n";
    fs::write(dir.path().join("patchwave.toml"), file).expect("written");
    let variables = [("PATCHWAVE_LISTEN", "127.0.0.1:1002"), ("PATCHWAVE_BUS", "amqp://variable@h/")];

    let run = patchwave_in(dir.path(), &["config", "--listen", "127.0.0.1:1003"], &variables);

    assert_eq!(run.code, 0, "{run:?}");
    assert!(setting(&run, "listen").contains("\"127.0.0.1:1003\""), "{run:?}");
    assert!(setting(&run, "listen").ends_with("# --listen"), "{run:?}");
    assert!(setting(&run, "bus").contains("variable@h"), "{run:?}");
    assert!(setting(&run, "bus").ends_with("# PATCHWAVE_BUS"), "{run:?}");
    assert!(setting(&run, "log").ends_with("# patchwave.toml"), "{run:?}");
    assert!(setting(&run, "topics").ends_with("# default"), "{run:?}");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = patchwave_in(dir.path(), &["config"], &[("PATCHWAVE_BUS", ""), ("PATCHWAVE_CONFIG", "")]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(setting(&run, "bus").contains("\"embedded\""), "{run:?}");
}

#[test]
fn every_fault_stops_the_start_in_one_message() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("patchwave.toml"), "lisen = \"x\"\nstore = 7\n").expect("written");
    let run = patchwave_in(
        dir.path(),
        &["up", "--listen", "0.0.0.0:8080", "--log-format", "xml"],
        &[("PATCHWAVE_BUS", "kafka://u:hunter2@h")],
    );
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
    for part in [
        "the configuration has 5 faults",
        "lisen = `x` (from patchwave.toml): unknown key; expected one of listen, listen_insecurely, tls_cert",
        "store = `7` (from patchwave.toml): this is a TOML integer",
        "listen = `0.0.0.0:8080` (from --listen): other machines can reach it",
        "bus = `kafka://u:***@h` (from PATCHWAVE_BUS): scheme `kafka` is not known; expected `embedded` or `amqp",
        "log_format = `xml` (from --log-format)",
        "hint: ",
    ] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
    }
    assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
}

#[test]
fn a_role_alone_needs_shared_servers() {
    for role in ["scheduler", "worker", "api"] {
        let run = patchwave(&[role]);
        assert_eq!(run.code, 2, "{run:?}");
        for part in ["bus = `embedded`", "topics = `embedded`", "patchwave up", "amqp[s]://", "redis[s]://"] {
            assert!(run.stderr.contains(part), "{role}: {part} in {}", run.stderr);
        }
    }
}

#[test]
fn an_unknown_queue_is_refused_with_the_known_ones() {
    let run = patchwave(&["worker", "--only", "resolver,collecter"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("collecter") && run.stderr.contains("collector"), "{run:?}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let run = patchwave(&["config", "--config", "nowhere.toml"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("configuration file `nowhere.toml`"), "{run:?}");
}

#[test]
fn the_reference_file_can_be_printed_and_used() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let reference = patchwave(&["config", "--reference"]);
    fs::write(dir.path().join("patchwave.toml"), &reference.stdout).expect("written");
    let run = patchwave_in(dir.path(), &["config", "--output", "json"], &[]);
    assert_eq!(run.code, 0, "{run:?}");
    let settings: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(settings["bus"], serde_json::json!({"value": "embedded", "origin": "patchwave.toml"}));
}
