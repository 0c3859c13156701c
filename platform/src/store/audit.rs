//! The audit log's rows: appending, listing, and reading it through for a check.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::any::AnyRow;

use super::{Error, Store, Tx, get, instant, millis};
use crate::audit::{Chain, Entry, Fault, Head, Recorded};
use crate::secrets::MasterKey;

/// Entries that are read at once for a check: some hundred KiB.
const CHECK_ROWS: i64 = 500;
const COLUMNS: &str = "seq, at, actor, source, action, subject, detail, outcome, mac";

/// How far the clocks of those who append may be apart, for finding where in the log a time is.
const CLOCKS_DIFFER_MILLIS: i64 = 10 * 60 * 1000;

/// What a check of the log, or of a part of it, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The last entry that was looked at.
    pub head: Head,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Whether there is nothing left to check: the end was reached, or enough is wrong.
    pub is_whole: bool,
}

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
        let (after, end) = self.audit_span(query).await?;
        let before = before.unwrap_or(i64::MAX).min(end);
        let mut text =
            format!("SELECT {COLUMNS} FROM audit_entries WHERE seq > $1 AND seq < $2 AND at >= $3 AND at < $4");
        // A condition that is not there leaves the planner no doubt which index serves.
        let filters: Vec<_> = [("actor", &query.actor), ("action", &query.action)]
            .into_iter()
            .filter_map(|(column, wanted)| wanted.as_deref().map(|wanted| (column, wanted)))
            .collect();
        for (number, (column, _)) in filters.iter().enumerate() {
            text.push_str(&format!(" AND {column} = ${}", number + 6));
        }
        text.push_str(" ORDER BY seq DESC LIMIT $5");
        let mut statement = sqlx::query(super::sql(text))
            .bind(after)
            .bind(before)
            .bind(query.since.map_or(i64::MIN, millis))
            .bind(query.until.map_or(i64::MAX, millis))
            .bind(i64::from(limit));
        for (_, wanted) in filters {
            statement = statement.bind(wanted);
        }
        statement
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the audit log"))?
            .iter()
            .map(recorded_of)
            .collect()
    }

    /// The positions that entries of a time can be between, neither included: the log is in order of
    /// time but for the differences of its writers' clocks.
    async fn audit_span(&self, query: &AuditQuery) -> Result<(i64, i64), Error> {
        let find = async |statement: &'static str, at: i64| {
            let row = sqlx::query(statement).bind(at).fetch_optional(self.reader()).await;
            row.map_err(Error::doing("find a time in the audit log"))?.map(|row| get(&row, "seq")).transpose()
        };
        let after: Option<i64> = match query.since {
            Some(since) => {
                let at = millis(since).saturating_sub(CLOCKS_DIFFER_MILLIS);
                find("SELECT seq FROM audit_entries WHERE at < $1 ORDER BY at DESC, seq DESC LIMIT 1", at).await?
            }
            None => None,
        };
        let before: Option<i64> = match query.until {
            Some(until) => {
                let at = millis(until).saturating_add(CLOCKS_DIFFER_MILLIS);
                find("SELECT seq FROM audit_entries WHERE at >= $1 ORDER BY at, seq LIMIT 1", at).await?
            }
            None => None,
        };
        Ok((after.unwrap_or(i64::MIN), before.unwrap_or(i64::MAX)))
    }

    /// Checks the log behind `after`, where an earlier check left off, a few hundred entries at a
    /// time, until its end or until `within` has passed. Finds at most `faults_max` things that are
    /// wrong; `expected` is a head that was noted elsewhere.
    ///
    /// Entries that are appended meanwhile are of the next check.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn verify_audit(
        &self,
        master_key: &MasterKey,
        after: Head,
        expected: Option<Head>,
        faults_max: usize,
        within: Duration,
    ) -> Result<Verified, Error> {
        let started = Instant::now();
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
        let page =
            format!("SELECT {COLUMNS} FROM audit_entries WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT {CHECK_ROWS}");
        // From the very beginning, what is before the first entry is looked at as well.
        let mut from = if after.seq > 0 { after.seq } else { i64::MIN };
        let mut chain = Chain::new(master_key, after, expected, faults_max);
        loop {
            let rows = sqlx::query(super::sql(page.clone()))
                .bind(from)
                .bind(head.seq)
                .fetch_all(self.reader())
                .await
                .map_err(Error::doing("read the audit log"))?;
            let Some(last) = rows.last() else { break };
            from = get(last, "seq")?;
            for row in &rows {
                chain.push(&recorded_of(row)?);
            }
            if chain.is_full() {
                let (head, faults) = chain.pause();
                return Ok(Verified { head, faults, is_whole: true });
            }
            if started.elapsed() >= within && from < head.seq {
                let (head, faults) = chain.pause();
                return Ok(Verified { head, faults, is_whole: false });
            }
        }
        let (end, mut faults) = chain.finish(&head);
        if let Some(last) = last.filter(|last| *last > head.seq && faults.len() < faults_max) {
            let reason = format!("entry {last} is behind entry {}, where the head says that the log ends", head.seq);
            faults.push(Fault { seq: head.seq + 1, reason });
        }
        Ok(Verified { head: end, faults, is_whole: true })
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
