//! From civil time to instants: the daylight saving rules.
//!
//! - A civil time that exists once is that instant.
//! - *Gap* (the clock was put forward over it): the first instant after the gap, so that a monthly
//!   run is not lost to the clock; or nothing, with [`GapPolicy::Skip`].
//! - *Overlap* (the clock was put back): the earlier of the two instants; both only for schedules
//!   that run every hour.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};

/// What happens to a run whose local time does not exist that day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum GapPolicy {
    /// It runs at the first instant after the gap.
    #[default]
    RunAfter,
    /// It does not run that time, as with EventBridge Scheduler.
    Skip,
}

/// The instants that a civil time stands for, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instants {
    pub(super) first: Timestamp,
    /// The same civil time again, after the clock was put back.
    pub(super) again: Option<Timestamp>,
}

/// Finds a zone in the IANA data that is compiled in. Names are matched without regard to case.
pub(crate) fn time_zone(name: &str) -> Option<TimeZone> {
    // The system's zone files are left aside: schedulers on different hosts must agree.
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    ZONES.get(name).ok().filter(|zone| !zone.is_unknown())
}

/// The instants of `civil` in `zone`. None in a gap that is skipped, and outside the years that
/// timestamps can hold.
pub(super) fn instants(civil: DateTime, zone: &TimeZone, gaps: GapPolicy) -> Option<Instants> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => {
            Some(Instants { first: offset.to_timestamp(civil).ok()?, again: None })
        }
        AmbiguousOffset::Fold { before, after } => {
            Some(Instants { first: before.to_timestamp(civil).ok()?, again: after.to_timestamp(civil).ok() })
        }
        AmbiguousOffset::Gap { before, .. } => match gaps {
            GapPolicy::Skip => None,
            GapPolicy::RunAfter => {
                // Read with the offset from before the change, the civil time lies at or past it.
                let past = before.to_timestamp(civil).ok()?.checked_add(1.nanosecond()).ok()?;
                let first = zone.preceding(past).next()?.timestamp();
                Some(Instants { first, again: None })
            }
        },
    }
}

/// The earliest civil time that can stand for an instant at or after `instant`.
pub(super) fn earliest_civil(instant: Timestamp, zone: &TimeZone) -> DateTime {
    let civil = zone.to_datetime(instant);
    match zone.to_ambiguous_timestamp(civil).offset() {
        // During the first pass through repeated hours, all of them are still to come again.
        AmbiguousOffset::Fold { before, after } => {
            civil.checked_sub(before.duration_since(after)).unwrap_or(DateTime::MIN)
        }
        _ => civil,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn gap_of_a_whole_day_ends_at_the_change_of_zone() {
        // Samoa left out 30 December 2011.
        let apia = time_zone("Pacific/Apia").expect("zone");
        let found = instants(date(2011, 12, 30).at(5, 0, 0, 0), &apia, GapPolicy::RunAfter).expect("instants");
        assert_eq!(found.first, apia.to_timestamp(date(2011, 12, 31).at(0, 0, 0, 0)).expect("timestamp"));
        assert_eq!(instants(date(2011, 12, 30).at(5, 0, 0, 0), &apia, GapPolicy::Skip), None);
    }

    #[test]
    fn overlap_has_two_instants_in_order() {
        let berlin = time_zone("Europe/Berlin").expect("zone");
        let found = instants(date(2026, 10, 25).at(2, 30, 0, 0), &berlin, GapPolicy::RunAfter).expect("instants");
        assert_eq!(found.first, "2026-10-25T00:30Z".parse().expect("timestamp"));
        assert_eq!(found.again, Some("2026-10-25T01:30Z".parse().expect("timestamp")));
    }

    #[test]
    fn rules_hold_beyond_the_tabulated_years() {
        let new_york = time_zone("America/New_York").expect("zone");
        let found = instants(date(2150, 3, 8).at(2, 30, 0, 0), &new_york, GapPolicy::RunAfter).expect("instants");
        assert_eq!(found.first, "2150-03-08T07:00Z".parse().expect("timestamp"));
    }

    #[test]
    fn unknown_names_are_not_zones() {
        for name in ["", "Mars/Olympus", "+02:00", "Etc/Unknown", "../etc/passwd"] {
            assert!(time_zone(name).is_none(), "{name}");
        }
    }
}
