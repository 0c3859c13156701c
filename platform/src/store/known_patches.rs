//! Patches that the control plane knows of: those that scans and installations have spoken of.
//!
//! It has no catalogue of a vendor's; what no node has or could have is not here.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::NodeScanned;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::baselines::os_of;
use super::{Column, Error, Store, Tx, from_json, get, instant, millis, parsed, sql, to_json};

/// How much older than a report `last_seen_at` must be to be written again: thousands of nodes speak
/// of the same patches.
const SEEN_EVERY: SignedDuration = SignedDuration::from_hours(1);

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
    /// When a report first spoke of it.
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

impl Tx {
    /// Remembers the patches that reports speak of.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn note_patches(&mut self, reports: &[NodeScanned]) -> Result<(), Error> {
        // Each once, and in the order of the key: two batches do not wait for each other.
        let mut noted: BTreeMap<(&str, &str), Value> = BTreeMap::new();
        for report in reports {
            for patch in &report.patches {
                let row = json!({
                    "baseline_id": report.baseline_id,
                    "title": clean(&patch.title),
                    "kb_id": clean(&patch.kb_id),
                    "classification": clean(&patch.classification),
                    "severity": clean(&patch.severity),
                    "compliance_level": patch.compliance_level,
                    "deployment": deployment_of(patch),
                    "seen_at": millis(report.finished_at),
                });
                noted.insert((report.baseline_id.as_str(), &patch.title), row);
            }
        }
        if noted.is_empty() {
            return Ok(());
        }
        let rows: Vec<Value> = noted.into_values().collect();
        let source = self.dialect().rows(
            "r",
            1,
            &[
                ("baseline_id", Column::Text),
                ("title", Column::Text),
                ("kb_id", Column::Text),
                ("classification", Column::Text),
                ("severity", Column::Text),
                ("compliance_level", Column::Text),
                ("deployment", Column::Text),
                ("seen_at", Column::Int),
            ],
        );
        let columns = "baseline_id, title, kb_id, classification, severity, compliance_level, deployment";
        sqlx::query(sql(format!(
            "INSERT INTO known_patches ({columns}, first_seen_at, last_seen_at)
             SELECT {columns}, seen_at, seen_at FROM {source} WHERE true ORDER BY baseline_id, title
             ON CONFLICT (baseline_id, title) DO UPDATE SET classification = excluded.classification,
                 severity = excluded.severity, compliance_level = excluded.compliance_level,
                 deployment = excluded.deployment, last_seen_at = excluded.last_seen_at
             WHERE known_patches.last_seen_at < excluded.last_seen_at - {}",
            SEEN_EVERY.as_millis()
        )))
        .bind(to_json(&rows))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("note patches"))
    }
}

impl Store {
    /// Reads the patches that are known, by title and baseline: those that one baseline judged, or
    /// all.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn known_patches(&self, baseline: Option<&BaselineId>) -> Result<Vec<KnownPatch>, Error> {
        let only = if baseline.is_some() { "WHERE k.baseline_id = $1" } else { "WHERE $1 = ''" };
        sqlx::query(sql(format!(
            "SELECT k.baseline_id, b.operating_system, k.title, k.kb_id, k.classification, k.severity,
                 k.compliance_level, k.deployment, k.first_seen_at
             FROM known_patches k JOIN patch_baselines b ON b.baseline_id = k.baseline_id {only}
             ORDER BY k.title, k.baseline_id"
        )))
        .bind(baseline.map_or("", |id| id.as_str()))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read known patches"))?
        .iter()
        .map(patch_of)
        .collect()
    }

    /// Which versions of an operating system there are nodes of.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn platform_versions(&self, os: OperatingSystem) -> Result<Vec<String>, Error> {
        sqlx::query("SELECT DISTINCT platform_version FROM nodes WHERE operating_system = $1 ORDER BY platform_version")
            .bind(super::baselines::os_name(os))
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
