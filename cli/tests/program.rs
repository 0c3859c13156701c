//! The program as a whole: help, completions, exit codes, streams.

#![allow(missing_docs, reason = "a test program")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use support::{Run, patchwave, patchwave_in};

#[test]
fn help_names_every_command_and_exit_code() {
    let run = patchwave(&["--help"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for noun in [
        "up",
        "scheduler",
        "worker",
        "api",
        "config",
        "health",
        "demo",
        "window",
        "execution",
        "baseline",
        "patch-group",
        "command",
        "node",
        "compliance",
        "group",
        "document",
        "access-key",
        "audit",
        "dead-letters",
        "notification",
        "listen",
        "watch",
        "schedule",
        "completions",
    ] {
        let is_named = run.stdout.lines().any(|line| line.trim_start().split(' ').next() == Some(noun));
        assert!(is_named, "{noun} in {}", run.stdout);
    }
    assert!(run.stdout.contains("3  the server is not reachable"), "{}", run.stdout);
}

#[test]
fn every_command_has_help() {
    for line in [
        "up",
        "worker",
        "config",
        "demo",
        "window create",
        "window target add",
        "window task add",
        "execution list",
        "baseline create",
        "patch-group register",
        "command send",
        "node tag",
        "compliance",
        "group create",
        "document show",
        "access-key create",
        "audit verify",
        "dead-letters replay",
        "notification list",
        "listen",
        "watch",
        "schedule next",
    ] {
        let args: Vec<&str> = line.split(' ').chain(["--help"]).collect();
        let run = patchwave(&args);
        assert_eq!(run.code, 0, "{line}: {}", run.stderr);
        assert!(run.stdout.contains(&format!("Usage: patchwave {line}")), "{line}: {}", run.stdout);
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = patchwave(&["completions", shell]);
        assert_eq!(run.code, 0, "{shell}: {}", run.stderr);
        assert!(run.stdout.contains("dead-letters"), "{shell}");
    }
}

#[test]
fn nothing_listening_is_exit_3_with_a_hint() {
    // A port that was free a moment ago: nothing answers there.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let run = patchwave(&["window", "list", "--endpoint", &format!("http://127.0.0.1:{port}")]);
    assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{run:?}");
    assert!(run.stderr.contains("connection refused"), "{run:?}");
    assert!(run.stderr.contains("hint: start it with `patchwave up`"), "{run:?}");
}

#[test]
fn a_wrong_endpoint_is_a_usage_error() {
    for endpoint in ["ftp://127.0.0.1:1", "nonsense"] {
        let run = patchwave(&["node", "list", "--endpoint", endpoint]);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains(endpoint), "{run:?}");
    }
}

#[test]
fn a_command_without_nodes_is_refused_before_anything_is_sent() {
    let run = patchwave(&["command", "send", "AWS-RunShellScript"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("--patch-group"), "{run:?}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_patchwave"))
        .args(["schedule", "next", "rate(5 minutes)", "--count", "10000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Runs the program against a server that gives `answers` (status and body), one a connection, and
/// returns the requests it saw.
fn against(answers: &[(u16, &str)], args: &[&str]) -> (Run, Vec<String>) {
    against_with(answers, args, &[])
}

/// As [`against`], with these variables.
fn against_with(answers: &[(u16, &str)], args: &[&str], variables: &[(&str, &str)]) -> (Run, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let answers: Vec<(u16, String)> = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    let server = thread::spawn(move || {
        let mut seen = Vec::new();
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&request) {
                let count = stream.read(&mut buffer).expect("readable");
                assert_ne!(count, 0, "the client hung up: {}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&buffer[..count]);
            }
            seen.push(String::from_utf8_lossy(&request).into_owned());
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).expect("writable");
        }
        seen
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    let run = patchwave_in(dir.path(), &[args, &["--endpoint", &endpoint]].concat(), variables);
    (run, server.join().expect("the server saw what it expected"))
}

/// Whether head and body have arrived.
fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    body.len() >= length
}

#[test]
fn pages_are_followed_and_shown_as_one_table() {
    let (run, requests) = against(
        &[
            (200, r#"{"WindowIdentities":[{"WindowId":"mw-1","Name":"a","Enabled":true}],"NextToken":"t"}"#),
            (200, r#"{"WindowIdentities":[{"WindowId":"mw-2","Name":"b","Enabled":false}]}"#),
        ],
        &["window", "list"],
    );
    assert_eq!(run.code, 0, "{run:?}");
    let ids: Vec<&str> = run.stdout.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
    assert_eq!(ids, ["ID", "mw-1", "mw-2"]);
    assert!(requests[0].contains("x-amz-target: AmazonSSM.DescribeMaintenanceWindows"), "{}", requests[0]);
    assert!(!requests[0].contains("NextToken") && requests[1].contains(r#""NextToken":"t""#), "{requests:?}");
}

#[test]
fn json_output_is_the_apis_own() {
    let body = r#"{"WindowIdentities":[{"WindowId":"mw-1","Duration":3}]}"#;
    let (run, _) = against(&[(200, body)], &["window", "list", "--output", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(shown, serde_json::from_str::<serde_json::Value>(body).expect("JSON"));
}

#[test]
fn a_refusal_shows_the_servers_words() {
    let (run, _) = against(
        &[(400, r#"{"__type":"DoesNotExistException","message":"window `mw-9` does not exist"}"#)],
        &["window", "show", "mw-9"],
    );
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
    assert!(run.stderr.contains("window `mw-9` does not exist (DoesNotExistException)"), "{run:?}");
    assert!(run.stderr.contains("hint: "), "{run:?}");
}

#[test]
fn requests_are_signed_with_the_key_that_is_found_and_health_checks_are_not() {
    let key =
        [("PATCHWAVE_ACCESS_KEY_ID", "PWAKTESTTESTTEST"), ("PATCHWAVE_SECRET_ACCESS_KEY", "secret-secret-secret")];
    let (run, requests) = against_with(&[(200, "{}")], &["window", "list"], &key);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(requests[0].contains("authorization: AWS4-HMAC-SHA256 Credential=PWAKTESTTESTTEST/"), "{}", requests[0]);
    assert!(!requests[0].contains("secret-secret"), "{}", requests[0]);
    let (_, requests) = against_with(&[(200, r#"{"status":"ok"}"#)], &["health", "--live"], &key);
    assert!(!requests[0].contains("authorization"), "{}", requests[0]);
    let refusal = r#"{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}"#;
    let (run, requests) = against(&[(400, refusal)], &["window", "list"]);
    assert!(!requests[0].contains("authorization"), "{}", requests[0]);
    assert!(run.stderr.contains("hint: give an access key"), "{run:?}");
    let half = patchwave_in(std::path::Path::new("/"), &["window", "list"], &key[..1]);
    assert_eq!(half.code, 2, "{half:?}");
}

#[test]
fn health_fails_and_names_what_does_not_answer() {
    let body =
        r#"{"ready":false,"checks":{"bus":{"ok":false,"reason":"refused"},"store":{"ok":true}},"warnings":["w"]}"#;
    let (run, requests) = against(&[(503, body)], &["health"]);
    assert_eq!((run.code, run.stdout.as_str()), (1, "bus: refused\nstore: ok\n"), "{run:?}");
    assert!(run.stderr.starts_with("warning: w\nerror: not ready"), "{run:?}");
    assert!(requests[0].starts_with("GET /readyz "), "{}", requests[0]);
    let (run, requests) = against(&[(200, r#"{"status":"ok"}"#)], &["health", "--live"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "live\n"), "{run:?}");
    assert!(requests[0].starts_with("GET /livez "), "{}", requests[0]);
}

#[test]
fn patch_states_are_taken_in_any_case_and_unknown_ones_refused() {
    let ask = |found: &str| {
        let found = format!(r#"{{"InstanceInformationList": [{found}]}}"#);
        against(&[(200, r#"{"Patches": []}"#), (200, &found)], &["node", "patches", "mi-1", "--state", "missing"])
    };
    let (run, requests) = ask(r#"{"InstanceId": "mi-1"}"#);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(requests[0].contains(r#""Missing""#), "{requests:?}");
    let (run, _) = ask("");
    assert_eq!(run.code, 1, "no patches of no node look like compliance");
    assert!(run.stderr.contains("there is no node `mi-1`"), "{}", run.stderr);
    let run = patchwave(&["node", "patches", "mi-1", "--state", "lost"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("lost") && run.stderr.contains("InstalledPendingReboot"), "{}", run.stderr);
}

#[test]
fn another_program_on_the_port_is_recognised() {
    let (run, _) = against(&[(404, "<html>nothing here</html>")], &["node", "list"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("not the API's JSON"), "{run:?}");
}

#[test]
fn a_window_is_created_from_its_options() {
    let (run, requests) = against(
        &[(200, r#"{"WindowId":"mw-0123456789abcdef0"}"#)],
        &[
            "window",
            "create",
            "nightly",
            "--schedule",
            "cron(0 2 ? * * *)",
            "--duration",
            "3",
            "--cutoff",
            "1",
            "--timezone",
            "Europe/Berlin",
        ],
    );
    assert_eq!((run.code, run.stdout.as_str()), (0, "mw-0123456789abcdef0\n"), "{run:?}");
    let (_, body) = requests[0].split_once("\r\n\r\n").expect("a body");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).expect("JSON"),
        serde_json::json!({
            "Name": "nightly", "Schedule": "cron(0 2 ? * * *)", "Duration": 3, "Cutoff": 1,
            "AllowUnassociatedTargets": false, "ScheduleTimezone": "Europe/Berlin",
        })
    );
}

#[test]
fn watching_a_command_prints_changes_and_fails_with_it() {
    let unknown = r#"{"__type":"DoesNotExistException","message":"no such execution"}"#;
    let found = r#"{"Commands":[{"CommandId":"c","DocumentName":"D"}]}"#;
    let rollout = |failed: u32, in_flight: u32, status: &str| {
        format!(
            r#"{{"CommandId":"c","Status":"{status}","StatusDetails":"{status}","TargetCount":2,
               "InFlight":{in_flight},"Ended":{{"Success":0,"Failed":{failed}}}}}"#
        )
    };
    let (going, failed) = (rollout(1, 1, "InProgress"), rollout(2, 0, "Failed"));
    // No execution; found as a command; its label; then one look after the other.
    let answers = [(400, unknown), (200, found), (200, found), (200, &going), (200, &going), (200, &failed)];
    let (run, _) = against(&answers, &["watch", "c", "--interval", "50"]);
    assert_eq!(run.code, 1, "{run:?}");
    let changes: Vec<&str> = run.stdout.lines().filter_map(|line| line.split("  ").nth(2)).collect();
    assert_eq!(changes, ["1/2, 1 in flight, 1 failed, InProgress", "2/2, 2 failed, Failed"], "{run:?}");
    assert!(run.stderr.contains("hint: see why with `patchwave command show c`"), "{run:?}");
}

#[test]
fn listening_prints_a_line_for_each_notification() {
    let stream = concat!(
        "data: {\"Subject\":\"s1\",\"Message\":\"m1\",\"Timestamp\":\"2026-01-02T03:04:05Z\"}\n\n",
        "data: {\"Subject\":\"s2\",\"Message\":\"m2\",\"Timestamp\":\"2026-01-02T03:04:06Z\"}\n\n",
    );
    let (run, requests) = against(&[(200, stream)], &["listen", "ops", "--count", "2"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(run.stdout, "2026-01-02 03:04:05Z  s1  m1\n2026-01-02 03:04:06Z  s2  m2\n");
    assert!(requests[0].starts_with("GET /topics/ops/events "), "{}", requests[0]);
}
