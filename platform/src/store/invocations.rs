//! Invocations. Every method here presumes that the caller holds the rollout's row.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::invocation::{Ending, State};
use patchwave_schemas::report::InvocationFinished;
use patchwave_schemas::{CommandId, NodeId};
use serde::Serialize;
use sqlx::any::AnyRow;

use super::{Column, Error, Store, Tx, from_json, get, millis, optional_instant, parsed, sql, to_json};

/// An invocation as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// Where it stands.
    pub state: State,
    /// Times its command was handed to the bus.
    pub attempts: i64,
    /// When it was first released.
    pub released_at: Option<Timestamp>,
    /// When it ends by itself.
    pub deadline_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether its node's word came after the deadline had decided.
    pub late_report: bool,
    /// What its node reported.
    pub report: Option<InvocationFinished>,
}

/// An invocation that is handed to the bus, now or again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The node.
    pub node_id: NodeId,
    /// Which of the command's baselines applies.
    pub baseline_key: Option<String>,
    /// Where its commands go; `None` when it is known to be away.
    pub address: Option<String>,
    /// When it was first released.
    pub released_at: Timestamp,
    /// Where it stands.
    pub state: State,
    /// 1 at the first release.
    pub attempt: i64,
}

/// One invocation that is about to be stored.
#[derive(Debug, Clone, Serialize)]
pub struct NewInvocation {
    /// The node.
    pub node_id: NodeId,
    /// Order of release, from 0.
    pub ordinal: i64,
    /// Which of the command's baselines applies.
    pub baseline_key: Option<String>,
}

/// A change of one invocation.
#[derive(Debug, Clone)]
pub struct Change {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
    /// Where it stands now.
    pub state: State,
    /// What its node reported, kept if given.
    pub report: Option<InvocationFinished>,
    /// Whether the report came after the deadline had decided.
    pub late: bool,
}

#[derive(Serialize)]
struct ChangeRow {
    command_id: String,
    node_id: String,
    state: String,
    report: Option<String>,
    late: u8,
    ended: u8,
}

/// Rows of one INSERT; larger gains nothing and holds more in memory.
const INSERT_ROWS: usize = 5_000;

fn state_of(row: &AnyRow) -> Result<State, Error> {
    get::<String>(row, "state")?.parse().map_err(Error::corrupt("invocations.state"))
}

fn release_of(row: &AnyRow) -> Result<Release, Error> {
    Ok(Release {
        node_id: parsed(row, "node_id")?,
        baseline_key: get(row, "baseline_key")?,
        address: get(row, "address")?,
        released_at: optional_instant(row, "released_at")?.unwrap_or(Timestamp::UNIX_EPOCH),
        state: state_of(row)?,
        attempt: get(row, "attempts")?,
    })
}

const RELEASE_COLUMNS: &str = "i.node_id, i.ordinal, i.baseline_key, i.released_at, i.state, i.attempts, n.address
     FROM invocations i LEFT JOIN nodes n ON n.node_id = i.node_id";

