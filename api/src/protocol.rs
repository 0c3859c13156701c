//! AWS JSON 1.1 over HTTP: the operation is in `X-Amz-Target`, the request and the response are one
//! JSON object each, errors carry their name in `__type`.
//!
//! Who asks is `auth`'s business, and whether they may `audited`'s.

use std::net::IpAddr;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::Caller;
use crate::wire::{Error, Request};
use crate::{Api, audited};

/// What both directions send.
const JSON_1_1: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const JSON_1_0: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Answers one operation. Who asks is known by now, and the body is not too long.
pub(crate) async fn handle(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = Uuid::new_v4();
    // Step Functions speaks the older version, which differs in this header alone.
    let is_states =
        headers.get("x-amz-target").is_some_and(|target| target.as_bytes().starts_with(b"AWSStepFunctions."));
    let answer = match body {
        Ok(body) => answer(&api, caller, &headers, &body).await,
        Err(rejection) => Err(Error::new("SerializationException", rejection.to_string())),
    };
    let mut response = finished(answer, request_id);
    if is_states {
        response.headers_mut().insert(CONTENT_TYPE, JSON_1_0);
    }
    response
}

/// An answer with the protocol's headers.
pub(crate) fn finished(answer: Result<Value, Error>, request_id: Uuid) -> Response {
    let mut response = match answer {
        Ok(body) => (StatusCode::OK, body.to_string()).into_response(),
        Err(error) => {
            error.log(request_id);
            error_response(&error)
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON_1_1);
    headers.insert(REQUEST_ID, HeaderValue::from_str(&request_id.to_string()).expect("a UUID is ASCII"));
    // SDKs correct their clock by this header.
    if let Ok(date) = HeaderValue::from_str(&http_date()) {
        headers.insert(header::DATE, date);
    }
    response
}

async fn answer(api: &Api, caller: Caller, headers: &HeaderMap, body: &[u8]) -> Result<Value, Error> {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    audited::answer(api, Request::new(target, body, caller)?).await
}

fn error_response(error: &Error) -> Response {
    // SDKs read either spelling, scripts one of them.
    let body = json!({ "__type": error.code(), "message": error.message(), "Message": error.message() });
    let mut response = (error.status(), body.to_string()).into_response();
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.code()));
    if let Some(wait) = error.retry_after() {
        // Whole seconds, and at least one: sooner would be too soon again.
        let seconds = HeaderValue::from(wait.as_secs_f64().ceil().max(1.0) as u64);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

/// Refuses unsigned requests for a host name that is not this machine's own.
///
/// A page in a browser may have a name that was made to resolve to an address in here; what it
/// sends still says the page's name. A signed request needs no such care: no page can sign one.
pub(crate) async fn refuse_foreign_hosts(request: axum::extract::Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    if host.is_none_or(is_own_host) {
        return next.run(request).await;
    }
    let text = format!("host `{}` is not served here; allowed are localhost and IP addresses\n", host.unwrap_or(""));
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}

fn is_own_host(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn http_date() -> String {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::is_own_host;

    #[test]
    fn only_localhost_and_addresses_are_own_hosts() {
        for (host, expected) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("127.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("evil.example", false),
            ("evil.example:8080", false),
            ("127.0.0.1.evil.example:80", false),
            ("", false),
        ] {
            assert_eq!(is_own_host(host), expected, "{host}");
        }
    }
}
