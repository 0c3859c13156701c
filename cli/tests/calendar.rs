//! `patchwave calendar validate`: what a file says, and what is wrong with it.

#![allow(missing_docs, reason = "a test program")]

mod support;

use support::{patchwave, patchwave_in};

#[test]
fn a_file_is_checked_without_a_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let example = include_str!("../../docs/change-calendars.md");
    let (_, example) = example.split_once("```text\n").expect("the document has an example");
    let (example, _) = example.split_once("```").expect("the example has an end");
    std::fs::write(dir.path().join("freeze.ics"), example).expect("a file");
    let run = patchwave_in(dir.path(), &["calendar", "validate", "freeze.ics", "--output", "json"], &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let said: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&said["CalendarType"], &said["Events"]), (&"DEFAULT_OPEN".into(), &1.into()), "{said}");

    let wrong = example.replace("FREQ=YEARLY", "FREQ=SECONDLY").replace("20270103", "20261103");
    std::fs::write(dir.path().join("wrong.ics"), wrong).expect("a file");
    let run = patchwave_in(dir.path(), &["calendar", "validate", "wrong.ics"], &[]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("line 10: DTEND is `20261103`, which is before DTSTART"), "{}", run.stderr);
    let run = patchwave(&["calendar", "validate", "absent.ics"]);
    assert!(run.code != 0 && run.stderr.contains("absent.ics"), "{}", run.stderr);
}
