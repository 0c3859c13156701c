//! UpdateMaintenanceWindow: a patch, or with `Replace` a put.

use jiff::Timestamp;
use patchwave_platform::store::windows::CalendarPolicy;
use patchwave_schemas::WindowId;
use serde::Deserialize;
use serde_json::Value;

use super::create::non_empty;
use crate::wire::{Error, Request, id, present, required};
use crate::{Api, calendars};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    name: Option<String>,
    description: Option<String>,
    start_date: Option<String>,
    end_date: Option<String>,
    schedule: Option<String>,
    schedule_timezone: Option<String>,
    schedule_offset: Option<i64>,
    duration: Option<i64>,
    cutoff: Option<i64>,
    allow_unassociated_targets: Option<bool>,
    calendar_names: Option<Vec<String>>,
    calendar_policy: Option<CalendarPolicy>,
    enabled: Option<bool>,
    #[serde(default)]
    replace: bool,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
    let now = Timestamp::now();
    if input.replace {
        required("name", input.name.as_ref())?;
        required("schedule", input.schedule.as_ref())?;
        required("duration", input.duration)?;
        required("cutoff", input.cutoff)?;
        required("allowUnassociatedTargets", input.allow_unassociated_targets)?;
    }
    let schedule_offset = super::offset(input.schedule_offset);

    let mut tx = api.store.begin().await?;
    let old = tx.lock_window(&window_id).await?.ok_or_else(|| super::missing(&window_id))?;
    let (duration, cutoff) = super::hours(
        input.duration.unwrap_or_else(|| i64::from(old.duration)),
        input.cutoff.unwrap_or_else(|| i64::from(old.cutoff)),
    )?;
    let mut window = old.clone();
    window.name = input.name.unwrap_or(window.name);
    window.schedule = input.schedule.unwrap_or(window.schedule);
    window.duration = duration;
    window.cutoff = cutoff;
    window.allow_unassociated_targets = input.allow_unassociated_targets.unwrap_or(window.allow_unassociated_targets);
    window.enabled = input.enabled.unwrap_or(window.enabled);
    window.modified_date = now;
    window.calendar_names = match input.calendar_names {
        Some(names) => calendars::checked(&mut tx, names).await?,
        None if input.replace => Vec::new(),
        None => window.calendar_names,
    };
    let kept = if input.replace { CalendarPolicy::default() } else { window.calendar_policy };
    window.calendar_policy = input.calendar_policy.unwrap_or(kept);
    if input.replace {
        window.description = input.description;
        window.start_date = non_empty(input.start_date);
        window.end_date = non_empty(input.end_date);
        window.schedule_timezone = non_empty(input.schedule_timezone);
        window.schedule_offset = schedule_offset;
    } else {
        // An empty text takes a value away; absence keeps it.
        let patch = |new: Option<String>, old: Option<String>| new.map_or(old, |text| non_empty(Some(text)));
        window.description = input.description.or(window.description);
        window.start_date = patch(input.start_date, window.start_date);
        window.end_date = patch(input.end_date, window.end_date);
        window.schedule_timezone = patch(input.schedule_timezone, window.schedule_timezone);
        window.schedule_offset = schedule_offset.or(window.schedule_offset);
    }
    if window.schedule != old.schedule || window.start_date != old.start_date {
        window.schedule_base = now;
    }
    let same_times = window.schedule == old.schedule
        && window.start_date == old.start_date
        && window.end_date == old.end_date
        && window.schedule_timezone == old.schedule_timezone
        && window.schedule_offset == old.schedule_offset;
    // An occurrence that is due at this moment must not be lost to a change of the description.
    if !(same_times && window.enabled == old.enabled) {
        window.next_execution_at = super::next_execution(&window, !same_times, now)?;
    }
    super::store(&mut tx, &window).await?;
    tx.commit().await?;

    let mut view = super::view(&window);
    view["AllowUnassociatedTargets"] = Value::Bool(window.allow_unassociated_targets);
    Ok(present(view))
}
