//! The keys that sign messages to nodes. Their private halves are sealed; opening them is
//! [`crate::signing`]'s business.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis, optional_instant, sql};

/// A signing key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its name, as in the messages' `keyid`.
    pub key_id: String,
    /// Its public half, in base64.
    pub public_key: String,
    /// Its private half, sealed with the master key.
    pub sealed: String,
    /// The key that vouches for it; absent for the first one.
    pub endorsed_by: Option<String>,
    /// That key's signature, in base64.
    pub endorsement: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it signs.
    pub signs_from: Timestamp,
    /// From when nothing signed by it is accepted; absent while nothing is decided.
    pub retires_at: Option<Timestamp>,
}

impl StoredKey {
    /// Whether what it signed is accepted.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.retires_at.is_none_or(|at| now < at)
    }
}

const COLUMNS: &str = "key_id, public_key, private_key, endorsed_by, endorsement, created_at, signs_from, retires_at";

fn key_of(row: &AnyRow) -> Result<StoredKey, Error> {
    Ok(StoredKey {
        key_id: get(row, "key_id")?,
        public_key: get(row, "public_key")?,
        sealed: get(row, "private_key")?,
        endorsed_by: get(row, "endorsed_by")?,
        endorsement: get(row, "endorsement")?,
        created_at: instant(get(row, "created_at")?),
        signs_from: instant(get(row, "signs_from")?),
        retires_at: optional_instant(row, "retires_at")?,
    })
}

impl Tx {
    /// Every key, the oldest first, and nobody else changes them until the transaction ends.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_signing_keys(&mut self) -> Result<Vec<StoredKey>, Error> {
        // A table without rows has no row to lock: two programs that start at once would both make
        // the first key.
        if let Some(lock) = self.dialect().table_lock("signing_keys") {
            sqlx::query(sql(lock)).execute(self.connection()).await.map_err(Error::doing("lock the signing keys"))?;
        }
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM signing_keys ORDER BY created_at, signs_from, key_id")))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read the signing keys"))?
            .iter()
            .map(key_of)
            .collect()
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_signing_key(&mut self, key: &StoredKey) -> Result<(), Error> {
        let text = format!("INSERT INTO signing_keys ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
        sqlx::query(sql(text))
            .bind(&key.key_id)
            .bind(&key.public_key)
            .bind(&key.sealed)
            .bind(&key.endorsed_by)
            .bind(&key.endorsement)
            .bind(millis(key.created_at))
            .bind(millis(key.signs_from))
            .bind(key.retires_at.map(millis))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store a signing key"))
    }

    /// Sets from when what a key signed is no longer accepted; `false` when there is no such key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn retire_signing_key(&mut self, key_id: &str, at: Timestamp) -> Result<bool, Error> {
        sqlx::query("UPDATE signing_keys SET retires_at = $2 WHERE key_id = $1")
            .bind(key_id)
            .bind(millis(at))
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("retire a signing key"))
    }
}

impl Store {
    /// Every key, the oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn signing_keys(&self) -> Result<Vec<StoredKey>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM signing_keys ORDER BY created_at, signs_from, key_id")))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the signing keys"))?
            .iter()
            .map(key_of)
            .collect()
    }
}
