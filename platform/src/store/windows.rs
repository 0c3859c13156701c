//! Maintenance windows with their registered targets and tasks.
//!
//! Definitions are stored as JSON in SSM's field names; columns exist only for what is searched.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_schemas::event::{ErrorMode, NotificationConfig, Target};
use patchwave_schemas::{WindowId, WindowTargetId, WindowTaskId};
use serde::{Deserialize, Serialize};

pub use super::window_schedule::WindowScheduleError;
use super::{Error, Tx, from_json, get, millis, optional_instant, sql, to_json};

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Window {
    /// Its id.
    pub window_id: WindowId,
    /// Not unique.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `cron(…)`, `rate(…)` or `at(…)`.
    pub schedule: String,
    /// IANA name; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_timezone: Option<String>,
    /// Days, 1..=6; cron only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_offset: Option<u8>,
    /// As given: ISO 8601 with offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<String>,
    /// As given: ISO 8601 with offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<String>,
    /// Hours, 1..=24.
    pub duration: u32,
    /// Hours before the end at which nothing new starts, less than `duration`.
    pub cutoff: u32,
    /// Whether tasks may name nodes that are not registered targets.
    pub allow_unassociated_targets: bool,
    /// Change calendars by name: nothing starts unless all are open (Patchwave's own).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendar_names: Vec<String>,
    /// What becomes of a firing while they are not (Patchwave's own).
    #[serde(default)]
    pub calendar_policy: CalendarPolicy,
    /// Whether its schedule fires.
    pub enabled: bool,
    /// Base of `rate` schedules and of the offset rule: creation, or the last change of schedule.
    pub schedule_base: Timestamp,
    /// When it was created.
    pub created_date: Timestamp,
    /// When it was last changed.
    pub modified_date: Timestamp,
    /// The next scheduled instant, as last computed. Absent when disabled, expired or exhausted.
    #[serde(skip)]
    pub next_execution_at: Option<Timestamp>,
}

/// What becomes of what would start while a change calendar is closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CalendarPolicy {
    /// It is given up, and recorded as cancelled.
    #[default]
    Skip,
    /// It waits until the calendars open, at most until the window's cutoff.
    Delay,
}

/// A target registered with a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WindowTarget {
    /// Its id.
    pub window_target_id: WindowTargetId,
    /// Its window.
    pub window_id: WindowId,
    /// `INSTANCE` or `RESOURCE_GROUP`.
    pub resource_type: String,
    /// Which nodes.
    pub targets: Vec<Target>,
    /// Copied into invocation records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_information: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What happens to a task at its window's cutoff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CutoffBehavior {
    /// It goes on, new invocations included.
    #[default]
    ContinueTask,
    /// It is cancelled.
    CancelTask,
}

/// The Run Command part of SSM's `TaskInvocationParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunCommandParameters {
    /// At most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// `$DEFAULT`, `$LATEST` or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_version: Option<String>,
    /// Where to tell of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_config: Option<NotificationConfig>,
    /// The document's parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, Vec<String>>,
    /// Delivery timeout in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// The Step Functions part of SSM's `TaskInvocationParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StepFunctionsParameters {
    /// JSON with pseudo parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Name of the execution, with pseudo parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The Lambda part of SSM's `TaskInvocationParameters`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LambdaParameters {
    /// Base64 of JSON with pseudo parameters, at most 4,096 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Base64 of a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_context: Option<String>,
    /// Version or alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
}

/// A task registered with a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WindowTask {
    /// Its id.
    pub window_task_id: WindowTaskId,
    /// Its window.
    pub window_id: WindowId,
    /// `RUN_COMMAND`, `LAMBDA` or `STEP_FUNCTIONS`; the other type of SSM is refused at registration.
    pub task_type: String,
    /// The document.
    pub task_arn: String,
    /// `WindowTargetIds` or `InstanceIds`.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// 0 is first; equal priorities run in parallel.
    pub priority: u32,
    /// Count or percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<String>,
    /// Count or percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<String>,
    /// How errors are bounded (Patchwave's own).
    #[serde(default)]
    pub error_mode: ErrorMode,
    /// What happens at the cutoff.
    #[serde(default)]
    pub cutoff_behavior: CutoffBehavior,
    /// Parameters of the command.
    #[serde(default)]
    pub run_command: RunCommandParameters,
    /// What an execution of the state machine is given, where the type is `STEP_FUNCTIONS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_functions: Option<StepFunctionsParameters>,
    /// What the function is given, where the type is `LAMBDA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<LambdaParameters>,
    /// Name of the rollout plan that cuts its command into waves (Patchwave's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_plan: Option<String>,
    /// Kept and shown, not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_role_arn: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A window with everything registered with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredWindow {
    /// The window.
    pub window: Window,
    /// Its targets, oldest first.
    pub targets: Vec<WindowTarget>,
    /// Its tasks, oldest first.
    pub tasks: Vec<WindowTask>,
}

