//! Access keys: who may call the API.
//!
//! The secret must be had in the clear to check a SigV4 signature, so it is sealed and not hashed.
//! It is sealed for its id, role, policy and state: whoever can write to the database but lacks the
//! master key cannot give a key more rights, because then its secret no longer opens.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::access::{AccessError, NodePolicy, Role};
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, from_json, get, instant, millis, optional_instant, parsed, to_json};
use crate::secrets::{MasterKey, SecretError, random};

/// Characters of an id that is drawn here: as long as those of AWS.
const DRAWN_ID_CHARS: usize = 20;
/// What a drawn id begins with.
const DRAWN_ID_PREFIX: &str = "PWAK";
/// Characters of an id that is brought along (AWS: 16 to 128 of letters, digits and `_`).
const ID_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
/// Characters of a secret that is brought along. AWS's have 40.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=128;
/// Random bytes behind a drawn secret; 40 characters in base64, as AWS's are.
const SECRET_BYTES: usize = 30;
/// Time between two notes of when a key was last used.
const USED_NOTED_EVERY: SignedDuration = SignedDuration::from_hours(1);
const COLUMNS: &str = "access_key_id, secret, role, policy, description, enabled, created_at, created_by, last_used_at";

/// A secret access key in the clear. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretAccessKey(String);

impl SecretAccessKey {
    /// A new one from the system's randomness.
    ///
    /// # Errors
    /// [`SecretError::NoRandomness`].
    pub fn random() -> Result<Self, SecretError> {
        use base64::Engine as _;
        Ok(Self(base64::engine::general_purpose::STANDARD.encode(random::<SECRET_BYTES>()?)))
    }

    /// One that was brought along.
    ///
    /// # Errors
    /// [`AccessError`] without the secret, for one that is too short, too long, or not visible ASCII.
    pub fn new(text: String) -> Result<Self, AccessError> {
        if SECRET_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        let value = format!("a secret of {} characters", text.chars().count());
        Err(AccessError { field: "SecretAccessKey", value, allowed: "16 to 128 visible ASCII characters" })
    }

    /// The secret itself: for signing, and to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretAccessKey(..)")
    }
}

/// An access key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id, which requests name.
    pub access_key_id: String,
    /// What it may do.
    pub role: Role,
    /// The nodes it is for; every node when absent.
    pub policy: Option<NodePolicy>,
    /// For people; empty when not given.
    pub description: String,
    /// Whether it is accepted.
    pub enabled: bool,
    /// When it was made here.
    pub created_at: Timestamp,
    /// The access key or program that made it.
    pub created_by: String,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Timestamp>,
}

impl AccessKey {
    /// What its secret is sealed for.
    fn purpose(&self) -> String {
        let policy = self.policy.as_ref().map(to_json);
        format!("access key {}", to_json(&(&self.access_key_id, self.role, policy, self.enabled)))
    }
}

/// A new id from the system's randomness.
///
/// # Errors
/// [`SecretError::NoRandomness`].
pub fn random_id() -> Result<String, SecretError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let drawn = random::<{ DRAWN_ID_CHARS - DRAWN_ID_PREFIX.len() }>()?;
    Ok(DRAWN_ID_PREFIX.chars().chain(drawn.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))).collect())
}

/// Checks an id that was brought along.
///
/// # Errors
/// [`AccessError`].
pub fn check_id(id: &str) -> Result<(), AccessError> {
    if ID_CHARS.contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(());
    }
    Err(AccessError {
        field: "AccessKeyId",
        value: id.chars().take(*ID_CHARS.end()).filter(|c| !c.is_control()).collect(),
        allowed: "16 to 128 letters, digits and `_`",
    })
}

