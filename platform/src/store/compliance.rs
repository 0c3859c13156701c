//! Compliance: what other programs put about nodes, and summaries of that and of patches.
//!
//! The last report of a type counts; there is no history. Patches have their own table and are
//! only summarised here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::compliance::ItemCounts;
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, from_json, get, instant, millis, parsed, sql, to_json};

/// The type of what scans and installations report.
pub const PATCH: &str = "Patch";

/// One thing that complies or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ComplianceItem {
    /// Unique in its report.
    pub id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// How bad it is when it does not comply.
    pub severity: ComplianceLevel,
    /// `COMPLIANT` or `NON_COMPLIANT`.
    pub status: String,
    /// Anything else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// What found it out. SSM's `ExecutionSummary`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// When.
    pub at: Timestamp,
    /// Which run, for instance a command's id.
    pub id: Option<String>,
    /// What kind, for instance `Command`.
    pub kind: Option<String>,
}

/// A report of one type about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplianceReport {
    /// The node.
    pub node_id: NodeId,
    /// `Association` or `Custom:<name>`.
    pub compliance_type: String,
    /// What found it out.
    pub execution: Execution,
    /// The reporter's own hash of the items.
    pub content_hash: Option<String>,
    /// Its items.
    pub items: Vec<ComplianceItem>,
}

/// How one node stands for one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceCompliance {
    /// The node.
    pub node_id: NodeId,
    /// [`PATCH`], `Association` or `Custom:<name>`.
    pub compliance_type: String,
    /// What found it out.
    pub execution: Execution,
    /// Its items, counted.
    pub counts: ItemCounts,
}

const COLUMNS: &str = "node_id, compliance_type, executed_at, execution_id, execution_type, content_hash, items";

impl Tx {
    /// Stores a report in place of the one before of its node and type.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_compliance(&mut self, report: &ComplianceReport) -> Result<(), Error> {
        let mut counts = ItemCounts::default();
        for item in &report.items {
            counts.add(item.severity, item.status == "COMPLIANT");
        }
        sqlx::query(sql(format!(
            "INSERT INTO compliance_reports ({COLUMNS}, counts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (node_id, compliance_type) DO UPDATE SET executed_at = excluded.executed_at,
                 execution_id = excluded.execution_id, execution_type = excluded.execution_type,
                 content_hash = excluded.content_hash, items = excluded.items, counts = excluded.counts"
        )))
        .bind(report.node_id.as_str())
        .bind(&report.compliance_type)
        .bind(millis(report.execution.at))
        .bind(report.execution.id.as_deref())
        .bind(report.execution.kind.as_deref())
        .bind(report.content_hash.as_deref())
        .bind(to_json(&report.items))
        .bind(to_json(&counts))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a compliance report"))
    }

    /// Reads the report of a node and type, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_compliance(
        &mut self,
        node: &NodeId,
        compliance_type: &str,
    ) -> Result<Option<ComplianceReport>, Error> {
        let lock = self.dialect().for_update();
        let text =
            format!("SELECT {COLUMNS} FROM compliance_reports WHERE node_id = $1 AND compliance_type = $2{lock}");
        sqlx::query(sql(text))
            .bind(node.as_str())
            .bind(compliance_type)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a compliance report"))?
            .map(|row| report_of(&row))
            .transpose()
    }

    /// The types that reports are of, [`PATCH`] aside.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn compliance_types(&mut self) -> Result<Vec<String>, Error> {
        sqlx::query("SELECT DISTINCT compliance_type FROM compliance_reports ORDER BY compliance_type")
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read types of compliance"))?
            .iter()
            .map(|row| get(row, "compliance_type"))
            .collect()
    }
}

impl Store {
    /// Reads the reports about a node, by type; patches are not among them.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn compliance_of(&self, node: &NodeId) -> Result<Vec<ComplianceReport>, Error> {
        let text = format!("SELECT {COLUMNS} FROM compliance_reports WHERE node_id = $1 ORDER BY compliance_type");
        sqlx::query(sql(text))
            .bind(node.as_str())
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read compliance reports"))?
            .iter()
            .map(report_of)
            .collect()
    }

    /// Reads how managed nodes stand, patches included, by node and type, those after the given.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn compliance_after(&self, after: (&str, &str), limit: u32) -> Result<Vec<ResourceCompliance>, Error> {
        let text = format!(
            "SELECT * FROM (
                 SELECT p.node_id, '{PATCH}' AS compliance_type, p.finished_at AS executed_at,
                     p.command_id AS execution_id, 'Command' AS execution_type, p.compliance AS counts,
                     CASE WHEN p.compliance = '' THEN p.patches ELSE '[]' END AS patches
                 FROM patch_states p JOIN nodes n ON n.node_id = p.node_id WHERE p.node_id >= $1
                 UNION ALL
                 SELECT r.node_id, r.compliance_type, r.executed_at, r.execution_id, r.execution_type, r.counts,
                     '[]' AS patches
                 FROM compliance_reports r JOIN nodes n ON n.node_id = r.node_id WHERE r.node_id >= $1
             ) AS resources
             WHERE node_id > $1 OR compliance_type > $2
             ORDER BY node_id, compliance_type LIMIT $3"
        );
        sqlx::query(sql(text))
            .bind(after.0)
            .bind(after.1)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read compliance"))?
            .iter()
            .map(resource_of)
            .collect()
    }
}

fn execution_of(row: &AnyRow) -> Result<Execution, Error> {
    Ok(Execution {
        at: instant(get(row, "executed_at")?),
        id: get(row, "execution_id")?,
        kind: get(row, "execution_type")?,
    })
}

fn report_of(row: &AnyRow) -> Result<ComplianceReport, Error> {
    Ok(ComplianceReport {
        node_id: parsed(row, "node_id")?,
        compliance_type: get(row, "compliance_type")?,
        execution: execution_of(row)?,
        content_hash: get(row, "content_hash")?,
        items: from_json("compliance_reports.items", &get::<String>(row, "items")?)?,
    })
}

fn resource_of(row: &AnyRow) -> Result<ResourceCompliance, Error> {
    let counts: String = get(row, "counts")?;
    let counts = if counts.is_empty() {
        let patches: Vec<PatchRecord> = from_json("patch_states.patches", &get::<String>(row, "patches")?)?;
        ItemCounts::of_patches(&patches)
    } else {
        from_json("counts of compliance", &counts)?
    };
    Ok(ResourceCompliance {
        node_id: parsed(row, "node_id")?,
        compliance_type: get(row, "compliance_type")?,
        execution: execution_of(row)?,
        counts,
    })
}
