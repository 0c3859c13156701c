//! A firing's cutoff or end has come, its change calendars may have opened, or somebody cancels it.

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::window_execution::Event;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::executions::Execution;
use patchwave_platform::store::{Store, Tx};
use patchwave_schemas::event::{Timer, WindowCancelRequested};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, WindowExecutionId};
use serde_json::json;

use super::{Resolved, execution};
use crate::HandlerError;
use crate::audit::{self, Actor, Deed};
use crate::effects::Effects;

/// Time between two looks at a firing that outlives its window.
const LOOK_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(1);

pub(super) async fn cutoff(store: &Store, master_key: &MasterKey, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, master_key, id, (Event::Cutoff, None), now).await
}

pub(super) async fn end(store: &Store, master_key: &MasterKey, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, master_key, id, (Event::End, None), now).await
}

pub(super) async fn calendar(store: &Store, master_key: &MasterKey, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, master_key, id, (Event::Start, None), now).await
}

pub(super) async fn cancel(
    store: &Store,
    master_key: &MasterKey,
    event: &CloudEvent<WindowCancelRequested>,
    now: Timestamp,
) -> Resolved {
    apply(store, master_key, event.data.execution_id, (Event::Cancel, Some(&event.source)), now).await
}

/// Lets an event happen to a firing; one that somebody asked for is recorded with their name.
async fn apply(
    store: &Store,
    master_key: &MasterKey,
    id: WindowExecutionId,
    (event, asked_by): (Event, Option<&str>),
    now: Timestamp,
) -> Resolved {
    let mut tx = store.begin().await?;
    let Some(mut execution) = tx.lock_execution(id).await? else {
        return Ok(Err(format!("window execution {id} is not stored")));
    };
    if execution.ended_at.is_some() {
        // Skipped and missed firings have no tasks and no timers; others are simply over.
        settle_timers(&mut tx, &execution, event, now).await?;
        tx.commit().await?;
        return Ok(Ok(Effects::default()));
    }
    let mut tasks = tx.task_executions(id).await?;
    let mut effects = execution::take_ends(&mut tx, master_key, &mut execution, &mut tasks, now).await?;
    effects.merge(execution::advance(&mut tx, master_key, &mut execution, &mut tasks, event, now).await?);
    settle_timers(&mut tx, &execution, event, now).await?;
    if let Some(source) = asked_by {
        let deed = Deed::done(WorkQueue::Resolver, "CancelMaintenanceWindowExecution", id.to_string(), json!({}));
        audit::record(&mut tx, master_key, &Actor::Event(source), deed, now).await?;
    }
    tx.commit().await?;
    Ok(Ok(effects))
}

/// The cutoff comes once. The end is looked at again until the firing is over, so that one whose
/// last event was lost still ends.
async fn settle_timers(tx: &mut Tx, execution: &Execution, event: Event, now: Timestamp) -> Result<(), HandlerError> {
    let execution_id = execution.window_execution_id;
    let over = execution.ended_at.is_some();
    if over {
        tx.clear_timer(&Timer::WindowCalendar { execution_id }).await?;
    }
    if over || event == Event::Cutoff {
        tx.clear_timer(&Timer::WindowCutoff { execution_id }).await?;
    }
    if over {
        tx.clear_timer(&Timer::WindowEnd { execution_id }).await?;
    } else if event == Event::End {
        tx.set_timer(&Timer::WindowEnd { execution_id }, now + LOOK_AGAIN_AFTER).await?;
    }
    Ok(())
}
