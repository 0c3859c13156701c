//! What the last scan or installation left on each node. One row a node: a report replaces the
//! one before it, an older report never replaces a newer one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::compliance::{ItemCounts, PatchCounts, summarise};
use patchwave_schemas::baseline::PatchRecord;
use patchwave_schemas::command::{PatchOperation, RebootOption};
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, CommandId, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::baseline_states::recheck_at;
use super::{Column, Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, sql, to_json};

/// SSM's `InstancePatchState`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePatchState {
    /// The node.
    pub node_id: NodeId,
    /// Its patch group at the time, empty when it had none.
    pub patch_group: String,
    /// The baseline that judged.
    pub baseline_id: BaselineId,
    /// Its version; 0 where nobody said so.
    pub baseline_version: u32,
    /// SSM's `SnapshotId`.
    pub snapshot_id: String,
    /// The command that asked for it.
    pub command_id: CommandId,
    /// Scan or Install.
    pub operation: PatchOperation,
    /// Of an installation.
    pub reboot_option: Option<RebootOption>,
    /// When the operation started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// When an installation last ended that was not allowed to reboot.
    pub last_no_reboot_install_at: Option<Timestamp>,
    /// When it was last judged again from its stored inventory, since the report.
    pub recomputed_at: Option<Timestamp>,
    /// How many patches are in each state.
    pub counts: PatchCounts,
}

impl NodePatchState {
    /// The state that a report describes.
    #[must_use]
    pub fn of_report(report: &NodeScanned) -> Self {
        let mut counts = summarise(&report.patches);
        counts.not_applicable_count = counts.not_applicable_count.saturating_add(report.not_applicable_count);
        Self {
            node_id: report.node_id.clone(),
            patch_group: report.patch_group.replace('\0', "\u{fffd}"),
            baseline_id: report.baseline_id.clone(),
            baseline_version: report.baseline_version,
            snapshot_id: report.snapshot_id.replace('\0', "\u{fffd}"),
            command_id: report.command_id,
            operation: report.operation,
            reboot_option: report.reboot_option,
            started_at: report.started_at,
            finished_at: report.finished_at,
            last_no_reboot_install_at: no_reboot_install_of(report),
            recomputed_at: None,
            counts,
        }
    }
}

const COLUMNS: &str =
    "node_id, patch_group, baseline_id, baseline_version, snapshot_id, command_id, operation, reboot_option,
    started_at, finished_at, last_no_reboot_install_at, counts";

impl Tx {
    /// Stores what reports say. Of several about one node the newest counts.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_patch_reports(&mut self, reports: &[NodeScanned]) -> Result<(), Error> {
        // One statement may touch a row once only.
        let mut newest: BTreeMap<&NodeId, (&NodeScanned, Option<Timestamp>)> = BTreeMap::new();
        for report in reports {
            let (kept, no_reboot_install_at) = newest.entry(&report.node_id).or_insert((report, None));
            if report.finished_at >= kept.finished_at {
                *kept = report;
            }
            // Remembered even if a later report of the same batch replaces it.
            *no_reboot_install_at = (*no_reboot_install_at).max(no_reboot_install_of(report));
        }
        let counting: Vec<&NodeScanned> = newest.values().map(|(report, _)| *report).collect();
        let rows: Vec<Value> = newest.into_values().map(|(report, at)| row_of_report(report, at)).collect();
        let source = self.dialect().rows(
            "r",
            1,
            &[
                ("node_id", Column::Text),
                ("patch_group", Column::Text),
                ("baseline_id", Column::Text),
                ("baseline_version", Column::Int),
                ("snapshot_id", Column::Text),
                ("command_id", Column::Text),
                ("operation", Column::Text),
                ("reboot_option", Column::Text),
                ("started_at", Column::Int),
                ("finished_at", Column::Int),
                ("last_no_reboot_install_at", Column::Int),
                ("counts", Column::Text),
                ("patches", Column::Text),
                ("compliance", Column::Text),
                ("recheck_at", Column::Int),
            ],
        );
        let text = format!(
            "INSERT INTO patch_states ({COLUMNS}, patches, compliance, recheck_at)
             SELECT {COLUMNS}, patches, compliance, recheck_at FROM {source} WHERE true
             ON CONFLICT (node_id) DO UPDATE SET patch_group = excluded.patch_group,
                 baseline_id = excluded.baseline_id, baseline_version = excluded.baseline_version,
                 recheck_at = excluded.recheck_at, recomputed_at = NULL, snapshot_id = excluded.snapshot_id,
                 command_id = excluded.command_id, operation = excluded.operation,
                 reboot_option = excluded.reboot_option, started_at = excluded.started_at,
                 finished_at = excluded.finished_at,
                 last_no_reboot_install_at =
                     COALESCE(excluded.last_no_reboot_install_at, patch_states.last_no_reboot_install_at),
                 counts = excluded.counts, patches = excluded.patches, compliance = excluded.compliance
             WHERE excluded.finished_at >= patch_states.finished_at"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .execute(self.connection())
            .await
            .map_err(Error::doing("store patch states"))?;
        let scans: Vec<_> = counting
            .iter()
            .map(|report| (&report.node_id, millis(report.finished_at), report.patches.as_slice()))
            .collect();
        self.put_cves(&scans).await?;
        self.put_baseline_states(reports).await
    }
}

