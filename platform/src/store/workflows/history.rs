//! What has happened in an execution, for people. Nothing is decided by it.

use jiff::Timestamp;
use patchwave_schemas::WorkflowId;

use super::super::{Column, Error, Store, Tx, get, instant, millis, sql, to_json};

/// One event of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// From 1, without gaps.
    pub event_id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// JSON in the words of its API.
    pub event: String,
}

impl Tx {
    /// Adds events to a history. The caller holds the execution's row and numbers them.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_workflow_history(&mut self, id: WorkflowId, events: &[StoredEvent]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = events
            .iter()
            .map(|one| serde_json::json!({ "event_id": one.event_id, "at": millis(one.at), "event": one.event }))
            .collect();
        let columns = [("event_id", Column::Int), ("at", Column::Int), ("event", Column::Text)];
        let source = self.dialect().rows("r", 2, &columns);
        sqlx::query(sql(format!(
            "INSERT INTO workflow_history (workflow_id, event_id, at, event)
             SELECT $1, r.event_id, r.at, r.event FROM {source} WHERE true
             ON CONFLICT (workflow_id, event_id) DO NOTHING"
        )))
        .bind(id.to_string())
        .bind(to_json(&rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("add to a history"))
    }
}

impl Store {
    /// A page of a history: at most `limit` events after (or, newest first, before) `from`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_history(
        &self,
        id: WorkflowId,
        from: Option<i64>,
        newest_first: bool,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, Error> {
        let text = if newest_first {
            "SELECT event_id, at, event FROM workflow_history WHERE workflow_id = $1 AND event_id < $2
             ORDER BY event_id DESC LIMIT $3"
        } else {
            "SELECT event_id, at, event FROM workflow_history WHERE workflow_id = $1 AND event_id > $2
             ORDER BY event_id LIMIT $3"
        };
        let from = from.unwrap_or(if newest_first { i64::MAX } else { 0 });
        sqlx::query(text)
            .bind(id.to_string())
            .bind(from)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read a history"))?
            .iter()
            .map(|row| {
                let at = instant(get(row, "at")?);
                Ok(StoredEvent { event_id: get(row, "event_id")?, at, event: get(row, "event")? })
            })
            .collect()
    }
}