impl Tx {
    /// Stores a command's invocations.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_invocations(&mut self, command: CommandId, new: &[NewInvocation]) -> Result<(), Error> {
        let source = self.dialect().rows(
            "r",
            2,
            &[("node_id", Column::Text), ("ordinal", Column::Int), ("baseline_key", Column::Text)],
        );
        let text = format!(
            "INSERT INTO invocations (command_id, node_id, ordinal, baseline_key, state, attempts, late_report)
             SELECT $1, r.node_id, r.ordinal, r.baseline_key, 'pending', 0, 0 FROM {source}"
        );
        for chunk in new.chunks(INSERT_ROWS) {
            sqlx::query(sql(text.clone()))
                .bind(command.to_string())
                .bind(to_json(chunk))
                .execute(self.connection())
                .await
                .map_err(Error::doing("store invocations"))?;
        }
        Ok(())
    }

    /// Releases the next `count` pending invocations in order, from `cursor` on, and returns them
    /// with the cursor behind the last one.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn release_pending(
        &mut self,
        command: CommandId,
        cursor: i64,
        count: u32,
        now: Timestamp,
        deadline_at: Timestamp,
    ) -> Result<(Vec<Release>, i64), Error> {
        let rows = sqlx::query(sql(format!(
            "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1 AND i.ordinal >= $2 AND i.state = 'pending'
             ORDER BY i.ordinal LIMIT $3"
        )))
        .bind(command.to_string())
        .bind(cursor)
        .bind(i64::from(count))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read pending invocations"))?;
        let Some(last) = rows.last() else { return Ok((Vec::new(), cursor)) };
        let last: i64 = get(last, "ordinal")?;
        // Every pending row of this range was selected: the rollout's row is held.
        sqlx::query(
            "UPDATE invocations SET state = 'released', attempts = 1,
                 released_at = $4, delivered_at = $4, deadline_at = $5
             WHERE command_id = $1 AND ordinal >= $2 AND ordinal <= $3 AND state = 'pending'",
        )
        .bind(command.to_string())
        .bind(cursor)
        .bind(last)
        .bind(millis(now))
        .bind(millis(deadline_at))
        .execute(self.connection())
        .await
        .map_err(Error::doing("release invocations"))?;
        let released = rows
            .iter()
            .map(|row| {
                let stored = release_of(row)?;
                Ok(Release { released_at: now, state: State::Released, attempt: 1, ..stored })
            })
            .collect::<Result<_, Error>>()?;
        Ok((released, last + 1))
    }

    /// Releases up to `count` invocations whose nodes came back. Their deadline stays what it was.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn release_ready(
        &mut self,
        command: CommandId,
        count: u32,
        now: Timestamp,
    ) -> Result<Vec<Release>, Error> {
        let released = self
            .releases(
                format!(
                    "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1 AND i.state = 'ready'
                     ORDER BY i.ordinal LIMIT {count}"
                ),
                command,
            )
            .await?;
        self.redeliver(command, &released, now).await
    }

    /// Marks invocations as handed to the bus once more, at `now`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn redeliver(
        &mut self,
        command: CommandId,
        again: &[Release],
        now: Timestamp,
    ) -> Result<Vec<Release>, Error> {
        if again.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<_> = again.iter().map(|one| serde_json::json!({ "node_id": one.node_id })).collect();
        let source = self.dialect().rows("r", 2, &[("node_id", Column::Text)]);
        sqlx::query(sql(format!(
            "UPDATE invocations SET attempts = attempts + 1, delivered_at = $3,
                 state = CASE WHEN state = 'ready' THEN 'released' ELSE state END
             FROM {source} WHERE invocations.command_id = $1 AND invocations.node_id = r.node_id"
        )))
        .bind(command.to_string())
        .bind(to_json(&rows))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(Error::doing("mark invocations as delivered again"))?;
        let state = |state| if state == State::Ready { State::Released } else { state };
        Ok(again
            .iter()
            .map(|one| Release { state: state(one.state), attempt: one.attempt + 1, ..one.clone() })
            .collect())
    }

    /// Invocations in flight that were handed over before `before` and not heard of since, and
    /// whose nodes are connected: at most `limit`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn unheard(&mut self, command: CommandId, before: Timestamp, limit: u32) -> Result<Vec<Release>, Error> {
        self.releases(
            format!(
                "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1 AND i.state IN ('released', 'cancelling')
                 AND i.delivered_at < {} AND n.address IS NOT NULL ORDER BY i.ordinal LIMIT {limit}",
                millis(before)
            ),
            command,
        )
        .await
    }

    /// Invocations that wait for a node which is connected.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn waiting_connected(&mut self, command: CommandId) -> Result<Vec<Release>, Error> {
        self.releases(
            format!(
                "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1 AND i.state = 'waiting'
                 AND n.address IS NOT NULL ORDER BY i.ordinal"
            ),
            command,
        )
        .await
    }

    /// Invocations that hold a slot.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn in_flight(&mut self, command: CommandId) -> Result<Vec<Release>, Error> {
        self.releases(
            format!(
                "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1
                 AND i.state IN ('released', 'running', 'cancelling') ORDER BY i.ordinal"
            ),
            command,
        )
        .await
    }

    /// Invocations that have not ended although their deadline passed.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn overdue(&mut self, command: CommandId, now: Timestamp) -> Result<Vec<Release>, Error> {
        self.releases(
            format!(
                "SELECT {RELEASE_COLUMNS} WHERE i.command_id = $1 AND i.deadline_at <= {}
                 AND i.state IN ('released', 'waiting', 'ready', 'running', 'cancelling') ORDER BY i.ordinal",
                millis(now)
            ),
            command,
        )
        .await
    }

    async fn releases(&mut self, text: String, command: CommandId) -> Result<Vec<Release>, Error> {
        sqlx::query(sql(text))
            .bind(command.to_string())
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read invocations"))?
            .iter()
            .map(release_of)
            .collect()
    }

    /// The open invocations of these nodes in these commands: what a returning node is told again.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn open_invocations(
        &mut self,
        commands: &[CommandId],
        nodes: &[NodeId],
    ) -> Result<Vec<(CommandId, Release)>, Error> {
        if commands.is_empty() || nodes.is_empty() {
            return Ok(Vec::new());
        }
        let command_rows: Vec<_> = commands.iter().map(|id| serde_json::json!({ "id": id })).collect();
        let node_rows: Vec<_> = nodes.iter().map(|id| serde_json::json!({ "id": id })).collect();
        let command_source = self.dialect().rows("c", 1, &[("id", Column::Text)]);
        let node_source = self.dialect().rows("m", 2, &[("id", Column::Text)]);
        let text = format!(
            "SELECT i.command_id, {RELEASE_COLUMNS}
             JOIN {node_source} ON m.id = i.node_id JOIN {command_source} ON c.id = i.command_id
             WHERE i.state IN ('released', 'waiting', 'running', 'cancelling')"
        );
        sqlx::query(sql(text))
            .bind(to_json(&command_rows))
            .bind(to_json(&node_rows))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read a node's invocations"))?
            .iter()
            .map(|row| Ok((parsed(row, "command_id")?, release_of(row)?)))
            .collect()
    }

    /// Where these invocations stand, and their attempts. Unknown ones are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn invocation_states(
        &mut self,
        keys: &[(CommandId, NodeId)],
    ) -> Result<Vec<(CommandId, NodeId, State, i64)>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<_> =
            keys.iter().map(|(command, node)| serde_json::json!({ "command_id": command, "node_id": node })).collect();
        let source = self.dialect().rows("r", 1, &[("command_id", Column::Text), ("node_id", Column::Text)]);
        sqlx::query(sql(format!(
            "SELECT i.command_id, i.node_id, i.state, i.attempts FROM {source}
             JOIN invocations i ON i.command_id = r.command_id AND i.node_id = r.node_id"
        )))
        .bind(to_json(&rows))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read invocation states"))?
        .iter()
        .map(|row| Ok((parsed(row, "command_id")?, parsed(row, "node_id")?, state_of(row)?, get(row, "attempts")?)))
        .collect()
    }

    /// Of these nodes, those whose invocations were never released, with their position in the
    /// rollout's order.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn pending_ordinals(
        &mut self,
        command: CommandId,
        nodes: &[NodeId],
    ) -> Result<BTreeMap<NodeId, i64>, Error> {
        let rows: Vec<_> = nodes.iter().map(|node| serde_json::json!({ "id": node })).collect();
        let source = self.dialect().rows("r", 2, &[("id", Column::Text)]);
        sqlx::query(sql(format!(
            "SELECT node_id, ordinal FROM invocations
             WHERE command_id = $1 AND state = 'pending' AND node_id IN (SELECT r.id FROM {source})"
        )))
        .bind(command.to_string())
        .bind(to_json(&rows))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read pending invocations"))?
        .iter()
        .map(|row| Ok((parsed(row, "node_id")?, get(row, "ordinal")?)))
        .collect()
    }

    /// Stores changed invocations, in one statement whatever their number.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn change_invocations(&mut self, changes: &[Change], now: Timestamp) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = changes
            .iter()
            .map(|change| ChangeRow {
                command_id: change.command_id.to_string(),
                node_id: change.node_id.to_string(),
                state: change.state.to_string(),
                report: change.report.as_ref().map(to_json),
                late: u8::from(change.late),
                ended: u8::from(matches!(change.state, State::Ended(_))),
            })
            .collect();
        let source = self.dialect().rows(
            "r",
            1,
            &[
                ("command_id", Column::Text),
                ("node_id", Column::Text),
                ("state", Column::Text),
                ("report", Column::Text),
                ("late", Column::Int),
                ("ended", Column::Int),
            ],
        );
        sqlx::query(sql(format!(
            "UPDATE invocations SET state = r.state, report = COALESCE(r.report, invocations.report),
                 late_report = CASE WHEN r.late = 1 AND invocations.report IS NULL THEN 1 ELSE invocations.late_report END,
                 finished_at = CASE WHEN r.ended = 1 THEN COALESCE(invocations.finished_at, $2) END
             FROM {source}
             WHERE invocations.command_id = r.command_id AND invocations.node_id = r.node_id"
        )))
        .bind(to_json(&rows))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store invocations"))
    }

    /// Ends every invocation of a command that is pending, waiting or ready. Returns how many.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end_unreleased(&mut self, command: CommandId, ending: Ending, now: Timestamp) -> Result<u64, Error> {
        sqlx::query(
            "UPDATE invocations SET state = $2, finished_at = $3
             WHERE command_id = $1 AND state IN ('pending', 'waiting', 'ready')",
        )
        .bind(command.to_string())
        .bind(ending.details())
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected())
        .map_err(Error::doing("end unreleased invocations"))
    }
}

