//! Whole-service numbers, counted in the store.

use jiff::Timestamp;

use crate::store::{Error, Store, get, millis};

/// Figures of the whole service, whichever process is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Maintenance windows whose schedule fires.
    pub windows_enabled: u64,
    /// Maintenance windows whose schedule does not.
    pub windows_disabled: u64,
    /// Window executions that have not ended.
    pub window_executions_active: u64,
    /// Nodes that can be reached.
    pub nodes_connected: u64,
    /// Nodes that cannot.
    pub nodes_disconnected: u64,
    /// Commands whose rollout has not ended.
    pub rollouts_active: u64,
    /// Messages that wait to be published.
    pub outbox_messages: u64,
    /// Timers that are set.
    pub timers_pending: u64,
    /// Timers whose instant has passed.
    pub timers_overdue: u64,
    /// Notifications that wait to be published.
    pub notifications_unpublished: u64,
    /// Dead letters that nobody has replayed or dropped.
    pub dead_letters: u64,
}

impl Store {
    /// Counts, in one statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn figures(&self, now: Timestamp) -> Result<Figures, Error> {
        let row = sqlx::query(
            "SELECT
                (SELECT COUNT(*) FROM windows WHERE enabled = 1) AS windows_enabled,
                (SELECT COUNT(*) FROM windows WHERE enabled = 0) AS windows_disabled,
                (SELECT COUNT(*) FROM window_executions WHERE ended_at IS NULL) AS window_executions_active,
                (SELECT COUNT(*) FROM nodes WHERE address IS NOT NULL) AS nodes_connected,
                (SELECT COUNT(*) FROM nodes WHERE address IS NULL) AS nodes_disconnected,
                (SELECT COUNT(*) FROM commands WHERE finished_at IS NULL) AS rollouts_active,
                (SELECT COUNT(*) FROM outbox) AS outbox_messages,
                (SELECT COUNT(*) FROM timers) AS timers_pending,
                (SELECT COUNT(*) FROM timers WHERE due_at <= $1) AS timers_overdue,
                (SELECT COUNT(*) FROM notifications WHERE published_at IS NULL) AS notifications_unpublished,
                (SELECT COUNT(*) FROM dead_letters) AS dead_letters",
        )
        .bind(millis(now))
        .fetch_one(self.reader())
        .await
        .map_err(Error::doing("count for metrics"))?;
        let count = |column| get::<i64>(&row, column).map(i64::unsigned_abs);
        Ok(Figures {
            windows_enabled: count("windows_enabled")?,
            windows_disabled: count("windows_disabled")?,
            window_executions_active: count("window_executions_active")?,
            nodes_connected: count("nodes_connected")?,
            nodes_disconnected: count("nodes_disconnected")?,
            rollouts_active: count("rollouts_active")?,
            outbox_messages: count("outbox_messages")?,
            timers_pending: count("timers_pending")?,
            timers_overdue: count("timers_overdue")?,
            notifications_unpublished: count("notifications_unpublished")?,
            dead_letters: count("dead_letters")?,
        })
    }
}
