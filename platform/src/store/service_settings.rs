//! Settings of the whole control plane that the API changes. What is not stored has its default.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Store, Tx, get, instant, millis};

/// After how many hours a node's last scan is too old to be believed.
pub const STALE_AFTER_HOURS: &str = "/patchwave/compliance/stale-after-hours";
/// A week: scans of every day may fail for some days, those of every week just hold.
pub const STALE_AFTER_HOURS_DEFAULT: u32 = 7 * 24;
/// A year.
pub const STALE_AFTER_HOURS_MAX: u32 = 365 * 24;

impl Store {
    /// Reads a setting, and when it was changed; `None` when it has its default.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn service_setting(&self, id: &str) -> Result<Option<(String, Timestamp)>, Error> {
        let row = sqlx::query("SELECT value, modified_at FROM service_settings WHERE setting_id = $1")
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a setting"))?;
        row.map(|row| Ok((get(&row, "value")?, instant(get(&row, "modified_at")?)))).transpose()
    }

    /// How old a node's last report may be before it counts as stale.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn stale_after(&self) -> Result<SignedDuration, Error> {
        let stored = self.service_setting(STALE_AFTER_HOURS).await?;
        let hours = stored.and_then(|(value, _)| value.parse().ok()).unwrap_or(STALE_AFTER_HOURS_DEFAULT);
        Ok(SignedDuration::from_hours(i64::from(hours)))
    }
}

impl Tx {
    /// Changes a setting; `None` gives it its default back. Which values it takes is the caller's
    /// business.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_service_setting(&mut self, id: &str, value: Option<&str>, now: Timestamp) -> Result<(), Error> {
        let query = match value {
            None => sqlx::query("DELETE FROM service_settings WHERE setting_id = $1").bind(id),
            Some(value) => sqlx::query(
                "INSERT INTO service_settings (setting_id, value, modified_at) VALUES ($1, $2, $3)
                 ON CONFLICT (setting_id) DO UPDATE SET value = excluded.value, modified_at = excluded.modified_at",
            )
            .bind(id)
            .bind(value)
            .bind(millis(now)),
        };
        query.execute(self.connection()).await.map(|_| ()).map_err(Error::doing("store a setting"))
    }
}
