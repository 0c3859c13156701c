//! Tags of windows, baselines, documents and nodes.
//!
//! A node's tags live in its own row, because targets are resolved from there.

use std::collections::BTreeMap;

use patchwave_schemas::NodeId;
use serde_json::json;
use sqlx::AnyConnection;

use super::{Column, Error, Store, Tx, from_json, get, sql, to_json};

/// What can be tagged here besides nodes. The text is SSM's `ResourceType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taggable {
    /// `MaintenanceWindow`
    MaintenanceWindow,
    /// `PatchBaseline`
    PatchBaseline,
    /// `Document`
    Document,
    /// A state machine of Step Functions; SSM has no name for it.
    StateMachine,
}

impl Taggable {
    /// SSM's name of the resource type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaintenanceWindow => "MaintenanceWindow",
            Self::PatchBaseline => "PatchBaseline",
            Self::Document => "Document",
            Self::StateMachine => "StateMachine",
        }
    }
}

impl Tx {
    /// Replaces all tags of a resource.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_tags(
        &mut self,
        kind: Taggable,
        resource_id: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        sqlx::query("DELETE FROM tags WHERE resource_type = $1 AND resource_id = $2")
            .bind(kind.as_str())
            .bind(resource_id)
            .execute(self.connection())
            .await
            .map_err(Error::doing("delete tags"))?;
        for (key, value) in tags {
            sqlx::query("INSERT INTO tags (resource_type, resource_id, tag_key, tag_value) VALUES ($1, $2, $3, $4)")
                .bind(kind.as_str())
                .bind(resource_id)
                .bind(key)
                .bind(value)
                .execute(self.connection())
                .await
                .map_err(Error::doing("store tags"))?;
        }
        Ok(())
    }

    /// Reads the tags of a resource; none when it does not exist. The caller holds it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tags(&mut self, kind: Taggable, resource_id: &str) -> Result<BTreeMap<String, String>, Error> {
        read(self.connection(), kind, resource_id).await
    }

    /// Reads the tags of a node, locking it until the transaction ends; `None` when there is no
    /// such node.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_node_tags(&mut self, id: &NodeId) -> Result<Option<BTreeMap<String, String>>, Error> {
        let text = format!("SELECT tags FROM nodes WHERE node_id = $1{}", self.dialect().for_update());
        let row = sqlx::query(sql(text))
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a node's tags"))?;
        row.map(|row| from_json("nodes.tags", &get::<String>(&row, "tags")?)).transpose()
    }

    /// Replaces all tags of a node; `false` when there is no such node.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_node_tags(&mut self, id: &NodeId, tags: &BTreeMap<String, String>) -> Result<bool, Error> {
        sqlx::query("UPDATE nodes SET tags = $2 WHERE node_id = $1")
            .bind(id.as_str())
            .bind(to_json(tags))
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("store a node's tags"))
    }
}

impl Store {
    /// Reads the tags of a resource; none when it does not exist.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tags(&self, kind: Taggable, resource_id: &str) -> Result<BTreeMap<String, String>, Error> {
        let mut connection = self.reader().acquire().await.map_err(Error::doing("read tags"))?;
        read(&mut connection, kind, resource_id).await
    }

    /// Reads the tags of several resources, by resource. Those without tags are absent.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tags_of(
        &self,
        kind: Taggable,
        resource_ids: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
        let rows: Vec<_> = resource_ids.iter().map(|id| json!({ "id": id })).collect();
        let source = self.dialect().rows("r", 2, &[("id", Column::Text)]);
        let found = sqlx::query(sql(format!(
            "SELECT resource_id, tag_key, tag_value FROM tags
             WHERE resource_type = $1 AND resource_id IN (SELECT r.id FROM {source})"
        )))
        .bind(kind.as_str())
        .bind(to_json(&rows))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read tags"))?;
        let mut tags: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for row in &found {
            tags.entry(get(row, "resource_id")?).or_default().insert(get(row, "tag_key")?, get(row, "tag_value")?);
        }
        Ok(tags)
    }
}

async fn read(
    connection: &mut AnyConnection,
    kind: Taggable,
    resource_id: &str,
) -> Result<BTreeMap<String, String>, Error> {
    sqlx::query("SELECT tag_key, tag_value FROM tags WHERE resource_type = $1 AND resource_id = $2")
        .bind(kind.as_str())
        .bind(resource_id)
        .fetch_all(connection)
        .await
        .map_err(Error::doing("read tags"))?
        .iter()
        .map(|row| Ok((get(row, "tag_key")?, get(row, "tag_value")?)))
        .collect()
}
