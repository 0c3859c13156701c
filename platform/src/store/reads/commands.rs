//! Which commands a list is of.

use jiff::Timestamp;
use patchwave_schemas::{CommandId, NodeId};

use crate::store::{Error, Store, get, instant, millis, parsed, sql};

/// What a list of commands is narrowed to; an absent member does not narrow.
#[derive(Debug, Clone, Default)]
pub struct CommandQuery {
    /// Only this command.
    pub command_id: Option<CommandId>,
    /// Only commands with an invocation on this node.
    pub node_id: Option<NodeId>,
    /// SSM's `Status` or `StatusDetails`.
    pub status: Option<String>,
    /// The document.
    pub document_name: Option<String>,
    /// Requested at or after.
    pub from: Option<Timestamp>,
    /// Requested before.
    pub until: Option<Timestamp>,
    /// Whether it has ended.
    pub finished: Option<bool>,
}

impl Store {
    /// Finds commands, newest first, as their time and id. `before` is where the list goes on: the
    /// instant and id of the last one seen.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn find_commands(
        &self,
        query: &CommandQuery,
        before: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<(Timestamp, CommandId)>, Error> {
        let (before_at, before_id) = before.unwrap_or((i64::MAX, ""));
        let mut text = "SELECT c.command_id, c.requested_at FROM commands c
             WHERE (c.requested_at < $1 OR (c.requested_at = $1 AND c.command_id < $2))
               AND c.requested_at >= $3 AND c.requested_at < $4"
            .to_owned();
        // Only what is asked for is in the statement; every fragment is fixed.
        let mut values = Vec::new();
        let mut narrow = |fragment: &str, value: String| {
            values.push(value);
            text.push_str(&fragment.replace("$n", &format!("${}", 4 + values.len())));
        };
        if let Some(id) = query.command_id {
            narrow(" AND c.command_id = $n", id.to_string());
        }
        if let Some(node) = &query.node_id {
            narrow(
                " AND EXISTS (SELECT 1 FROM invocations i WHERE i.command_id = c.command_id AND i.node_id = $n)",
                node.to_string(),
            );
        }
        if let Some(status) = &query.status {
            narrow(" AND (c.status = $n OR c.status_details = $n)", status.clone());
        }
        if let Some(name) = &query.document_name {
            narrow(" AND c.document_name = $n", name.clone());
        }
        match query.finished {
            Some(true) => text.push_str(" AND c.finished_at IS NOT NULL"),
            Some(false) => text.push_str(" AND c.finished_at IS NULL"),
            None => {}
        }
        text.push_str(&format!(" ORDER BY c.requested_at DESC, c.command_id DESC LIMIT {limit}"));

        let mut statement = sqlx::query(sql(text))
            .bind(before_at)
            .bind(before_id)
            .bind(query.from.map_or(i64::MIN, millis))
            .bind(query.until.map_or(i64::MAX, millis));
        for value in values {
            statement = statement.bind(value);
        }
        statement
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("find commands"))?
            .iter()
            .map(|row| Ok((instant(get(row, "requested_at")?), parsed(row, "command_id")?)))
            .collect()
    }
}
