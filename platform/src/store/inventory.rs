//! Inventory that other programs put about nodes, one row for each node and type.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::{Column, Error, Store, Tx, from_json, get, millis, parsed, sql, to_json};

/// A row of an item: names and values, both texts.
pub type Entry = BTreeMap<String, String>;

/// What is known of one type about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryItem {
    /// The node.
    pub node_id: NodeId,
    /// For instance `AWS:Application` or `Custom:Rack`.
    pub type_name: String,
    /// For instance `1.0`.
    pub schema_version: String,
    /// When it was found, as the reporter wrote it: `2026-04-07T14:29:00Z`.
    pub capture_time: String,
    /// The reporter's own hash of the content.
    pub content_hash: Option<String>,
    /// Its rows.
    pub content: Vec<Entry>,
}

const COLUMNS: &str = "node_id, type_name, schema_version, capture_time, content_hash, content";

impl Tx {
    /// Stores an item in place of the one before of its node and type.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_inventory(&mut self, item: &InventoryItem, now: Timestamp) -> Result<(), Error> {
        sqlx::query(sql(format!(
            "INSERT INTO inventory_items ({COLUMNS}, stored_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (node_id, type_name) DO UPDATE SET schema_version = excluded.schema_version,
                 capture_time = excluded.capture_time, content_hash = excluded.content_hash,
                 content = excluded.content, stored_at = excluded.stored_at"
        )))
        .bind(item.node_id.as_str())
        .bind(&item.type_name)
        .bind(&item.schema_version)
        .bind(&item.capture_time)
        .bind(item.content_hash.as_deref())
        .bind(to_json(&item.content))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store inventory"))
    }

    /// Reads an item, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_inventory(&mut self, node: &NodeId, type_name: &str) -> Result<Option<InventoryItem>, Error> {
        let lock = self.dialect().for_update();
        let text = format!("SELECT {COLUMNS} FROM inventory_items WHERE node_id = $1 AND type_name = $2{lock}");
        sqlx::query(sql(text))
            .bind(node.as_str())
            .bind(type_name)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read inventory"))?
            .map(|row| item_of(&row))
            .transpose()
    }

    /// The types that items are of, with the versions of their schemas and the number of nodes.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn inventory_types(&mut self) -> Result<Vec<(String, String, i64)>, Error> {
        sqlx::query(
            "SELECT type_name, schema_version, COUNT(*) AS nodes FROM inventory_items
             GROUP BY type_name, schema_version ORDER BY type_name, schema_version",
        )
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read types of inventory"))?
        .iter()
        .map(|row| Ok((get(row, "type_name")?, get(row, "schema_version")?, get(row, "nodes")?)))
        .collect()
    }

    /// Removes all items of a type.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_inventory(&mut self, type_name: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM inventory_items WHERE type_name = $1")
            .bind(type_name)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("delete inventory"))
    }
}

impl Store {
    /// Reads the items of some nodes and types, by node and type.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn inventory_of(&self, nodes: &[NodeId], types: &[String]) -> Result<Vec<InventoryItem>, Error> {
        let nodes: Vec<Value> = nodes.iter().map(|node| json!({ "node_id": node })).collect();
        let types: Vec<Value> = types.iter().map(|name| json!({ "type_name": name })).collect();
        let node_rows = self.dialect().rows("n", 1, &[("node_id", Column::Text)]);
        let type_rows = self.dialect().rows("t", 2, &[("type_name", Column::Text)]);
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM inventory_items WHERE node_id IN (SELECT n.node_id FROM {node_rows})
                 AND type_name IN (SELECT t.type_name FROM {type_rows})
             ORDER BY node_id, type_name"
        )))
        .bind(to_json(&nodes))
        .bind(to_json(&types))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read inventory"))?
        .iter()
        .map(item_of)
        .collect()
    }

    /// Reads one item of a type, whichever: what its rows are like.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn some_inventory(&self, type_name: &str) -> Result<Option<InventoryItem>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM inventory_items WHERE type_name = $1 LIMIT 1")))
            .bind(type_name)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read inventory"))?
            .map(|row| item_of(&row))
            .transpose()
    }
}

fn item_of(row: &AnyRow) -> Result<InventoryItem, Error> {
    Ok(InventoryItem {
        node_id: parsed(row, "node_id")?,
        type_name: get(row, "type_name")?,
        schema_version: get(row, "schema_version")?,
        capture_time: get(row, "capture_time")?,
        content_hash: get(row, "content_hash")?,
        content: from_json("inventory_items.content", &get::<String>(row, "content")?)?,
    })
}
