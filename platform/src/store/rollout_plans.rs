//! Rollout plans by name. A command keeps what its plan said when it was launched.

use jiff::Timestamp;
use patchwave_schemas::waves::RolloutPlan;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, from_json, get, instant, millis, to_json};

/// A rollout plan with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPlan {
    /// Unique.
    pub name: String,
    /// For people; empty when not given.
    pub description: String,
    /// What it says; it has been checked.
    pub plan: RolloutPlan,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tx {
    /// Adds a plan.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::Database`].
    pub async fn add_rollout_plan(&mut self, one: &NamedPlan) -> Result<(), Error> {
        let added = sqlx::query(
            "INSERT INTO rollout_plans (name, description, definition, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&one.name)
        .bind(&one.description)
        .bind(to_json(&one.plan))
        .bind(millis(one.created_at))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a rollout plan"))?;
        if added.rows_affected() == 0 {
            return Err(Error::Conflict { what: format!("rollout plan `{}`", one.name) });
        }
        Ok(())
    }

    /// Removes a plan. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_rollout_plan(&mut self, name: &str) -> Result<bool, Error> {
        sqlx::query("DELETE FROM rollout_plans WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete a rollout plan"))
    }

    /// What the plan of this name says, if there is one.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn rollout_plan(&mut self, name: &str) -> Result<Option<RolloutPlan>, Error> {
        sqlx::query("SELECT definition FROM rollout_plans WHERE name = $1")
            .bind(name)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a rollout plan"))?
            .map(|row| from_json("rollout_plans.definition", &get::<String>(&row, "definition")?))
            .transpose()
    }
}

impl Store {
    /// Reads every plan, by name.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn rollout_plans(&self) -> Result<Vec<NamedPlan>, Error> {
        sqlx::query("SELECT name, description, definition, created_at FROM rollout_plans ORDER BY name")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read rollout plans"))?
            .iter()
            .map(plan_of)
            .collect()
    }
}

fn plan_of(row: &AnyRow) -> Result<NamedPlan, Error> {
    Ok(NamedPlan {
        name: get(row, "name")?,
        description: get(row, "description")?,
        plan: from_json("rollout_plans.definition", &get::<String>(row, "definition")?)?,
        created_at: instant(get(row, "created_at")?),
    })
}
