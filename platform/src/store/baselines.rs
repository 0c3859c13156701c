//! Patch baselines, and which of them is the default of an operating system.

use jiff::Timestamp;
use patchwave_engine::baseline::all_predefined;
use patchwave_schemas::BaselineId;
use patchwave_schemas::baseline::{BaselineRules, PatchSource};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::node::OperatingSystem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

pub use super::patch_groups::PatchGroupMapping;
use super::{Error, Store, Tx, from_json, get, millis, parsed, sql, to_json};

/// A patch baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Baseline {
    /// Its id.
    pub baseline_id: BaselineId,
    /// Counts the changes of what it approves, from 1.
    #[serde(default = "first_version")]
    pub baseline_version: u32,
    /// Not unique, but for the predefined ones.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What is approved. The operating system in it never changes.
    #[serde(flatten)]
    pub rules: BaselineRules,
    /// Alternative repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PatchSource>,
    /// Comes with the program and cannot be changed.
    #[serde(default)]
    pub predefined: bool,
    /// When it was created.
    pub created_date: Timestamp,
    /// When it was last changed.
    pub modified_date: Timestamp,
}

/// The id of the predefined baseline called `name`: the same in every installation.
#[must_use]
pub fn predefined_id(name: &str) -> BaselineId {
    BaselineId::from_bits(derived_uuid("predefined baseline:", name).as_u128())
}

/// The name SSM has for an operating system, for instance `AMAZON_LINUX_2`.
#[must_use]
pub fn os_name(os: OperatingSystem) -> String {
    match serde_json::to_value(os) {
        Ok(Value::String(name)) => name,
        other => unreachable!("an operating system serialises as a string, not {other:?}"),
    }
}

/// The version of a baseline that was never changed.
#[must_use]
pub const fn first_version() -> u32 {
    1
}

impl Store {
    /// Adds the predefined baselines, brings their rules up to date, and makes SSM's choice the
    /// default of each operating system that has no default yet. Harmless to repeat.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn ensure_predefined_baselines(&self, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        for (name, rules) in all_predefined() {
            let baseline = Baseline {
                baseline_id: predefined_id(name),
                baseline_version: first_version(),
                name: name.to_owned(),
                description: Some(format!(
                    "Default Patch Baseline for {} Provided by AWS.",
                    os_name(rules.operating_system)
                )),
                rules,
                sources: Vec::new(),
                predefined: true,
                created_date: now,
                modified_date: now,
            };
            if let Some(stored) = tx.baseline(&baseline.baseline_id).await? {
                if stored.rules == baseline.rules {
                    continue;
                }
                let baseline_version = stored.baseline_version.saturating_add(1);
                let changed = Baseline { created_date: stored.created_date, baseline_version, ..baseline };
                tx.put_baseline(&changed).await?;
                tx.recheck_nodes_of(&changed.baseline_id, now).await?;
                continue;
            }
            tx.put_baseline(&baseline).await?;
            // The default of an operating system comes before its other baselines.
            sqlx::query(
                "INSERT INTO default_baselines (operating_system, baseline_id) VALUES ($1, $2)
                 ON CONFLICT (operating_system) DO NOTHING",
            )
            .bind(os_name(baseline.rules.operating_system))
            .bind(baseline.baseline_id.as_str())
            .execute(tx.connection())
            .await
            .map_err(Error::doing("store a default baseline"))?;
        }
        tx.commit().await
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baseline(&self, id: &BaselineId) -> Result<Option<Baseline>, Error> {
        let mut connection = self.reader().acquire().await.map_err(Error::doing("read a baseline"))?;
        read_baseline(&mut connection, id).await
    }

    /// Reads every baseline, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baselines(&self) -> Result<Vec<Baseline>, Error> {
        sqlx::query("SELECT definition FROM patch_baselines ORDER BY baseline_id")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read baselines"))?
            .iter()
            .map(baseline_of)
            .collect()
    }

    /// Reads which baseline is the default of which operating system.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn default_baselines(&self) -> Result<Vec<(OperatingSystem, BaselineId)>, Error> {
        sqlx::query("SELECT operating_system, baseline_id FROM default_baselines ORDER BY operating_system")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read default baselines"))?
            .iter()
            .map(|row| Ok((os_of(row)?, parsed(row, "baseline_id")?)))
            .collect()
    }

    /// Reads the baseline that nodes of a patch group and operating system are judged by: the
    /// group's own, else the operating system's default.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baseline_for(&self, patch_group: &str, os: OperatingSystem) -> Result<Option<Baseline>, Error> {
        let mut connection = self.reader().acquire().await.map_err(Error::doing("resolve a baseline"))?;
        resolve_baseline(&mut connection, patch_group, os).await
    }
}

