//! What a request claims about who sent it: read from the `Authorization` header or from the query
//! of a presigned URL. Nothing is proven here; `signature` does that.

use axum::http::{HeaderMap, header};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::canonical::{ALGORITHM, Parts, decoded};
use crate::wire::Error;

/// The service that requests are signed for: SSM's operations, ours, `/metrics` and streams alike.
pub(crate) const SERVICE: &str = "ssm";
/// Likewise Step Functions', as its clients sign. Which operation is asked for is part of what is
/// signed, so it opens nothing else.
const STATES_SERVICE: &str = "states";
/// What a credential's scope ends with.
pub(crate) const TERMINATOR: &str = "aws4_request";
/// How far a client's clock may be off (AWS).
pub(crate) const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Seconds a presigned URL may be valid: a week (AWS).
const EXPIRES_SECONDS: std::ops::RangeInclusive<i64> = 1..=604_800;
/// Bytes of an `Authorization` header that are read; real ones have some hundred.
const AUTHORIZATION_BYTES_MAX: usize = 4096;

/// A claim that is well-formed and of this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key_id: String,
    /// `yyyyMMddTHHmmssZ`, as it was sent.
    pub(crate) timestamp: String,
    /// `yyyyMMdd/region/ssm/aws4_request`.
    pub(crate) scope: String,
    /// Lower-case names, in order.
    pub(crate) signed_headers: Vec<String>,
    /// 64 hex digits.
    pub(crate) signature: String,
    /// From when on no process accepts it any more, whose clock is within [`SKEW`] of this one.
    pub(crate) expires_at: Timestamp,
}

impl Claim {
    /// Reads and checks a request's claim, for a server whose clock shows `now`.
    ///
    /// # Errors
    /// AWS's names for a request that is unsigned, malformed, of another time or service.
    pub(crate) fn read(parts: &Parts<'_>, now: Timestamp) -> Result<Self, Error> {
        let is_presigned = parts.query.split('&').any(|pair| pair.starts_with("X-Amz-Algorithm="));
        let claim = match parts.headers.get(header::AUTHORIZATION) {
            Some(_) if is_presigned => {
                return Err(incomplete("the request is signed in its header and in its query; allowed is one of them"));
            }
            Some(value) => {
                let text = value.to_str().map_err(|_| incomplete("the Authorization header is not text"))?;
                Self::of_header(text, parts.headers)?
            }
            None if is_presigned => Self::of_query(parts.query)?,
            None => {
                return Err(Error::new("MissingAuthenticationTokenException", "Missing Authentication Token"));
            }
        };
        if parts.headers.contains_key("x-amz-security-token") || parts.query.contains("X-Amz-Security-Token=") {
            return Err(Error::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid: there are no session tokens here; \
                 unset AWS_SESSION_TOKEN",
            ));
        }
        claim.finish(parts, now)
    }

    fn of_header(text: &str, headers: &HeaderMap) -> Result<Unchecked, Error> {
        let rest = text
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' ') && text.len() <= AUTHORIZATION_BYTES_MAX)
            .ok_or_else(|| {
                incomplete(format!("the Authorization header must begin with `{ALGORITHM}` and be shorter than 4 KiB"))
            })?;
        let member = |name: &str| {
            rest.split(',')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter")))
        };
        let timestamp = headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        let timestamp =
            timestamp.ok_or_else(|| incomplete("Authorization header requires existence of a 'X-Amz-Date' header"))?;
        Ok(Unchecked {
            credential: member("Credential")?,
            signed_headers: member("SignedHeaders")?,
            signature: member("Signature")?,
            timestamp: timestamp.to_owned(),
            expires: None,
        })
    }

    fn of_query(query: &str) -> Result<Unchecked, Error> {
        let member = |name: &str| {
            let mut found = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => String::from_utf8(decoded(value))
                    .map_err(|_| incomplete(format!("query parameter '{name}' is not UTF-8"))),
                (None, _) => Err(incomplete(format!("a presigned request requires '{name}' in its query"))),
                (Some(_), Some(_)) => Err(incomplete(format!("query parameter '{name}' is there twice"))),
            }
        };
        let algorithm = member("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("X-Amz-Algorithm is not supported; allowed is {ALGORITHM}")));
        }
        let expires = member("X-Amz-Expires")?;
        let expires = expires
            .parse()
            .ok()
            .filter(|seconds| EXPIRES_SECONDS.contains(seconds))
            .ok_or_else(|| incomplete("X-Amz-Expires must be a number of seconds from 1 to 604800 (a week)"))?;
        Ok(Unchecked {
            credential: member("X-Amz-Credential")?,
            signed_headers: member("X-Amz-SignedHeaders")?,
            signature: member("X-Amz-Signature")?,
            timestamp: member("X-Amz-Date")?,
            expires: Some(SignedDuration::from_secs(expires)),
        })
    }
}

