//! Windows, their targets and tasks, as lists.

use patchwave_schemas::{WindowId, WindowTargetId, WindowTaskId};
use serde::de::DeserializeOwned;

use crate::store::windows::{Window, WindowTarget, WindowTask, window_of};
use crate::store::{Error, Store, from_json, get};

impl Store {
    /// Reads a window.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window(&self, id: &WindowId) -> Result<Option<Window>, Error> {
        let row = sqlx::query("SELECT definition, next_execution_at FROM windows WHERE window_id = $1")
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read a window"))?;
        row.as_ref().map(window_of).transpose()
    }

    /// Reads every window, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn windows(&self) -> Result<Vec<Window>, Error> {
        sqlx::query("SELECT definition, next_execution_at FROM windows ORDER BY window_id")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read windows"))?
            .iter()
            .map(window_of)
            .collect()
    }

    /// Reads the targets registered with a window, or with any, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window_targets(&self, id: Option<&WindowId>) -> Result<Vec<WindowTarget>, Error> {
        self.definitions(
            "window_targets.definition",
            "SELECT definition FROM window_targets WHERE $1 = '' OR window_id = $1 ORDER BY window_target_id",
            id.map_or("", WindowId::as_str),
        )
        .await
    }

    /// Reads the tasks registered with a window, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window_tasks(&self, id: &WindowId) -> Result<Vec<WindowTask>, Error> {
        self.definitions(
            "window_tasks.definition",
            "SELECT definition FROM window_tasks WHERE window_id = $1 ORDER BY window_task_id",
            id.as_str(),
        )
        .await
    }

    /// Reads one target of a window.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window_target(&self, id: WindowTargetId) -> Result<Option<WindowTarget>, Error> {
        let found = self
            .definitions(
                "window_targets.definition",
                "SELECT definition FROM window_targets WHERE window_target_id = $1",
                &id.to_string(),
            )
            .await?;
        Ok(found.into_iter().next())
    }

    /// Reads one task of a window.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn window_task(&self, id: WindowTaskId) -> Result<Option<WindowTask>, Error> {
        let found = self
            .definitions(
                "window_tasks.definition",
                "SELECT definition FROM window_tasks WHERE window_task_id = $1",
                &id.to_string(),
            )
            .await?;
        Ok(found.into_iter().next())
    }

    async fn definitions<T: DeserializeOwned>(
        &self,
        column: &'static str,
        text: &'static str,
        value: &str,
    ) -> Result<Vec<T>, Error> {
        sqlx::query(text)
            .bind(value)
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read what is registered with a window"))?
            .iter()
            .map(|row| from_json(column, &get::<String>(row, "definition")?))
            .collect()
    }
}
