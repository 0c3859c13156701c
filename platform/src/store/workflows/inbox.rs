//! What has happened to an execution and was not yet applied.
//!
//! Putting something in takes no lock, so a rollout's last report or an operator's signal waits for
//! nobody. The hint that goes out with it may be lost; the sweep says it again.

use jiff::Timestamp;
use patchwave_schemas::WorkflowId;
use patchwave_schemas::event::WorkflowContinued;
use patchwave_schemas::ids::derived_uuid;

use super::super::outbox::{OWNER_PUBLISHES_WITHIN, OutboxMessage};
use super::super::{Error, Store, Tx, get, millis, parsed, sql};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Names it: the same key is the same event.
    pub event_key: String,
    /// JSON in its engine's words.
    pub event: String,
}

impl Tx {
    /// Puts something into an execution's inbox. Returns the hint to be flushed after the commit.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tell_workflow(
        &mut self,
        id: WorkflowId,
        letter: &Letter,
        now: Timestamp,
    ) -> Result<OutboxMessage, Error> {
        sqlx::query(
            "INSERT INTO workflow_inbox (workflow_id, event_key, arrived_at, due_at, event)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (workflow_id, event_key) DO NOTHING",
        )
        .bind(id.to_string())
        .bind(&letter.event_key)
        .bind(millis(now))
        .bind(millis(now + OWNER_PUBLISHES_WITHIN))
        .bind(&letter.event)
        .execute(self.connection())
        .await
        .map_err(Error::doing("tell a workflow"))?;
        let hint = hint(id, &letter.event_key, now);
        self.enqueue(std::slice::from_ref(&hint), now).await?;
        Ok(hint)
    }

    /// Takes out what waits, oldest first, at most `limit`. The caller holds the execution's row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn take_letters(&mut self, id: WorkflowId, limit: u32) -> Result<Vec<Letter>, Error> {
        let letters = sqlx::query(
            "SELECT event_key, event FROM workflow_inbox WHERE workflow_id = $1
             ORDER BY arrived_at, event_key LIMIT $2",
        )
        .bind(id.to_string())
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read an inbox"))?
        .iter()
        .map(|row| Ok(Letter { event_key: get(row, "event_key")?, event: get(row, "event")? }))
        .collect::<Result<Vec<_>, Error>>()?;
        for letter in &letters {
            sqlx::query("DELETE FROM workflow_inbox WHERE workflow_id = $1 AND event_key = $2")
                .bind(id.to_string())
                .bind(&letter.event_key)
                .execute(self.connection())
                .await
                .map_err(Error::doing("clear an inbox"))?;
        }
        Ok(letters)
    }

    /// Hints for the executions that something has waited for longer than whoever put it there needs
    /// to say so; each is said again later if it still waits.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn claim_workflows_in_waiting(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxMessage>, Error> {
        let text = format!(
            "SELECT workflow_id, event_key FROM workflow_inbox WHERE due_at <= $1 ORDER BY due_at LIMIT $2{}",
            self.dialect().for_update_skip_locked()
        );
        let rows = sqlx::query(sql(text))
            .bind(millis(now))
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("look for waiting workflows"))?;
        let mut hints = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, key): (WorkflowId, String) = (parsed(row, "workflow_id")?, get(row, "event_key")?);
            sqlx::query("UPDATE workflow_inbox SET due_at = $3 WHERE workflow_id = $1 AND event_key = $2")
                .bind(id.to_string())
                .bind(&key)
                .bind(millis(now + OWNER_PUBLISHES_WITHIN))
                .execute(self.connection())
                .await
                .map_err(Error::doing("claim a waiting workflow"))?;
            hints.push(hint(id, &format!("{key}/{now}"), now));
        }
        Ok(hints)
    }
}

impl Store {
    /// Whether something has waited too long in any inbox.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_waiting_workflows(&self, now: Timestamp) -> Result<bool, Error> {
        sqlx::query("SELECT workflow_id FROM workflow_inbox WHERE due_at <= $1 LIMIT 1")
            .bind(millis(now))
            .fetch_optional(self.reader())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("look for waiting workflows"))
    }
}

/// "There is something to do": what, is in the inbox.
#[must_use]
pub fn hint(id: WorkflowId, cause: &str, now: Timestamp) -> OutboxMessage {
    let message_id = derived_uuid("workflow continued:", &format!("{id}/{cause}"));
    OutboxMessage::event(message_id, "/patchwave/workflows", now, WorkflowContinued { workflow_id: id })
}
