//! Which vulnerabilities are open on which nodes: those that a patch would mend which the baseline
//! approves and which is not in force there.
//!
//! Taken from what `patch_states` keeps, and always replaced together with it.

use std::collections::BTreeMap;

use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

use super::patch_states::{name_of, named};
use super::{Column, Error, Store, Tx, get, parsed, sql, to_json};

/// Rows that are written by one statement at most: some megabytes.
const ROWS_TOGETHER: usize = 20_000;

/// A patch that would mend a vulnerability of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCve {
    /// For instance `CVE-2026-1234`.
    pub cve_id: String,
    /// The node.
    pub node_id: NodeId,
    /// The patch, SSM's `Title`.
    pub title: String,
    /// SSM's `KBId`.
    pub kb_id: String,
    /// Where the patch stands: never a compliant state.
    pub state: PatchState,
    /// How bad that is, by the baseline.
    pub compliance_level: ComplianceLevel,
}

impl Tx {
    /// Replaces what is open on nodes. `finished_at` is the end of the scan, in ms, that `patches` are
    /// from: where another one counts, nothing changes.
    pub(super) async fn put_cves(&mut self, nodes: &[(&NodeId, i64, &[PatchRecord])]) -> Result<(), Error> {
        let scans: Vec<Value> =
            nodes.iter().map(|(node, at, _)| json!({ "node_id": node, "finished_at": at })).collect();
        let scan = [("node_id", Column::Text), ("finished_at", Column::Int)];
        let source = self.dialect().rows("r", 1, &scan);
        sqlx::query(sql(format!(
            "DELETE FROM node_cves WHERE node_id IN (SELECT p.node_id FROM patch_states p
             JOIN {source} ON r.node_id = p.node_id AND r.finished_at = p.finished_at)"
        )))
        .bind(to_json(&scans))
        .execute(self.connection())
        .await
        .map_err(Error::doing("forget open vulnerabilities"))?;
        let mut rows = Vec::new();
        for (node, at, patches) in nodes {
            rows.extend(rows_of(node, *at, patches));
        }
        let columns = [
            ("cve_id", Column::Text),
            ("node_id", Column::Text),
            ("finished_at", Column::Int),
            ("title", Column::Text),
            ("kb_id", Column::Text),
            ("state", Column::Text),
            ("compliance_level", Column::Text),
        ];
        let source = self.dialect().rows("r", 1, &columns);
        for rows in rows.chunks(ROWS_TOGETHER) {
            sqlx::query(sql(format!(
                "INSERT INTO node_cves (cve_id, node_id, title, kb_id, state, compliance_level)
                 SELECT r.cve_id, r.node_id, r.title, r.kb_id, r.state, r.compliance_level
                 FROM {source} JOIN patch_states p ON p.node_id = r.node_id AND p.finished_at = r.finished_at
                 WHERE true ON CONFLICT (cve_id, node_id, title) DO NOTHING"
            )))
            .bind(to_json(rows))
            .execute(self.connection())
            .await
            .map_err(Error::doing("store open vulnerabilities"))?;
        }
        Ok(())
    }
}

impl Store {
    /// Reads the managed nodes on which a vulnerability is open, a patch at a time, by node and title:
    /// those after the given.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn nodes_with_cve(&self, cve: &str, after: (&str, &str), limit: u32) -> Result<Vec<NodeCve>, Error> {
        self.cves("cve_id = $1", "node_id", cve, after, limit).await
    }

    /// Reads what is open on a node, by vulnerability and title: those after the given.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn cves_of(&self, node: &NodeId, after: (&str, &str), limit: u32) -> Result<Vec<NodeCve>, Error> {
        self.cves("node_id = $1", "cve_id", node.as_str(), after, limit).await
    }

    async fn cves(
        &self,
        which: &str,
        order: &str,
        of: &str,
        after: (&str, &str),
        limit: u32,
    ) -> Result<Vec<NodeCve>, Error> {
        sqlx::query(sql(format!(
            "SELECT cve_id, node_id, title, kb_id, state, compliance_level FROM node_cves
             WHERE {which} AND ({order} > $2 OR ({order} = $2 AND title > $3))
               AND node_id IN (SELECT node_id FROM nodes)
             ORDER BY {order}, title LIMIT $4"
        )))
        .bind(of)
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read open vulnerabilities"))?
        .iter()
        .map(cve_of)
        .collect()
    }

    /// How many managed nodes have never reported any patches.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn never_scanned_nodes(&self) -> Result<u64, Error> {
        let text = "SELECT COUNT(*) AS count FROM nodes WHERE node_id NOT IN (SELECT node_id FROM patch_states)";
        let row = sqlx::query(text).fetch_one(self.reader()).await.map_err(Error::doing("count nodes"))?;
        Ok(u64::try_from(get::<i64>(&row, "count")?).unwrap_or_default())
    }
}

/// A row for each vulnerability and patch, once. Names are as vendors spell them, in capitals; what no
/// database takes as text is left out.
fn rows_of(node: &NodeId, finished_at: i64, patches: &[PatchRecord]) -> Vec<Value> {
    let mut rows = BTreeMap::new();
    for patch in patches.iter().filter(|patch| !patch.is_compliant()) {
        for cve in patch.cve_ids.iter().filter(|cve| !cve.contains('\0')) {
            let cve = cve.to_ascii_uppercase();
            let title = patch.title.replace('\0', "\u{fffd}");
            let row = json!({
                "cve_id": cve,
                "node_id": node,
                "finished_at": finished_at,
                "title": title,
                "kb_id": patch.kb_id.replace('\0', "\u{fffd}"),
                "state": name_of(&patch.state),
                "compliance_level": name_of(&patch.compliance_level),
            });
            rows.insert((cve, title), row);
        }
    }
    rows.into_values().collect()
}

fn cve_of(row: &AnyRow) -> Result<NodeCve, Error> {
    Ok(NodeCve {
        cve_id: get(row, "cve_id")?,
        node_id: parsed(row, "node_id")?,
        title: get(row, "title")?,
        kb_id: get(row, "kb_id")?,
        state: named("node_cves.state", get(row, "state")?)?,
        compliance_level: named("node_cves.compliance_level", get(row, "compliance_level")?)?,
    })
}
