//! A command ended; if it was a window's task, its firing goes on.

use jiff::Timestamp;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_schemas::event::RolloutFinished;

use super::{Resolved, execution};
use crate::effects::Effects;

pub(super) async fn apply(
    store: &Store,
    master_key: &MasterKey,
    finished: &RolloutFinished,
    now: Timestamp,
) -> Resolved {
    let (Some(execution_id), Some(task_id)) = (finished.window_execution_id, finished.task_execution_id) else {
        return Ok(Ok(Effects::default()));
    };
    let mut tx = store.begin().await?;
    let Some(mut execution) = tx.lock_execution(execution_id).await? else {
        return Ok(Err(format!("window execution {execution_id} is not stored")));
    };
    let mut tasks = tx.task_executions(execution_id).await?;
    if tasks.iter().all(|task| task.task_execution_id != task_id) {
        return Ok(Err(format!("task execution {task_id} is not stored")));
    }
    let effects = execution::take_ends(&mut tx, master_key, &mut execution, &mut tasks, now).await?;
    tx.commit().await?;
    Ok(Ok(effects))
}
