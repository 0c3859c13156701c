//! How nodes stand by patch group, now and in the hours before.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::compliance::ItemCounts;
use patchwave_engine::group_compliance::{GroupCompliance, LastReport};
use patchwave_engine::targets::patch_group;
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::PatchRecord;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::{Column, Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// How long what is recorded is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Nodes read at a time.
const NODES_TOGETHER: u32 = 1_000;
/// Rows that are forgotten by one call at most.
const FORGOTTEN_MAX: i64 = 10_000;

/// A node with its last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStanding {
    /// The node.
    pub node_id: NodeId,
    /// Its tags now.
    pub tags: BTreeMap<String, String>,
    /// Whether a simulator made it up.
    pub simulated: bool,
    /// Absent when it has never reported.
    pub last: Option<LastReport>,
}

/// How a patch group stood in an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The group; empty for nodes without one.
    pub patch_group: String,
    /// The beginning of the hour.
    pub recorded_at: Timestamp,
    /// How its nodes stood when that was last looked at in that hour.
    pub counts: GroupCompliance,
}

/// What is asked of what was recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// This group alone.
    pub patch_group: Option<String>,
    /// Hours that begin then or later.
    pub since: Option<Timestamp>,
    /// Hours that begin before.
    pub until: Option<Timestamp>,
}

impl Store {
    /// Counts the managed nodes by the patch group that their tags name now; empty for those without
    /// one. Only nodes whose tags `is_meant` takes are counted.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn group_compliance(
        &self,
        now: Timestamp,
        stale_after: SignedDuration,
        is_meant: impl Fn(&BTreeMap<String, String>) -> bool,
    ) -> Result<BTreeMap<String, GroupCompliance>, Error> {
        let mut groups: BTreeMap<String, GroupCompliance> = BTreeMap::new();
        let mut after = String::new();
        loop {
            let rows = self.standings_after(&after, NODES_TOGETHER).await?;
            let Some(end) = rows.last() else { return Ok(groups) };
            after = end.node_id.to_string();
            for row in rows.iter().filter(|row| is_meant(&row.tags)) {
                let group = groups.entry(patch_group(&row.tags).unwrap_or_default().to_owned()).or_default();
                group.add(row.last.as_ref(), row.simulated, now, stale_after);
            }
        }
    }

    /// Reads managed nodes by id with what they last reported, those after the given.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn standings_after(&self, after: &str, limit: u32) -> Result<Vec<NodeStanding>, Error> {
        sqlx::query(
            "SELECT n.node_id, n.tags, n.simulated, p.finished_at, p.counts, p.compliance,
                 CASE WHEN p.compliance = '' THEN p.patches ELSE '[]' END AS patches
             FROM nodes n LEFT JOIN patch_states p ON p.node_id = n.node_id
             WHERE n.node_id > $1 ORDER BY n.node_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read how nodes stand"))?
        .iter()
        .map(row_of)
        .collect()
    }

    /// Reads what was recorded, by hour and group: what is after the given, in ms and by name.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn compliance_history(
        &self,
        filter: &HistoryFilter,
        after: Option<(i64, &str)>,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        let (after, after_group) = after.unwrap_or((i64::MIN, ""));
        let which = if filter.patch_group.is_some() { "patch_group = $6" } else { "$6 = ''" };
        sqlx::query(sql(format!(
            "SELECT patch_group, recorded_at, counts FROM compliance_history
             WHERE (recorded_at > $1 OR (recorded_at = $1 AND patch_group > $2))
               AND recorded_at >= $3 AND recorded_at < $4 AND {which}
             ORDER BY recorded_at, patch_group LIMIT $5"
        )))
        .bind(after)
        .bind(after_group)
        .bind(filter.since.map_or(i64::MIN, millis))
        .bind(filter.until.map_or(i64::MAX, millis))
        .bind(i64::from(limit))
        .bind(filter.patch_group.as_deref().unwrap_or_default())
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read the history of compliance"))?
        .iter()
        .map(|row| {
            Ok(Recorded {
                patch_group: get(row, "patch_group")?,
                recorded_at: instant(get(row, "recorded_at")?),
                counts: from_json("compliance_history.counts", &get::<String>(row, "counts")?)?,
            })
        })
        .collect()
    }
}

impl Tx {
    /// Records how patch groups stand, for the hour of `now`: what was recorded for it is replaced.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn record_compliance(
        &mut self,
        groups: &BTreeMap<String, GroupCompliance>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let rows: Vec<Value> =
            groups.iter().map(|(group, counts)| json!({ "patch_group": group, "counts": to_json(counts) })).collect();
        let source = self.dialect().rows("r", 1, &[("patch_group", Column::Text), ("counts", Column::Text)]);
        sqlx::query(sql(format!(
            "INSERT INTO compliance_history (patch_group, recorded_at, counts)
             SELECT patch_group, $2, counts FROM {source} WHERE true ORDER BY patch_group
             ON CONFLICT (patch_group, recorded_at) DO UPDATE SET counts = excluded.counts"
        )))
        .bind(to_json(&rows))
        .bind(millis(hour_of(now)))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("record compliance"))
    }

    /// Forgets what was recorded longer ago than [`KEPT_FOR`], some thousands in one call. Returns how
    /// many went.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_compliance_history(&mut self, now: Timestamp) -> Result<u64, Error> {
        let text = "DELETE FROM compliance_history WHERE recorded_at < $1 AND patch_group IN
             (SELECT patch_group FROM compliance_history WHERE recorded_at < $1 ORDER BY recorded_at LIMIT $2)";
        sqlx::query(text)
            .bind(millis(now) - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX))
            .bind(FORGOTTEN_MAX)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected())
            .map_err(Error::doing("forget the history of compliance"))
    }
}

/// The beginning of the hour, UTC.
#[must_use]
pub fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().div_euclid(3_600) * 3_600).unwrap_or(at)
}

fn row_of(row: &AnyRow) -> Result<NodeStanding, Error> {
    let last = match optional_instant(row, "finished_at")? {
        None => None,
        Some(finished_at) => {
            let items: String = get(row, "compliance")?;
            // Rows of before it was kept have the patches alone.
            let items = if items.is_empty() {
                let patches: Vec<PatchRecord> = from_json("patch_states.patches", &get::<String>(row, "patches")?)?;
                ItemCounts::of_patches(&patches)
            } else {
                from_json("patch_states.compliance", &items)?
            };
            let patches = from_json("patch_states.counts", &get::<String>(row, "counts")?)?;
            Some(LastReport { finished_at, patches, items })
        }
    };
    Ok(NodeStanding {
        node_id: parsed(row, "node_id")?,
        tags: from_json("nodes.tags", &get::<String>(row, "tags")?)?,
        simulated: get::<i64>(row, "simulated")? != 0,
        last,
    })
}
