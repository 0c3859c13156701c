//! Managed nodes as lists.

use patchwave_schemas::NodeId;
use serde_json::{Value, json};

use crate::store::nodes::{NODE_COLUMNS, Node, node_of};
use crate::store::{Column, Error, Store, sql, to_json};

impl Store {
    /// Reads nodes by id, those after `after`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_after(&self, after: &str, limit: u32) -> Result<Vec<Node>, Error> {
        let text = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE node_id > $1 ORDER BY node_id LIMIT $2");
        sqlx::query(sql(text))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read nodes"))?
            .iter()
            .map(node_of)
            .collect()
    }

    /// Reads some nodes, by id. Those that do not exist are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_named(&self, ids: &[NodeId]) -> Result<Vec<Node>, Error> {
        let rows: Vec<Value> = ids.iter().map(|id| json!({ "node_id": id })).collect();
        let source = self.dialect().rows("wanted", 1, &[("node_id", Column::Text)]);
        let text = format!(
            "SELECT {NODE_COLUMNS} FROM nodes WHERE node_id IN (SELECT wanted.node_id FROM {source}) ORDER BY node_id"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read nodes"))?
            .iter()
            .map(node_of)
            .collect()
    }
}
