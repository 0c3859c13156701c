//! Activations: who may become a node. SSM's CreateActivation and its kin.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_engine::registration::Allowance;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::{Error, Store, Tx, from_json, get, instant, millis, parsed, sql, to_json};

/// A permission to register machines as nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Its id; half of the credential.
    pub activation_id: Uuid,
    /// A MAC of the code, the other half.
    pub code_mac: String,
    /// For people.
    pub description: Option<String>,
    /// Name of the nodes that it admits.
    pub default_instance_name: Option<String>,
    /// SSM's service role: recorded and shown, of no effect here.
    pub iam_role: String,
    /// Registrations in all, and so far, and until when.
    pub allowance: Allowance,
    /// What every node that it admits is tagged with.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "activation_id, code_mac, description, default_instance_name, iam_role, registration_limit, \
     registrations_count, tags, created_at, expires_at";

fn activation_of(row: &AnyRow) -> Result<Activation, Error> {
    let count = |column| -> Result<u32, Error> {
        u32::try_from(get::<i64>(row, column)?).map_err(Error::corrupt("activations.registration_limit"))
    };
    Ok(Activation {
        activation_id: parsed(row, "activation_id")?,
        code_mac: get(row, "code_mac")?,
        description: get(row, "description")?,
        default_instance_name: get(row, "default_instance_name")?,
        iam_role: get(row, "iam_role")?,
        allowance: Allowance {
            limit: count("registration_limit")?,
            used: count("registrations_count")?,
            expires_at: instant(get(row, "expires_at")?),
        },
        tags: from_json("activations.tags", &get::<String>(row, "tags")?)?,
        created_at: instant(get(row, "created_at")?),
    })
}

impl Tx {
    /// Stores a new activation.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_activation(&mut self, new: &Activation) -> Result<(), Error> {
        let text = format!("INSERT INTO activations ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
        sqlx::query(sql(text))
            .bind(new.activation_id.to_string())
            .bind(&new.code_mac)
            .bind(&new.description)
            .bind(&new.default_instance_name)
            .bind(&new.iam_role)
            .bind(i64::from(new.allowance.limit))
            .bind(i64::from(new.allowance.used))
            .bind(to_json(&new.tags))
            .bind(millis(new.created_at))
            .bind(millis(new.allowance.expires_at))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store an activation"))
    }

    /// Reads an activation, locking it until the transaction ends: registrations are counted one
    /// after the other.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_activation(&mut self, id: Uuid) -> Result<Option<Activation>, Error> {
        let lock = self.dialect().for_update();
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM activations WHERE activation_id = $1{lock}")))
            .bind(id.to_string())
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read an activation"))?
            .map(|row| activation_of(&row))
            .transpose()
    }

    /// Counts one registration.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn count_registration(&mut self, id: Uuid) -> Result<(), Error> {
        sqlx::query("UPDATE activations SET registrations_count = registrations_count + 1 WHERE activation_id = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("count a registration"))
    }

    /// Deletes an activation; `false` when there is none. What it admitted stays.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_activation(&mut self, id: Uuid) -> Result<bool, Error> {
        sqlx::query("DELETE FROM activations WHERE activation_id = $1")
            .bind(id.to_string())
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("delete an activation"))
    }
}

impl Store {
    /// Reads an activation without a lock.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn activation(&self, id: Uuid) -> Result<Option<Activation>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM activations WHERE activation_id = $1")))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read an activation"))?
            .map(|row| activation_of(&row))
            .transpose()
    }

    /// Reads every activation, by id. They are few, and expire.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn activations(&self) -> Result<Vec<Activation>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM activations ORDER BY activation_id")))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read activations"))?
            .iter()
            .map(activation_of)
            .collect()
    }
}
