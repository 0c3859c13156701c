//! Commands, and the rollout of each: the one row that is locked to change any of its invocations.

use jiff::Timestamp;
use patchwave_engine::rollout::waves::Waves;
use patchwave_engine::rollout::{Phase, Rollout};
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::RenderedDocument;
use patchwave_schemas::event::{CommandRequested, NotificationConfig, NotificationType};
use patchwave_schemas::{CommandId, TaskExecutionId, WindowExecutionId};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::{Column, Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// A command as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id, which also names its rollout.
    pub command_id: CommandId,
    /// What was asked for.
    pub request: CommandRequested,
    /// When.
    pub requested_at: Timestamp,
    /// SSM's `ExpiresAfter`: requested + delivery timeout + all steps' timeouts.
    pub expires_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The window execution it belongs to.
    pub window_execution_id: Option<WindowExecutionId>,
    /// The window task it belongs to.
    pub task_execution_id: Option<TaskExecutionId>,
    /// The rollout with its counters.
    pub rollout: Rollout,
    /// Its waves, if it is cut into some.
    pub waves: Option<Waves>,
}

/// What releasing needs to know of a command, and its rollout. Stored as one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Limits and counters.
    pub rollout: Rollout,
    /// Every pending invocation has this ordinal or a higher one.
    pub cursor: i64,
    /// Seconds after its first release within which an invocation must start on its node.
    pub delivery_seconds: u32,
    /// Seconds its steps may take together.
    pub execution_seconds: u32,
    /// No invocation starts after this: the cutoff of a `CANCEL_TASK` task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_before: Option<Timestamp>,
    /// The waves it is cut into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Waves>,
    /// Whether it may restart its nodes.
    #[serde(default)]
    pub may_reboot: bool,
    /// Where to tell of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<NotificationConfig>,
    /// The window execution it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_execution_id: Option<WindowExecutionId>,
    /// The window task it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_execution_id: Option<TaskExecutionId>,
}

impl Plan {
    /// Whether somebody wants to hear of every invocation.
    #[must_use]
    pub fn notifies_invocations(&self) -> bool {
        self.notify.as_ref().is_some_and(|config| config.notification_type == NotificationType::Invocation)
    }
}

/// A rollout whose row this transaction holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedRollout {
    /// The command.
    pub command_id: CommandId,
    /// For notifications.
    pub document_name: String,
    /// When the command was requested.
    pub requested_at: Timestamp,
    /// The plan; [`Tx::save_rollout`] stores changes to it.
    pub plan: Plan,
}

/// A command that is about to be stored.
#[derive(Debug, Clone)]
pub struct NewCommand {
    /// Its id.
    pub command_id: CommandId,
    /// What was asked for.
    pub request: CommandRequested,
    /// When.
    pub requested_at: Timestamp,
    /// The document with its parameters.
    pub document: RenderedDocument,
    /// Its plan.
    pub plan: Plan,
}

const COLUMNS: &str = "command_id, requested_at, expires_at, finished_at, request, rollout";

fn command_of(row: &AnyRow) -> Result<Command, Error> {
    let plan: Plan = from_json("commands.rollout", &get::<String>(row, "rollout")?)?;
    Ok(Command {
        command_id: parsed(row, "command_id")?,
        request: from_json("commands.request", &get::<String>(row, "request")?)?,
        requested_at: instant(get(row, "requested_at")?),
        expires_at: instant(get(row, "expires_at")?),
        finished_at: optional_instant(row, "finished_at")?,
        window_execution_id: plan.window_execution_id,
        task_execution_id: plan.task_execution_id,
        rollout: plan.rollout,
        waves: plan.waves,
    })
}

