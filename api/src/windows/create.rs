//! CreateMaintenanceWindow.

use jiff::Timestamp;
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::store::windows::{CalendarPolicy, Window};
use patchwave_schemas::WindowId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tags::{Tag, checked_tags};
use crate::wire::{Error, Request, required};
use crate::{Api, calendars};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
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
    #[serde(default)]
    calendar_names: Vec<String>,
    #[serde(default)]
    calendar_policy: CalendarPolicy,
    #[serde(default)]
    tags: Vec<Tag>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let now = Timestamp::now();
    let (duration, cutoff) = super::hours(required("duration", input.duration)?, required("cutoff", input.cutoff)?)?;
    let mut window = Window {
        window_id: WindowId::random(),
        name: required("name", input.name)?,
        description: input.description,
        schedule: required("schedule", input.schedule)?,
        schedule_timezone: non_empty(input.schedule_timezone),
        schedule_offset: super::offset(input.schedule_offset),
        start_date: non_empty(input.start_date),
        end_date: non_empty(input.end_date),
        duration,
        cutoff,
        allow_unassociated_targets: required("allowUnassociatedTargets", input.allow_unassociated_targets)?,
        calendar_names: Vec::new(),
        calendar_policy: input.calendar_policy,
        enabled: true,
        schedule_base: now,
        created_date: now,
        modified_date: now,
        next_execution_at: None,
    };
    let tags = checked_tags(&input.tags)?;
    window.next_execution_at = super::next_execution(&window, true, now)?;

    let response = json!({ "WindowId": window.window_id });
    let mut tx = api.store.begin().await?;
    if let Some(earlier) = request.repeated(&mut tx, &response, now).await? {
        return Ok(earlier);
    }
    window.calendar_names = calendars::checked(&mut tx, input.calendar_names).await?;
    super::store(&mut tx, &window).await?;
    tx.set_tags(Taggable::MaintenanceWindow, window.window_id.as_str(), &tags).await?;
    tx.commit().await?;
    Ok(response)
}

/// Tools send an empty text for what is not set.
pub(super) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
