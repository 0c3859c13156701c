//! Resource groups: tag queries with a name. Members are found when a group is used.

use jiff::Timestamp;
use patchwave_engine::targets::{self, ResourceGroups};
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis};

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceGroup {
    /// Unique.
    pub name: String,
    /// For people; empty when not given.
    pub description: String,
    /// Which nodes are in it: JSON that [`targets::ResourceGroup::parse`] has accepted.
    pub query: String,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Tx {
    /// Adds a group.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::Database`].
    pub async fn add_resource_group(&mut self, group: &ResourceGroup) -> Result<(), Error> {
        let added = sqlx::query(
            "INSERT INTO resource_groups (name, description, query, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&group.name)
        .bind(&group.description)
        .bind(&group.query)
        .bind(millis(group.created_at))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a resource group"))?;
        if added.rows_affected() == 0 {
            return Err(Error::Conflict { what: format!("resource group `{}`", group.name) });
        }
        Ok(())
    }

    /// Removes a group. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_resource_group(&mut self, name: &str) -> Result<bool, Error> {
        sqlx::query("DELETE FROM resource_groups WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete a resource group"))
    }

    /// Reads every group, understood, for resolving targets.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn resource_groups(&mut self) -> Result<ResourceGroups, Error> {
        sqlx::query("SELECT name, query FROM resource_groups")
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read resource groups"))?
            .iter()
            .map(|row| {
                let query: String = get(row, "query")?;
                let group = targets::ResourceGroup::parse(&query).map_err(Error::corrupt("resource_groups.query"))?;
                Ok((get(row, "name")?, group))
            })
            .collect()
    }
}

impl Store {
    /// Reads every group, by name.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn resource_groups(&self) -> Result<Vec<ResourceGroup>, Error> {
        sqlx::query("SELECT name, description, query, created_at FROM resource_groups ORDER BY name")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read resource groups"))?
            .iter()
            .map(group_of)
            .collect()
    }
}

fn group_of(row: &AnyRow) -> Result<ResourceGroup, Error> {
    Ok(ResourceGroup {
        name: get(row, "name")?,
        description: get(row, "description")?,
        query: get(row, "query")?,
        created_at: instant(get(row, "created_at")?),
    })
}
