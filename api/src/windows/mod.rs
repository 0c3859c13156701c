//! Maintenance windows: one file for each thing that is done with them.

use jiff::Timestamp;
use patchwave_engine::schedule::check_hours;
use patchwave_platform::store::Tx;
use patchwave_platform::store::windows::{Window, WindowScheduleError};
use patchwave_schemas::WindowId;
use patchwave_schemas::event::Timer;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::Error;

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod for_target;
pub(crate) mod get;
pub(crate) mod schedule;
pub(crate) mod update;

/// Reads a window that must be there.
pub(crate) async fn existing(api: &Api, id: &WindowId) -> Result<Window, Error> {
    api.store.window(id).await?.ok_or_else(|| missing(id))
}

/// What is said of a window that is not there.
pub(crate) fn missing(id: &WindowId) -> Error {
    Error::does_not_exist(format_args!("maintenance window {id}"))
}

/// `Duration` and `Cutoff` as the store keeps them, once they go together.
fn hours(duration: i64, cutoff: i64) -> Result<(u32, u32), Error> {
    // Each is in its range of at most 24: the model has checked that.
    let (duration, cutoff) = (duration.unsigned_abs() as u8, cutoff.unsigned_abs() as u8);
    check_hours(duration, cutoff).map_err(|error| Error::validation(error.to_string()))?;
    Ok((u32::from(duration), u32::from(cutoff)))
}

/// `ScheduleOffset` as the store keeps it; the model allows 1 to 6.
fn offset(days: Option<i64>) -> Option<u8> {
    days.map(|days| days.unsigned_abs() as u8)
}

fn refused_schedule(error: &WindowScheduleError) -> Error {
    Error::validation(error.to_string())
}

/// Computes when the window fires next, from its schedule alone. `new` refuses schedules that
/// would do nothing.
fn next_execution(window: &Window, new: bool, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let schedule = window.schedule().map_err(|error| refused_schedule(&error))?;
    if new {
        schedule.check_new(now).map_err(|error| Error::validation(error.to_string()))?;
    }
    Ok(if window.enabled { schedule.next_after(now) } else { None })
}

/// Stores a window together with the timer that fires it.
async fn store(tx: &mut Tx, window: &Window) -> Result<(), Error> {
    tx.put_window(window).await?;
    let timer = Timer::Window { window_id: window.window_id.clone() };
    match window.next_execution_at {
        Some(at) => tx.set_timer(&timer, at).await?,
        None => tx.clear_timer(&timer).await?,
    }
    Ok(())
}

/// The members that reads and updates have in common.
fn view(window: &Window) -> Value {
    let next = window.next_execution_at.filter(|_| window.enabled);
    // What was stored was checked; a schedule that is refused nevertheless has no next time.
    let next = next.and_then(|at| window.schedule().ok().map(|schedule| schedule.execution_time(at)));
    json!({
        "WindowId": window.window_id,
        "Name": window.name,
        "Description": window.description,
        "StartDate": window.start_date,
        "EndDate": window.end_date,
        "Schedule": window.schedule,
        "ScheduleTimezone": window.schedule_timezone,
        "ScheduleOffset": window.schedule_offset,
        "Duration": window.duration,
        "Cutoff": window.cutoff,
        "CalendarNames": (!window.calendar_names.is_empty()).then_some(&window.calendar_names),
        "CalendarPolicy": (!window.calendar_names.is_empty()).then_some(window.calendar_policy),
        "Enabled": window.enabled,
        "NextExecutionTime": next,
    })
}
