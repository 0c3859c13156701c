//! GetMaintenanceWindow.

use patchwave_schemas::WindowId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, id, present};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    window_id: Option<String>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let window_id: WindowId = id("windowId", input.window_id.as_deref())?;
    let window = super::existing(api, &window_id).await?;
    let mut view = super::view(&window);
    view["AllowUnassociatedTargets"] = json!(window.allow_unassociated_targets);
    view["CreatedDate"] = epoch(window.created_date);
    view["ModifiedDate"] = epoch(window.modified_date);
    Ok(present(view))
}
