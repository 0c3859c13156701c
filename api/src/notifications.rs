//! ListNotifications: what was published, or waits to be.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, instant_key, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    topic: Option<String>,
}

pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=100)?;
    let before = paging.after_instant()?;
    let rows = api.store.notifications(input.topic.as_deref(), before, paging.rows()).await?;
    let (rows, next) = paging.of_rows(rows, |row| instant_key(row.raised_at, row.notification_id));
    let list: Vec<Value> = rows
        .iter()
        .map(|row| {
            present(json!({
                "NotificationId": row.notification_id,
                "Topic": row.topic,
                "Subject": row.subject,
                "Message": row.message.to_string(),
                "RaisedAt": epoch(row.raised_at),
                "PublishedAt": row.published_at.map(epoch),
            }))
        })
        .collect();
    Ok(present(json!({ "Notifications": list, "NextToken": next })))
}
