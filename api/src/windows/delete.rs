//! DeleteMaintenanceWindow. Executions stay readable; one that runs goes on from its snapshot.

use std::collections::BTreeMap;

use patchwave_platform::store::tags::Taggable;
use patchwave_schemas::WindowId;
use patchwave_schemas::event::Timer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, id};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
    let mut tx = api.store.begin().await?;
    // The window's row first, as everywhere: two orders could wait for each other.
    tx.lock_window(&window_id).await?;
    tx.delete_window(&window_id).await?;
    tx.clear_timer(&Timer::Window { window_id: window_id.clone() }).await?;
    tx.set_tags(Taggable::MaintenanceWindow, window_id.as_str(), &BTreeMap::new()).await?;
    tx.commit().await?;
    // An unknown id is no error (SSM).
    Ok(json!({ "WindowId": window_id }))
}