impl Store {
    /// Reads the patch states of some nodes, by id. Nodes without a report are absent.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn patch_states(&self, ids: &[NodeId]) -> Result<Vec<NodePatchState>, Error> {
        let rows: Vec<Value> = ids.iter().map(|id| json!({ "node_id": id })).collect();
        let source = self.dialect().rows("wanted", 1, &[("node_id", Column::Text)]);
        let text = format!(
            "SELECT {COLUMNS}, recomputed_at FROM patch_states
             WHERE node_id IN (SELECT node_id FROM {source}) ORDER BY node_id"
        );
        sqlx::query(sql(text))
            .bind(to_json(&rows))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read patch states"))?
            .iter()
            .map(state_of)
            .collect()
    }

    /// Reads the patch states of the managed nodes whose last report was made in `patch_group`, by
    /// id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn patch_states_of_group(&self, patch_group: &str) -> Result<Vec<NodePatchState>, Error> {
        let text = format!(
            "SELECT {COLUMNS}, recomputed_at FROM patch_states
             WHERE patch_group = $1 AND node_id IN (SELECT node_id FROM nodes) ORDER BY node_id"
        );
        sqlx::query(sql(text))
            .bind(patch_group)
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read patch states"))?
            .iter()
            .map(state_of)
            .collect()
    }

    /// Reads the patches of a node; `None` when it never reported any.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn patches_of(&self, id: &NodeId) -> Result<Option<Vec<PatchRecord>>, Error> {
        let row = sqlx::query("SELECT patches FROM patch_states WHERE node_id = $1")
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read patches"))?;
        row.map(|row| from_json("patch_states.patches", &get::<String>(&row, "patches")?)).transpose()
    }
}

/// When an installation ended that was not allowed to reboot, if that is what the report is of.
fn no_reboot_install_of(report: &NodeScanned) -> Option<Timestamp> {
    let no_reboot = report.operation == PatchOperation::Install && report.reboot_option == Some(RebootOption::NoReboot);
    no_reboot.then_some(report.finished_at)
}

fn row_of_report(report: &NodeScanned, no_reboot_install_at: Option<Timestamp>) -> Value {
    let state = NodePatchState::of_report(report);
    json!({
        "node_id": state.node_id,
        "patch_group": state.patch_group,
        "baseline_id": state.baseline_id,
        "baseline_version": state.baseline_version,
        "snapshot_id": state.snapshot_id,
        "command_id": state.command_id,
        "operation": name_of(&state.operation),
        "reboot_option": state.reboot_option.as_ref().map(name_of),
        "started_at": millis(state.started_at),
        "finished_at": millis(state.finished_at),
        "last_no_reboot_install_at": no_reboot_install_at.map(millis),
        // Text in text: PostgreSQL refuses an escaped NUL in a value it unpacks.
        "counts": to_json(&state.counts),
        "patches": to_json(&report.patches),
        "compliance": to_json(&ItemCounts::of_patches(&report.patches)),
        // Rules that are no version of a baseline cannot be asked again.
        "recheck_at": report.next_change.filter(|_| report.baseline_version > 0).map(recheck_at),
    })
}

fn state_of(row: &AnyRow) -> Result<NodePatchState, Error> {
    let reboot_option = get::<Option<String>>(row, "reboot_option")?;
    Ok(NodePatchState {
        node_id: parsed(row, "node_id")?,
        patch_group: get(row, "patch_group")?,
        baseline_id: parsed(row, "baseline_id")?,
        baseline_version: u32::try_from(get::<i64>(row, "baseline_version")?).unwrap_or_default(),
        snapshot_id: get(row, "snapshot_id")?,
        command_id: parsed(row, "command_id")?,
        operation: named("patch_states.operation", get(row, "operation")?)?,
        reboot_option: reboot_option.map(|name| named("patch_states.reboot_option", name)).transpose()?,
        started_at: instant(get(row, "started_at")?),
        finished_at: instant(get(row, "finished_at")?),
        last_no_reboot_install_at: optional_instant(row, "last_no_reboot_install_at")?,
        recomputed_at: optional_instant(row, "recomputed_at")?,
        counts: from_json("patch_states.counts", &get::<String>(row, "counts")?)?,
    })
}

/// The name of a unit variant.
pub(super) fn name_of<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A unit variant from its name.
pub(super) fn named<T: DeserializeOwned>(what: &'static str, name: String) -> Result<T, Error> {
    serde_json::from_value(Value::String(name)).map_err(Error::corrupt(what))
}
