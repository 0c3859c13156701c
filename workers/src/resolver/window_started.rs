//! A window fires: by its schedule, or because another system asks for it.

use jiff::Timestamp;
use patchwave_engine::calendar::Gate;
use patchwave_engine::schedule::{self, Admission, admission};
use patchwave_engine::window_execution::{Event, WindowExecution};
use patchwave_platform::calendars;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::windows::{CalendarPolicy, CutoffBehavior, RegisteredWindow};
use patchwave_platform::store::{Store, Tx};
use patchwave_schemas::event::{Timer, WindowStartRequested, WindowStarted};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, TaskExecutionId, WindowExecutionId, WindowId};
use serde_json::json;
use tracing::warn;
use uuid::Uuid;

use super::{Resolved, execution};
use crate::audit::{self, Actor, Deed};
use crate::effects::Effects;
use crate::{HandlerError, news};

/// The id of the firing that a `window.start.requested` event asks for.
#[must_use]
pub fn requested_execution_id(window: &WindowId, event: Uuid) -> WindowExecutionId {
    WindowExecutionId::derived(&format!("{window}/request/{event}"))
}

/// The id of a scheduled firing: the same for every delivery of its instant.
fn scheduled_execution_id(window: &WindowId, at: Timestamp) -> WindowExecutionId {
    WindowExecutionId::derived(&format!("{window}/{at}"))
}

pub(super) async fn scheduled(
    store: &Store,
    master_key: &MasterKey,
    started: &WindowStarted,
    now: Timestamp,
) -> Resolved {
    let id = scheduled_execution_id(&started.window_id, started.scheduled_at);
    let mut tx = store.begin().await?;
    // Deleted or disabled since: it does not run.
    let Some(registered) = read(&mut tx, &started.window_id).await? else { return Ok(Ok(Effects::default())) };
    if !registered.window.enabled {
        return Ok(Ok(Effects::default()));
    }
    let firing = Firing { id, scheduled_at: started.scheduled_at, reason: String::new(), asked_by: None };
    fire(tx, master_key, registered, firing, now).await
}

pub(super) async fn requested(
    store: &Store,
    master_key: &MasterKey,
    event: &CloudEvent<WindowStartRequested>,
    now: Timestamp,
) -> Resolved {
    let request = &event.data;
    let id = requested_execution_id(&request.window_id, event.id);
    let mut tx = store.begin().await?;
    let Some(registered) = read(&mut tx, &request.window_id).await? else {
        return Ok(Err(format!("window_id `{}` is not a maintenance window", request.window_id)));
    };
    let reason = request.reason.clone().unwrap_or_else(|| format!("requested by {}", event.source));
    let asked_by = Some(event.source.clone());
    fire(tx, master_key, registered, Firing { id, scheduled_at: now, reason, asked_by }, now).await
}

async fn read(tx: &mut Tx, id: &WindowId) -> Result<Option<RegisteredWindow>, HandlerError> {
    let Some(window) = tx.lock_window(id).await? else { return Ok(None) };
    let (targets, tasks) = tx.window_registrations(id).await?;
    Ok(Some(RegisteredWindow { window, targets, tasks }))
}

struct Firing {
    id: WindowExecutionId,
    scheduled_at: Timestamp,
    reason: String,
    /// The source of the event that asked for it; absent for one by schedule.
    asked_by: Option<String>,
}

