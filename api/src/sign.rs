//! Signing requests, for clients that are in this repository: the command line and tests.
//!
//! The counterpart of `auth`, and made of the same parts.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use patchwave_platform::store::access_keys::SecretAccessKey;
use ring::hmac;
use uuid::Uuid;

use crate::auth::canonical::{self, ALGORITHM, Parts, sha256_hex};
use crate::auth::claim::{SERVICE, TERMINATOR, format_timestamp};
use crate::auth::signature;

/// Region that is signed for; the server takes any.
const REGION: &str = "local";
/// Makes two requests of one second differ, so that neither is taken for the other's repetition.
const INVOCATION_ID: HeaderName = HeaderName::from_static("amz-sdk-invocation-id");

/// An access key with its secret. `Debug` shows the id alone.
#[derive(Clone)]
pub struct Credentials {
    /// The id, which requests name.
    pub access_key_id: String,
    /// The secret, which stays here.
    pub secret_access_key: SecretAccessKey,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The headers that sign a request: to be added to it, with nothing signed changed afterwards.
    ///
    /// `host` is what the `Host` header will be; `headers` are the others that are sent, of which
    /// all are signed. `path` and `query` are as they will be sent.
    ///
    /// # Panics
    /// Never: what is added is made of printable ASCII.
    #[must_use]
    pub fn sign(
        &self,
        method: &str,
        host: &str,
        (path, query): (&str, &str),
        headers: &HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) -> HeaderMap {
        let timestamp = format_timestamp(now);
        let text = |text: &str| HeaderValue::from_str(text).expect("printable ASCII");
        let mut added = HeaderMap::new();
        added.insert("x-amz-date", text(&timestamp));
        added.insert(INVOCATION_ID, text(&Uuid::new_v4().to_string()));
        let mut all = headers.clone();
        all.extend(added.clone());
        if let Ok(host) = HeaderValue::from_str(host) {
            all.insert(header::HOST, host);
        }
        let mut signed: Vec<&str> = all.keys().map(HeaderName::as_str).collect();
        signed.sort_unstable();
        let scope = format!("{}/{REGION}/{SERVICE}/{TERMINATOR}", &timestamp[..8]);
        let parts = Parts { method, path, query, headers: &all };
        // A header that is no text cannot be signed; the server then says so.
        let canonical = canonical::request(&parts, &signed, &sha256_hex(body)).unwrap_or_default();
        let key = signature::key(self.secret_access_key.reveal(), &scope);
        let tag = hmac::sign(&key, canonical::string_to_sign(&timestamp, &scope, &canonical).as_bytes());
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
            self.access_key_id,
            signed.join(";"),
            patchwave_platform::secrets::hex(tag.as_ref())
        );
        added.insert(header::AUTHORIZATION, text(&authorization));
        added
    }
}
