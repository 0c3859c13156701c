//! `patchwave schedule next`: published vectors, and what is refused.

#![allow(missing_docs, reason = "a test program")]

mod support;

use support::patchwave;

#[track_caller]
fn check(expression: &str, options: &[&str], expected: &[&str]) {
    let args = [&["schedule", "next", expression, "--count", "3"], options].concat();
    let run = patchwave(&args);
    assert_eq!(run.code, 0, "{expression} {options:?}: {}", run.stderr);
    let runs: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(runs, expected, "{expression} {options:?}");
}

#[test]
fn prints_one_utc_instant_a_line() {
    check(
        "cron(0 2 ? * THU#3 *)",
        &["--after", "2026-01-01T00:00Z"],
        &["2026-01-15T02:00:00Z", "2026-02-19T02:00:00Z", "2026-03-19T02:00:00Z"],
    );
    check(
        "cron(24 30 09 ? * * *)",
        &["--after", "2026-01-01T00:00Z"],
        &["2026-01-01T09:30:24Z", "2026-01-02T09:30:24Z", "2026-01-03T09:30:24Z"],
    );
}

#[test]
fn reads_fields_in_the_zone_and_adds_the_offset() {
    check(
        "cron(0 3 ? * TUE#2 *)",
        &["--timezone", "Europe/Berlin", "--offset", "3", "--after", "2026-02-01T00:00Z"],
        &["2026-02-13T02:00:00Z", "2026-03-13T02:00:00Z", "2026-04-17T01:00:00Z"],
    );
    check(
        "cron(30 2 * * ? *)",
        &["--timezone", "America/New_York", "--after", "2026-03-07T12:00Z"],
        &["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z", "2026-03-10T06:30:00Z"],
    );
    check(
        "at(2026-07-04T02:00:00)",
        &["--timezone", "America/Chicago", "--after", "2026-07-01"],
        &["2026-07-04T07:00:00Z"],
    );
}

#[test]
fn keeps_within_start_and_end() {
    check(
        "cron(0 9 ? * WED *)",
        &[
            "--timezone",
            "America/Los_Angeles",
            "--after",
            "2020-12-30T00:00Z",
            "--start",
            "2021-01-01T00:00:00-08:00",
            "--end",
            "2021-01-15T00:00:00-08:00",
        ],
        &["2021-01-06T17:00:00Z", "2021-01-13T17:00:00Z"],
    );
    check(
        "rate(7 days)",
        &["--after", "2018-12-15T00:00Z", "--start", "2019-01-01T00:03:15+09:00"],
        &["2018-12-31T15:03:15Z", "2019-01-07T15:03:15Z", "2019-01-14T15:03:15Z"],
    );
    check(
        "rate(30 minutes)",
        &["--after", "2026-05-10T09:40Z", "--start", "2026-05-10T09:00Z", "--end", "2026-05-10T10:30Z"],
        &["2026-05-10T10:00:00Z"],
    );
}

#[test]
fn a_window_made_after_its_start_counts_from_its_creation() {
    let created = "2026-05-10T08:00Z";
    check(
        "rate(12 hours)",
        &["--after", created, "--created", created, "--start", "2026-05-01T05:00Z"],
        &["2026-05-10T20:00:00Z", "2026-05-11T08:00:00Z", "2026-05-11T20:00:00Z"],
    );
}

#[test]
fn no_run_left_is_said_beside_empty_output() {
    let run = patchwave(&["schedule", "next", "at(2020-01-01T00:00:00)", "--after", "2026-01-01"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, ""));
    assert!(run.stderr.contains("no run after 2026-01-01T00:00:00Z"), "{}", run.stderr);
}

#[test]
fn refuses_with_position_and_reason() {
    for (expression, position) in [
        ("cron(0 24 * * ? *)", 7),
        ("cron(60 0 * * ? *)", 5),
        ("cron(0 2 32 * ? *)", 9),
        ("rate(2 hour)", 7),
        ("rate(0 days)", 5),
        ("at(2026-02-30T00:00:00)", 3),
        ("every day", 0),
    ] {
        let run = patchwave(&["schedule", "next", expression]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{expression}");
        assert!(run.stderr.contains(&format!("at offset {position}:")), "{expression}: {}", run.stderr);
        let caret = run.stderr.lines().find(|line| line.trim() == "^").unwrap_or_else(|| panic!("{}", run.stderr));
        assert_eq!(caret.len(), "  ".len() + position + 1, "{expression}: {}", run.stderr);
    }
}

#[test]
fn refuses_every_form_the_reference_lists() {
    for expression in [
        "cron(0 2 * *)",
        "cron(0 0 2 ? * MON * *)",
        "cron(0 2 1 * MON *)",
        "cron(0 2 * * * *)",
        "cron(0 2 ? * ? *)",
        "cron(0 2 ? * 0 *)",
        "cron(0 2 ? * 8 *)",
        "cron(0 2 ? * TUE#6 *)",
        "cron(0 2 ? * TUE#1,WED#2 *)",
        "cron(0 2 1 * ? 1969)",
        "cron(0 2 1 * ? 2200)",
        "cron()",
        "rate(1 hours)",
        "rate(1 week)",
        "cron(0 0 31 2 ? *)",
    ] {
        let run = patchwave(&["schedule", "next", expression]);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{expression}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: schedule `"), "{expression}: {}", run.stderr);
    }
}

#[test]
fn refuses_wrong_options_by_name() {
    for (options, part) in [
        (["--timezone", "Mars/Base"], "Mars/Base"),
        (["--offset", "7"], "ScheduleOffset 7"),
        (["--after", "soon"], "--after"),
        (["--count", "0"], "--count"),
    ] {
        let run = patchwave(&[&["schedule", "next", "cron(0 2 ? * MON *)"], options.as_slice()].concat());
        assert_eq!(run.code, 2, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(part), "{options:?}: {}", run.stderr);
    }
}