impl Tx {
    /// Adds a baseline or replaces its definition.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_baseline(&mut self, baseline: &Baseline) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO patch_baselines
                 (baseline_id, name, operating_system, predefined, definition, created_at, modified_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (baseline_id) DO UPDATE SET name = excluded.name, definition = excluded.definition,
                 modified_at = excluded.modified_at",
        )
        .bind(baseline.baseline_id.as_str())
        .bind(&baseline.name)
        .bind(os_name(baseline.rules.operating_system))
        .bind(i64::from(baseline.predefined))
        .bind(to_json(baseline))
        .bind(millis(baseline.created_date))
        .bind(millis(baseline.modified_date))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a baseline"))
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baseline(&mut self, id: &BaselineId) -> Result<Option<Baseline>, Error> {
        read_baseline(self.connection(), id).await
    }

    /// Reads a baseline, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_baseline(&mut self, id: &BaselineId) -> Result<Option<Baseline>, Error> {
        let text =
            format!("SELECT definition FROM patch_baselines WHERE baseline_id = $1{}", self.dialect().for_update());
        let row = sqlx::query(sql(text))
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a baseline"))?;
        row.as_ref().map(baseline_of).transpose()
    }

    /// Removes a baseline. Whether it may go is the caller's business.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_baseline(&mut self, id: &BaselineId) -> Result<(), Error> {
        sqlx::query("DELETE FROM patch_baselines WHERE baseline_id = $1")
            .bind(id.as_str())
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("delete a baseline"))
    }

    /// Reads the baseline that nodes of a patch group and operating system are judged by: the
    /// group's own, else the operating system's default.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn baseline_for(&mut self, patch_group: &str, os: OperatingSystem) -> Result<Option<Baseline>, Error> {
        resolve_baseline(self.connection(), patch_group, os).await
    }

    /// Makes a baseline the default of an operating system, and has the nodes judged again that go by it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_default_baseline(
        &mut self,
        os: OperatingSystem,
        id: &BaselineId,
        now: Timestamp,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO default_baselines (operating_system, baseline_id) VALUES ($1, $2)
             ON CONFLICT (operating_system) DO UPDATE SET baseline_id = excluded.baseline_id",
        )
        .bind(os_name(os))
        .bind(id.as_str())
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a default baseline"))?;
        self.recheck_nodes_in(None, os, now).await
    }

    /// Whether a baseline is the default of its operating system.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn is_default_baseline(&mut self, id: &BaselineId) -> Result<bool, Error> {
        sqlx::query("SELECT operating_system FROM default_baselines WHERE baseline_id = $1")
            .bind(id.as_str())
            .fetch_optional(self.connection())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("read a default baseline"))
    }
}

async fn read_baseline(connection: &mut AnyConnection, id: &BaselineId) -> Result<Option<Baseline>, Error> {
    let row = sqlx::query("SELECT definition FROM patch_baselines WHERE baseline_id = $1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(Error::doing("read a baseline"))?;
    row.as_ref().map(baseline_of).transpose()
}

async fn resolve_baseline(
    connection: &mut AnyConnection,
    patch_group: &str,
    os: OperatingSystem,
) -> Result<Option<Baseline>, Error> {
    let row = sqlx::query(
        "SELECT b.definition FROM patch_baselines b WHERE b.baseline_id = COALESCE(
             (SELECT g.baseline_id FROM patch_groups g WHERE g.patch_group = $1 AND g.operating_system = $2),
             (SELECT d.baseline_id FROM default_baselines d WHERE d.operating_system = $2))",
    )
    .bind(patch_group)
    .bind(os_name(os))
    .fetch_optional(connection)
    .await
    .map_err(Error::doing("resolve a baseline"))?;
    row.as_ref().map(baseline_of).transpose()
}

fn baseline_of(row: &AnyRow) -> Result<Baseline, Error> {
    from_json("patch_baselines.definition", &get::<String>(row, "definition")?)
}

pub(super) fn os_of(row: &AnyRow) -> Result<OperatingSystem, Error> {
    let name: String = get(row, "operating_system")?;
    serde_json::from_value(Value::String(name)).map_err(Error::corrupt("operating_system"))
}
