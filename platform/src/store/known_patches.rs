//! Patches that the control plane knows of: those that scans and installations have spoken of.
//!
//! It has no catalogue of a vendor's; what no node has or could have is not here.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use patchwave_schemas::{BaselineId, CommandId, NodeId};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::baselines::{os_name, os_of};
use super::{Column, Error, Store, Tx, from_json, get, instant, millis, parsed, sql, to_json};

/// How old `last_seen_at` must be to be written again: thousands of nodes speak of the same patches.
const SEEN_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// How long a patch is known of which no report speaks any more.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A patch, and what a baseline makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPatch {
    /// The baseline that judged.
    pub baseline_id: BaselineId,
    /// That of the baseline.
    pub operating_system: OperatingSystem,
    /// Package, architecture and version: `name.arch:version`.
    pub title: String,
    /// Package and architecture.
    pub kb_id: String,
    /// For instance `Security`; empty when unknown.
    pub classification: String,
    /// The vendor's severity or priority; empty when unknown.
    pub severity: String,
    /// The baseline's level for it.
    pub compliance_level: ComplianceLevel,
    /// SSM's `DeploymentStatus`; empty when the baseline does not speak of it.
    pub deployment: String,
    /// When the first report that speaks of it was stored.
    pub first_seen_at: Timestamp,
}

/// What the state of a patch on a node says about the baseline.
fn deployment_of(patch: &PatchRecord) -> &'static str {
    match patch.state {
        PatchState::Installed | PatchState::InstalledPendingReboot | PatchState::Missing | PatchState::Failed => {
            "APPROVED"
        }
        PatchState::InstalledRejected => "EXPLICIT_REJECTED",
        PatchState::AvailableSecurityUpdate => "PENDING_APPROVAL",
        PatchState::InstalledOther | PatchState::NotApplicable => "",
    }
}

/// Which patches of a list are wanted, as far as the database can tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatchFilter {
    /// One of these packages, with architecture.
    pub kb_ids: Option<Vec<String>>,
    /// One of these classifications.
    pub classifications: Option<Vec<String>>,
    /// One of these severities.
    pub severities: Option<Vec<String>>,
    /// One of these operating systems, by SSM's names.
    pub operating_systems: Option<Vec<String>>,
}

/// What values of patches are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchProperty {
    /// `Security`, for instance.
    Classification,
    /// The vendor's severity or priority.
    Severity,
}

impl Tx {
    /// Remembers the patches that reports speak of: what the baseline said that the command gave to
    /// the node. What a node says of another baseline is its own invention and left out; so is its
    /// clock.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn note_patches(&mut self, reports: &[NodeScanned], now: Timestamp) -> Result<(), Error> {
        let asked = self.asked_for(reports).await?;
        // Each once, and in the order of the key: two batches do not wait for each other.
        let mut noted: BTreeMap<(&BaselineId, String), Value> = BTreeMap::new();
        for report in reports.iter().filter(|one| asked.contains(&(one.command_id, one.node_id.clone()))) {
            for patch in &report.patches {
                let title = clean(&patch.title);
                let row = json!({
                    "baseline_id": report.baseline_id,
                    "title": title,
                    "kb_id": clean(&patch.kb_id),
                    "classification": clean(&patch.classification),
                    "severity": clean(&patch.severity),
                    "compliance_level": patch.compliance_level,
                    "deployment": deployment_of(patch),
                });
                noted.insert((&report.baseline_id, title), row);
            }
        }
        if noted.is_empty() {
            return Ok(());
        }
        let rows: Vec<Value> = noted.into_values().collect();
        let columns = ["baseline_id", "title", "kb_id", "classification", "severity", "compliance_level", "deployment"];
        let source = self.dialect().rows("r", 1, &columns.map(|name| (name, Column::Text)));
        let columns = columns.join(", ");
        sqlx::query(sql(format!(
            "INSERT INTO known_patches ({columns}, first_seen_at, last_seen_at)
             SELECT {columns}, $2, $2 FROM {source} WHERE true ORDER BY baseline_id, title
             ON CONFLICT (baseline_id, title) DO UPDATE SET classification = excluded.classification,
                 severity = excluded.severity, compliance_level = excluded.compliance_level,
                 deployment = excluded.deployment, last_seen_at = excluded.last_seen_at
             WHERE known_patches.last_seen_at < excluded.last_seen_at - {}",
            SEEN_EVERY.as_millis()
        )))
        .bind(to_json(&rows))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("note patches"))
    }

    /// Of which nodes and commands the reports are by the baseline that the command gave the node.
    async fn asked_for(&mut self, reports: &[NodeScanned]) -> Result<HashSet<(CommandId, NodeId)>, Error> {
        let rows: Vec<Value> = reports
            .iter()
            .filter(|report| !report.patches.is_empty())
            .map(|report| {
                json!({
                    "command_id": report.command_id,
                    "node_id": report.node_id,
                    // A key is a baseline and a patch group.
                    "baseline": format!("{}/", report.baseline_id),
                })
            })
            .collect();
        let columns = ["command_id", "node_id", "baseline"].map(|name| (name, Column::Text));
        let source = self.dialect().rows("r", 1, &columns);
        sqlx::query(sql(format!(
            "SELECT i.command_id, i.node_id FROM {source}
             JOIN invocations i ON i.command_id = r.command_id AND i.node_id = r.node_id
             WHERE substr(i.baseline_key, 1, length(r.baseline)) = r.baseline"
        )))
        .bind(to_json(&rows))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read what scans were asked for"))?
        .iter()
        .map(|row| Ok((parsed(row, "command_id")?, parsed(row, "node_id")?)))
        .collect()
    }

    /// Forgets patches of which no report has spoken for 30 days, `limit` at most. Says how many.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_patches(&mut self, now: Timestamp, limit: u32) -> Result<u64, Error> {
        // Of one that is held it is just being spoken.
        let lock = self.dialect().for_update_skip_locked();
        sqlx::query(sql(format!(
            "DELETE FROM known_patches WHERE (baseline_id, title) IN (
                 SELECT baseline_id, title FROM known_patches WHERE last_seen_at < $1
                 ORDER BY last_seen_at LIMIT {limit}{lock})"
        )))
        .bind(millis(now - KNOWN_FOR))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected())
        .map_err(Error::doing("forget patches"))
    }
}