impl Tx {
    /// Adds a window or replaces its definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_window(&mut self, window: &Window) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO windows (window_id, name, enabled, definition, next_execution_at, created_at, modified_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (window_id) DO UPDATE SET name = excluded.name, enabled = excluded.enabled,
                 definition = excluded.definition, next_execution_at = excluded.next_execution_at,
                 modified_at = excluded.modified_at",
        )
        .bind(window.window_id.as_str())
        .bind(&window.name)
        .bind(i64::from(window.enabled))
        .bind(to_json(window))
        .bind(window.next_execution_at.map(millis))
        .bind(millis(window.created_date))
        .bind(millis(window.modified_date))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a window"))
    }

    /// Reads a window, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_window(&mut self, id: &WindowId) -> Result<Option<Window>, Error> {
        let text = format!(
            "SELECT definition, next_execution_at FROM windows WHERE window_id = $1{}",
            self.dialect().for_update()
        );
        let row = sqlx::query(sql(text))
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a window"))?;
        row.map(|row| window_of(&row)).transpose()
    }

    /// Records when a window fires next.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_next_execution(&mut self, id: &WindowId, at: Option<Timestamp>) -> Result<(), Error> {
        sqlx::query("UPDATE windows SET next_execution_at = $2 WHERE window_id = $1")
            .bind(id.as_str())
            .bind(at.map(millis))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store a window's next execution"))
    }

    /// Removes a window with everything registered with it; its executions stay.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_window(&mut self, id: &WindowId) -> Result<(), Error> {
        for statement in [
            "DELETE FROM window_tasks WHERE window_id = $1",
            "DELETE FROM window_targets WHERE window_id = $1",
            "DELETE FROM windows WHERE window_id = $1",
        ] {
            sqlx::query(statement)
                .bind(id.as_str())
                .execute(self.connection())
                .await
                .map_err(Error::doing("delete a window"))?;
        }
        Ok(())
    }

    /// Removes a window target.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_window_target(&mut self, id: WindowTargetId) -> Result<(), Error> {
        sqlx::query("DELETE FROM window_targets WHERE window_target_id = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("delete a window target"))
    }

    /// Removes a window task.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_window_task(&mut self, id: WindowTaskId) -> Result<(), Error> {
        sqlx::query("DELETE FROM window_tasks WHERE window_task_id = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("delete a window task"))
    }

    /// Adds a window target or replaces its definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_window_target(&mut self, target: &WindowTarget, now: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO window_targets (window_target_id, window_id, definition, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (window_target_id) DO UPDATE SET definition = excluded.definition",
        )
        .bind(target.window_target_id.to_string())
        .bind(target.window_id.as_str())
        .bind(to_json(target))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a window target"))
    }

    /// Adds a window task or replaces its definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_window_task(&mut self, task: &WindowTask, now: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO window_tasks (window_task_id, window_id, definition, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (window_task_id) DO UPDATE SET definition = excluded.definition",
        )
        .bind(task.window_task_id.to_string())
        .bind(task.window_id.as_str())
        .bind(to_json(task))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a window task"))
    }

    /// Reads what is registered with a window.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window_registrations(&mut self, id: &WindowId) -> Result<(Vec<WindowTarget>, Vec<WindowTask>), Error> {
        let targets = sqlx::query(
            "SELECT definition FROM window_targets WHERE window_id = $1 ORDER BY created_at, window_target_id",
        )
        .bind(id.as_str())
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read window targets"))?
        .iter()
        .map(|row| from_json("window_targets.definition", &get::<String>(row, "definition")?))
        .collect::<Result<_, _>>()?;
        let tasks =
            sqlx::query("SELECT definition FROM window_tasks WHERE window_id = $1 ORDER BY created_at, window_task_id")
                .bind(id.as_str())
                .fetch_all(self.connection())
                .await
                .map_err(Error::doing("read window tasks"))?
                .iter()
                .map(|row| from_json("window_tasks.definition", &get::<String>(row, "definition")?))
                .collect::<Result<_, _>>()?;
        Ok((targets, tasks))
    }
}

/// A window from a row with `definition` and `next_execution_at`.
pub(crate) fn window_of(row: &sqlx::any::AnyRow) -> Result<Window, Error> {
    let mut window: Window = from_json("windows.definition", &get::<String>(row, "definition")?)?;
    window.next_execution_at = optional_instant(row, "next_execution_at")?;
    Ok(window)
}
