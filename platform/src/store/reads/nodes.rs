//! Managed nodes as lists.

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use serde_json::{Value, json};

use crate::store::nodes::{NODE_COLUMNS, Node, node_of};
use crate::store::{Column, Error, Store, millis, node_tags, sql, to_json};

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
    /// For each entry a tag with this key, and one of these values if any are given. The first leads:
    /// it should be the one that fewest nodes have. Some 20 at most: each is a part of the statement.
    pub tags: Vec<(String, Vec<String>)>,
}

impl Store {
    /// Reads nodes by id, those after `after` that pass as far as the database can tell.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_matching(&self, filter: &NodeFilter, after: &str, limit: u32) -> Result<Vec<Node>, Error> {
        // The first tag leads: its rows are in the order of nodes, so a page ends where it is full,
        // and a tag that no node has costs nothing. Named nodes are few as it is.
        let Some((first, rest)) = filter.tags.split_first().filter(|_| filter.ids.is_none()) else {
            return self.nodes_led(filter, None, &filter.tags, after, limit).await;
        };
        let lookups = node_tags::lookups(&first.1);
        let is_one = lookups.len() == 1;
        let mut found = Vec::new();
        for values in lookups {
            found.extend(self.nodes_led(filter, Some((&first.0, &values)), rest, after, limit).await?);
        }
        if !is_one {
            found.sort_by(|one: &Node, other| one.facts.node_id.cmp(&other.facts.node_id));
            found.truncate(limit as usize);
        }
        Ok(found)
    }

    /// The nodes that have the leading tag, if there is one, and the rest.
    async fn nodes_led(
        &self,
        filter: &NodeFilter,
        leading: Option<(&str, &[String])>,
        tags: &[(String, Vec<String>)],
        after: &str,
        limit: u32,
    ) -> Result<Vec<Node>, Error> {
        let mut parameters: Vec<String> = Vec::new();
        let (mut text, order) = match leading {
            None => (format!("SELECT {NODE_COLUMNS} FROM nodes WHERE node_id > $1"), "node_id"),
            Some((key, values)) => {
                let tag = node_tags::condition("t", key, values, self.dialect(), &mut parameters);
                let columns = NODE_COLUMNS.replace("node_id", "nodes.node_id");
                let from = "node_tags t JOIN nodes ON nodes.node_id = t.node_id";
                (format!("SELECT {columns} FROM {from} WHERE t.node_id > $1 AND {tag}"), "t.node_id")
            }
        };
        if let Some((since, online)) = filter.online {
            let is_online = format!("(address IS NOT NULL AND last_contact_at >= {})", millis(since));
            text.push_str(&format!(" AND {}{is_online}", if online { "" } else { "NOT " }));
        }
        let ids: Option<Vec<String>> = filter.ids.as_ref().map(|ids| ids.iter().map(NodeId::to_string).collect());
        for (column, values) in [
            ("nodes.node_id", &ids),
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
                let registered = format!("SELECT i.node_id FROM node_identities i WHERE i.{wanted}");
                text.push_str(&format!(" AND nodes.node_id IN ({registered})"));
            } else {
                text.push_str(&format!(" AND {wanted}"));
            }
        }
        for (key, values) in tags {
            let tag = node_tags::condition("x", key, values, self.dialect(), &mut parameters);
            text.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM node_tags x WHERE x.node_id = nodes.node_id AND {tag})"
            ));
        }
        text.push_str(&format!(" ORDER BY {order} LIMIT {limit}"));
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
