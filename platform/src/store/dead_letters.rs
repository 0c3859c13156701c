//! Dead letters: messages that could not be processed, kept for an operator to look at.

use jiff::Timestamp;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Error, Store, Tx, get, instant, millis, parsed};
use crate::bus::{Death, Sender};

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its id here; derived from queue, reason and body, so that a redelivery is the same letter.
    pub dead_letter_id: Uuid,
    /// The queue it was on; empty when it never reached one.
    pub queue: String,
    /// Why it was given up.
    pub reason: String,
    /// Its body. What is not UTF-8 text is shown by replacement characters.
    pub body: String,
    /// Who published it, by the bus's word.
    pub sender: Sender,
    /// When it was stored here.
    pub buried_at: Timestamp,
}

impl DeadLetter {
    /// A letter from what the bus handed out.
    #[must_use]
    pub fn new(death: &Death, body: &[u8], buried_at: Timestamp) -> Self {
        let Death { queue, reason, sender } = death;
        let body = storable(&String::from_utf8_lossy(body));
        let sender_text = sender.to_text();
        let text = format!("{queue}\n{reason}\n{body}");
        Self {
            dead_letter_id: patchwave_schemas::ids::derived_uuid("dead letter:", &text),
            queue: storable(queue),
            reason: storable(reason),
            sender: Sender::from_text(&storable(&sender_text)),
            body,
            buried_at,
        }
    }
}

/// PostgreSQL's TEXT holds any character but NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Tx {
    /// Stores a dead letter, once; buried again it takes the later instant, and keeps who published
    /// it in the first place: what was replayed was published by the control plane.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_dead_letter(&mut self, letter: &DeadLetter) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO dead_letters (dead_letter_id, queue, reason, body, buried_at, sender)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (dead_letter_id) DO UPDATE SET buried_at = excluded.buried_at
             WHERE dead_letters.buried_at < excluded.buried_at",
        )
        .bind(letter.dead_letter_id.to_string())
        .bind(&letter.queue)
        .bind(&letter.reason)
        .bind(&letter.body)
        .bind(millis(letter.buried_at))
        .bind(letter.sender.to_text())
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a dead letter"))
    }

    /// Removes a dead letter as it was read: one that was buried again since stays. Returns whether
    /// it was removed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_dead_letter(&mut self, letter: &DeadLetter) -> Result<bool, Error> {
        sqlx::query("DELETE FROM dead_letters WHERE dead_letter_id = $1 AND buried_at <= $2")
            .bind(letter.dead_letter_id.to_string())
            .bind(millis(letter.buried_at))
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("forget a dead letter"))
    }

    /// Removes a dead letter. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_dead_letter(&mut self, id: Uuid) -> Result<bool, Error> {
        sqlx::query("DELETE FROM dead_letters WHERE dead_letter_id = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete a dead letter"))
    }
}

impl Store {
    /// Reads a dead letter.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn dead_letter(&self, id: Uuid) -> Result<Option<DeadLetter>, Error> {
        let row = sqlx::query(
            "SELECT dead_letter_id, queue, reason, body, buried_at, sender FROM dead_letters WHERE dead_letter_id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.reader())
        .await
        .map_err(Error::doing("read a dead letter"))?;
        row.as_ref().map(letter_of).transpose()
    }

    /// Reads dead letters, newest first. `before` is the instant and id of the last one already
    /// seen.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn dead_letters(&self, before: Option<(i64, &str)>, limit: u32) -> Result<Vec<DeadLetter>, Error> {
        let (before_at, before_id) = before.unwrap_or((i64::MAX, ""));
        sqlx::query(
            "SELECT dead_letter_id, queue, reason, body, buried_at, sender FROM dead_letters
             WHERE buried_at < $1 OR (buried_at = $1 AND dead_letter_id < $2)
             ORDER BY buried_at DESC, dead_letter_id DESC LIMIT $3",
        )
        .bind(before_at)
        .bind(before_id)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read dead letters"))?
        .iter()
        .map(letter_of)
        .collect()
    }
}

fn letter_of(row: &AnyRow) -> Result<DeadLetter, Error> {
    Ok(DeadLetter {
        dead_letter_id: parsed(row, "dead_letter_id")?,
        queue: get(row, "queue")?,
        reason: get(row, "reason")?,
        body: get(row, "body")?,
        sender: Sender::from_text(&get::<String>(row, "sender")?),
        buried_at: instant(get(row, "buried_at")?),
    })
}