/// Records the firing and starts it; unless it was missed, an earlier one is still open, or a change
/// calendar is closed. One that may wait for its calendars begins all the same: see [`execution`].
async fn fire(
    mut tx: Tx,
    master_key: &MasterKey,
    registered: RegisteredWindow,
    firing: Firing,
    now: Timestamp,
) -> Resolved {
    let window = &registered.window;
    let (duration, cutoff) = (narrow(window.duration), narrow(window.cutoff));
    let end_at = schedule::end_at(firing.scheduled_at, duration);
    let cutoff_at = schedule::cutoff_at(firing.scheduled_at, duration, cutoff);
    let admitted = admission(firing.scheduled_at, duration, cutoff, now);
    let missed = admitted == Admission::Missed;
    // The window's row is held: two firings cannot both find it free.
    let overlapping = !missed && tx.has_open_execution(&window.window_id).await?;
    let closed = match window.calendar_policy {
        CalendarPolicy::Skip if !missed && !overlapping => {
            match calendars::judge(&mut tx, &window.calendar_names, now).await? {
                Gate::Open => None,
                Gate::Closed { reason, .. } => Some(reason),
            }
        }
        CalendarPolicy::Skip | CalendarPolicy::Delay => None,
    };

    let tasks = registered.tasks.iter();
    let state =
        WindowExecution::plan(tasks.map(|task| (task.priority, task.cutoff_behavior == CutoffBehavior::CancelTask)));
    let mut execution = Execution {
        window_execution_id: firing.id,
        window_id: window.window_id.clone(),
        scheduled_at: firing.scheduled_at,
        started_at: now,
        ended_at: (missed || overlapping || closed.is_some()).then_some(now),
        cutoff_at,
        end_at,
        status: state.status().to_owned(),
        status_details: String::new(),
        reason: firing.reason,
        state,
        snapshot: registered,
    };
    if missed {
        execution.status = "TIMED_OUT".to_owned();
        execution.status_details = "missed: its cutoff had passed before it could start".to_owned();
    } else if overlapping {
        execution.status = "SKIPPED_OVERLAPPING".to_owned();
        execution.status_details = "an earlier execution of this window has not ended".to_owned();
    } else if let Some(reason) = &closed {
        // SSM has no status for it. Not SKIPPED_OVERLAPPING, which says that another firing runs, and
        // not TIMED_OUT, which says that there was no time: somebody decided that it does not run.
        execution.status = "CANCELLED".to_owned();
        execution.status_details.clone_from(reason);
    } else if admitted == Admission::Late {
        let minutes = now.duration_since(firing.scheduled_at).as_mins();
        execution.status_details = format!("started {minutes} min late; its cutoff and end stand");
    }
    if !tx.add_execution(&execution).await? {
        // Delivered twice: whoever stored it goes on with it.
        return Ok(Ok(Effects::default()));
    }
    if let Some(source) = &firing.asked_by {
        let detail = json!({ "WindowId": execution.window_id, "Status": execution.status });
        let deed = Deed::done(WorkQueue::Resolver, "StartMaintenanceWindow", firing.id.to_string(), detail);
        audit::record(&mut tx, master_key, &Actor::Event(source), deed, now).await?;
    }
    if execution.ended_at.is_some() {
        let note = match (missed, &closed) {
            (true, _) => "MISSED",
            (false, Some(_)) => "CALENDAR_CLOSED",
            (false, None) => "",
        };
        let outbox = vec![news::execution_changed(&execution, note, now)];
        tx.enqueue(&outbox, now).await?;
        tx.commit().await?;
        return Ok(Ok(Effects { outbox, ..Effects::default() }));
    }
    if admitted == Admission::Late {
        warn!(
            window.id = %execution.window_id, scheduled_at = %firing.scheduled_at, late = execution.status_details,
            "a window starts late"
        );
    }
    let execution_id = firing.id;
    tx.set_timer(&Timer::WindowCutoff { execution_id }, cutoff_at).await?;
    tx.set_timer(&Timer::WindowEnd { execution_id }, end_at).await?;
    let mut tasks = plan_tasks(&mut tx, &execution).await?;
    let effects = execution::advance(&mut tx, master_key, &mut execution, &mut tasks, Event::Start, now).await?;
    tx.commit().await?;
    Ok(Ok(effects))
}

async fn plan_tasks(tx: &mut Tx, execution: &Execution) -> Result<Vec<TaskExecution>, HandlerError> {
    let mut tasks = Vec::new();
    for (ordinal, task) in (0_u32..).zip(&execution.snapshot.tasks) {
        let planned = TaskExecution {
            task_execution_id: TaskExecutionId::derived(&format!(
                "{}/{}",
                execution.window_execution_id, task.window_task_id
            )),
            window_execution_id: execution.window_execution_id,
            ordinal,
            status: "PENDING".to_owned(),
            status_details: String::new(),
            command_id: None,
            started_at: None,
            ended_at: None,
            task: task.clone(),
        };
        tx.put_task_execution(&planned).await?;
        tasks.push(planned);
    }
    Ok(tasks)
}

/// Hours are 0 to 24 in every stored window.
fn narrow(hours: u32) -> u8 {
    u8::try_from(hours).unwrap_or(u8::MAX)
}
