//! What each version of each baseline last made of a node, and which nodes are to be judged again.
//!
//! `patch_states` has what counts: the last report, whatever judged. Here a scan by another baseline,
//! or by a changed one, takes nothing away. Kept for [`KEPT_FOR`] after the scan.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::compliance::{ItemCounts, PatchCounts, summarise};
use patchwave_schemas::baseline::PatchRecord;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, NodeId};
use serde_json::{Value, json};

use super::baselines::{os_name, os_of};
use super::patch_states::NodePatchState;
use super::{Column, Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// How long after its scan a state is kept.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Nodes whose old states are forgotten by one call at most.
const FORGOTTEN_MAX: i64 = 1_000;

/// What one version of a baseline made of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaselineState {
    /// The baseline.
    pub baseline_id: BaselineId,
    /// Its version; 0 where nobody said so.
    pub baseline_version: u32,
    /// When the scan or installation ended.
    pub finished_at: Timestamp,
    /// When it was judged again from the stored inventory, since then.
    pub recomputed_at: Option<Timestamp>,
    /// How many patches are in each state.
    pub counts: PatchCounts,
    /// The patches that do not comply.
    pub wrong: Vec<PatchRecord>,
}

/// A node whose answer may have changed since it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueNode {
    /// The node.
    pub node_id: NodeId,
    /// What it is, and the patch group of its last report: together they say what judges it now.
    pub operating_system: OperatingSystem,
    /// Empty for none.
    pub patch_group: String,
    /// The baseline that judged.
    pub baseline_id: BaselineId,
    /// When the scan ended: with another one its report has the word.
    pub finished_at: Timestamp,
    /// Every patch as it stands.
    pub patches: Vec<PatchRecord>,
}

/// How a node stands now, by its stored inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejudged {
    /// The node, and the scan that this is taken from.
    pub due: DueNode,
    /// The baseline that judges it now.
    pub baseline_id: BaselineId,
    /// Its version.
    pub baseline_version: u32,
    /// Where its patches stand.
    pub patches: Vec<PatchRecord>,
    /// Approved patches that do not apply.
    pub not_applicable_count: u32,
    /// When the next waiting period ends.
    pub next_change: Option<Timestamp>,
}

impl Tx {
    /// Keeps what reports say by the version of the baseline that judged.
    pub(super) async fn put_baseline_states(&mut self, reports: &[NodeScanned]) -> Result<(), Error> {
        let mut newest: BTreeMap<(&NodeId, &BaselineId, u32), &NodeScanned> = BTreeMap::new();
        for report in reports {
            let kept = newest.entry((&report.node_id, &report.baseline_id, report.baseline_version)).or_insert(report);
            if report.finished_at >= kept.finished_at {
                *kept = report;
            }
        }
        let row = |report: &NodeScanned| {
            let counts = NodePatchState::of_report(report).counts;
            let version = report.baseline_version;
            state_row(&report.node_id, &report.baseline_id, version, report.finished_at, None, &counts, &report.patches)
        };
        self.put_state_rows(newest.into_values().map(row).collect()).await
    }

    async fn put_state_rows(&mut self, rows: Vec<Value>) -> Result<(), Error> {
        let columns = [
            ("node_id", Column::Text),
            ("baseline_id", Column::Text),
            ("baseline_version", Column::Int),
            ("finished_at", Column::Int),
            ("recomputed_at", Column::Int),
            ("counts", Column::Text),
            ("wrong", Column::Text),
        ];
        let names = columns.map(|(name, _)| name).join(", ");
        let source = self.dialect().rows("r", 1, &columns);
        sqlx::query(sql(format!(
            "INSERT INTO baseline_states ({names})
             SELECT {names} FROM {source} WHERE true ORDER BY node_id, baseline_id, baseline_version
             ON CONFLICT (node_id, baseline_id, baseline_version) DO UPDATE SET
                 finished_at = excluded.finished_at, recomputed_at = excluded.recomputed_at,
                 counts = excluded.counts, wrong = excluded.wrong
             WHERE excluded.finished_at >= baseline_states.finished_at"
        )))
        .bind(to_json(&rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store states by baseline"))
    }

    /// Has the nodes that a baseline judged last judged again: it was changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn recheck_nodes_of(&mut self, baseline: &BaselineId, now: Timestamp) -> Result<(), Error> {
        // Rules that were no version of it are not its own.
        sqlx::query("UPDATE patch_states SET recheck_at = $2 WHERE baseline_id = $1 AND baseline_version > 0")
            .bind(baseline.as_str())
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("have nodes judged again"))
    }

