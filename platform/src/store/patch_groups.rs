//! Patch groups: which baseline is for which group.
//!
//! A group is only a name here: which nodes are in it is said by their tags. What its nodes are
//! judged by when it has no baseline is in [`super::baselines`].

use jiff::Timestamp;
use patchwave_schemas::BaselineId;
use patchwave_schemas::node::OperatingSystem;
use sqlx::any::AnyRow;

use super::baselines::{os_name, os_of};
use super::{Error, Store, Tx, get, millis, parsed};

/// A patch group's baseline for one operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchGroupMapping {
    /// The group: the value of a node's tag `Patch Group` or `PatchGroup`.
    pub patch_group: String,
    /// The operating system the mapping is for.
    pub operating_system: OperatingSystem,
    /// The baseline.
    pub baseline_id: BaselineId,
}

impl Store {
    /// Reads every patch group mapping, by group and operating system.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn patch_groups(&self) -> Result<Vec<PatchGroupMapping>, Error> {
        sqlx::query(
            "SELECT patch_group, operating_system, baseline_id FROM patch_groups
             ORDER BY patch_group, operating_system",
        )
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read patch groups"))?
        .iter()
        .map(mapping_of)
        .collect()
    }
}

impl Tx {
    /// Registers a baseline for a patch group, unless another one is for that operating system, and has
    /// the group's nodes judged again. Returns the baseline that is registered now.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn register_patch_group(
        &mut self,
        mapping: &PatchGroupMapping,
        now: Timestamp,
    ) -> Result<BaselineId, Error> {
        let added = sqlx::query(
            "INSERT INTO patch_groups (patch_group, operating_system, baseline_id, registered_at)
             VALUES ($1, $2, $3, $4) ON CONFLICT (patch_group, operating_system) DO NOTHING",
        )
        .bind(&mapping.patch_group)
        .bind(os_name(mapping.operating_system))
        .bind(mapping.baseline_id.as_str())
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a patch group"))?;
        if added.rows_affected() > 0 {
            self.recheck_nodes_in(Some(&mapping.patch_group), mapping.operating_system, now).await?;
        }
        let row = sqlx::query("SELECT baseline_id FROM patch_groups WHERE patch_group = $1 AND operating_system = $2")
            .bind(&mapping.patch_group)
            .bind(os_name(mapping.operating_system))
            .fetch_one(self.connection())
            .await
            .map_err(Error::doing("read a patch group"))?;
        parsed(&row, "baseline_id")
    }

    /// Takes a baseline away from a patch group, and has the group's nodes judged again. Returns whether
    /// it was registered.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn deregister_patch_group(
        &mut self,
        patch_group: &str,
        id: &BaselineId,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let removed = sqlx::query(
            "DELETE FROM patch_groups WHERE patch_group = $1 AND baseline_id = $2 RETURNING operating_system",
        )
        .bind(patch_group)
        .bind(id.as_str())
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("delete a patch group"))?;
        for row in &removed {
            self.recheck_nodes_in(Some(patch_group), os_of(row)?, now).await?;
        }
        Ok(!removed.is_empty())
    }

    /// Reads the patch groups a baseline is registered for.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn patch_groups_of(&mut self, id: &BaselineId) -> Result<Vec<String>, Error> {
        sqlx::query("SELECT patch_group FROM patch_groups WHERE baseline_id = $1 ORDER BY patch_group")
            .bind(id.as_str())
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read patch groups"))?
            .iter()
            .map(|row| get(row, "patch_group"))
            .collect()
    }
}

fn mapping_of(row: &AnyRow) -> Result<PatchGroupMapping, Error> {
    Ok(PatchGroupMapping {
        patch_group: get(row, "patch_group")?,
        operating_system: os_of(row)?,
        baseline_id: parsed(row, "baseline_id")?,
    })
}