impl Tx {
    /// Adds an access key with its secret.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the id is or was in use, [`Error::Secret`], [`Error::Database`].
    pub async fn add_access_key(
        &mut self,
        master_key: &MasterKey,
        key: &AccessKey,
        secret: &SecretAccessKey,
    ) -> Result<(), Error> {
        let sealed = master_key.seal(&key.purpose(), secret.reveal().as_bytes())?;
        let added = sqlx::query(
            "INSERT INTO access_keys (access_key_id, secret, role, policy, description, enabled, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (access_key_id) DO NOTHING",
        )
        .bind(&key.access_key_id)
        .bind(sealed)
        .bind(key.role.name())
        .bind(key.policy.as_ref().map(to_json))
        .bind(&key.description)
        .bind(i64::from(key.enabled))
        .bind(millis(key.created_at))
        .bind(&key.created_by)
        .execute(self.connection())
        .await
        .map_err(Error::doing("store an access key"))?;
        if added.rows_affected() == 0 {
            return Err(Error::Conflict { what: format!("access key `{}`", key.access_key_id) });
        }
        Ok(())
    }

    /// Enables or disables an access key, sealing its secret anew. Returns the key as it is then;
    /// `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Secret`] for a key that was altered, [`Error::Database`], [`Error::Corrupt`].
    pub async fn set_access_key_enabled(
        &mut self,
        master_key: &MasterKey,
        id: &str,
        enabled: bool,
    ) -> Result<Option<AccessKey>, Error> {
        let Some(row) = self.locked_key(id).await? else { return Ok(None) };
        let (mut key, secret) = opened(&row, master_key)?;
        key.enabled = enabled;
        let sealed = master_key.seal(&key.purpose(), secret.reveal().as_bytes())?;
        sqlx::query("UPDATE access_keys SET enabled = $2, secret = $3 WHERE access_key_id = $1")
            .bind(id)
            .bind(i64::from(enabled))
            .bind(sealed)
            .execute(self.connection())
            .await
            .map_err(Error::doing("change an access key"))?;
        Ok(Some(key))
    }

    /// Deletes an access key: its secret is gone, its id is not given out again. Returns whether
    /// there was one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn delete_access_key(&mut self, id: &str, now: Timestamp) -> Result<bool, Error> {
        sqlx::query(
            "UPDATE access_keys SET deleted_at = $2, enabled = 0, secret = ''
             WHERE access_key_id = $1 AND deleted_at IS NULL",
        )
        .bind(id)
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("delete an access key"))
    }

    /// The enabled admin keys without a policy: who can still make others. Waits for whoever is
    /// changing one of them, so that two changes cannot each leave the other's key as the last.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn admin_keys(&mut self) -> Result<Vec<String>, Error> {
        let locking = self.dialect().for_update();
        let text = format!(
            "SELECT access_key_id FROM access_keys
             WHERE role = 'admin' AND enabled = 1 AND deleted_at IS NULL AND policy IS NULL
             ORDER BY access_key_id {locking}"
        );
        sqlx::query(super::sql(text))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read access keys"))?
            .iter()
            .map(|row| get(row, "access_key_id"))
            .collect()
    }

    /// Whether there is any access key, enabled or not.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_access_keys(&mut self) -> Result<bool, Error> {
        sqlx::query("SELECT access_key_id FROM access_keys WHERE deleted_at IS NULL LIMIT 1")
            .fetch_optional(self.connection())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("read access keys"))
    }

    /// Takes note that a change is made with this signature. Returns whether it is the first time;
    /// forgets signatures that have expired.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn use_signature(&mut self, signature: &str, expires: Timestamp, now: Timestamp) -> Result<bool, Error> {
        let doing = || Error::doing("remember a signature");
        sqlx::query("DELETE FROM used_signatures WHERE expires_at < $1")
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map_err(doing())?;
        sqlx::query("INSERT INTO used_signatures (signature, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(signature)
            .bind(millis(expires))
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(doing())
    }

    async fn locked_key(&mut self, id: &str) -> Result<Option<AnyRow>, Error> {
        let locking = self.dialect().for_update();
        let text =
            format!("SELECT {COLUMNS} FROM access_keys WHERE access_key_id = $1 AND deleted_at IS NULL {locking}");
        sqlx::query(super::sql(text))
            .bind(id)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read an access key"))
    }
}

