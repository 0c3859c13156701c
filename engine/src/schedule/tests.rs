//! Schedules against published vectors, refused forms with their position, and properties.

use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;

use super::{GapPolicy, Schedule, ScheduleError, WindowSchedule, WindowScheduleSpec};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A spec in UTC without bounds.
fn spec(expression: &str, base: &str) -> WindowScheduleSpec<'static> {
    WindowScheduleSpec {
        schedule: Schedule::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}")),
        timezone: None,
        offset_days: None,
        start: None,
        end: None,
        base: at(base),
        gap_policy: GapPolicy::RunAfter,
    }
}

fn window(spec: WindowScheduleSpec<'_>) -> WindowSchedule {
    WindowSchedule::new(spec).expect("valid spec")
}

#[test]
fn occurrences_match_the_table() {
    let mut rows = 0;
    for row in include_str!("occurrences.txt").lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let [name, expression, zone, after, runs, options, _note] = columns[..] else { panic!("columns of {row}") };
        let mut spec = WindowScheduleSpec { timezone: Some(zone), ..spec(expression, after) };
        let mut skip = None;
        for option in options.split_whitespace() {
            match option.split_once('=').expect("key=value") {
                ("offset", days) => spec.offset_days = Some(days.parse().expect("days")),
                ("start", start) => spec.start = Some(at(start)),
                ("end", end) => spec.end = Some(at(end)),
                ("base", base) => spec.base = at(base),
                ("skip", run) => skip = Some(run),
                (other, _) => panic!("option {other} of {name}"),
            }
        }
        let expected: Vec<Timestamp> = runs.split_whitespace().map(at).collect();
        assert_eq!(window(spec.clone()).upcoming(at(after), 3), expected, "{name} {expression} {zone}");

        spec.gap_policy = GapPolicy::Skip;
        let expected = skip.map_or(Some(expected[0]), |run| (run != "never").then(|| at(run)));
        // Hourly runs that share an instant with a skipped one are still there.
        assert_eq!(window(spec).next_after(at(after)), expected, "{name} {expression} {zone}, gaps skipped");
        rows += 1;
    }
    assert_eq!(rows, 50);
}

#[test]
fn offset_day_of_a_period_whose_named_day_has_passed_is_left_out() {
    let created = "2026-02-11T00:00Z";
    let spec = WindowScheduleSpec {
        timezone: Some("Europe/Berlin"),
        offset_days: Some(3),
        ..spec("cron(0 3 ? * TUE#2 *)", created)
    };
    assert_eq!(window(spec).next_after(at(created)), Some(at("2026-03-13T02:00Z")));
}

#[test]
fn fractions_of_a_second_do_not_lose_a_run() {
    let window = window(spec("cron(15 10 ? * MON-FRI *)", "2026-01-01T00:00Z"));
    for after in ["2026-01-02T10:14:59Z", "2026-01-02T10:14:59.999999999Z"] {
        assert_eq!(window.next_after(at(after)), Some(at("2026-01-02T10:15Z")), "{after}");
    }
    assert_eq!(window.next_after(at("2026-01-02T10:15:00.000000001Z")), Some(at("2026-01-05T10:15Z")));
}

#[test]
fn leap_days_are_found_across_the_century() {
    let window = window(spec("cron(0 6 29 2 ? *)", "2026-01-01T00:00Z"));
    assert_eq!(window.next_after(at("2096-02-29T06:00Z")), Some(at("2104-02-29T06:00Z")));
    assert_eq!(window.next_after(at("2196-02-29T06:00Z")), None);
}

#[test]
fn quarter_hours_repeat_with_the_hour_only_if_the_hour_is_a_star() {
    let runs = |expression: &str| {
        let spec = WindowScheduleSpec { timezone: Some("Europe/Berlin"), ..spec(expression, "2026-10-24T00:00Z") };
        window(spec).upcoming(at("2026-10-25T00:20Z"), 6)
    };
    let all = ["00:30Z", "00:45Z", "01:00Z", "01:15Z", "01:30Z", "01:45Z"];
    assert_eq!(runs("cron(0/15 * * * ? *)"), all.map(|time| at(&format!("2026-10-25T{time}"))));
    let once = ["00:30Z", "00:45Z", "02:00Z", "02:15Z", "02:30Z", "02:45Z"];
    assert_eq!(runs("cron(0/15 0-23 * * ? *)"), once.map(|time| at(&format!("2026-10-25T{time}"))));
}

