//! Nodes whose connections to the broker are still to be closed.

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis, parsed};

/// A node that is to be disconnected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// The node.
    pub node_id: NodeId,
    /// When that was decided: whoever logged in before is to go.
    pub requested_at: Timestamp,
    /// When it is to be done next.
    pub due_at: Timestamp,
}

fn cut_off_of(row: &AnyRow) -> Result<CutOff, Error> {
    Ok(CutOff {
        node_id: parsed(row, "node_id")?,
        requested_at: instant(get(row, "requested_at")?),
        due_at: instant(get(row, "due_at")?),
    })
}

impl Tx {
    /// Notes that a node is to be disconnected, from now on and at once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn request_cut_off(&mut self, node: &NodeId, now: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO cut_offs (node_id, requested_at, due_at) VALUES ($1, $2, $2)
             ON CONFLICT (node_id) DO UPDATE SET requested_at = excluded.requested_at, due_at = excluded.due_at",
        )
        .bind(node.as_str())
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("note a node to be disconnected"))
    }
}

impl Store {
    /// Nodes that are to be disconnected by now, the longest due first, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn due_cut_offs(&self, now: Timestamp, limit: u32) -> Result<Vec<CutOff>, Error> {
        sqlx::query(
            "SELECT node_id, requested_at, due_at FROM cut_offs WHERE due_at <= $1 ORDER BY due_at, node_id LIMIT $2",
        )
        .bind(millis(now))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read the nodes to be disconnected"))?
        .iter()
        .map(cut_off_of)
        .collect()
    }

    /// Sets when a disconnection is looked at next, or with `None` forgets it. One that was asked for
    /// again since stays as it is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn settle_cut_off(&self, done: &CutOff, next: Option<Timestamp>) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        let statement = match next {
            Some(_) => "UPDATE cut_offs SET due_at = $3 WHERE node_id = $1 AND requested_at = $2",
            None => "DELETE FROM cut_offs WHERE node_id = $1 AND requested_at = $2",
        };
        let mut query = sqlx::query(statement).bind(done.node_id.as_str()).bind(millis(done.requested_at));
        if let Some(next) = next {
            query = query.bind(millis(next));
        }
        query.execute(tx.connection()).await.map_err(Error::doing("note that a node was disconnected"))?;
        tx.commit().await
    }
}
