//! A firing's cutoff or end has come, or somebody cancels it.

use jiff::Timestamp;
use patchwave_engine::window_execution::Event;
use patchwave_platform::store::Store;
use patchwave_schemas::WindowExecutionId;

use super::{Resolved, execution};

pub(super) async fn cutoff(store: &Store, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, id, Event::Cutoff, now).await
}

pub(super) async fn end(store: &Store, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, id, Event::End, now).await
}

pub(super) async fn cancel(store: &Store, id: WindowExecutionId, now: Timestamp) -> Resolved {
    apply(store, id, Event::Cancel, now).await
}

async fn apply(store: &Store, id: WindowExecutionId, event: Event, now: Timestamp) -> Resolved {
    let mut tx = store.begin().await?;
    let Some(mut execution) = tx.lock_execution(id).await? else {
        return Ok(Err(format!("window execution {id} is not stored")));
    };
    let mut tasks = tx.task_executions(id).await?;
    let effects = execution::advance(&mut tx, &mut execution, &mut tasks, event, now).await?;
    tx.commit().await?;
    Ok(Ok(effects))
}