    /// Has the nodes of an operating system judged again that are in a patch group, or, without one, in
    /// none that has a baseline of its own: another baseline is for them now.
    pub(super) async fn recheck_nodes_in(
        &mut self,
        patch_group: Option<&str>,
        os: OperatingSystem,
        now: Timestamp,
    ) -> Result<(), Error> {
        let which = match patch_group {
            Some(_) => "patch_group = $3",
            None => "patch_group NOT IN (SELECT patch_group FROM patch_groups WHERE operating_system = $1)",
        };
        let text = format!(
            "UPDATE patch_states SET recheck_at = $2 WHERE {which} AND baseline_version > 0
             AND node_id IN (SELECT node_id FROM nodes WHERE operating_system = $1)"
        );
        let mut query = sqlx::query(sql(text)).bind(os_name(os)).bind(millis(now));
        if let Some(patch_group) = patch_group {
            query = query.bind(patch_group);
        }
        query.execute(self.connection()).await.map(|_| ()).map_err(Error::doing("have nodes judged again"))
    }

    /// Stores how nodes stand now, where no newer report has come meanwhile.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_rejudged(&mut self, nodes: &[Rejudged], now: Timestamp) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(nodes.len());
        let mut states = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut counts = summarise(&node.patches);
            counts.not_applicable_count = counts.not_applicable_count.saturating_add(node.not_applicable_count);
            let DueNode { node_id, finished_at, .. } = &node.due;
            let baseline_id = &node.baseline_id;
            rows.push(json!({
                "node_id": node_id,
                "baseline_id": baseline_id,
                "baseline_version": node.baseline_version,
                "finished_at": millis(*finished_at),
                "recheck_at": node.next_change.map(recheck_at),
                "counts": to_json(&counts),
                "patches": to_json(&node.patches),
                "compliance": to_json(&ItemCounts::of_patches(&node.patches)),
            }));
            let version = node.baseline_version;
            states.push(state_row(node_id, baseline_id, version, *finished_at, Some(now), &counts, &node.patches));
        }
        let columns = [
            ("node_id", Column::Text),
            ("baseline_id", Column::Text),
            ("baseline_version", Column::Int),
            ("finished_at", Column::Int),
            ("recheck_at", Column::Int),
            ("counts", Column::Text),
            ("patches", Column::Text),
            ("compliance", Column::Text),
        ];
        let source = self.dialect().rows("r", 1, &columns);
        sqlx::query(sql(format!(
            "UPDATE patch_states SET baseline_id = r.baseline_id, baseline_version = r.baseline_version,
                 recheck_at = r.recheck_at, counts = r.counts, patches = r.patches, compliance = r.compliance,
                 recomputed_at = $2
             FROM {source}
             WHERE patch_states.node_id = r.node_id AND patch_states.finished_at = r.finished_at"
        )))
        .bind(to_json(&rows))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store how nodes stand now"))?;
        let scans: Vec<_> =
            nodes.iter().map(|one| (&one.due.node_id, millis(one.due.finished_at), one.patches.as_slice())).collect();
        self.put_cves(&scans).await?;
        self.put_state_rows(states).await
    }

    /// Nodes that cannot be judged again: the next report says how they stand.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn give_up_rechecks(&mut self, nodes: &[DueNode]) -> Result<(), Error> {
        let rows: Vec<Value> = nodes
            .iter()
            .map(|node| json!({ "node_id": node.node_id, "finished_at": millis(node.finished_at) }))
            .collect();
        let source = self.dialect().rows("r", 1, &[("node_id", Column::Text), ("finished_at", Column::Int)]);
        sqlx::query(sql(format!(
            "UPDATE patch_states SET recheck_at = NULL FROM {source}
             WHERE patch_states.node_id = r.node_id AND patch_states.finished_at = r.finished_at"
        )))
        .bind(to_json(&rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("give up judging nodes again"))
    }

    /// Forgets states of scans that are older than [`KEPT_FOR`], of some nodes in one call. Returns how
    /// many went.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_baseline_states(&mut self, now: Timestamp) -> Result<u64, Error> {
        let text = "DELETE FROM baseline_states WHERE finished_at < $1 AND node_id IN
             (SELECT node_id FROM baseline_states WHERE finished_at < $1 ORDER BY finished_at LIMIT $2)";
        sqlx::query(text)
            .bind(millis(now) - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX))
            .bind(FORGOTTEN_MAX)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected())
            .map_err(Error::doing("forget states by baseline"))
    }
}

