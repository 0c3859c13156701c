//! What can be wrong with a schedule, said so that the author can mend it.

use jiff::Timestamp;

/// A schedule expression that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schedule `{expression}` at offset {position}: {reason}; expected {expected}")]
pub struct SyntaxError {
    /// The whole expression.
    pub expression: String,
    /// Where the offending text starts, in bytes from the start of the expression.
    pub position: usize,
    /// What is wrong there.
    pub reason: String,
    /// What would have been accepted.
    pub expected: String,
}

/// A schedule that is refused. Nothing is to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The expression was not understood.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),

    /// Two runs would be closer together than [`MIN_INTERVAL`](super::MIN_INTERVAL).
    #[error("schedule `{expression}` fires twice within {seconds} s; expected at least 300 s between two runs")]
    TooDense {
        /// The expression.
        expression: String,
        /// The smallest distance found, in seconds.
        seconds: u32,
    },

    /// No date satisfies the expression, ever.
    #[error("schedule `{expression}` never fires: no date in the years it names satisfies it")]
    NeverFires {
        /// The expression.
        expression: String,
    },

    /// The expression has had its last occurrence, or its bounds leave none.
    #[error("schedule `{expression}` has no run after {now}; expected at least one before EndDate")]
    NoRunLeft {
        /// The expression.
        expression: String,
        /// The instant it was checked at.
        now: Timestamp,
    },

    /// `ScheduleTimezone` is not a zone.
    #[error("ScheduleTimezone `{value}` is unknown; expected an IANA name such as `Europe/Berlin` or `Etc/UTC`")]
    UnknownTimeZone {
        /// The name as given.
        value: String,
    },

    /// `ScheduleOffset` is out of range.
    #[error("ScheduleOffset {value} is out of range; expected 1 to 6 days")]
    OffsetOutOfRange {
        /// The number as given.
        value: u8,
    },

    /// `ScheduleOffset` makes sense for cron alone.
    #[error("ScheduleOffset {value} was given with `{expression}`; expected a cron(…) schedule beside it")]
    OffsetWithoutCron {
        /// The number as given.
        value: u8,
        /// The expression.
        expression: String,
    },

    /// The bounds enclose nothing.
    #[error("EndDate {end} is not after StartDate {start}; expected a later instant")]
    EndNotAfterStart {
        /// `StartDate`.
        start: Timestamp,
        /// `EndDate`.
        end: Timestamp,
    },

    /// The window would be over before it exists.
    #[error("EndDate {end} has passed; expected an instant after {now}")]
    EndInPast {
        /// `EndDate`.
        end: Timestamp,
        /// The instant it was checked at.
        now: Timestamp,
    },
}
