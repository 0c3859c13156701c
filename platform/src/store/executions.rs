//! Firings of maintenance windows, and the tasks of each.

use jiff::Timestamp;
use patchwave_engine::window_execution::WindowExecution;
use patchwave_schemas::{CommandId, TaskExecutionId, WindowExecutionId, WindowId};
use sqlx::any::AnyRow;

use super::windows::{RegisteredWindow, WindowTask};
use super::{Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// One firing of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// Its id, derived from the window and the instant or the request.
    pub window_execution_id: WindowExecutionId,
    /// The window.
    pub window_id: WindowId,
    /// The scheduled instant, from which duration and cutoff count.
    pub scheduled_at: Timestamp,
    /// When it really began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// After this nothing new starts.
    pub cutoff_at: Timestamp,
    /// When the window's duration is over.
    pub end_at: Timestamp,
    /// SSM's `Status`, `SKIPPED_OVERLAPPING` included.
    pub status: String,
    /// SSM's `StatusDetails`.
    pub status_details: String,
    /// Why it was started outside its schedule; empty otherwise.
    pub reason: String,
    /// The state machine.
    pub state: WindowExecution,
    /// The window and what was registered with it, as they were at the start.
    pub snapshot: RegisteredWindow,
}

/// One task of a firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskExecution {
    /// Its id, derived from the firing and the task.
    pub task_execution_id: TaskExecutionId,
    /// The firing.
    pub window_execution_id: WindowExecutionId,
    /// Position in the firing's state machine.
    pub ordinal: u32,
    /// SSM's `Status`.
    pub status: String,
    /// SSM's `StatusDetails`.
    pub status_details: String,
    /// The command it runs, once started.
    pub command_id: Option<CommandId>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The task as it was registered.
    pub task: WindowTask,
}

const EXECUTION_COLUMNS: &str = "window_execution_id, window_id, scheduled_at, started_at, ended_at, cutoff_at, \
     end_at, status, status_details, reason, state, snapshot";

fn execution_of(row: &AnyRow) -> Result<Execution, Error> {
    Ok(Execution {
        window_execution_id: parsed(row, "window_execution_id")?,
        window_id: parsed(row, "window_id")?,
        scheduled_at: instant(get(row, "scheduled_at")?),
        started_at: instant(get(row, "started_at")?),
        ended_at: optional_instant(row, "ended_at")?,
        cutoff_at: instant(get(row, "cutoff_at")?),
        end_at: instant(get(row, "end_at")?),
        status: get(row, "status")?,
        status_details: get(row, "status_details")?,
        reason: get(row, "reason")?,
        state: from_json("window_executions.state", &get::<String>(row, "state")?)?,
        snapshot: from_json("window_executions.snapshot", &get::<String>(row, "snapshot")?)?,
    })
}

const TASK_COLUMNS: &str = "task_execution_id, window_execution_id, ordinal, status, status_details, command_id, \
     started_at, ended_at, definition";

fn task_of(row: &AnyRow) -> Result<TaskExecution, Error> {
    let command: Option<String> = get(row, "command_id")?;
    Ok(TaskExecution {
        task_execution_id: parsed(row, "task_execution_id")?,
        window_execution_id: parsed(row, "window_execution_id")?,
        ordinal: u32::try_from(get::<i64>(row, "ordinal")?).map_err(Error::corrupt("task_executions.ordinal"))?,
        status: get(row, "status")?,
        status_details: get(row, "status_details")?,
        command_id: command.map(|id| id.parse()).transpose().map_err(Error::corrupt("task_executions.command_id"))?,
        started_at: optional_instant(row, "started_at")?,
        ended_at: optional_instant(row, "ended_at")?,
        task: from_json("task_executions.definition", &get::<String>(row, "definition")?)?,
    })
}

