//! DescribeMaintenanceWindowSchedule: what will run, and when.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::WindowId;
use patchwave_schemas::event::Target;
use serde::Deserialize;
use serde_json::{Value, json};

use super::for_target::windows_touching;
use crate::Api;
use crate::wire::{Checks, Error, Filter, Request, check_filters, id, present};

/// How far the list looks ahead unless `ScheduledBefore` says otherwise: schedules have no end,
/// and clients read every page.
const HORIZON: SignedDuration = SignedDuration::from_hours(366 * 24);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    targets: Option<Vec<Target>>,
    resource_type: Option<String>,
    #[serde(default)]
    filters: Vec<Filter>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    check_filters(&input.filters, &["ScheduledBefore", "ScheduledAfter"])?;
    let now = Timestamp::now();
    let after = bound(&input.filters, "ScheduledAfter")?.unwrap_or(now).max(now);
    let before = match bound(&input.filters, "ScheduledBefore")? {
        Some(before) => before,
        None => after.saturating_add(HORIZON).unwrap_or(Timestamp::MAX),
    };

    let mut windows = match input.window_id.as_deref() {
        Some(_) => {
            let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
            vec![super::existing(api, &window_id).await?]
        }
        None => api.store.windows().await?,
    };
    if let Some(targets) = input.targets.filter(|targets| !targets.is_empty()) {
        let resource_type = input.resource_type.as_deref().unwrap_or("INSTANCE");
        let touching = windows_touching(api, request.caller(), &targets, resource_type).await?;
        windows.retain(|window| touching.contains(&window.window_id));
    }

    let seen = paging.after_instant()?;
    // Runs of the page's last instant may be on either side of the cut, so it is looked at again.
    let from = seen.and_then(|(millis, _)| Timestamp::from_millisecond(millis - 1).ok()).unwrap_or(after).max(after);
    let mut runs = Vec::new();
    for window in windows.iter().filter(|window| window.enabled) {
        let Ok(schedule) = window.schedule() else { continue };
        let upcoming = schedule.runs_after(from).take_while(|at| *at < before);
        let unseen = upcoming
            .map(|at| {
                (at.as_millisecond(), window.window_id.as_str(), schedule.execution_time(at), window.name.as_str())
            })
            .filter(|(millis, window_id, ..)| seen.is_none_or(|seen| (*millis, *window_id) > seen));
        runs.extend(unseen.take(paging.size() + 1));
    }
    runs.sort();
    let (runs, next) = paging.of_rows(runs, |(millis, window_id, ..)| format!("{millis}/{window_id}"));
    let executions: Vec<Value> = runs
        .into_iter()
        .map(|(_, window_id, at, name)| json!({ "WindowId": window_id, "Name": name, "ExecutionTime": at }))
        .collect();
    Ok(present(json!({ "ScheduledWindowExecutions": executions, "NextToken": next })))
}

/// The instant of a filter.
fn bound(filters: &[Filter], key: &str) -> Result<Option<Timestamp>, Error> {
    let Some(filter) = filters.iter().find(|filter| filter.key == key) else { return Ok(None) };
    let text = filter.values.first().map_or("", String::as_str);
    text.parse().map(Some).map_err(|_| {
        let mut checks = Checks::default();
        checks.refuse(&format!("filters.{key}"), text, "Member must be an instant such as 2026-04-07T14:29:00Z");
        checks.finish().expect_err("a fault was just recorded")
    })
}
