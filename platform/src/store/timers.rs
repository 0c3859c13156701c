//! Stored timers: all that happens later, whoever is alive then.

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::event::Timer;

use sqlx::any::AnyRow;

use super::{Column, Error, Store, Tx, from_json, get, instant, millis, sql, to_json};

/// Time that a fired timer's event is given to be handled before the timer fires again.
///
/// Shorter would fire twice while a worker restarts, which is harmless; longer leaves an event
/// that was lost unhandled for longer.
pub const REFIRE_AFTER: SignedDuration = SignedDuration::from_secs(60);

impl Tx {
    /// Sets a timer, or moves it if it is set already.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_timer(&mut self, timer: &Timer, due_at: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO timers (timer_key, due_at, timer) VALUES ($1, $2, $3)
             ON CONFLICT (timer_key) DO UPDATE SET due_at = excluded.due_at",
        )
        .bind(timer.key())
        .bind(millis(due_at))
        .bind(to_json(timer))
        .execute(self.connection())
        .await
        .map(|_| ())
        .map_err(Error::doing("set a timer"))
    }

    /// Clears a timer; one that is not set is left so.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn clear_timer(&mut self, timer: &Timer) -> Result<(), Error> {
        sqlx::query("DELETE FROM timers WHERE timer_key = $1")
            .bind(timer.key())
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("clear a timer"))
    }

    /// Takes up to `limit` timers that are due. Other processes pass over them.
    ///
    /// A timer that fired stays, due again after [`REFIRE_AFTER`]: whoever handles its event clears
    /// or moves it. So even an event that the broker lost is fired again.
    ///
    /// Not those of windows: a window's row is locked before its timer, here and wherever its
    /// schedule changes. See [`Tx::take_timer`].
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn claim_timers(&mut self, now: Timestamp, limit: u32) -> Result<Vec<(Timer, Timestamp)>, Error> {
        let text = format!(
            "SELECT timer, due_at FROM timers WHERE due_at <= $1 AND timer_key NOT LIKE 'window/%'
             ORDER BY due_at LIMIT $2{}",
            self.dialect().for_update_skip_locked()
        );
        let due = sqlx::query(sql(text))
            .bind(millis(now))
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read due timers"))?
            .iter()
            .map(timer_of)
            .collect::<Result<Vec<_>, Error>>()?;
        if !due.is_empty() {
            let rows: Vec<_> = due.iter().map(|(timer, _)| serde_json::json!({ "timer_key": timer.key() })).collect();
            let source = self.dialect().rows("r", 1, &[("timer_key", Column::Text)]);
            sqlx::query(sql(format!(
                "UPDATE timers SET due_at = $2 WHERE timer_key IN (SELECT r.timer_key FROM {source})"
            )))
            .bind(to_json(&rows))
            .bind(millis(now + REFIRE_AFTER))
            .execute(self.connection())
            .await
            .map_err(Error::doing("take due timers"))?;
        }
        Ok(due)
    }

    /// Removes a timer if it is still due at this instant; `false` when somebody else took or
    /// moved it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn take_timer(&mut self, timer: &Timer, due_at: Timestamp) -> Result<bool, Error> {
        sqlx::query("DELETE FROM timers WHERE timer_key = $1 AND due_at = $2")
            .bind(timer.key())
            .bind(millis(due_at))
            .execute(self.connection())
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(Error::doing("take a timer"))
    }
}

impl Store {
    /// The windows' timers that are due, at most `limit`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn due_windows(&self, now: Timestamp, limit: u32) -> Result<Vec<(Timer, Timestamp)>, Error> {
        sqlx::query(
            "SELECT timer, due_at FROM timers WHERE due_at <= $1 AND timer_key LIKE 'window/%' ORDER BY due_at LIMIT $2",
        )
        .bind(millis(now))
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await
        .map_err(Error::doing("read due windows"))?
        .iter()
        .map(timer_of)
        .collect()
    }

    /// When the next timer is due.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn next_timer_at(&self) -> Result<Option<Timestamp>, Error> {
        let row = sqlx::query("SELECT MIN(due_at) AS due_at FROM timers")
            .fetch_one(self.reader())
            .await
            .map_err(Error::doing("read the next timer"))?;
        super::optional_instant(&row, "due_at")
    }
}

fn timer_of(row: &AnyRow) -> Result<(Timer, Timestamp), Error> {
    let timer = from_json("timers.timer", &get::<String>(row, "timer")?)?;
    Ok((timer, instant(get(row, "due_at")?)))
}
