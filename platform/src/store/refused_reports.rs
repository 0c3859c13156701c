//! How many reports changed nothing, by reason: a number that should stay still.

use std::collections::BTreeMap;

use super::{Error, Store, Tx, get};

/// Why a report changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Nobody gave this node this command.
    UnknownInvocation,
    /// The invocation had ended before, by an earlier report or by its deadline.
    Finished,
    /// The node was cut off, or never registered.
    NotRegistered,
    /// Another machine than the one that registered.
    OtherFingerprint,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::UnknownInvocation, Self::Finished, Self::NotRegistered, Self::OtherFingerprint];

    /// Its name in the store and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownInvocation => "unknown_invocation",
            Self::Finished => "finished",
            Self::NotRegistered => "not_registered",
            Self::OtherFingerprint => "other_fingerprint",
        }
    }
}

impl Tx {
    /// Counts reports that changed nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn count_refused_reports(&mut self, counts: &BTreeMap<Refusal, u32>) -> Result<(), Error> {
        for (reason, count) in counts {
            sqlx::query(
                "INSERT INTO refused_reports (reason, reports) VALUES ($1, $2)
                 ON CONFLICT (reason) DO UPDATE SET reports = refused_reports.reports + excluded.reports",
            )
            .bind(reason.name())
            .bind(i64::from(*count))
            .execute(self.connection())
            .await
            .map_err(Error::doing("count refused reports"))?;
        }
        Ok(())
    }
}

impl Store {
    /// The reports refused so far, by reason; every reason is there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn refused_reports(&self) -> Result<Vec<(Refusal, u64)>, Error> {
        let rows = sqlx::query("SELECT reason, reports FROM refused_reports")
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the counts of refused reports"))?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for row in &rows {
            counts.insert(get(row, "reason")?, get::<i64>(row, "reports")?.unsigned_abs());
        }
        Ok(Refusal::ALL.map(|reason| (reason, counts.get(reason.name()).copied().unwrap_or_default())).to_vec())
    }
}
