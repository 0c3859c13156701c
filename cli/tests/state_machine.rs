//! `state-machine validate` and `run`, as a person calls them: no server, no configuration.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// Files of one test, and the program called among them.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn call(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_patchwave"))
            .arg("state-machine")
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .output()
            .unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const RETRIED: &str = r#"{
  "StartAt": "Fetch",
  "States": {
    "Fetch": {
      "Type": "Task", "Resource": "patchwave:function:fetch", "ResultPath": "$.found", "Next": "Each",
      "Retry": [{ "ErrorEquals": ["Busy"], "IntervalSeconds": 3600, "MaxAttempts": 2 }]
    },
    "Each": {
      "Type": "Map", "ItemsPath": "$.found", "End": true,
      "ItemProcessor": { "StartAt": "Say", "States": {
        "Say": { "Type": "Pass", "Parameters": { "said.$": "States.Format('<{}>', $)" }, "End": true }
      } }
    }
  }
}"#;

#[test]
fn a_definition_runs_here_with_mocked_answers_and_no_waits() {
    let desk = Desk::new();
    desk.file("m.json", RETRIED);
    desk.file("mocks.json", r#"{"Fetch": [{"Throw": {"Error": "Busy", "Cause": "later"}}, {"Return": ["a", "b"]}]}"#);
    let output = desk.call(&["run", "m.json", "--mock", "mocks.json", "--skip-waits", "--input", r#"{"k": 1}"#]);
    assert!(output.status.success(), "{}", err(&output));
    let said: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(said, json!([{ "said": "<a>" }, { "said": "<b>" }]));

    let output = desk.call(&["run", "m.json", "--mock", "mocks.json", "--skip-waits", "--history"]);
    let history: Vec<Value> = serde_json::from_str(&out(&output)).unwrap();
    let types: Vec<_> = history.iter().filter_map(|event| event["type"].as_str()).collect();
    assert!(types.starts_with(&["ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskFailed"]), "{types:?}");
    assert_eq!(types.last(), Some(&"ExecutionSucceeded"));
}

#[test]
fn an_execution_that_fails_says_why_and_exits_with_one() {
    let desk = Desk::new();
    desk.file("m.json", RETRIED);
    let output = desk.call(&["run", "m.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("--mock"), "{}", err(&output));
    assert_eq!(out(&output), "");
}

#[test]
fn faults_are_printed_with_file_line_and_column() {
    let desk = Desk::new();
    desk.file("m.json", "{\n  \"StartAt\": \"A\",\n  \"States\": { \"A\": { \"Type\": \"Pass\" } }\n}");
    let output = desk.call(&["validate", "m.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("m.json:3:20: /States/A: `Next` or `End: true` is missing"), "{}", out(&output));
    let output = desk.call(&["validate", "m.json", "--output", "json"]);
    let faults: Vec<Value> = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(faults[0]["line"], 3);

    desk.file("good.json", RETRIED);
    let output = desk.call(&["validate", "good.json"]);
    assert!(output.status.success() && out(&output).is_empty(), "{}{}", out(&output), err(&output));
}

#[test]
fn inputs_and_mocks_that_are_none_are_refused_before_anything_runs() {
    let desk = Desk::new();
    desk.file("m.json", RETRIED);
    desk.file("bad.json", r#"{"Fetch": [{"Give": 1}]}"#);
    desk.file("input.json", r#"{"k": 2}"#);
    for args in [vec!["run", "m.json", "--input", "{"], vec!["run", "m.json", "--mock", "bad.json"]] {
        let output = desk.call(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
    }
    desk.file("pass.json", r#"{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}"#);
    for input in ["@input.json", "input.json"] {
        let output = desk.call(&["run", "pass.json", "--input", input]);
        assert_eq!(serde_json::from_str::<Value>(&out(&output)).unwrap(), json!({ "k": 2 }), "{}", err(&output));
    }
}
