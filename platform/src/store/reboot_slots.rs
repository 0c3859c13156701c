//! How many nodes may restart at once, over all rollouts, and which rollout uses how many.
//!
//! A node restarts only within an invocation whose document may do so, and such an invocation holds
//! its slot from its release to its end, which its deadline bounds. So no more nodes restart than
//! slots are taken.

use patchwave_schemas::CommandId;

use super::{Error, Store, Tx, get, sql};

impl Tx {
    /// The limit, locked until the transaction ends if there is one; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn lock_reboot_limit(&mut self) -> Result<Option<u32>, Error> {
        const TEXT: &str = "SELECT concurrency FROM reboot_limit WHERE limit_id = 1";
        let mut limit = 0;
        // Most fleets have none, and pay no lock.
        for text in [TEXT.to_owned(), format!("{TEXT}{}", self.dialect().for_update())] {
            let row = sqlx::query(sql(text))
                .fetch_one(self.connection())
                .await
                .map_err(Error::doing("read the limit of restarts"))?;
            limit = u32::try_from(get::<i64>(&row, "concurrency")?).map_err(Error::corrupt("reboot_limit"))?;
            if limit == 0 {
                return Ok(None);
            }
        }
        Ok(Some(limit))
    }

    /// Sets the limit; 0 is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_reboot_limit(&mut self, limit: u32) -> Result<(), Error> {
        sqlx::query("UPDATE reboot_limit SET concurrency = $1 WHERE limit_id = 1")
            .bind(i64::from(limit))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("set the limit of restarts"))
    }

    /// Slots that other rollouts have taken.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn reboot_slots_beside(&mut self, command: CommandId) -> Result<u32, Error> {
        let rows = sqlx::query("SELECT used FROM reboot_slots WHERE command_id <> $1")
            .bind(command.to_string())
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read the slots of restarts"))?;
        let used = rows.iter().map(|row| get::<i64>(row, "used")).sum::<Result<i64, Error>>()?;
        u32::try_from(used).map_err(Error::corrupt("reboot_slots.used"))
    }

    /// Records how many slots a rollout has taken.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_reboot_slots(&mut self, command: CommandId, used: u32) -> Result<(), Error> {
        let text = if used == 0 {
            "DELETE FROM reboot_slots WHERE command_id = $1 AND $2 = 0"
        } else {
            "INSERT INTO reboot_slots (command_id, used) VALUES ($1, $2)
             ON CONFLICT (command_id) DO UPDATE SET used = excluded.used"
        };
        sqlx::query(text)
            .bind(command.to_string())
            .bind(i64::from(used))
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("store the slots of restarts"))
    }
}

impl Store {
    /// How many nodes may restart at once; 0 is no limit.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn reboot_limit(&self) -> Result<u32, Error> {
        let row = sqlx::query("SELECT concurrency FROM reboot_limit WHERE limit_id = 1")
            .fetch_one(self.reader())
            .await
            .map_err(Error::doing("read the limit of restarts"))?;
        u32::try_from(get::<i64>(&row, "concurrency")?).map_err(Error::corrupt("reboot_limit"))
    }
}
