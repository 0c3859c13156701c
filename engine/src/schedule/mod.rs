//! When a maintenance window runs.
//!
//! ```text
//! cron(0 3 ? * TUE#2 *)   03:00 on the second Tuesday   (six fields: minute first, year last)
//! rate(7 days)            every 168 hours from a base
//! at(2026-07-04T02:00:00) once
//! ```
//!
//! [`Schedule`] is an expression that has been understood. [`WindowSchedule`] adds what the window
//! says around it (zone, offset, start, end) and answers "when next". [`admission`] decides what to
//! do with an occurrence that is noticed late.
//!
//! Guaranteed: the answer depends on the arguments alone. Nothing here reads a clock or the system's
//! zone files; zones come from the IANA data that is compiled in, so every scheduler of one build
//! agrees. Occurrences are strictly increasing, whatever a zone's clock does.
//!
//! The calendar is walked in local civil time, without a zone, by `croner`; civil times become
//! instants in `civil`, where the daylight saving rules are written down once.

mod admission;
mod civil;
mod cron;
mod error;
mod expression;
mod field;
mod format;
mod window;

pub use self::admission::{Admission, HoursError, ON_TIME_WITHIN, admission, check_hours, cutoff_at, end_at};
pub use self::civil::GapPolicy;
pub(crate) use self::civil::time_zone;
pub use self::error::{ScheduleError, SyntaxError};
pub use self::expression::{MIN_INTERVAL, Schedule};
pub use self::format::format_execution_time;
pub use self::window::{WindowSchedule, WindowScheduleSpec};

#[cfg(test)]
mod tests;