impl Store {
    /// Reads an access key with its secret.
    ///
    /// # Errors
    /// [`Error::Secret`] for a key that was altered or sealed with another master key,
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn access_key(
        &self,
        master_key: &MasterKey,
        id: &str,
    ) -> Result<Option<(AccessKey, SecretAccessKey)>, Error> {
        let text = format!("SELECT {COLUMNS} FROM access_keys WHERE access_key_id = $1 AND deleted_at IS NULL");
        let row = sqlx::query(super::sql(text))
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read an access key"))?;
        row.as_ref().map(|row| opened(row, master_key)).transpose()
    }

    /// Reads the access keys that are not deleted, by id, from after `after`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn access_keys(&self, after: &str, limit: u32) -> Result<Vec<AccessKey>, Error> {
        let text = format!(
            "SELECT {COLUMNS} FROM access_keys WHERE deleted_at IS NULL AND access_key_id > $1
             ORDER BY access_key_id LIMIT $2"
        );
        sqlx::query(super::sql(text))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read access keys"))?
            .iter()
            .map(key_of)
            .collect()
    }

    /// Takes note that a key was used, at most once an hour.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn access_key_used(&self, key: &AccessKey, now: Timestamp) -> Result<(), Error> {
        if key.last_used_at.is_some_and(|at| now < at + USED_NOTED_EVERY) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE access_keys SET last_used_at = $2 WHERE access_key_id = $1")
            .bind(&key.access_key_id)
            .bind(millis(now))
            .execute(tx.connection())
            .await
            .map_err(Error::doing("note the use of an access key"))?;
        tx.commit().await
    }

    /// Whether `master_key` is the one that this store's secrets are sealed with; the first that
    /// asks decides.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn is_master_key(&self, master_key: &MasterKey) -> Result<bool, Error> {
        let mac = master_key.mac(&[b"master key check"]);
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO master_key_checks (check_id, mac) VALUES ('master', $1) ON CONFLICT DO NOTHING")
            .bind(&mac)
            .execute(tx.connection())
            .await
            .map_err(Error::doing("check the master key"))?;
        let known: String = sqlx::query("SELECT mac FROM master_key_checks WHERE check_id = 'master'")
            .fetch_one(tx.connection())
            .await
            .map_err(Error::doing("check the master key"))
            .and_then(|row| get(&row, "mac"))?;
        tx.commit().await?;
        Ok(known == mac)
    }

    /// Whether some master key has been decided upon.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_master_key(&self) -> Result<bool, Error> {
        sqlx::query("SELECT mac FROM master_key_checks")
            .fetch_optional(self.reader())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("check the master key"))
    }
}

fn opened(row: &AnyRow, master_key: &MasterKey) -> Result<(AccessKey, SecretAccessKey), Error> {
    let key = key_of(row)?;
    let sealed: String = get(row, "secret")?;
    let secret = master_key.open(&key.purpose(), &sealed)?;
    let secret = String::from_utf8(secret).map_err(Error::corrupt("access_keys.secret"))?;
    Ok((key, SecretAccessKey(secret)))
}

fn key_of(row: &AnyRow) -> Result<AccessKey, Error> {
    let policy: Option<String> = get(row, "policy")?;
    Ok(AccessKey {
        access_key_id: get(row, "access_key_id")?,
        role: parsed(row, "role")?,
        policy: policy.as_deref().map(|text| from_json("access_keys.policy", text)).transpose()?,
        description: get(row, "description")?,
        enabled: get::<i64>(row, "enabled")? != 0,
        created_at: instant(get(row, "created_at")?),
        created_by: get(row, "created_by")?,
        last_used_at: optional_instant(row, "last_used_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_secrets_have_the_form_of_awss() {
        let id = random_id().expect("randomness");
        assert_eq!((id.len(), check_id(&id)), (20, Ok(())));
        let secret = SecretAccessKey::random().expect("randomness");
        assert_eq!(secret.reveal().len(), 40);
        assert_eq!(format!("{secret:?}"), "SecretAccessKey(..)");
        for bad in ["short", "with space in it.", "ünïcödé_ünïcödé_", &"x".repeat(129)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
        let error = SecretAccessKey::new("hunter2".to_owned()).expect_err("too short").to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
