//! Managed nodes as lists.

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use serde_json::{Value, json};

use crate::store::nodes::{NODE_COLUMNS, Node, node_of};
use crate::store::{Column, Dialect, Error, Store, millis, sql, to_json};

/// Which nodes of a list are wanted. What a database can narrow by is narrowed there, so that a
/// page of many nodes costs one statement; the caller still looks at each node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// One of these.
    pub ids: Option<Vec<NodeId>>,
    /// Registered with one of these activations.
    pub activation_ids: Option<Vec<String>>,
    /// Connected, and heard of since this instant; or the opposite.
    pub online: Option<(Timestamp, bool)>,
    /// One of these operating systems, by SSM's names.
    pub operating_systems: Option<Vec<String>>,
    /// One of these versions of the agent.
    pub agent_versions: Option<Vec<String>>,
    /// For each entry a tag with this key, and one of these values if any are given.
    pub tags: Vec<(String, Vec<String>)>,
}

impl Store {
    /// Reads nodes by id, those after `after` that pass as far as the database can tell.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_matching(&self, filter: &NodeFilter, after: &str, limit: u32) -> Result<Vec<Node>, Error> {
        let mut text = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE node_id > $1");
        let mut parameters: Vec<String> = Vec::new();
        if let Some((since, online)) = filter.online {
            let is_online = format!("(address IS NOT NULL AND last_contact_at >= {})", millis(since));
            text.push_str(&format!(" AND {}{is_online}", if online { "" } else { "NOT " }));
        }
        let ids: Option<Vec<String>> = filter.ids.as_ref().map(|ids| ids.iter().map(NodeId::to_string).collect());
        for (column, values) in [
            ("node_id", &ids),
            ("activation_id", &filter.activation_ids),
            ("operating_system", &filter.operating_systems),
            ("agent_version", &filter.agent_versions),
        ] {
            let Some(values) = values else { continue };
            let rows: Vec<Value> = values.iter().map(|value| json!({ "wanted": value })).collect();
            parameters.push(to_json(&rows));
            let source = self.dialect().rows("w", parameters.len() + 1, &[("wanted", Column::Text)]);
            let wanted = format!("{column} IN (SELECT w.wanted FROM {source})");
            if column == "activation_id" {
                text.push_str(&format!(" AND node_id IN (SELECT i.node_id FROM node_identities i WHERE i.{wanted})"));
            } else {
                text.push_str(&format!(" AND {wanted}"));
            }
        }
        for (key, values) in &filter.tags {
            // Tags are stored as compact JSON. A match within another text is possible; the caller
            // looks at the tags themselves.
            let key = to_json(key);
            let fragments: Vec<String> = if values.is_empty() {
                vec![format!("{key}:")]
            } else {
                values.iter().map(|value| format!("{key}:{}", to_json(value))).collect()
            };
            let mut any = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                parameters.push(fragment);
                let function = match self.dialect() {
                    Dialect::Sqlite => "instr",
                    Dialect::Postgres => "strpos",
                };
                any.push(format!("{function}(tags, ${}) > 0", parameters.len() + 1));
            }
            text.push_str(&format!(" AND ({})", any.join(" OR ")));
        }
        text.push_str(&format!(" ORDER BY node_id LIMIT {limit}"));
        let mut query = sqlx::query(sql(text)).bind(after);
        for parameter in &parameters {
            query = query.bind(parameter);
        }
        query.fetch_all(self.reader()).await.map_err(Error::doing("read nodes"))?.iter().map(node_of).collect()
    }

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
