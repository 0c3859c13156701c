//! Client tokens: how a repeated request is recognised and answered as the first one was.

use jiff::{SignedDuration, Timestamp};

use super::{Error, Tx, get, millis};

/// How long a token is remembered. SSM does not say; a client that retries does so sooner.
const REMEMBERED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What a token was first used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierRequest {
    /// The request, as text that is equal exactly when the requests are.
    pub request: String,
    /// The answer it got.
    pub response: String,
}

impl Tx {
    /// Remembers a request under its token, unless the token is known: then returns what it was
    /// used for, and the caller changes nothing.
    ///
    /// A request in flight with the same token is waited for.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn remember_request(
        &mut self,
        operation: &str,
        token: &str,
        request: &str,
        response: &str,
        now: Timestamp,
    ) -> Result<Option<EarlierRequest>, Error> {
        sqlx::query("DELETE FROM client_tokens WHERE created_at < $1")
            .bind(millis(now - REMEMBERED_FOR))
            .execute(self.connection())
            .await
            .map_err(Error::doing("forget old client tokens"))?;
        let added = sqlx::query(
            "INSERT INTO client_tokens (operation, client_token, request, response, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (operation, client_token) DO NOTHING",
        )
        .bind(operation)
        .bind(token)
        .bind(request)
        .bind(response)
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(Error::doing("store a client token"))?;
        if added.rows_affected() > 0 {
            return Ok(None);
        }
        let row = sqlx::query("SELECT request, response FROM client_tokens WHERE operation = $1 AND client_token = $2")
            .bind(operation)
            .bind(token)
            .fetch_one(self.connection())
            .await
            .map_err(Error::doing("read a client token"))?;
        Ok(Some(EarlierRequest { request: get(&row, "request")?, response: get(&row, "response")? }))
    }
}