const COLUMNS: &str = "k.baseline_id, b.operating_system, k.title, k.kb_id, k.classification, k.severity,
    k.compliance_level, k.deployment, k.first_seen_at";
const FROM: &str = "FROM known_patches k JOIN patch_baselines b ON b.baseline_id = k.baseline_id";

impl Store {
    /// Whether there are patches of which no report has spoken for 30 days.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_forgettable_patches(&self, now: Timestamp) -> Result<bool, Error> {
        sqlx::query("SELECT title FROM known_patches WHERE last_seen_at < $1 LIMIT 1")
            .bind(millis(now - KNOWN_FOR))
            .fetch_optional(self.reader())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("look for old patches"))
    }

    /// Reads what is known by the next `titles` titles from `from` on, it included, of which
    /// something passes the filter: all rows of a title follow each other, in the order of titles.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn known_patches_from(
        &self,
        filter: &PatchFilter,
        from: &str,
        titles: u32,
    ) -> Result<Vec<KnownPatch>, Error> {
        let mut narrowed = String::new();
        let mut parameters: Vec<String> = Vec::new();
        for (column, values) in [
            ("k.kb_id", &filter.kb_ids),
            ("k.classification", &filter.classifications),
            ("k.severity", &filter.severities),
            ("b.operating_system", &filter.operating_systems),
        ] {
            let Some(values) = values else { continue };
            let rows: Vec<Value> = values.iter().map(|value| json!({ "wanted": value })).collect();
            parameters.push(to_json(&rows));
            let source = self.dialect().rows("w", parameters.len() + 1, &[("wanted", Column::Text)]);
            narrowed.push_str(&format!(" AND {column} IN (SELECT w.wanted FROM {source})"));
        }
        let mut query = sqlx::query(sql(format!(
            "SELECT {COLUMNS} {FROM} WHERE k.title IN (
                 SELECT DISTINCT k.title {FROM} WHERE k.title >= $1{narrowed} ORDER BY k.title LIMIT {titles})
             ORDER BY k.title, k.baseline_id"
        )))
        .bind(from);
        for parameter in &parameters {
            query = query.bind(parameter);
        }
        query.fetch_all(self.reader()).await.map_err(Error::doing("read known patches"))?.iter().map(patch_of).collect()
    }

    /// Reads what a baseline said of patches, by title, those behind `after`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn known_patches_of(
        &self,
        baseline: &BaselineId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<KnownPatch>, Error> {
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} {FROM} WHERE k.baseline_id = $1 AND k.title > $2 ORDER BY k.title LIMIT {limit}"
        )))
        .bind(baseline.as_str())
        .bind(after)
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read known patches"))?
        .iter()
        .map(patch_of)
        .collect()
    }

    /// Reads the values that patches of an operating system have, without the empty one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn patch_properties(&self, os: OperatingSystem, property: PatchProperty) -> Result<Vec<String>, Error> {
        let column = match property {
            PatchProperty::Classification => "classification",
            PatchProperty::Severity => "severity",
        };
        sqlx::query(sql(format!(
            "SELECT DISTINCT k.{column} AS value {FROM} WHERE b.operating_system = $1 AND k.{column} <> ''"
        )))
        .bind(os_name(os))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read properties of patches"))?
        .iter()
        .map(|row| get(row, "value"))
        .collect()
    }

    /// Which versions of an operating system there are nodes of.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn platform_versions(&self, os: OperatingSystem) -> Result<Vec<String>, Error> {
        sqlx::query("SELECT DISTINCT platform_version FROM nodes WHERE operating_system = $1 ORDER BY platform_version")
            .bind(os_name(os))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read versions of platforms"))?
            .iter()
            .map(|row| get(row, "platform_version"))
            .collect()
    }
}

/// PostgreSQL's text holds no NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn patch_of(row: &AnyRow) -> Result<KnownPatch, Error> {
    Ok(KnownPatch {
        baseline_id: parsed(row, "baseline_id")?,
        operating_system: os_of(row)?,
        title: get(row, "title")?,
        kb_id: get(row, "kb_id")?,
        classification: get(row, "classification")?,
        severity: get(row, "severity")?,
        compliance_level: from_json(
            "known_patches.compliance_level",
            &format!("\"{}\"", get::<String>(row, "compliance_level")?),
        )?,
        deployment: get(row, "deployment")?,
        first_seen_at: instant(get(row, "first_seen_at")?),
    })
}
