//! A command ended; if it was a window's task, its firing goes on.

use jiff::Timestamp;
use patchwave_engine::rollout::Phase;
use patchwave_engine::window_execution::{Ending, Event};
use patchwave_platform::store::Store;
use patchwave_schemas::event::RolloutFinished;

use super::{Resolved, execution};
use crate::HandlerError;
use crate::effects::Effects;

pub(super) async fn apply(store: &Store, finished: &RolloutFinished, now: Timestamp) -> Resolved {
    let (Some(execution_id), Some(task_id)) = (finished.window_execution_id, finished.task_execution_id) else {
        return Ok(Ok(Effects::default()));
    };
    let mut tx = store.begin().await?;
    let rollouts = tx.lock_rollouts(&[finished.command_id]).await?;
    let Some(Phase::Finished(status)) = rollouts.first().map(|locked| locked.plan.rollout.phase) else {
        return Ok(Err(format!("command {} has not ended", finished.command_id)));
    };
    let Some(mut execution) = tx.lock_execution(execution_id).await? else {
        return Ok(Err(format!("window execution {execution_id} is not stored")));
    };
    let mut tasks = tx.task_executions(execution_id).await?;
    let Some(task) = tasks.iter_mut().find(|task| task.task_execution_id == task_id) else {
        return Ok(Err(format!("task execution {task_id} is not stored")));
    };
    let ending = Ending::from(status);
    let ordinal = task.ordinal as usize;
    if task.ended_at.is_none() {
        task.status = ending.status().to_owned();
        task.status_details = execution::task_details(status);
        task.ended_at = Some(now);
        tx.put_task_execution(task).await?;
    }
    let event = Event::TaskEnded { task: ordinal, ending };
    let effects = execution::advance(&mut tx, &mut execution, &mut tasks, event, now).await?;
    tx.commit().await.map_err(HandlerError::Store)?;
    Ok(Ok(effects))
}
