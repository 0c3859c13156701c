//! Functions by name.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis};

/// A function that executions and windows' tasks may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Unique.
    pub name: String,
    /// Where Lambda's Invoke interface is: what stands before `/2015-03-31`.
    pub url: String,
    /// Seconds that an answer may take, 1 to 900.
    pub timeout_seconds: u32,
    /// For people; empty when not given.
    pub description: String,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

fn function_of(row: &AnyRow) -> Result<Function, Error> {
    let seconds: i64 = get(row, "timeout_seconds")?;
    Ok(Function {
        name: get(row, "name")?,
        url: get(row, "url")?,
        timeout_seconds: u32::try_from(seconds).map_err(Error::corrupt("functions.timeout_seconds"))?,
        description: get(row, "description")?,
        created_at: instant(get(row, "created_at")?),
        updated_at: instant(get(row, "updated_at")?),
    })
}

impl Tx {
    /// Registers a function, or changes it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_function(&mut self, one: &Function) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO functions (name, url, timeout_seconds, description, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (name) DO UPDATE SET url = excluded.url, timeout_seconds = excluded.timeout_seconds,
                 description = excluded.description, updated_at = excluded.updated_at",
        )
        .bind(&one.name)
        .bind(&one.url)
        .bind(i64::from(one.timeout_seconds))
        .bind(&one.description)
        .bind(millis(one.created_at))
        .bind(millis(one.updated_at))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("store a function"))
    }

    /// Forgets a function. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_function(&mut self, name: &str) -> Result<bool, Error> {
        sqlx::query("DELETE FROM functions WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete a function"))
    }
}

impl Store {
    /// Reads a function.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn function(&self, name: &str) -> Result<Option<Function>, Error> {
        let row = sqlx::query(
            "SELECT name, url, timeout_seconds, description, created_at, updated_at FROM functions WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(self.reader())
        .await
        .map_err(Error::doing("read a function"))?;
        row.as_ref().map(function_of).transpose()
    }

    /// Reads every function, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn functions(&self) -> Result<Vec<Function>, Error> {
        sqlx::query(
            "SELECT name, url, timeout_seconds, description, created_at, updated_at FROM functions ORDER BY name",
        )
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("list functions"))?
        .iter()
        .map(function_of)
        .collect()
    }
}
