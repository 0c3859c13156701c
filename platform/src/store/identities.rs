//! Identities of nodes: which key speaks for which id, and whether it still may.
//!
//! A row is never deleted: an id or a key that was given up does not come back.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use patchwave_schemas::{CommandId, NodeId};
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Column, Error, Store, Tx, get, instant, millis, optional_instant, parsed, sql, to_json};

/// A node that registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node_id: NodeId,
    /// The public half of its key, in base64.
    pub public_key: String,
    /// What its machine looked like when it registered.
    pub fingerprint: String,
    /// The activation that admitted it last.
    pub activation_id: Uuid,
    /// Its name, from the activation.
    pub name: Option<String>,
    /// SSM's service role, from the activation: recorded and shown.
    pub iam_role: String,
    /// When it registered first.
    pub registered_at: Timestamp,
    /// When it was cut off; absent while it may speak.
    pub deregistered_at: Option<Timestamp>,
}

impl Identity {
    /// Whether the node may speak and be spoken to.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.deregistered_at.is_none()
    }
}

const COLUMNS: &str = "node_id, public_key, fingerprint, activation_id, name, iam_role, registered_at, deregistered_at";

fn identity_of(row: &AnyRow) -> Result<Identity, Error> {
    Ok(Identity {
        node_id: parsed(row, "node_id")?,
        public_key: get(row, "public_key")?,
        fingerprint: get(row, "fingerprint")?,
        activation_id: parsed(row, "activation_id")?,
        name: get(row, "name")?,
        iam_role: get(row, "iam_role")?,
        registered_at: instant(get(row, "registered_at")?),
        deregistered_at: optional_instant(row, "deregistered_at")?,
    })
}

impl Tx {
    /// Stores a node that registered, or its new key, fingerprint and activation, or its end. The
    /// name, the role and the time of its registration are written the first time only.
    ///
    /// # Errors
    /// [`Error::Database`]; another node has the key.
    pub async fn put_identity(&mut self, identity: &Identity) -> Result<(), Error> {
        let text = format!(
            "INSERT INTO node_identities ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (node_id) DO UPDATE SET public_key = excluded.public_key,
                 fingerprint = excluded.fingerprint, activation_id = excluded.activation_id,
                 deregistered_at = excluded.deregistered_at"
        );
        sqlx::query(sql(text))
            .bind(identity.node_id.as_str())
            .bind(&identity.public_key)
            .bind(&identity.fingerprint)
            .bind(identity.activation_id.to_string())
            .bind(&identity.name)
            .bind(&identity.iam_role)
            .bind(millis(identity.registered_at))
            .bind(identity.deregistered_at.map(millis))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store a node's identity"))
    }

    /// Reads the identity that has this public key, locking it.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_identity_by_key(&mut self, public_key: &str) -> Result<Option<Identity>, Error> {
        let lock = self.dialect().for_update();
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM node_identities WHERE public_key = $1{lock}")))
            .bind(public_key)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a node's identity"))?
            .map(|row| identity_of(&row))
            .transpose()
    }

    /// Reads a node's identity, locking it.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_identity(&mut self, node: &NodeId) -> Result<Option<Identity>, Error> {
        let lock = self.dialect().for_update();
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM node_identities WHERE node_id = $1{lock}")))
            .bind(node.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a node's identity"))?
            .map(|row| identity_of(&row))
            .transpose()
    }

    /// Sets the role that is shown with a node; `false` when it never registered or was cut off.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_iam_role(&mut self, node: &NodeId, role: &str) -> Result<bool, Error> {
        sqlx::query("UPDATE node_identities SET iam_role = $2 WHERE node_id = $1 AND deregistered_at IS NULL")
            .bind(node.as_str())
            .bind(role)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("store a node's role"))
    }

    /// The commands that have not ended and are for this node.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn commands_of_node(&mut self, node: &NodeId) -> Result<Vec<CommandId>, Error> {
        sqlx::query(
            "SELECT c.command_id FROM commands c
             JOIN invocations i ON i.command_id = c.command_id AND i.node_id = $1
             WHERE c.finished_at IS NULL ORDER BY c.command_id",
        )
        .bind(node.as_str())
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read the commands of a node"))?
        .iter()
        .map(|row| parsed(row, "command_id"))
        .collect()
    }

    /// Which of these nodes were cut off.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn deregistered(&mut self, nodes: &[NodeId]) -> Result<HashSet<NodeId>, Error> {
        if nodes.is_empty() {
            return Ok(HashSet::new());
        }
        let source = self.dialect().rows("wanted", 1, &[("node_id", Column::Text)]);
        // Few rows ever match; the partial index holds just those.
        let text = format!(
            "SELECT node_id FROM node_identities
             WHERE deregistered_at IS NOT NULL AND node_id IN (SELECT wanted.node_id FROM {source})"
        );
        sqlx::query(sql(text))
            .bind(wanted(nodes))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read which nodes were deregistered"))?
            .iter()
            .map(|row| parsed(row, "node_id"))
            .collect()
    }

    /// The identities of some nodes, which nobody changes until this transaction ends; those that
    /// never registered are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn hold_identities(&mut self, nodes: &[NodeId]) -> Result<HashMap<NodeId, Identity>, Error> {
        let source = self.dialect().rows("wanted", 1, &[("node_id", Column::Text)]);
        let lock = self.dialect().for_share();
        let text = format!(
            "SELECT {COLUMNS} FROM node_identities WHERE node_id IN (SELECT wanted.node_id FROM {source}){lock}"
        );
        let rows = sqlx::query(sql(text)).bind(wanted(nodes)).fetch_all(self.connection()).await;
        by_node(&rows.map_err(Error::doing("read identities"))?)
    }
}

impl Store {
    /// Reads a node's identity; `None` when it never registered.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn identity(&self, node: &NodeId) -> Result<Option<Identity>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM node_identities WHERE node_id = $1")))
            .bind(node.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a node's identity"))?
            .map(|row| identity_of(&row))
            .transpose()
    }

    /// The identities of some nodes, as they were a moment ago; those that never registered are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn identities(&self, nodes: &[NodeId]) -> Result<HashMap<NodeId, Identity>, Error> {
        let source = self.dialect().rows("wanted", 1, &[("node_id", Column::Text)]);
        let text =
            format!("SELECT {COLUMNS} FROM node_identities WHERE node_id IN (SELECT wanted.node_id FROM {source})");
        let rows = sqlx::query(sql(text)).bind(wanted(nodes)).fetch_all(self.reader()).await;
        by_node(&rows.map_err(Error::doing("read identities"))?)
    }
}

/// Node ids as a batch parameter with one column.
fn wanted(nodes: &[NodeId]) -> String {
    to_json(&nodes.iter().map(|node| serde_json::json!({ "node_id": node })).collect::<Vec<_>>())
}

fn by_node(rows: &[AnyRow]) -> Result<HashMap<NodeId, Identity>, Error> {
    rows.iter().map(|row| identity_of(row).map(|identity| (identity.node_id.clone(), identity))).collect()
}