impl Tx {
    /// Stores a firing; `false` when it was stored before, which changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_execution(&mut self, execution: &Execution) -> Result<bool, Error> {
        sqlx::query(
            "INSERT INTO window_executions (window_execution_id, window_id, scheduled_at, started_at, ended_at,
                 cutoff_at, end_at, status, status_details, reason, state, snapshot)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (window_execution_id) DO NOTHING",
        )
        .bind(execution.window_execution_id.to_string())
        .bind(execution.window_id.as_str())
        .bind(millis(execution.scheduled_at))
        .bind(millis(execution.started_at))
        .bind(execution.ended_at.map(millis))
        .bind(millis(execution.cutoff_at))
        .bind(millis(execution.end_at))
        .bind(&execution.status)
        .bind(&execution.status_details)
        .bind(&execution.reason)
        .bind(to_json(&execution.state))
        .bind(to_json(&execution.snapshot))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("store a window execution"))
    }

    /// Whether a firing of this window has not ended.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_open_execution(&mut self, window: &WindowId) -> Result<bool, Error> {
        sqlx::query(
            "SELECT window_execution_id FROM window_executions WHERE window_id = $1 AND ended_at IS NULL LIMIT 1",
        )
        .bind(window.as_str())
        .fetch_optional(self.connection())
        .await
        .map(|row| row.is_some())
        .map_err(Error::doing("look for an open window execution"))
    }

    /// Reads a firing, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_execution(&mut self, id: WindowExecutionId) -> Result<Option<Execution>, Error> {
        let text = format!(
            "SELECT {EXECUTION_COLUMNS} FROM window_executions WHERE window_execution_id = $1{}",
            self.dialect().for_update()
        );
        sqlx::query(sql(text))
            .bind(id.to_string())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("lock a window execution"))?
            .map(|row| execution_of(&row))
            .transpose()
    }

    /// Stores the state, status and end of a firing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn save_execution(&mut self, execution: &Execution) -> Result<(), Error> {
        sqlx::query(
            "UPDATE window_executions SET state = $2, status = $3, status_details = $4, ended_at = $5
             WHERE window_execution_id = $1",
        )
        .bind(execution.window_execution_id.to_string())
        .bind(to_json(&execution.state))
        .bind(&execution.status)
        .bind(&execution.status_details)
        .bind(execution.ended_at.map(millis))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a window execution"))
    }

    /// Adds a task of a firing, or stores its progress.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_task_execution(&mut self, task: &TaskExecution) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO task_executions (task_execution_id, window_execution_id, window_task_id, ordinal, priority,
                 status, status_details, command_id, started_at, ended_at, definition)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (task_execution_id) DO UPDATE SET status = excluded.status,
                 status_details = excluded.status_details, command_id = excluded.command_id,
                 started_at = excluded.started_at, ended_at = excluded.ended_at",
        )
        .bind(task.task_execution_id.to_string())
        .bind(task.window_execution_id.to_string())
        .bind(task.task.window_task_id.to_string())
        .bind(i64::from(task.ordinal))
        .bind(i64::from(task.task.priority))
        .bind(&task.status)
        .bind(&task.status_details)
        .bind(task.command_id.map(|id| id.to_string()))
        .bind(task.started_at.map(millis))
        .bind(task.ended_at.map(millis))
        .bind(to_json(&task.task))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a task execution"))
    }

    /// Reads the tasks of a firing, in the order of its state machine.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn task_executions(&mut self, id: WindowExecutionId) -> Result<Vec<TaskExecution>, Error> {
        sqlx::query(sql(format!(
            "SELECT {TASK_COLUMNS} FROM task_executions WHERE window_execution_id = $1 ORDER BY ordinal"
        )))
        .bind(id.to_string())
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read task executions"))?
        .iter()
        .map(task_of)
        .collect()
    }
}

impl Store {
    /// Reads a firing.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn execution(&self, id: WindowExecutionId) -> Result<Option<Execution>, Error> {
        sqlx::query(sql(format!("SELECT {EXECUTION_COLUMNS} FROM window_executions WHERE window_execution_id = $1")))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a window execution"))?
            .map(|row| execution_of(&row))
            .transpose()
    }

    /// Reads the firings of a window, newest first, starting behind `before` (time and id of the
    /// last one seen).
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn executions(
        &self,
        window: &WindowId,
        before: Option<(Timestamp, WindowExecutionId)>,
        limit: u32,
    ) -> Result<Vec<Execution>, Error> {
        let (at, id) = match before {
            Some((at, id)) => (millis(at), id.to_string()),
            None => (i64::MAX, String::new()),
        };
        sqlx::query(sql(format!(
            "SELECT {EXECUTION_COLUMNS} FROM window_executions WHERE window_id = $1
                 AND (started_at < $2 OR (started_at = $2 AND window_execution_id < $3))
             ORDER BY started_at DESC, window_execution_id DESC LIMIT $4"
        )))
        .bind(window.as_str())
        .bind(at)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read window executions"))?
        .iter()
        .map(execution_of)
        .collect()
    }

    /// Reads the tasks of a firing, in the order of its state machine.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn tasks_of(&self, id: WindowExecutionId) -> Result<Vec<TaskExecution>, Error> {
        sqlx::query(sql(format!(
            "SELECT {TASK_COLUMNS} FROM task_executions WHERE window_execution_id = $1 ORDER BY ordinal"
        )))
        .bind(id.to_string())
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read task executions"))?
        .iter()
        .map(task_of)
        .collect()
    }
}
