//! The transactional outbox: what a change must tell others, stored with the change.
//!
//! Whoever commits publishes at once ([`crate::outbox::flush`]) and forgets; what a dead process
//! left is found by the sweep once its `due_at` has passed. So a message is published at least
//! once, and its id is what makes the second time harmless.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::topology::routing_key;
use patchwave_schemas::{CloudEvent, Message};
use uuid::Uuid;

use super::{Column, Error, Tx, get, millis, parsed, sql, to_json};
use crate::bus::{Outgoing, Route};

/// Time that the committing process is given to publish before a sweep does.
///
/// Longer than a publish takes while the broker restarts would be too long for an operator who
/// waits for a dead worker's messages; a shorter one only publishes some twice.
pub const OWNER_PUBLISHES_WITHIN: SignedDuration = SignedDuration::from_secs(15);

/// An event that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// The event's id.
    pub message_id: Uuid,
    /// The event's type.
    pub message_type: String,
    /// Its key on the events exchange.
    pub routing_key: String,
    /// The CloudEvent as JSON text.
    pub body: String,
}

impl OutboxMessage {
    /// Wraps `data` in an envelope.
    pub fn event<M: Message>(id: Uuid, source: &str, now: Timestamp, data: M) -> Self {
        Self::keyed(id, routing_key(M::TYPE), source, now, data)
    }

    /// Like [`OutboxMessage::event`], with a routing key other than the type's own.
    pub fn keyed<M: Message>(id: Uuid, key: &str, source: &str, now: Timestamp, data: M) -> Self {
        let event = CloudEvent::new(id, source, now, data);
        Self { message_id: id, message_type: M::TYPE.to_owned(), routing_key: key.to_owned(), body: to_json(&event) }
    }

    /// The message as the bus takes it.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing {
            route: Route::Event { key: self.routing_key.clone() },
            message_id: self.message_id,
            message_type: self.message_type.clone(),
            body: self.body.clone().into_bytes(),
        }
    }
}

#[derive(serde::Serialize)]
struct Row<'a> {
    message_id: String,
    message_type: &'a str,
    routing_key: &'a str,
    body: &'a str,
}

impl Tx {
    /// Stores events to be published after the commit. One that is stored already stays as it is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn enqueue(&mut self, messages: &[OutboxMessage], now: Timestamp) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = messages
            .iter()
            .map(|message| Row {
                message_id: message.message_id.to_string(),
                message_type: &message.message_type,
                routing_key: &message.routing_key,
                body: &message.body,
            })
            .collect();
        let source = self.dialect().rows(
            "r",
            1,
            &[
                ("message_id", Column::Text),
                ("message_type", Column::Text),
                ("routing_key", Column::Text),
                ("body", Column::Text),
            ],
        );
        // `WHERE true` keeps SQLite from reading ON CONFLICT as a join.
        let text = format!(
            "INSERT INTO outbox (message_id, message_type, routing_key, body, due_at)
             SELECT r.message_id, r.message_type, r.routing_key, r.body, $2 FROM {source} WHERE true
             ON CONFLICT (message_id) DO NOTHING"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .bind(millis(now + OWNER_PUBLISHES_WITHIN))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store outgoing messages"))
    }

    /// Forgets events that were published.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn dequeue(&mut self, ids: &[Uuid]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = ids.iter().map(|id| serde_json::json!({ "id": id })).collect();
        let source = self.dialect().rows("r", 1, &[("id", Column::Text)]);
        sqlx::query(sql(format!("DELETE FROM outbox WHERE message_id IN (SELECT r.id FROM {source})")))
            .bind(to_json(&rows))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("forget published messages"))
    }

    /// Takes up to `limit` events whose owner did not publish them in time, for this process.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn claim_outbox(&mut self, now: Timestamp, limit: u32) -> Result<Vec<OutboxMessage>, Error> {
        let text = format!(
            "SELECT message_id, message_type, routing_key, body FROM outbox WHERE due_at <= $1
             ORDER BY due_at LIMIT $2{}",
            self.dialect().for_update_skip_locked()
        );
        let claimed = sqlx::query(sql(text))
            .bind(millis(now))
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read outgoing messages"))?
            .iter()
            .map(|row| {
                Ok(OutboxMessage {
                    message_id: parsed(row, "message_id")?,
                    message_type: get(row, "message_type")?,
                    routing_key: get(row, "routing_key")?,
                    body: get(row, "body")?,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let rows: Vec<_> = claimed.iter().map(|message| serde_json::json!({ "id": message.message_id })).collect();
        if !rows.is_empty() {
            let source = self.dialect().rows("r", 1, &[("id", Column::Text)]);
            sqlx::query(sql(format!("UPDATE outbox SET due_at = $2 WHERE message_id IN (SELECT r.id FROM {source})")))
                .bind(to_json(&rows))
                .bind(millis(now + OWNER_PUBLISHES_WITHIN))
                .execute(self.connection())
                .await
                .map_err(Error::doing("claim outgoing messages"))?;
        }
        Ok(claimed)
    }
}