/// A claim whose parts have been found and not been looked at.
struct Unchecked {
    credential: String,
    signed_headers: String,
    signature: String,
    timestamp: String,
    expires: Option<SignedDuration>,
}

impl Unchecked {
    fn finish(self, parts: &Parts<'_>, now: Timestamp) -> Result<Claim, Error> {
        let (access_key_id, scope) = self
            .credential
            .split_once('/')
            .ok_or_else(|| incomplete("Credential must be `<access key>/<date>/<region>/ssm/aws4_request`"))?;
        let [date, region, service, terminator] = scope.split('/').collect::<Vec<_>>()[..] else {
            return Err(incomplete("Credential must be `<access key>/<date>/<region>/ssm/aws4_request`"));
        };
        if service != SERVICE && service != STATES_SERVICE {
            return Err(refused(format!("Credential should be scoped to correct service: '{SERVICE}'.")));
        }
        if terminator != TERMINATOR || region.is_empty() {
            return Err(refused(format!(
                "Credential should be scoped to a region, and with a valid terminator: '{TERMINATOR}'."
            )));
        }
        let at = parse_timestamp(&self.timestamp)
            .ok_or_else(|| incomplete("X-Amz-Date must be in ISO-8601 basic format `yyyyMMddTHHmmssZ`"))?;
        if !self.timestamp.starts_with(date) || date.len() != 8 {
            return Err(refused("Date in Credential scope does not match YYYYMMDD from X-Amz-Date."));
        }
        check_time(at, &self.timestamp, self.expires, now)?;
        if self.signature.len() != 64
            || !self.signature.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(incomplete("Signature must be 64 hex digits in lower case"));
        }
        let signed_headers: Vec<String> = self.signed_headers.split(';').map(str::to_owned).collect();
        check_signed_headers(&signed_headers, parts.headers)?;
        Ok(Claim {
            access_key_id: access_key_id.to_owned(),
            timestamp: self.timestamp,
            scope: scope.to_owned(),
            signed_headers,
            signature: self.signature,
            expires_at: at + self.expires.unwrap_or(SKEW) + SKEW,
        })
    }
}

fn check_time(at: Timestamp, sent: &str, expires: Option<SignedDuration>, now: Timestamp) -> Result<(), Error> {
    let shown = format_timestamp;
    if at > now + SKEW {
        return Err(refused(format!(
            "Signature not yet current: {sent} is still later than {} ({} + 5 min.)",
            shown(now + SKEW),
            shown(now)
        )));
    }
    match expires {
        Some(expires) if now > at + expires => Err(Error::new(
            "RequestExpired",
            format!(
                "Request has expired: it was signed at {sent} for {} s, and it is {}",
                expires.as_secs(),
                shown(now)
            ),
        )),
        None if now > at + SKEW => Err(refused(format!(
            "Signature expired: {sent} is now earlier than {} ({} - 5 min.)",
            shown(now - SKEW),
            shown(now)
        ))),
        _ => Ok(()),
    }
}

/// The host must be signed, and every `x-amz-` header that is there: they say what is asked for.
fn check_signed_headers(signed: &[String], headers: &HeaderMap) -> Result<(), Error> {
    let in_order = signed.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = signed.iter().all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
    if !in_order || !lower {
        return Err(incomplete("SignedHeaders must be lower-case names in order, each once, with `;` between them"));
    }
    let is_signed = |name: &str| signed.iter().any(|one| one == name);
    let unsigned = headers.keys().map(|name| name.as_str()).find(|name| name.starts_with("x-amz-") && !is_signed(name));
    if let Some(name) = unsigned.or((!is_signed("host")).then_some("host")) {
        return Err(refused(format!(
            "'Host' and every 'X-Amz-*' header must be signed: '{name}' is not a 'SignedHeader'."
        )));
    }
    Ok(())
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<i16> {
        let digits = &bytes[range];
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0_i16, |number, digit| number * 10 + i16::from(digit - b'0')))
    };
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    DateTime::new(number(0..4)?, small(4..6)?, small(6..8)?, small(9..11)?, small(11..13)?, small(13..15)?, 0)
        .ok()
        .and_then(|civil| TimeZone::UTC.to_timestamp(civil).ok())
}

/// An instant as SigV4 writes it.
pub(crate) fn format_timestamp(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn incomplete(message: impl Into<String>) -> Error {
    Error::new("IncompleteSignatureException", message)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new("InvalidSignatureException", message)
}
