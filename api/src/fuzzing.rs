//! What reads bytes from outside, for the fuzz targets of `tests` alone.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use patchwave_engine::access::Role;

use crate::auth::Caller;
use crate::auth::canonical::Parts;
use crate::auth::claim::Claim;
use crate::auth::signature;
use crate::wire::Request;

/// Reads a request: its `X-Amz-Target`, its body, and the model's constraints.
///
/// # Errors
/// The error's code and message.
pub fn request(target: &str, body: &[u8]) -> Result<(), (String, String)> {
    let caller = Caller {
        access_key_id: "fuzzing".to_owned(),
        role: Role::Admin,
        policy: None,
        source: "fuzzing".to_owned(),
        signature: String::new(),
        signature_expires_at: Timestamp::UNIX_EPOCH,
    };
    let read = Request::new(target, body, caller).and_then(|mut request| request.check());
    read.map_err(|error| (error.code().to_owned(), error.message().to_owned()))
}

/// Reads the content of a document in `JSON` or `YAML`.
///
/// # Errors
/// The error's code and message.
pub fn content(text: &str, format: &str) -> Result<(), (String, String)> {
    crate::documents::check_content(text, format).map_err(|error| (error.code().to_owned(), error.message().to_owned()))
}

/// Reads who a request claims to be from, and checks the signature against a secret.
///
/// `target` is path and query; a header that cannot be sent is left out.
///
/// # Errors
/// The error's code and message.
pub fn signed(
    target: &str,
    headers: &[(&'static str, &[u8])],
    body: &[u8],
    secret: &str,
    now: Timestamp,
) -> Result<(), (String, String)> {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?)))
        .collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parts = Parts { method: "POST", path, query, headers: &headers };
    let checked = Claim::read(&parts, now).and_then(|claim| signature::check(&parts, body, &claim, secret));
    checked.map_err(|error| (error.code().to_owned(), error.message().to_owned()))
}
