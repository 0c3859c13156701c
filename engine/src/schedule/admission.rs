//! Whether an occurrence may still start.
//!
//! A run lasts `Duration` hours from its scheduled instant, however late it starts; in the last
//! `Cutoff` hours no task starts. Hours are elapsed time: no clock change shortens a run.

use jiff::{SignedDuration, Timestamp};

/// How late a start still counts as on time. Above the scheduler's polling and a restart of it;
/// a larger value would hide that runs lose working time.
pub const ON_TIME_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// What to do with an occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// Start it.
    OnTime,
    /// Start it, with what is left of its time, and say so.
    Late,
    /// Do not start it; record it and tell.
    Missed,
}

/// `Duration` and `Cutoff` that do not fit, each or together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// `Duration` is out of range.
    #[error("Duration {value} is out of range; expected 1 to 24 hours")]
    Duration {
        /// The hours as given.
        value: u8,
    },
    /// `Cutoff` leaves no time to start anything.
    #[error("Cutoff {cutoff} does not fit Duration {duration}; expected 0 to {max} hours (less than Duration)", max = .duration - 1)]
    Cutoff {
        /// The hours as given.
        cutoff: u8,
        /// The duration it was given with; at least 1.
        duration: u8,
    },
}

/// Checks `Duration` (1 to 24) and `Cutoff` (below `Duration`).
///
/// # Errors
/// [`HoursError`] naming the field that is to change.
pub fn check_hours(duration: u8, cutoff: u8) -> Result<(), HoursError> {
    if !(1..=24).contains(&duration) {
        return Err(HoursError::Duration { value: duration });
    }
    if cutoff >= duration {
        return Err(HoursError::Cutoff { cutoff, duration });
    }
    Ok(())
}

/// The last instant at which a task of the run may start.
#[must_use]
pub fn cutoff_at(scheduled_at: Timestamp, duration_hours: u8, cutoff_hours: u8) -> Timestamp {
    end_at(scheduled_at, duration_hours.saturating_sub(cutoff_hours))
}

/// When the run is over.
#[must_use]
pub fn end_at(scheduled_at: Timestamp, duration_hours: u8) -> Timestamp {
    let hours = SignedDuration::from_hours(i64::from(duration_hours));
    scheduled_at.saturating_add(hours).expect("a duration has no calendar units")
}

/// Decides about the occurrence at `scheduled_at`, noticed at `now`.
///
/// At the cutoff itself it still starts, after it no more: tasks that can only be refused are not a
/// run. A `now` before `scheduled_at` (a clock that was put back) is on time.
#[must_use]
pub fn admission(scheduled_at: Timestamp, duration_hours: u8, cutoff_hours: u8, now: Timestamp) -> Admission {
    if now > cutoff_at(scheduled_at, duration_hours, cutoff_hours) {
        Admission::Missed
    } else if now.duration_since(scheduled_at) > ON_TIME_WITHIN {
        Admission::Late
    } else {
        Admission::OnTime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("timestamp")
    }

    #[test]
    fn run_admits_tasks_until_cutoff_and_ends_after_duration() {
        let scheduled = at("2026-03-08T07:00Z");
        assert_eq!(cutoff_at(scheduled, 2, 1), at("2026-03-08T08:00Z"));
        assert_eq!(end_at(scheduled, 2), at("2026-03-08T09:00Z"));
    }

    #[test]
    fn late_occurrence_starts_until_cutoff_and_is_missed_after() {
        let scheduled = at("2026-03-08T15:00Z");
        for (now, expected) in [
            ("2026-03-08T14:59:59Z", Admission::OnTime),
            ("2026-03-08T15:00:00Z", Admission::OnTime),
            ("2026-03-08T15:01:00Z", Admission::OnTime),
            ("2026-03-08T15:01:00.001Z", Admission::Late),
            ("2026-03-08T17:00:00Z", Admission::Late),
            ("2026-03-08T17:00:00.001Z", Admission::Missed),
            ("2026-03-09T15:00:00Z", Admission::Missed),
        ] {
            assert_eq!(admission(scheduled, 3, 1, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn hours_that_leave_no_time_are_refused() {
        assert_eq!(check_hours(2, 1), Ok(()));
        assert_eq!(check_hours(24, 23), Ok(()));
        assert_eq!(check_hours(0, 0), Err(HoursError::Duration { value: 0 }));
        assert_eq!(check_hours(25, 0), Err(HoursError::Duration { value: 25 }));
        let error = check_hours(5, 12).expect_err("cutoff above duration");
        assert_eq!(error.to_string(), "Cutoff 12 does not fit Duration 5; expected 0 to 4 hours (less than Duration)");
        assert!(check_hours(2, 2).is_err());
    }
}