impl Tx {
    /// Stores a command; `false` when it was stored before, which changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_command(&mut self, new: &NewCommand) -> Result<bool, Error> {
        let plan = &new.plan;
        let seconds = i64::from(plan.delivery_seconds) + i64::from(plan.execution_seconds);
        let (status, details) = plan.rollout.status();
        sqlx::query(
            "INSERT INTO commands (command_id, document_name, requested_at, expires_at, request, document,
                 window_execution_id, task_execution_id, status, status_details, target_count, completed_count,
                 error_count, delivery_timed_out_count, rollout)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0, $12)
             ON CONFLICT (command_id) DO NOTHING",
        )
        .bind(new.command_id.to_string())
        .bind(&new.document.name)
        .bind(millis(new.requested_at))
        .bind(millis(new.requested_at) + seconds * 1000)
        .bind(to_json(&new.request))
        .bind(to_json(&new.document))
        .bind(plan.window_execution_id.map(|id| id.to_string()))
        .bind(plan.task_execution_id.map(|id| id.to_string()))
        .bind(status)
        .bind(details)
        .bind(i64::from(plan.rollout.targets))
        .bind(to_json(plan))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("store a command"))
    }

    /// Freezes baselines for a command.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_command_baselines(
        &mut self,
        command: CommandId,
        snapshots: &[(String, BaselineSnapshot)],
    ) -> Result<(), Error> {
        for (key, snapshot) in snapshots {
            sqlx::query("INSERT INTO command_baselines (command_id, baseline_key, snapshot) VALUES ($1, $2, $3)")
                .bind(command.to_string())
                .bind(key)
                .bind(to_json(snapshot))
                .execute(self.connection())
                .await
                .map_err(Error::doing("store a baseline snapshot"))?;
        }
        Ok(())
    }

    /// Locks the rollouts of these commands, in one order everywhere. Unknown commands are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_rollouts(&mut self, commands: &[CommandId]) -> Result<Vec<LockedRollout>, Error> {
        let rows: Vec<_> = commands.iter().map(|id| serde_json::json!({ "id": id })).collect();
        let source = self.dialect().rows("r", 1, &[("id", Column::Text)]);
        let text = format!(
            "SELECT command_id, document_name, requested_at, rollout FROM commands
             WHERE command_id IN (SELECT r.id FROM {source}) ORDER BY command_id{}",
            self.dialect().for_update()
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("lock rollouts"))?
            .iter()
            .map(|row| {
                Ok(LockedRollout {
                    command_id: parsed(row, "command_id")?,
                    document_name: get(row, "document_name")?,
                    requested_at: instant(get(row, "requested_at")?),
                    plan: from_json("commands.rollout", &get::<String>(row, "rollout")?)?,
                })
            })
            .collect()
    }

    /// What a command's rollout is doing, without locking it; `None` when it is not stored.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn rollout_phase(&mut self, command: CommandId) -> Result<Option<Phase>, Error> {
        sqlx::query("SELECT rollout FROM commands WHERE command_id = $1")
            .bind(command.to_string())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a rollout"))?
            .map(|row| {
                let plan: Plan = from_json("commands.rollout", &get::<String>(&row, "rollout")?)?;
                Ok(plan.rollout.phase)
            })
            .transpose()
    }

    /// The commands that have not ended, for a node that came back.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn open_commands(&mut self) -> Result<Vec<CommandId>, Error> {
        sqlx::query("SELECT command_id FROM commands WHERE finished_at IS NULL ORDER BY command_id")
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read open commands"))?
            .iter()
            .map(|row| parsed(row, "command_id"))
            .collect()
    }

    /// Stores a rollout that changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn save_rollout(&mut self, locked: &LockedRollout, now: Timestamp) -> Result<(), Error> {
        let rollout = &locked.plan.rollout;
        let (status, details) = rollout.status();
        sqlx::query(
            "UPDATE commands SET rollout = $2, status = $3, status_details = $4, completed_count = $5,
                 error_count = $6, delivery_timed_out_count = $7, finished_at = COALESCE(finished_at, $8)
             WHERE command_id = $1",
        )
        .bind(locked.command_id.to_string())
        .bind(to_json(&locked.plan))
        .bind(status)
        .bind(details)
        .bind(i64::from(rollout.ended.ended()))
        .bind(i64::from(rollout.ended.errors()))
        .bind(i64::from(rollout.ended.delivery_timed_out))
        .bind(rollout.is_finished().then(|| millis(now)))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a rollout"))
    }

    /// Brings PostgreSQL's statistics up to date after many rows were added: with stale ones its
    /// planner reads every invocation of a state for each batch (measured: five times the cost).
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn analyze_invocations(&mut self) -> Result<(), Error> {
        if self.dialect() == super::Dialect::Postgres {
            sqlx::query("ANALYZE invocations")
                .execute(self.connection())
                .await
                .map_err(Error::doing("analyze invocations"))?;
        }
        Ok(())
    }
}

impl Store {
    /// Reads a command.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn command(&self, id: CommandId) -> Result<Option<Command>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM commands WHERE command_id = $1")))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a command"))?
            .map(|row| command_of(&row))
            .transpose()
    }

    /// Reads commands, newest first, starting behind `before` (time and id of the last one seen).
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn commands(&self, before: Option<(Timestamp, CommandId)>, limit: u32) -> Result<Vec<Command>, Error> {
        let (at, id) = match before {
            Some((at, id)) => (millis(at), id.to_string()),
            None => (i64::MAX, String::new()),
        };
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM commands WHERE requested_at < $1 OR (requested_at = $1 AND command_id < $2)
             ORDER BY requested_at DESC, command_id DESC LIMIT $3"
        )))
        .bind(at)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read commands"))?
        .iter()
        .map(command_of)
        .collect()
    }

    /// Reads what a command does on a node, and the baselines it was frozen with, as JSON text.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn command_payload(&self, id: CommandId) -> Result<Option<CommandPayload>, Error> {
        let document = sqlx::query("SELECT document FROM commands WHERE command_id = $1")
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a command's document"))?;
        let Some(document) = document else { return Ok(None) };
        let baselines = sqlx::query("SELECT baseline_key, snapshot FROM command_baselines WHERE command_id = $1")
            .bind(id.to_string())
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read baseline snapshots"))?
            .iter()
            .map(|row| Ok((get(row, "baseline_key")?, get(row, "snapshot")?)))
            .collect::<Result<_, Error>>()?;
        Ok(Some(CommandPayload { document: get(&document, "document")?, baselines }))
    }
}

/// The parts of a command's messages that are the same for many nodes, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPayload {
    /// The rendered document.
    pub document: String,
    /// Baseline snapshots by key.
    pub baselines: std::collections::HashMap<String, String>,
}
