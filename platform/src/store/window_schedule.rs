//! From a stored window to the schedule that the engine computes with.

use jiff::Timestamp;
use patchwave_engine::schedule::{GapPolicy, Schedule, ScheduleError, WindowSchedule, WindowScheduleSpec};

use super::windows::Window;

/// A window whose schedule makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowScheduleError {
    /// `StartDate` or `EndDate` is no instant.
    #[error("{field} is `{value}`; expected an instant with offset such as `2026-04-07T14:29:00-08:00`")]
    Date {
        /// `StartDate` or `EndDate`.
        field: &'static str,
        /// The text given.
        value: String,
    },
    /// The schedule itself, or what is said around it.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

impl Window {
    /// When the window runs, whether or not it is enabled.
    ///
    /// # Errors
    /// [`WindowScheduleError`]; never for a window that was checked before it was stored.
    pub fn schedule(&self) -> Result<WindowSchedule, WindowScheduleError> {
        let schedule = WindowSchedule::new(WindowScheduleSpec {
            schedule: Schedule::parse(&self.schedule)?,
            timezone: self.schedule_timezone.as_deref(),
            offset_days: self.schedule_offset,
            start: date("StartDate", self.start_date.as_deref())?,
            end: date("EndDate", self.end_date.as_deref())?,
            base: self.schedule_base,
            gap_policy: GapPolicy::RunAfter,
        })?;
        Ok(schedule)
    }
}

fn date(field: &'static str, value: Option<&str>) -> Result<Option<Timestamp>, WindowScheduleError> {
    value.map(|text| text.parse().map_err(|_| WindowScheduleError::Date { field, value: text.to_owned() })).transpose()
}
