//! The audit log's rows: appending, listing, and reading it through for a check.

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis};
use crate::audit::{Chain, Entry, Fault, Head, Recorded};
use crate::secrets::MasterKey;

/// Entries that are read at once for a check: some hundred KiB.
const CHECK_ROWS: i64 = 500;
const COLUMNS: &str = "seq, at, actor, source, action, subject, detail, outcome, mac";

/// Which entries are asked for; what is absent is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of this actor.
    pub actor: Option<String>,
    /// Of this action.
    pub action: Option<String>,
}

impl Tx {
    /// Appends an entry, in this transaction: it is recorded exactly if the rest is done. Returns
    /// where it stands.
    ///
    /// From here on the transaction holds the log's end, so that others wait to append: call it
    /// after the slow part.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit(&mut self, master_key: &MasterKey, entry: &Entry) -> Result<Head, Error> {
        let doing = || Error::doing("append to the audit log");
        let row = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE head_id = 1 RETURNING seq, mac")
            .fetch_one(self.connection())
            .await
            .map_err(doing())?;
        let before: String = get(&row, "mac")?;
        let recorded = entry.recorded(master_key, get(&row, "seq")?, &before);
        sqlx::query(
            "INSERT INTO audit_entries (seq, at, actor, source, action, subject, detail, outcome, mac)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(recorded.seq)
        .bind(millis(recorded.at))
        .bind(&recorded.actor)
        .bind(&recorded.source)
        .bind(&recorded.action)
        .bind(&recorded.subject)
        .bind(&recorded.detail)
        .bind(&recorded.outcome)
        .bind(&recorded.mac)
        .execute(self.connection())
        .await
        .map_err(doing())?;
        sqlx::query("UPDATE audit_head SET mac = $1 WHERE head_id = 1")
            .bind(&recorded.mac)
            .execute(self.connection())
            .await
            .map_err(doing())?;
        Ok(Head { seq: recorded.seq, mac: recorded.mac })
    }
}

impl Store {
    /// Appends an entry in a transaction of its own. Returns where it stands.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit(&self, master_key: &MasterKey, entry: &Entry) -> Result<Head, Error> {
        let mut tx = self.begin().await?;
        let head = tx.audit(master_key, entry).await?;
        tx.commit().await?;
        Ok(head)
    }

    /// Where the log ends.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_head(&self) -> Result<Head, Error> {
        let row = sqlx::query("SELECT seq, mac FROM audit_head WHERE head_id = 1")
            .fetch_optional(self.reader())
            .await
            .map_err(Error::doing("read the audit log's head"))?;
        row.map_or(Ok(Head::default()), |row| Ok(Head { seq: get(&row, "seq")?, mac: get(&row, "mac")? }))
    }

    /// Reads entries, newest first, from before `before`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_entries(
        &self,
        query: &AuditQuery,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        let text = format!(
            "SELECT {COLUMNS} FROM audit_entries
             WHERE seq < $1 AND at >= $2 AND at < $3 AND ($4 = '' OR actor = $4) AND ($5 = '' OR action = $5)
             ORDER BY seq DESC LIMIT $6"
        );
        sqlx::query(super::sql(text))
            .bind(before.unwrap_or(i64::MAX))
            .bind(query.since.map_or(i64::MIN, millis))
            .bind(query.until.map_or(i64::MAX, millis))
            .bind(query.actor.as_deref().unwrap_or_default())
            .bind(query.action.as_deref().unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the audit log"))?
            .iter()
            .map(recorded_of)
            .collect()
    }

    /// Checks the whole log, a few hundred entries at a time. Returns where it ends and what is
    /// wrong with it, at most `faults_max` things; `expected` is a head that was noted elsewhere.
    ///
    /// Entries that are appended meanwhile are of the next check.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn verify_audit(
        &self,
        master_key: &MasterKey,
        expected: Option<Head>,
        faults_max: usize,
    ) -> Result<(Head, Vec<Fault>), Error> {
        // One statement, so that head and last entry are of one moment; either may have been taken away.
        let row = sqlx::query(
            "SELECT (SELECT seq FROM audit_head WHERE head_id = 1) AS seq,
                    (SELECT mac FROM audit_head WHERE head_id = 1) AS mac,
                    (SELECT MAX(seq) FROM audit_entries) AS last",
        )
        .fetch_one(self.reader())
        .await
        .map_err(Error::doing("read the audit log's head"))?;
        let head = Head {
            seq: get::<Option<i64>>(&row, "seq")?.unwrap_or(0),
            mac: get::<Option<String>>(&row, "mac")?.unwrap_or_default(),
        };
        let last: Option<i64> = get(&row, "last")?;
        let mut chain = Chain::new(master_key, expected);
        let page =
            format!("SELECT {COLUMNS} FROM audit_entries WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT {CHECK_ROWS}");
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query(super::sql(page.clone()))
                .bind(after)
                .bind(head.seq)
                .fetch_all(self.reader())
                .await
                .map_err(Error::doing("read the audit log"))?;
            let Some(last) = rows.last() else { break };
            after = get(last, "seq")?;
            for row in &rows {
                chain.push(&recorded_of(row)?);
            }
        }
        let (end, mut faults) = chain.finish(&head);
        if let Some(last) = last.filter(|last| *last > head.seq) {
            let reason = format!("entry {last} is behind entry {}, where the head says that the log ends", head.seq);
            faults.push(Fault { seq: head.seq + 1, reason });
        }
        faults.truncate(faults_max);
        Ok((end, faults))
    }
}

fn recorded_of(row: &AnyRow) -> Result<Recorded, Error> {
    Ok(Recorded {
        seq: get(row, "seq")?,
        at: instant(get(row, "at")?),
        actor: get(row, "actor")?,
        source: get(row, "source")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        detail: get(row, "detail")?,
        outcome: get(row, "outcome")?,
        mac: get(row, "mac")?,
    })
}
