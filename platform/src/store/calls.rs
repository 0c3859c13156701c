//! Calls: what executions and windows' tasks asked of others, stored before it is asked.
//!
//! A call ends once. Whoever makes it holds a lease; when that runs out, its process is taken for
//! dead and the call is made again under the same token.

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calls::{Call, CallOutcome};
use patchwave_schemas::event::CallRequested;
use patchwave_schemas::ids::derived_uuid;
use sqlx::any::AnyRow;

use super::outbox::{OWNER_PUBLISHES_WITHIN, OutboxMessage};
use super::{Error, Store, Tx, from_json, get, instant, millis, optional_instant, sql, to_json};

/// Who waits for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// An execution of an automation or a state machine.
    Workflow,
    /// A rollout of calls: a window's task, or an automation over many targets.
    FanOut,
}

impl OwnerKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::FanOut => "fan-out",
        }
    }
}

/// A call as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCall {
    /// Follows from what causes it.
    pub token: String,
    /// What kind of owner waits.
    pub owner_kind: OwnerKind,
    /// Its id.
    pub owner_id: String,
    /// What the owner knows it by, as JSON.
    pub about: String,
    /// What is asked.
    pub call: Call,
    /// The command or execution that it became, where that is known already.
    pub reference: Option<String>,
    /// It is given up then.
    pub deadline_at: Option<Timestamp>,
}

/// A call as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCall {
    /// Its token.
    pub token: String,
    /// What kind of owner waits.
    pub owner_kind: OwnerKind,
    /// Its id.
    pub owner_id: String,
    /// What the owner knows it by.
    pub about: String,
    /// What is asked.
    pub call: Call,
    /// The command or execution that it became.
    pub reference: Option<String>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// It is given up then.
    pub deadline_at: Option<Timestamp>,
    /// Times it was made.
    pub attempts: i64,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How.
    pub outcome: Option<CallOutcome>,
}

const COLUMNS: &str = "token, owner_kind, owner_id, about, call, reference, requested_at, deadline_at, attempts, \
     ended_at, outcome";

fn call_of(row: &AnyRow) -> Result<StoredCall, Error> {
    let kind: String = get(row, "owner_kind")?;
    let outcome: Option<String> = get(row, "outcome")?;
    Ok(StoredCall {
        token: get(row, "token")?,
        owner_kind: if kind == OwnerKind::FanOut.name() { OwnerKind::FanOut } else { OwnerKind::Workflow },
        owner_id: get(row, "owner_id")?,
        about: get(row, "about")?,
        call: from_json("calls.call", &get::<String>(row, "call")?)?,
        reference: get(row, "reference")?,
        requested_at: instant(get(row, "requested_at")?),
        deadline_at: optional_instant(row, "deadline_at")?,
        attempts: get(row, "attempts")?,
        ended_at: optional_instant(row, "ended_at")?,
        outcome: outcome.map(|text| from_json("calls.outcome", &text)).transpose()?,
    })
}