#[test]
fn search_that_starts_within_the_second_pass_sees_the_rest_of_it() {
    let spec =
        WindowScheduleSpec { timezone: Some("America/New_York"), ..spec("cron(0/30 * * * ? *)", "2026-11-01T00:00Z") };
    assert_eq!(window(spec).upcoming(at("2026-11-01T06:10Z"), 2), [at("2026-11-01T06:30Z"), at("2026-11-01T07:00Z")]);
}

#[test]
fn last_day_and_wrapped_ranges_read_as_in_quartz() {
    let same = |left: &str, right: &str| {
        let runs = |expression| window(spec(expression, "2026-01-01T00:00Z")).upcoming(at("2026-01-01T00:00Z"), 40);
        assert_eq!(runs(left), runs(right), "{left} {right}");
    };
    same("cron(0 2 ? * L *)", "cron(0 2 ? * SAT *)");
    same("cron(0 2 ? * FRI-MON *)", "cron(0 2 ? * 1,2,6,7 *)");
    same("cron(0 22-2 ? * * *)", "cron(0 0,1,2,22,23 * * ? *)");
    same("cron(0 22-2/2 ? * * *)", "cron(0 0,2,22 * * ? *)");
    same("cron(0 2 ? * fril *)", "cron(0 2 ? * 6L *)");
    same("cron(0 2 ? jan-MAR tue#2 *)", "cron(0 2 ? 1,2,3 3#2 *)");
    same("cron(*/15 2 * * ? *)", "cron(0/15  2  *  *  ?  1970-2199)");
    same("cron(0 2 10,L * ? *)", "cron(0 2 L,10 * ? 1970/1)");
    same("cron(0 2 ? * 2/2 *)", "cron(0 2 ? * MON,WED,FRI *)");
}

#[test]
fn syntax_errors_point_at_the_offending_text() {
    for (expression, position, part) in [
        ("", 0, "no opening parenthesis"),
        ("every day", 0, "no opening parenthesis"),
        ("cron(0 2 * * ? *", 16, "no closing parenthesis"),
        ("cron(0 2 * * ? *) ", 18, "no closing parenthesis"),
        ("Cron(0 2 * * ? *)", 0, "`Cron` is not a schedule"),
        ("cron()", 5, "nothing between"),
        ("cron( )", 5, "nothing between"),
        ("cron(0 2 * * ?)", 14, "5 fields"),
        ("cron(0 0 2 * * ? * *)", 19, "8 fields"),
        ("cron(0 2 1 * MON *)", 13, "both day fields are set"),
        ("cron(0 2 * * * *)", 13, "both day fields are set"),
        ("cron(0 2 ? * ? *)", 13, "both day fields are `?`"),
        ("cron(0 24 * * ? *)", 7, "`24` is not allowed in hours"),
        ("cron(60 0 * * ? *)", 5, "`60` is not allowed in minutes"),
        ("cron(60 0 0 * * ? *)", 5, "`60` is not allowed in seconds"),
        ("cron(0 2 ? * 0 *)", 13, "`0` is not allowed in day-of-week"),
        ("cron(0 2 ? * 8 *)", 13, "`8` is not allowed in day-of-week"),
        ("cron(0 2 ? * TUE#6 *)", 17, "`6` is not allowed in day-of-week"),
        ("cron(0 2 ? * TUE#0 *)", 17, "`0` is not allowed in day-of-week"),
        ("cron(0 2 ? * TUE#1,TUE#3 *)", 19, "`TUE#3` is not allowed in day-of-week"),
        ("cron(0 2 ? * TUE#1,THU *)", 19, "`THU` is not allowed in day-of-week"),
        ("cron(0 2 32 * ? *)", 9, "`32` is not allowed in day-of-month"),
        ("cron(0 2 0 * ? *)", 9, "`0` is not allowed in day-of-month"),
        ("cron(0 2 L,LW * ? *)", 11, "`LW` is not allowed in day-of-month"),
        ("cron(0 2 32W * ? *)", 9, "`32` is not allowed in day-of-month"),
        ("cron(0 2 L-3 * ? *)", 9, "`L` is not allowed in day-of-month"),
        ("cron(0 2 * 13 ? *)", 11, "`13` is not allowed in month"),
        ("cron(0 2 * NOV-FEB ? *)", 11, "`NOV-FEB` is not allowed in month"),
        ("cron(0 2 * ? * *)", 11, "`?` is not allowed in month"),
        ("cron(0 2 * * ? 1969)", 15, "`1969` is not allowed in year"),
        ("cron(0 2 * * ? 2200)", 15, "`2200` is not allowed in year"),
        ("cron(0 15 10 ? * MON-FRI)", 17, "`MON` is not allowed in year"),
        ("cron(0/0 2 * * ? *)", 7, "step `0`"),
        ("cron(0/60 2 * * ? *)", 7, "step `60`"),
        ("cron(0/ 2 * * ? *)", 7, "step ``"),
        ("cron(0,,5 2 * * ? *)", 7, "`` is not allowed in minutes"),
        ("cron(+5 2 * * ? *)", 5, "`+5` is not allowed in minutes"),
        ("cron(ü 2 * * ? *)", 5, "`ü` is not allowed in minutes"),
        ("cron(0 99999999 * * ? *)", 7, "`99999999` is not allowed in hours"),
        ("rate(1 hours)", 7, "unit `hours`"),
        ("rate(2 hour)", 7, "unit `hour`"),
        ("rate(0 days)", 5, "value `0`"),
        ("rate(1 week)", 7, "unit `week`"),
        ("rate(-1 days)", 5, "value `-1`"),
        ("rate(+7 days)", 5, "value `+7`"),
        ("rate(7)", 5, "`7` is not a rate"),
        ("rate(7 days or so)", 12, "`or` is too much"),
        ("at(2026-02-30T00:00:00)", 3, "`2026-02-30T00:00:00` is not a date and time"),
        ("at(2026-07-04)", 3, "is not a date and time"),
        ("at(2026-07-04T02:00:60)", 3, "is not a date and time"),
        ("at(2026-07-04T02:00:00Z)", 3, "is not a date and time"),
    ] {
        let Err(ScheduleError::Syntax(error)) = Schedule::parse(expression) else {
            panic!("{expression}: {:?}", Schedule::parse(expression));
        };
        assert_eq!(error.position, position, "{error}");
        assert!(error.reason.contains(part), "{error}");
        assert!(error.to_string().contains(expression) && !error.expected.is_empty(), "{error}");
    }
}

