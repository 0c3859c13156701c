//! PutInventory.

use std::collections::BTreeSet;

use jiff::Timestamp;
use patchwave_platform::store::inventory::{Entry, InventoryItem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{INSTANCE_INFORMATION, schema};
use crate::Api;
use crate::nodes::node_id;
use crate::wire::{Error, Request};

/// Custom types at most (SSM).
const CUSTOM_TYPES_MAX: usize = 20;
/// Bytes of one item at most. A request has at most 1 MB, as with SSM.
const ITEM_BYTES_MAX: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    instance_id: String,
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    type_name: String,
    schema_version: String,
    capture_time: String,
    content_hash: Option<String>,
    content: Option<Vec<Entry>>,
}

pub(crate) async fn put(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let node_id = node_id(&input.instance_id)?;
    let mut seen = BTreeSet::new();
    for item in &input.items {
        check_type(&item.type_name)?;
        if !seen.insert(item.type_name.as_str()) {
            let message = format!("Items names `{}` more than once", item.type_name);
            return Err(Error::new("InvalidItemContentException", message));
        }
        let bytes: usize = item.content.iter().flatten().flatten().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > ITEM_BYTES_MAX {
            let message = format!("item `{}` has {bytes} bytes; allowed are {ITEM_BYTES_MAX}", item.type_name);
            return Err(Error::new("ItemSizeLimitExceededException", message));
        }
    }
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    if tx.lock_node_tags(&node_id).await?.is_none() {
        return Err(Error::new("InvalidInstanceId", format!("instance `{node_id}` is not a managed node")));
    }
    let mut custom: BTreeSet<String> = tx
        .inventory_types()
        .await?
        .into_iter()
        .map(|(name, ..)| name)
        .filter(|name| name.starts_with("Custom:"))
        .collect();
    for item in input.items {
        if item.type_name.starts_with("Custom:") && custom.insert(item.type_name.clone()) {
            let count = custom.len();
            if count > CUSTOM_TYPES_MAX {
                let message =
                    format!("`{}` would be custom type {count}; allowed are {CUSTOM_TYPES_MAX}", item.type_name);
                return Err(Error::new("CustomSchemaCountLimitExceededException", message));
            }
        }
        let content = match item.content {
            Some(content) => content,
            // Only the hash: the reporter believes that its content is here already.
            None => match tx.lock_inventory(&node_id, &item.type_name).await? {
                Some(known) if known.content_hash.is_some() && known.content_hash == item.content_hash => known.content,
                _ => {
                    let message = format!(
                        "item `{}` has no Content, and its ContentHash is not that of what is stored; send the Content",
                        item.type_name
                    );
                    return Err(Error::new("ItemContentMismatchException", message));
                }
            },
        };
        let stored = InventoryItem {
            node_id: node_id.clone(),
            type_name: item.type_name,
            schema_version: item.schema_version,
            capture_time: item.capture_time,
            content_hash: item.content_hash,
            content,
        };
        tx.put_inventory(&stored, now).await?;
    }
    tx.commit().await?;
    Ok(json!({ "Message": "The inventory was stored." }))
}

fn check_type(name: &str) -> Result<(), Error> {
    let problem = if name == INSTANCE_INFORMATION {
        "which comes from the node's agent itself".to_owned()
    } else if name.starts_with("Custom:") || schema::of(name).is_some() {
        return Ok(());
    } else {
        format!("which is not kept here; allowed are Custom:<name> and {}", schema::names())
    };
    Err(Error::new("InvalidTypeNameException", format!("TypeName is `{name}`, {problem}")))
}