impl Store {
    /// Reads what each version of each baseline last made of a node, the newest scan first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baseline_states(&self, node: &NodeId) -> Result<Vec<BaselineState>, Error> {
        sqlx::query(
            "SELECT baseline_id, baseline_version, finished_at, recomputed_at, counts, wrong FROM baseline_states
             WHERE node_id = $1 ORDER BY finished_at DESC, baseline_version DESC, baseline_id",
        )
        .bind(node.as_str())
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read states by baseline"))?
        .iter()
        .map(|row| {
            Ok(BaselineState {
                baseline_id: parsed(row, "baseline_id")?,
                baseline_version: u32::try_from(get::<i64>(row, "baseline_version")?).unwrap_or_default(),
                finished_at: instant(get(row, "finished_at")?),
                recomputed_at: optional_instant(row, "recomputed_at")?,
                counts: from_json("baseline_states.counts", &get::<String>(row, "counts")?)?,
                wrong: from_json("baseline_states.wrong", &get::<String>(row, "wrong")?)?,
            })
        })
        .collect()
    }

    /// Reads managed nodes that are due to be judged again, those due longest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn due_rechecks(&self, now: Timestamp, limit: u32) -> Result<Vec<DueNode>, Error> {
        sqlx::query(
            "SELECT p.node_id, n.operating_system, p.patch_group, p.baseline_id, p.finished_at, p.patches
             FROM patch_states p JOIN nodes n ON n.node_id = p.node_id
             WHERE p.recheck_at <= $1 ORDER BY p.recheck_at, p.node_id LIMIT $2",
        )
        .bind(millis(now))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read nodes to be judged again"))?
        .iter()
        .map(|row| {
            Ok(DueNode {
                node_id: parsed(row, "node_id")?,
                operating_system: os_of(row)?,
                patch_group: get(row, "patch_group")?,
                baseline_id: parsed(row, "baseline_id")?,
                finished_at: instant(get(row, "finished_at")?),
                patches: from_json("patch_states.patches", &get::<String>(row, "patches")?)?,
            })
        })
        .collect()
    }
}

/// When to judge again for a waiting period that ends then: it has ended the moment after.
pub(super) fn recheck_at(next_change: Timestamp) -> i64 {
    millis(next_change).saturating_add(1)
}

fn state_row(
    node: &NodeId,
    baseline: &BaselineId,
    version: u32,
    finished_at: Timestamp,
    recomputed_at: Option<Timestamp>,
    counts: &PatchCounts,
    patches: &[PatchRecord],
) -> Value {
    let wrong: Vec<&PatchRecord> = patches.iter().filter(|patch| !patch.is_compliant()).collect();
    json!({
        "node_id": node,
        "baseline_id": baseline,
        "baseline_version": version,
        "finished_at": millis(finished_at),
        "recomputed_at": recomputed_at.map(millis),
        // Text in text: PostgreSQL refuses an escaped NUL in a value it unpacks.
        "counts": to_json(counts),
        "wrong": to_json(&wrong),
    })
}