impl Tx {
    /// Stores a call; one that is stored stays as it is. With `by_caller` the caller is to make it:
    /// the hint for it is to be flushed after the commit. Otherwise the call is being carried out
    /// by what its reference names, or by whoever holds its token.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn add_call(
        &mut self,
        new: &NewCall,
        by_caller: bool,
        now: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        let added = sqlx::query(
            "INSERT INTO calls (token, owner_kind, owner_id, about, call, state, reference, requested_at, deadline_at,
                 lease_until, attempts, noted)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 0) ON CONFLICT (token) DO NOTHING",
        )
        .bind(&new.token)
        .bind(new.owner_kind.name())
        .bind(&new.owner_id)
        .bind(&new.about)
        .bind(to_json(&new.call))
        .bind(if by_caller { "Pending" } else { "Elsewhere" })
        .bind(new.reference.as_deref())
        .bind(millis(now))
        .bind(new.deadline_at.map(millis))
        .bind(millis(now + OWNER_PUBLISHES_WITHIN))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a call"))?;
        if added.rows_affected() == 0 || !by_caller {
            return Ok(None);
        }
        let hint = hint(&new.token, "", now);
        self.enqueue(std::slice::from_ref(&hint), now).await?;
        Ok(Some(hint))
    }

    /// Takes a call to make it; `None` when it has ended, is somebody else's or is not for callers.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn claim_call(
        &mut self,
        token: &str,
        lease: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<StoredCall>, Error> {
        let claimed = sqlx::query(
            "UPDATE calls SET state = 'Running', lease_until = $2, attempts = attempts + 1
             WHERE token = $1 AND ended_at IS NULL
               AND (state = 'Pending' OR (state = 'Running' AND lease_until <= $3))",
        )
        .bind(token)
        .bind(millis(now + lease))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(Error::doing("claim a call"))?;
        if claimed.rows_affected() == 0 { Ok(None) } else { self.call(token).await }
    }

    /// Reads a call.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn call(&mut self, token: &str) -> Result<Option<StoredCall>, Error> {
        let row = sqlx::query(sql(format!("SELECT {COLUMNS} FROM calls WHERE token = $1")))
            .bind(token)
            .fetch_optional(self.connection())
            .await
            .map_err(Error::doing("read a call"))?;
        row.as_ref().map(call_of).transpose()
    }

    /// The calls that a command or an execution answers when it ends.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn calls_of_reference(&mut self, reference: &str) -> Result<Vec<StoredCall>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM calls WHERE reference = $1 AND ended_at IS NULL")))
            .bind(reference)
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("read the calls of a reference"))?
            .iter()
            .map(call_of)
            .collect()
    }

    /// The calls of an owner that have not ended.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn open_calls(&mut self, kind: OwnerKind, owner_id: &str) -> Result<Vec<StoredCall>, Error> {
        sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM calls WHERE owner_kind = $1 AND owner_id = $2 AND noted = 0 AND ended_at IS NULL"
        )))
        .bind(kind.name())
        .bind(owner_id)
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read open calls"))?
        .iter()
        .map(call_of)
        .collect()
    }

    /// Ends a call; `false` when it had ended before, which stands.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn put_call_outcome(
        &mut self,
        token: &str,
        outcome: &CallOutcome,
        now: Timestamp,
    ) -> Result<bool, Error> {
        sqlx::query(
            "UPDATE calls SET state = 'Ended', ended_at = $2, outcome = $3 WHERE token = $1 AND ended_at IS NULL",
        )
        .bind(token)
        .bind(millis(now))
        .bind(to_json(outcome))
        .execute(self.connection())
        .await
        .map(|done| done.rows_affected() > 0)
        .map_err(Error::doing("end a call"))
    }

    /// The calls of an owner that have ended and that it has not taken note of, at most `limit`; notes
    /// them. The caller holds the owner's row.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn note_ended_calls(
        &mut self,
        kind: OwnerKind,
        owner_id: &str,
        limit: u32,
    ) -> Result<Vec<StoredCall>, Error> {
        let ended = sqlx::query(sql(format!(
            "SELECT {COLUMNS} FROM calls WHERE owner_kind = $1 AND owner_id = $2 AND noted = 0
               AND ended_at IS NOT NULL ORDER BY token LIMIT $3"
        )))
        .bind(kind.name())
        .bind(owner_id)
        .bind(i64::from(limit))
        .fetch_all(self.connection())
        .await
        .map_err(Error::doing("read ended calls"))?
        .iter()
        .map(call_of)
        .collect::<Result<Vec<_>, Error>>()?;
        for one in &ended {
            sqlx::query("UPDATE calls SET noted = 1 WHERE token = $1")
                .bind(&one.token)
                .execute(self.connection())
                .await
                .map_err(Error::doing("note an ended call"))?;
        }
        Ok(ended)
    }

    /// Forgets the calls of an owner that is over.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn forget_calls(&mut self, kind: OwnerKind, owner_id: &str) -> Result<(), Error> {
        sqlx::query("DELETE FROM calls WHERE owner_kind = $1 AND owner_id = $2")
            .bind(kind.name())
            .bind(owner_id)
            .execute(self.connection())
            .await
            .map(|_| ())
            .map_err(Error::doing("forget calls"))
    }

    /// Hints for calls that nobody has taken on in time; each is said again later if it still waits.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn claim_calls_in_waiting(&mut self, now: Timestamp, limit: u32) -> Result<Vec<OutboxMessage>, Error> {
        let text = format!(
            "SELECT token FROM calls WHERE state = 'Pending' AND lease_until <= $1 ORDER BY lease_until LIMIT $2{}",
            self.dialect().for_update_skip_locked()
        );
        let rows = sqlx::query(sql(text))
            .bind(millis(now))
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(Error::doing("look for waiting calls"))?;
        let mut hints = Vec::with_capacity(rows.len());
        for row in &rows {
            let token: String = get(row, "token")?;
            sqlx::query("UPDATE calls SET lease_until = $2 WHERE token = $1")
                .bind(&token)
                .bind(millis(now + OWNER_PUBLISHES_WITHIN))
                .execute(self.connection())
                .await
                .map_err(Error::doing("claim a waiting call"))?;
            hints.push(hint(&token, &now.to_string(), now));
        }
        Ok(hints)
    }
}

impl Store {
    /// Every call of an owner, in order of their tokens.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Corrupt`].
    pub async fn calls_of_owner(&self, kind: OwnerKind, owner_id: &str) -> Result<Vec<StoredCall>, Error> {
        sqlx::query(sql(format!("SELECT {COLUMNS} FROM calls WHERE owner_kind = $1 AND owner_id = $2 ORDER BY token")))
            .bind(kind.name())
            .bind(owner_id)
            .fetch_all(self.reader())
            .await
            .map_err(Error::doing("read the calls of an owner"))?
            .iter()
            .map(call_of)
            .collect()
    }

    /// Whether a call has waited too long for somebody to make it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_waiting_calls(&self, now: Timestamp) -> Result<bool, Error> {
        sqlx::query("SELECT token FROM calls WHERE state = 'Pending' AND lease_until <= $1 LIMIT 1")
            .bind(millis(now))
            .fetch_optional(self.reader())
            .await
            .map(|row| row.is_some())
            .map_err(Error::doing("look for waiting calls"))
    }
}

/// "There is a call to make": which, is in the store.
fn hint(token: &str, cause: &str, now: Timestamp) -> OutboxMessage {
    let id = derived_uuid("call requested:", &format!("{token}/{cause}"));
    OutboxMessage::event(id, "/patchwave/workflows", now, CallRequested { token: token.to_owned() })
}