#[test]
fn expressions_are_limited_in_length() {
    let longest = format!("cron(0 2 * * ?{}*)", " ".repeat(240));
    assert_eq!(longest.chars().count(), 256);
    assert!(Schedule::parse(&longest).is_ok());
    assert!(matches!(Schedule::parse(&format!("{longest} ")), Err(ScheduleError::Syntax(_))));
}

#[test]
fn schedules_denser_than_five_minutes_are_refused() {
    for (expression, expected) in [
        ("cron(* * * * ? *)", 60),
        ("cron(0/4 * * * ? *)", 240),
        ("cron(0,4 2 * * ? *)", 240),
        ("cron(0,30 0 2 * * ? *)", 30),
        ("cron(58 23 * * ? *)", 0),
        ("cron(0,58 0,23 * * ? *)", 120),
        ("cron(0,58 0,23 ? * SAT,SUN *)", 120),
        ("cron(0,58 0,23 ? * MON,WED,FRI *)", 0),
        ("cron(0/5 * * * ? *)", 0),
        ("rate(4 minutes)", 240),
        ("rate(1 minute)", 60),
        ("rate(5 minutes)", 0),
    ] {
        let found = match Schedule::parse(expression) {
            Ok(_) => 0,
            Err(ScheduleError::TooDense { seconds, .. }) => seconds,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn schedules_that_can_never_fire_are_refused() {
    for expression in
        ["cron(0 0 31 2 ? *)", "cron(0 0 30 FEB ? *)", "cron(0 0 29 2 ? 2027)", "cron(0 0 31W 4,6,9,11 ? *)"]
    {
        assert_eq!(
            Schedule::parse(expression),
            Err(ScheduleError::NeverFires { expression: expression.to_owned() }),
            "{expression}"
        );
    }
}

#[test]
fn new_windows_without_a_run_left_are_refused() {
    let now = "2026-05-10T08:00Z";
    let check = |spec| window(spec).check_new(at(now));
    assert_eq!(check(spec("rate(7 days)", now)), Ok(()));
    assert!(matches!(check(spec("at(2026-05-10T08:00:00)", now)), Err(ScheduleError::NoRunLeft { .. })));
    assert!(matches!(check(spec("cron(0 8 1 * ? 2025)", now)), Err(ScheduleError::NoRunLeft { .. })));
    assert!(matches!(check(spec("rate(4294967295 days)", now)), Err(ScheduleError::NoRunLeft { .. })));
    let end = |end: &str| WindowScheduleSpec { end: Some(at(end)), ..spec("rate(7 days)", now) };
    assert!(matches!(check(end("2026-05-10T08:00Z")), Err(ScheduleError::EndInPast { .. })));
    assert!(matches!(check(end("2026-05-17T08:00Z")), Err(ScheduleError::NoRunLeft { .. })));
    assert_eq!(check(end("2026-05-17T08:00:01Z")), Ok(()));
}

#[test]
fn settings_that_contradict_are_refused_with_the_field() {
    let now = "2026-05-10T08:00Z";
    let refused = |spec| WindowSchedule::new(spec).expect_err("refused").to_string();
    let daily = || spec("cron(0 2 * * ? *)", now);
    assert!(
        refused(WindowScheduleSpec { timezone: Some("Mars/Olympus"), ..daily() })
            .contains("ScheduleTimezone `Mars/Olympus`")
    );
    assert!(refused(WindowScheduleSpec { offset_days: Some(0), ..daily() }).contains("ScheduleOffset 0"));
    assert!(refused(WindowScheduleSpec { offset_days: Some(7), ..daily() }).contains("expected 1 to 6"));
    assert!(refused(WindowScheduleSpec { offset_days: Some(1), ..spec("rate(7 days)", now) }).contains("cron(…)"));
    let (start, end) = (Some(at("2026-06-01T00:00Z")), Some(at("2026-06-01T00:00Z")));
    assert!(refused(WindowScheduleSpec { start, end, ..daily() }).contains("EndDate"));
}

#[test]
fn policy_that_skips_every_run_ends_the_search() {
    let spec = WindowScheduleSpec {
        timezone: Some("America/New_York"),
        gap_policy: GapPolicy::Skip,
        ..spec("cron(30 2 ? 3 SUN#2 *)", "2026-01-01T00:00Z")
    };
    assert_eq!(window(spec).next_after(at("2026-01-01T00:00Z")), None);
}

/// Zones that change by nothing, half an hour, one hour and two hours, some of them at midnight.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

prop_compose! {
    fn cron_expression()(
        minute in prop::sample::select(vec!["0", "30", "15,45", "0/15", "5/20", "*/5"]),
        hour in prop::sample::select(vec!["*", "0-23", "2", "1", "0", "1-3", "22-2", "0/6"]),
        days in prop::sample::select(vec!["* * ?", "? * SUN", "? * TUE#2", "L * ?", "1W * ?", "LW * ?", "? 3,10,11 *", "? * 6L"]),
    ) -> String {
        format!("cron({minute} {hour} {days} *)")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn occurrences_strictly_increase_and_none_is_skipped(
        expression in cron_expression(),
        zone in prop::sample::select(ZONES.to_vec()),
        offset_days in prop::option::of(1..=6_u8),
        skip in any::<bool>(),
        // A year from January 2026 on; thirty runs of most expressions meet a change of the clock.
        after in (1_767_225_600_i64..1_800_000_000).prop_map(|seconds| Timestamp::from_second(seconds).expect("in range")),
    ) {
        let base = after.checked_sub(400.hours()).expect("in range");
        let gap_policy = if skip { GapPolicy::Skip } else { GapPolicy::RunAfter };
        let spec = WindowScheduleSpec { timezone: Some(zone), offset_days, gap_policy, ..spec(&expression, &base.to_string()) };
        let window = window(spec);
        let runs = window.upcoming(after, 30);
        prop_assert_eq!(runs.len(), 30);
        prop_assert!(runs[0] > after);
        let mut previous = after;
        for run in runs {
            prop_assert!(run > previous, "{} after {}", run, previous);
            // The same run is found from anywhere in between, so the search skips nothing.
            let just_before = run.checked_sub(1.nanosecond()).expect("in range");
            prop_assert_eq!(window.next_after(just_before), Some(run));
            let halfway = Timestamp::from_second(i64::midpoint(previous.as_second(), run.as_second())).expect("in range");
            prop_assert_eq!(window.next_after(halfway.max(previous)), Some(run));
            previous = run;
        }
    }

    #[test]
    fn parsing_never_panics(expression in "(cron|rate|at)?\\(?[0-9a-zA-ZüLW#?*/, -]{0,40}\\)?") {
        let _ = Schedule::parse(&expression);
    }
}
