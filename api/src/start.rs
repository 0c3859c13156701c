//! StartMaintenanceWindow: a window now, whatever its schedule says.

use jiff::Timestamp;
use patchwave_platform::outbox;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_schemas::event::WindowStartRequested;
use patchwave_schemas::{WindowExecutionId, WindowId};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::{Error, Request, id};
use crate::{Api, windows};

/// Who publishes, in the envelope of events.
pub(crate) const SOURCE: &str = "/patchwave/api";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
    reason: Option<String>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
    let now = Timestamp::now();
    let event_id = Uuid::now_v7();
    // The event's id names the execution, so the answer can be given before it exists.
    let execution = WindowExecutionId::derived(&format!("{window_id}/request/{event_id}"));
    let response = json!({ "WindowExecutionId": execution });

    let mut tx = api.store.begin().await?;
    if let Some(earlier) = request.repeated(&mut tx, &response, now).await? {
        return Ok(earlier);
    }
    tx.lock_window(&window_id).await?.ok_or_else(|| windows::missing(&window_id))?;
    let event = WindowStartRequested { window_id, reason: input.reason };
    let messages = [OutboxMessage::event(event_id, SOURCE, now, event)];
    tx.enqueue(&messages, now).await?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), &messages).await;
    Ok(response)
}
