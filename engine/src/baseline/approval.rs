//! When a rule approves a version: after a number of days, or up to a date.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::PatchRule;

/// What a rule's timing says about one release instant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// Approved; the text says why.
    Approved(String),
    /// Not yet; approved as soon as `now` is past the instant.
    WaitsUntil(Timestamp),
    /// Never; the text says why.
    Never(String),
}

/// Judges a release instant. With growing `now` the answer only ever moves towards approval.
///
/// A version whose release nobody knows counts as long released (SSM's rule), so that missing
/// metadata never keeps a fix away for ever.
pub(super) fn judge(rule: &PatchRule, released: Option<Timestamp>, now: Timestamp) -> Timing {
    if let Some(date) = &rule.approve_until_date {
        return until_date(date, released);
    }
    let days = rule.approve_after_days.unwrap_or(0);
    let Some(released) = released else {
        return Timing::Approved("no release date is known".to_owned());
    };
    if days == 0 {
        return Timing::Approved(format!("released {}, no delay", day(released)));
    }
    match released.checked_add(SignedDuration::from_hours(24 * i64::from(days))) {
        // Strictly later, as SSM has it.
        Ok(due) if due < now => Timing::Approved(format!("released {}, {} passed", day(released), in_days(days))),
        Ok(due) => Timing::WaitsUntil(due),
        Err(_) => Timing::Never(format!("released {}, beyond the calendar", day(released))),
    }
}

fn until_date(date: &str, released: Option<Timestamp>) -> Timing {
    let Some(end) = end_of_day(date) else {
        return Timing::Never(format!("ApproveUntilDate `{date}` is not a date"));
    };
    match released {
        None => Timing::Approved("no release date is known".to_owned()),
        Some(released) if released < end => {
            Timing::Approved(format!("released {}, not later than {date}", day(released)))
        }
        Some(released) => Timing::Never(format!("released {}, later than {date}", day(released))),
    }
}

/// The first instant after the UTC day, or nothing when the text is not `YYYY-MM-DD`.
pub(super) fn end_of_day(date: &str) -> Option<Timestamp> {
    let exact_form = date.len() == 10
        && date.bytes().enumerate().all(|(at, b)| match at {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    let day: Date = exact_form.then(|| date.parse().ok()).flatten()?;
    Some(day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn in_days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

fn day(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d").to_string()
}

/// An instant as reasons show it: UTC, minutes.
pub(super) fn minute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use patchwave_schemas::baseline::{ComplianceLevel, PatchFilterGroup, PatchRule};

    use super::{Timing, end_of_day, judge};

    fn rule(days: Option<u32>, date: Option<&str>) -> PatchRule {
        PatchRule {
            patch_filter_group: PatchFilterGroup::default(),
            compliance_level: ComplianceLevel::default(),
            approve_after_days: days,
            approve_until_date: date.map(str::to_owned),
            enable_non_security: false,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn delay_is_counted_in_elapsed_days_and_must_have_passed() {
        let seven = rule(Some(7), None);
        let released = Some(at("2025-11-09T18:00:00Z"));
        let due = at("2025-11-16T18:00:00Z");
        assert_eq!(judge(&seven, released, due), Timing::WaitsUntil(due));
        assert_eq!(
            judge(&seven, released, at("2025-11-16T18:00:01Z")),
            Timing::Approved("released 2025-11-09, 7 days passed".into())
        );
    }

    #[test]
    fn no_delay_approves_at_once() {
        let now = at("2025-11-09T18:00:00Z");
        assert_eq!(
            judge(&rule(Some(0), None), Some(now), now),
            Timing::Approved("released 2025-11-09, no delay".into())
        );
    }

    #[test]
    fn until_date_includes_the_whole_utc_day_and_does_not_look_at_now() {
        let until = rule(None, Some("2026-02-28"));
        for now in ["2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"] {
            let now = at(now);
            assert!(matches!(judge(&until, Some(at("2026-02-28T23:59:59.9Z")), now), Timing::Approved(_)));
            assert_eq!(
                judge(&until, Some(at("2026-03-01T00:00:00Z")), now),
                Timing::Never("released 2026-03-01, later than 2026-02-28".into())
            );
        }
    }

    #[test]
    fn unknown_release_counts_as_long_ago() {
        let now = at("2026-01-01T00:00:00Z");
        for rule in [rule(Some(360), None), rule(None, Some("2020-01-01"))] {
            assert_eq!(judge(&rule, None, now), Timing::Approved("no release date is known".into()));
        }
    }

    #[test]
    fn release_at_the_end_of_time_never_gets_old() {
        let now = at("2026-01-01T00:00:00Z");
        assert!(matches!(judge(&rule(Some(7), None), Some(Timestamp::MAX), now), Timing::Never(_)));
    }

    #[test]
    fn dates_have_one_form() {
        assert_eq!(end_of_day("2028-02-29"), Some(at("2028-03-01T00:00:00Z")));
        for wrong in [
            "",
            "2026-02-29",
            "2026-2-01",
            "26-02-01",
            "2026-02-01T00",
            "20260201",
            "2026-13-01",
            "9999-12-31",
            "２０２６",
        ] {
            assert_eq!(end_of_day(wrong), None, "{wrong}");
        }
    }
}
