//! State machines by name. An execution keeps the text it began with.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis, sql};

/// A state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateMachine {
    /// Unique.
    pub name: String,
    /// SHA-256 of its definition.
    pub definition_id: String,
    /// Counts its changes, from 1.
    pub revision: i64,
    /// `STANDARD` or `EXPRESS`.
    pub machine_type: String,
    /// Accepted and shown; nothing here acts under it.
    pub role_arn: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

const COLUMNS: &str = "name, definition_id, revision, machine_type, role_arn, created_at, updated_at";

fn machine_of(row: &AnyRow) -> Result<StateMachine, Error> {
    Ok(StateMachine {
        name: get(row, "name")?,
        definition_id: get(row, "definition_id")?,
        revision: get(row, "revision")?,
        machine_type: get(row, "machine_type")?,
        role_arn: get(row, "role_arn")?,
        created_at: instant(get(row, "created_at")?),
        updated_at: instant(get(row, "updated_at")?),
    })
}

impl Tx {
    /// Reads a state machine, locking it until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_state_machine(&mut self, name: &str) -> Result<Option<StateMachine>, Error> {
        let text = format!("SELECT {COLUMNS} FROM state_machines WHERE name = $1{}", self.dialect().for_update());
        let row = sqlx::query(sql(text))
            .bind(name)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("lock a state machine"))?;
        row.as_ref().map(machine_of).transpose()
    }

    /// Adds a state machine and its text; `false` when the name is taken, which changes nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_state_machine(&mut self, one: &StateMachine, definition: &str) -> Result<bool, Error> {
        self.keep_definition(&one.definition_id, definition).await?;
        sqlx::query(
            "INSERT INTO state_machines (name, definition_id, revision, machine_type, role_arn, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
        )
        .bind(&one.name)
        .bind(&one.definition_id)
        .bind(one.revision)
        .bind(&one.machine_type)
        .bind(&one.role_arn)
        .bind(millis(one.created_at))
        .bind(millis(one.updated_at))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("add a state machine"))
    }

    /// Changes a state machine. The caller holds its row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn save_state_machine(&mut self, one: &StateMachine, definition: &str) -> Result<(), Error> {
        self.keep_definition(&one.definition_id, definition).await?;
        sqlx::query(
            "UPDATE state_machines SET definition_id = $2, revision = $3, role_arn = $4, updated_at = $5
             WHERE name = $1",
        )
        .bind(&one.name)
        .bind(&one.definition_id)
        .bind(one.revision)
        .bind(&one.role_arn)
        .bind(millis(one.updated_at))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("save a state machine"))
    }

    /// Removes a state machine. Its executions go on. Returns whether there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_state_machine(&mut self, name: &str) -> Result<bool, Error> {
        sqlx::query("DELETE FROM state_machines WHERE name = $1")
            .bind(name)
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete a state machine"))
    }
}

impl Store {
    /// Reads a state machine.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn state_machine(&self, name: &str) -> Result<Option<StateMachine>, Error> {
        let row = sqlx::query(sql(format!("SELECT {COLUMNS} FROM state_machines WHERE name = $1")))
            .bind(name)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a state machine"))?;
        row.as_ref().map(machine_of).transpose()
    }

    /// Reads every state machine, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn state_machines(&self) -> Result<Vec<StateMachine>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM state_machines ORDER BY name")))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("list state machines"))?
            .iter()
            .map(machine_of)
            .collect()
    }
}
