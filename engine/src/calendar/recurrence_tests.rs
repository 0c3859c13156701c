//! Recurring events: every form of rule, the edges of daylight saving, and the bounds.

use jiff::Timestamp;

use super::{Calendar, State};

/// The days on which an event that begins at noon (UTC) of a day recurs, the first `count` from it on.
fn days(start: &str, extra: &str, count: usize) -> Vec<String> {
    let text = format!(
        "BEGIN:VCALENDAR\nX-CALENDAR-TYPE:DEFAULT_OPEN\nBEGIN:VEVENT\nDTSTART:{start}T120000Z\nDURATION:PT1H\n{extra}\n\
         END:VEVENT\nEND:VCALENDAR\n"
    );
    let calendar = Calendar::parse(&text).unwrap();
    let mut from: Timestamp = format!("{}-{}-{}T00:00Z", &start[..4], &start[4..6], &start[6..]).parse().unwrap();
    let mut days = Vec::new();
    // Beyond one search, each goes on where the last one found something.
    while days.len() < count {
        let found = calendar.transitions(from, 10_000);
        let Some(last) = found.last() else { break };
        days.extend(
            found.iter().filter(|one| one.state == State::Closed).map(|one| one.at.to_string()[..10].to_owned()),
        );
        from = last.at;
    }
    days.truncate(count);
    days
}

#[test]
fn rules_name_the_days_that_the_standard_says() {
    for (start, rule, expected) in [
        ("20260101", "FREQ=DAILY;INTERVAL=10", "2026-01-01 2026-01-11 2026-01-21"),
        ("20260102", "FREQ=DAILY;BYDAY=FR;COUNT=2", "2026-01-02 2026-01-09"),
        ("20260101", "FREQ=DAILY;UNTIL=20260102", "2026-01-01 2026-01-02"),
        ("20260101", "FREQ=DAILY;UNTIL=20260102T115959Z", "2026-01-01"),
        ("20260105", "FREQ=WEEKLY;BYDAY=MO,WE;INTERVAL=2", "2026-01-05 2026-01-07 2026-01-19"),
        ("20260105", "FREQ=WEEKLY", "2026-01-05 2026-01-12 2026-01-19"),
        // RFC 5545's own example of what WKST changes.
        (
            "19970805",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
            "1997-08-05 1997-08-10 1997-08-19 1997-08-24",
        ),
        (
            "19970805",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
            "1997-08-05 1997-08-17 1997-08-19 1997-08-31",
        ),
        ("20260113", "FREQ=MONTHLY;BYDAY=2TU", "2026-01-13 2026-02-10 2026-03-10"),
        ("20260130", "FREQ=MONTHLY;BYDAY=-1FR", "2026-01-30 2026-02-27 2026-03-27"),
        ("20260131", "FREQ=MONTHLY", "2026-01-31 2026-03-31 2026-05-31"),
        ("20260131", "FREQ=MONTHLY;BYMONTHDAY=-1", "2026-01-31 2026-02-28 2026-03-31"),
        ("20260130", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "2026-01-30 2026-02-27 2026-03-31"),
        ("20260213", "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "2026-02-13 2026-03-13 2026-11-13"),
        ("20261224", "FREQ=YEARLY", "2026-12-24 2027-12-24 2028-12-24"),
        // The next one is further away than is looked.
        ("20240229", "FREQ=YEARLY", "2024-02-29"),
        ("20261126", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "2026-11-26 2027-11-25 2028-11-23"),
        ("20260105", "FREQ=YEARLY;BYDAY=1MO", "2026-01-05 2027-01-04 2028-01-03"),
        ("20260101", "FREQ=YEARLY;BYMONTHDAY=1;COUNT=3", "2026-01-01 2026-02-01 2026-03-01"),
        ("20260101", "FREQ=YEARLY;BYMONTH=1,7;BYMONTHDAY=1,15;COUNT=3", "2026-01-01 2026-01-15 2026-07-01"),
        // The first counts even where the rule does not name it.
        ("20260101", "FREQ=WEEKLY;BYDAY=MO;COUNT=3", "2026-01-01 2026-01-05 2026-01-12"),
    ] {
        let expected: Vec<&str> = expected.split(' ').collect();
        assert_eq!(
            days(start, &format!("RRULE:{rule}"), 3.max(expected.len()))[..expected.len()],
            expected,
            "{start} {rule}"
        );
        if rule.contains("COUNT") || rule.contains("UNTIL") {
            assert_eq!(days(start, &format!("RRULE:{rule}"), 9), expected, "{start} {rule} has no more");
        }
    }
}

#[test]
fn starts_are_added_and_left_out() {
    let extra = "RRULE:FREQ=DAILY;COUNT=4\nEXDATE:20260102T120000Z,20260103T110000Z\nRDATE:20260110T120000Z";
    assert_eq!(days("20260101", extra, 9), ["2026-01-01", "2026-01-03", "2026-01-04", "2026-01-10"]);
    let extra = "RRULE:FREQ=DAILY;COUNT=3\nEXDATE;VALUE=DATE:20260102";
    assert_eq!(days("20260101", extra, 9), ["2026-01-01", "2026-01-03"]);
}

#[test]
fn a_rule_that_began_long_ago_still_holds() {
    let text = "BEGIN:VCALENDAR\nX-CALENDAR-TYPE:DEFAULT_CLOSED\nBEGIN:VEVENT\n\
                DTSTART;TZID=America/New_York:19700104T020000\nDTEND;TZID=America/New_York:19700104T060000\n\
                RRULE:FREQ=WEEKLY;BYDAY=SU\nEND:VEVENT\nEND:VCALENDAR\n";
    let calendar = Calendar::parse(text).unwrap();
    // Local hours stay, whatever the clock does; the four hours are elapsed ones.
    for (instant, next) in [
        ("2026-02-28T12:00Z", "2026-03-01T07:00Z"),
        ("2026-03-08T06:00Z", "2026-03-08T07:00Z"),
        ("2026-03-08T08:00Z", "2026-03-08T11:00Z"),
        ("2026-03-14T12:00Z", "2026-03-15T06:00Z"),
    ] {
        let standing = calendar.state(instant.parse().unwrap());
        assert_eq!(standing.next_transition, Some(next.parse().unwrap()), "{instant}");
    }
}
