//! Notifications: what is published is first stored here.

use jiff::Timestamp;
use patchwave_schemas::notification::{NotificationRaised, SnsEnvelope};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Column, Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The event's id, and the envelope's `MessageId`.
    pub notification_id: Uuid,
    /// Topic name, without prefix.
    pub topic: String,
    /// For people.
    pub subject: String,
    /// The payload.
    pub message: Value,
    /// When the change happened.
    pub raised_at: Timestamp,
    /// When it was published to live subscribers, if it was.
    pub published_at: Option<Timestamp>,
}

impl Notification {
    /// The notification of an event.
    #[must_use]
    pub fn new(id: Uuid, raised_at: Timestamp, raised: NotificationRaised) -> Self {
        let NotificationRaised { topic, subject, message } = raised;
        Self { notification_id: id, topic, subject, message, raised_at, published_at: None }
    }

    /// What subscribers receive.
    #[must_use]
    pub fn envelope(&self) -> SnsEnvelope {
        SnsEnvelope {
            kind: "Notification".to_owned(),
            message_id: self.notification_id,
            topic_arn: format!("arn:aws:sns:local:000000000000:{}", self.topic),
            subject: self.subject.clone(),
            message: self.message.to_string(),
            timestamp: self.raised_at,
        }
    }
}

impl Tx {
    /// Adds notifications; those that are there already stay as they are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_notifications(&mut self, notifications: &[Notification]) -> Result<(), Error> {
        let rows: Vec<Value> = notifications
            .iter()
            .map(|notification| {
                json!({
                    "notification_id": notification.notification_id,
                    "topic": notification.topic,
                    "subject": notification.subject,
                    // Text in text: PostgreSQL refuses an escaped NUL in a value it unpacks.
                    "message": notification.message.to_string(),
                    "raised_at": millis(notification.raised_at),
                })
            })
            .collect();
        let source = self.dialect().rows(
            "n",
            1,
            &[
                ("notification_id", Column::Text),
                ("topic", Column::Text),
                ("subject", Column::Text),
                ("message", Column::Text),
                ("raised_at", Column::Int),
            ],
        );
        let text = format!(
            "INSERT INTO notifications (notification_id, topic, subject, message, raised_at)
             SELECT notification_id, topic, subject, message, raised_at FROM {source} WHERE true
             ON CONFLICT (notification_id) DO NOTHING"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store notifications"))
    }

    /// Records that notifications have been published.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn mark_published(&mut self, ids: &[Uuid], now: Timestamp) -> Result<(), Error> {
        let rows: Vec<Value> = ids.iter().map(|id| json!({ "notification_id": id })).collect();
        let source = self.dialect().rows("n", 1, &[("notification_id", Column::Text)]);
        let text = format!(
            "UPDATE notifications SET published_at = $2
             WHERE notification_id IN (SELECT notification_id FROM {source})"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("mark notifications as published"))
    }
}

impl Store {
    /// Reads the oldest notifications that are not known to have been published.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn unpublished_notifications(&self, limit: u32) -> Result<Vec<Notification>, Error> {
        sqlx::query(
            "SELECT notification_id, topic, subject, message, raised_at, published_at FROM notifications
             WHERE published_at IS NULL ORDER BY raised_at LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read notifications"))?
        .iter()
        .map(notification_of)
        .collect()
    }

    /// Reads notifications, newest first: of one topic, or all. `before` is the instant and id of
    /// the last one already seen.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn notifications(
        &self,
        topic: Option<&str>,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<Notification>, Error> {
        let (before_at, before_id) = before.unwrap_or((i64::MAX, ""));
        sqlx::query(
            "SELECT notification_id, topic, subject, message, raised_at, published_at FROM notifications
             WHERE ($1 = '*' OR topic = $1) AND (raised_at < $2 OR (raised_at = $2 AND notification_id < $3))
             ORDER BY raised_at DESC, notification_id DESC LIMIT $4",
        )
        .bind(topic.unwrap_or("*"))
        .bind(before_at)
        .bind(before_id)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read notifications"))?
        .iter()
        .map(notification_of)
        .collect()
    }
}

fn notification_of(row: &AnyRow) -> Result<Notification, Error> {
    Ok(Notification {
        notification_id: parsed(row, "notification_id")?,
        topic: get(row, "topic")?,
        subject: get(row, "subject")?,
        message: from_json("notifications.message", &get::<String>(row, "message")?)?,
        raised_at: instant(get(row, "raised_at")?),
        published_at: optional_instant(row, "published_at")?,
    })
}
