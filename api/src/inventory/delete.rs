//! DeleteInventory: of a custom type, at once.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::wire::{Error, Request};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    type_name: String,
    schema_delete_option: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.type_name;
    if !name.starts_with("Custom:") {
        let message = format!("TypeName is `{name}`; allowed is Custom:<name>");
        return Err(Error::new("InvalidTypeNameException", message));
    }
    if input.schema_delete_option.as_deref() == Some("DisableSchema") {
        let message = "SchemaDeleteOption is `DisableSchema`, but types are not kept from being put again; allowed is \
                       DeleteSchema";
        return Err(Error::new("InvalidOptionException", message));
    }
    let mut tx = api.store.begin().await?;
    let mut items = Vec::new();
    let mut total = 0;
    for (_, version, nodes) in tx.inventory_types().await?.into_iter().filter(|(known, ..)| *known == name) {
        total += nodes;
        let remaining = if input.dry_run { nodes } else { 0 };
        items.push(json!({ "Version": version, "Count": nodes, "RemainingCount": remaining }));
    }
    let nothing = items.is_empty().then(|| {
        let message = format!("TypeName is `{name}`, of which there is no inventory");
        Error::new("InvalidTypeNameException", message)
    });
    let remaining = if input.dry_run { total } else { 0 };
    let response = json!({
        "DeletionId": Uuid::new_v4(),
        "TypeName": name,
        "DeletionSummary": { "TotalCount": total, "RemainingCount": remaining, "SummaryItems": items },
    });
    if input.dry_run {
        return nothing.map_or(Ok(response), Err);
    }
    // Asked before there being none is a fault: the first request has left none.
    if let Some(earlier) = request.repeated(&mut tx, &response, Timestamp::now()).await? {
        return Ok(earlier);
    }
    if let Some(nothing) = nothing {
        return Err(nothing);
    }
    tx.delete_inventory(&name).await?;
    tx.commit().await?;
    Ok(response)
}