const COLUMNS: &str =
    "command_id, node_id, state, attempts, released_at, deadline_at, finished_at, late_report, report";

fn invocation_of(row: &AnyRow) -> Result<Invocation, Error> {
    let report = get::<Option<String>>(row, "report")?;
    Ok(Invocation {
        command_id: parsed(row, "command_id")?,
        node_id: parsed(row, "node_id")?,
        state: state_of(row)?,
        attempts: get(row, "attempts")?,
        released_at: optional_instant(row, "released_at")?,
        deadline_at: optional_instant(row, "deadline_at")?,
        finished_at: optional_instant(row, "finished_at")?,
        late_report: get::<i64>(row, "late_report")? != 0,
        report: report.map(|text| from_json("invocations.report", &text)).transpose()?,
    })
}

impl Store {
    /// Reads one invocation.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn invocation(&self, command: CommandId, node: &NodeId) -> Result<Option<Invocation>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM invocations WHERE command_id = $1 AND node_id = $2")))
            .bind(command.to_string())
            .bind(node.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read an invocation"))?
            .map(|row| invocation_of(&row))
            .transpose()
    }

    /// Reads a command's invocations in one of these states by node id, behind `after`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn invocations_in(
        &self,
        command: CommandId,
        states: &[State],
        after: &str,
        limit: u32,
    ) -> Result<Vec<Invocation>, Error> {
        let rows: Vec<_> = states.iter().map(|state| serde_json::json!({ "state": state.to_string() })).collect();
        let source = self.dialect().rows("s", 3, &[("state", Column::Text)]);
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM invocations
             WHERE command_id = $1 AND node_id > $2 AND state IN (SELECT s.state FROM {source})
             ORDER BY node_id LIMIT {limit}"
        )))
        .bind(command.to_string())
        .bind(after)
        .bind(to_json(&rows))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read invocations"))?
        .iter()
        .map(invocation_of)
        .collect()
    }

    /// Reads a command's invocations by node id, behind `after`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn invocations_of(&self, command: CommandId, after: &str, limit: u32) -> Result<Vec<Invocation>, Error> {
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM invocations WHERE command_id = $1 AND node_id > $2 ORDER BY node_id LIMIT $3"
        )))
        .bind(command.to_string())
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read invocations"))?
        .iter()
        .map(invocation_of)
        .collect()
    }
}
