//! Calendars as people write and export them, and what is refused.

use jiff::Timestamp;

use super::{Calendar, Kind, State, combined};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A calendar in Berlin's zone with these lines in it.
fn text(kind: &str, lines: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nPRODID:-//AWS//Change Calendar 1.0//EN\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:{kind}\r\n\
         X-WR-TIMEZONE:Europe/Berlin\r\n{}\r\nEND:VCALENDAR\r\n",
        lines.replace('\n', "\r\n")
    )
}

fn event(lines: &str) -> String {
    format!("BEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT")
}

fn calendar(kind: &str, lines: &str) -> Calendar {
    Calendar::parse(&text(kind, lines)).unwrap()
}

fn freeze(lines: &str) -> Calendar {
    calendar("DEFAULT_OPEN", &event(lines))
}

fn check(calendar: &Calendar, instant: &str, state: State, next: Option<&str>) {
    let standing = calendar.state(at(instant));
    assert_eq!((standing.state, standing.next_transition), (state, next.map(at)), "at {instant}");
}

fn faults(text: &str) -> Vec<String> {
    Calendar::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn an_event_is_in_force_from_its_start_until_just_before_its_end() {
    let lines = "DTSTART:20261224T120000Z\nDTEND:20261224T180000Z\nSUMMARY:Freeze\\, all of it";
    let open = freeze(lines);
    let closed = calendar("DEFAULT_CLOSED", &event(lines));
    assert_eq!((open.kind(), closed.kind()), (Kind::DefaultOpen, Kind::DefaultClosed));
    let end = Some("2026-12-24T18:00Z");
    for (instant, during, next) in [
        ("2026-12-24T11:59:59Z", false, Some("2026-12-24T12:00Z")),
        ("2026-12-24T12:00:00Z", true, end),
        ("2026-12-24T17:59:59Z", true, end),
        ("2026-12-24T18:00:00Z", false, None),
    ] {
        check(&open, instant, if during { State::Closed } else { State::Open }, next);
        check(&closed, instant, if during { State::Open } else { State::Closed }, next);
    }
    let during = open.state(at("2026-12-24T13:00Z"));
    assert_eq!(during.event.as_deref(), Some("Freeze, all of it"));
}

#[test]
fn events_that_touch_or_overlap_are_one_time() {
    let one = |start: &str, end: &str| event(&format!("DTSTART:20261201T{start}Z\nDTEND:20261201T{end}Z"));
    let lines = [one("080000", "100000"), one("090000", "093000"), one("100000", "120000")].join("\n");
    let calendar = calendar("DEFAULT_OPEN", &lines);
    check(&calendar, "2026-12-01T08:30Z", State::Closed, Some("2026-12-01T12:00Z"));
    assert_eq!(calendar.transitions(at("2026-12-01T00:00Z"), 10).len(), 2);
}

#[test]
fn ssms_own_empty_calendar_never_changes() {
    let to_do = "BEGIN:VTODO\nUID:x\nSUMMARY:Add events to this calendar.\nEND:VTODO";
    check(&calendar("DEFAULT_OPEN", to_do), "2026-01-01T00:00Z", State::Open, None);
    check(&calendar("DEFAULT_CLOSED", to_do), "2026-01-01T00:00Z", State::Closed, None);
}

#[test]
fn advisory_and_cancelled_events_change_nothing() {
    let times = "DTSTART:20261224T120000Z\nDTEND:20261224T180000Z\n";
    for mark in
        ["STATUS:CANCELLED", "X-EVENT-TYPE:ADVISORY", "CATEGORIES:holiday,Advisory", "SUMMARY:[Advisory] be careful"]
    {
        let calendar = freeze(&format!("{times}{mark}"));
        check(&calendar, "2026-12-24T13:00Z", State::Open, None);
        assert_eq!((calendar.events(), calendar.events_without_effect()), (0, 1), "{mark}");
    }
    let calendar = freeze(&format!("{times}SUMMARY:Advisory board meets\nTRANSP:TRANSPARENT"));
    check(&calendar, "2026-12-24T13:00Z", State::Closed, Some("2026-12-24T18:00Z"));
}

#[test]
fn whole_days_are_days_where_the_calendar_is() {
    // The clocks are put back on 25 October: the day has 25 hours.
    let calendar = freeze("DTSTART;VALUE=DATE:20261025\nDTEND;VALUE=DATE:20261026");
    check(&calendar, "2026-10-24T21:59Z", State::Open, Some("2026-10-24T22:00Z"));
    check(&calendar, "2026-10-25T12:00Z", State::Closed, Some("2026-10-25T23:00Z"));
    check(&freeze("DTSTART;VALUE=DATE:20261025"), "2026-10-25T22:59Z", State::Closed, Some("2026-10-25T23:00Z"));
}

#[test]
fn times_in_the_gap_and_the_overlap_of_a_clock_follow_the_standard() {
    // 02:30 does not exist on 29 March: with the offset from before it is 03:30 by the new one.
    let gap = freeze("DTSTART;TZID=Europe/Berlin:20260329T023000\nDURATION:PT1H");
    check(&gap, "2026-03-29T01:00Z", State::Open, Some("2026-03-29T01:30Z"));
    // 02:30 exists twice on 25 October: the first is meant.
    let overlap = freeze("DTSTART;TZID=Europe/Berlin:20261025T023000\nDURATION:PT1H");
    check(&overlap, "2026-10-25T00:30Z", State::Closed, Some("2026-10-25T01:30Z"));
}

#[test]
fn a_duration_in_days_follows_the_clock_and_one_in_hours_does_not() {
    let days = freeze("DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:P1D");
    check(&days, "2026-03-28T12:00Z", State::Closed, Some("2026-03-29T10:00Z"));
    let hours = freeze("DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:PT24H");
    check(&hours, "2026-03-28T12:00Z", State::Closed, Some("2026-03-29T11:00Z"));
}

#[test]
fn zones_of_outlook_are_understood() {
    let zone = "BEGIN:VTIMEZONE\nTZID:W. Europe Standard Time\nBEGIN:STANDARD\nDTSTART:16011028T030000\n\
                RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\n\
                END:VTIMEZONE\n";
    let times = "DTSTART;TZID=\"W. Europe Standard Time\":20260701T080000\nDTEND;TZID=W. Europe Standard \n Time:20260701T100000";
    let calendar = calendar("DEFAULT_OPEN", &format!("{zone}{}", event(times)));
    check(&calendar, "2026-07-01T06:00Z", State::Closed, Some("2026-07-01T08:00Z"));
}

#[test]
fn several_calendars_are_open_only_while_all_are() {
    let closed_from = |hour: u8| freeze(&format!("DTSTART:20261201T{hour:02}0000Z\nDURATION:PT2H"));
    let both = [closed_from(8), closed_from(10), freeze("DTSTART:20261203T000000Z\nDURATION:P1D")];
    let found = combined(&both, at("2026-12-01T07:00Z"));
    assert_eq!((found.state, found.next_transition), (State::Open, Some(at("2026-12-01T08:00Z"))));
    // The second closes as the first opens: no transition between them.
    let found = combined(&both, at("2026-12-01T09:00Z"));
    assert_eq!((found.state, found.next_transition), (State::Closed, Some(at("2026-12-01T12:00Z"))));
    assert_eq!(found.closed, [0]);
    let never = [closed_from(8), calendar("DEFAULT_CLOSED", "X-A:1")];
    let found = combined(&never, at("2026-12-01T08:30Z"));
    assert_eq!((found.state, found.next_transition, found.closed), (State::Closed, None, vec![0, 1]));
    assert_eq!(combined(&[], at("2026-12-01T08:30Z")).state, State::Open);
}

#[test]
fn a_changed_occurrence_stands_in_for_the_one_of_its_series() {
    let series = "DTSTART:20261201T080000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3";
    let changed = "RECURRENCE-ID:20261202T080000Z\nDTSTART:20261202T200000Z\nDURATION:PT1H";
    let calendar = calendar("DEFAULT_OPEN", &[event(series), event(changed)].join("\n"));
    let starts: Vec<String> = calendar
        .transitions(at("2026-12-01T00:00Z"), 100)
        .iter()
        .filter(|one| one.state == State::Closed)
        .map(|one| one.at.to_string())
        .collect();
    assert_eq!(starts, ["2026-12-01T08:00:00Z", "2026-12-02T20:00:00Z", "2026-12-03T08:00:00Z"]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let of = |lines: &str| faults(&text("DEFAULT_OPEN", &event(lines)));
    for (lines, expected) in [
        ("SUMMARY:x", "line 6: the event has no DTSTART"),
        ("DTSTART:20260230T000000Z", "line 8: DTSTART is `20260230T000000Z`; expected a date"),
        ("DTSTART;TZID=Mars/Olympus:20260201T000000", "names the zone `Mars/Olympus`, which is unknown"),
        ("DTSTART:20260201T000000Z\nDTEND:20260131T000000Z", "line 9: DTEND is `20260131T000000Z`, which is before"),
        ("DTSTART:20260201T000000Z\nDTEND:20260202", "must both be dates, or both be times"),
        ("DTSTART:20260201T000000Z\nDURATION:-P1D", "expected a duration"),
        ("DTSTART:20260201T000000Z\nRRULE:FREQ=SECONDLY", "FREQ=`SECONDLY`; allowed are DAILY"),
        ("DTSTART:20260201T000000Z\nRRULE:FREQ=DAILY;BYHOUR=1", "has BYHOUR, which is not understood"),
        ("DTSTART:20260201T000000Z\nRRULE:FREQ=DAILY;COUNT=1;UNTIL=20270101", "COUNT and UNTIL"),
        ("DTSTART:20260201T000000Z\nRRULE:FREQ=DAILY;INTERVAL=0", "allowed is 1 to 1000"),
        ("DTSTART:20260201T000000Z\nDURATION:P2000D\nRRULE:FREQ=DAILY", "lasts more than a year"),
        ("DTSTART:20260201T000000Z\nnonsense", "line 9: `nonsense` is no property"),
    ] {
        let found = of(lines);
        assert!(found.len() == 1 && found[0].contains(expected), "{lines}: {found:?}");
    }
    let untyped = text("X", "").replace("X-CALENDAR-TYPE:X\r\n", "");
    assert!(faults(&untyped)[0].contains("no X-CALENDAR-TYPE"));
    assert!(faults(&text("OPEN", ""))[0].starts_with("line 4: X-CALENDAR-TYPE is `OPEN`"));
    let floating =
        text("DEFAULT_OPEN", &event("DTSTART:20260201T000000")).replace("X-WR-TIMEZONE:Europe/Berlin\r\n", "");
    assert!(faults(&floating)[0].contains("a time without a zone"));
    let day = text("DEFAULT_OPEN", &event("DTSTART:20260201")).replace("X-WR-TIMEZONE:Europe/Berlin\r\n", "");
    assert!(faults(&day)[0].contains("is a whole day, and the calendar has no zone"));
    for broken in ["", "BEGIN:VCALENDAR", "BEGIN:VEVENT\nEND:VEVENT", "END:VCALENDAR", "X:1", "BEGIN:VCALENDAR\nEND:X"]
    {
        assert!(!faults(broken).is_empty(), "{broken}");
    }
}

#[test]
fn hostile_calendars_are_refused_or_answered_at_a_bounded_cost() {
    assert!(faults(&"x".repeat(70_000))[0].contains("at most 65536"));
    let nested = faults(&"BEGIN:VCALENDAR\n".repeat(4_000));
    assert!(nested.iter().any(|fault| fault.contains("more than 4 deep")), "{nested:?}");
    assert!(faults(&"x\n".repeat(30_000)).len() <= 20);
    let many = |rule: &str, count: usize| {
        let one = format!("BEGIN:VEVENT\nDTSTART:19700101T000000Z\nDURATION:P365D\nRRULE:{rule}\nEND:VEVENT");
        text("DEFAULT_OPEN", &vec![one; count].join("\n"))
    };
    assert!(faults(&many("FREQ=DAILY", 201))[0].contains("more than 200 events that recur"));
    let counting = faults(&many("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=10000", 200));
    assert!(counting[0].contains("takes too long to count to"), "{counting:?}");
    let calendar = Calendar::parse(&many("FREQ=DAILY", 200)).unwrap();
    check(&calendar, "2026-01-01T00:00Z", State::Closed, None);
    let never = Calendar::parse(&many("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", 200)).unwrap();
    check(&never, "2026-01-01T00:00Z", State::Open, None);
    // Neither end of time is a panic.
    for instant in [Timestamp::MIN, Timestamp::MAX] {
        assert_eq!(calendar.state(instant).next_transition, None);
        assert_eq!(combined(&[calendar.clone(), never.clone()], instant).next_transition, None);
    }
}
