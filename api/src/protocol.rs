//! AWS JSON 1.1 over HTTP: the operation is in `X-Amz-Target`, the request and the response are one
//! JSON object each, errors carry their name in `__type`.
//!
//! The signature in `Authorization` is accepted unread: only this machine is served.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::wire::{Error, Request};
use crate::{Api, operations};

/// What both directions send.
const JSON_1_1: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Answers one operation.
pub(crate) async fn handle(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request_id = Uuid::new_v4();
    let answer = match body {
        Ok(body) => answer(&api, &headers, &body).await,
        Err(rejection) => {
            let limit = crate::BODY_BYTES_MAX;
            Err(Error::new("SerializationException", format!("{rejection}; allowed are {limit} bytes of JSON")))
        }
    };
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

async fn answer(api: &Api, headers: &HeaderMap, body: &[u8]) -> Result<Value, Error> {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request = Request::new(target, body)?;
    let class = operations::class(&request)?;
    tracing::debug!(operation = request.operation(), ?class, "asked");
    operations::dispatch(api, &request).await
}

fn error_response(error: &Error) -> Response {
    // SDKs read either spelling, scripts one of them.
    let body = json!({ "__type": error.code(), "message": error.message(), "Message": error.message() });
    let mut response = (error.status(), body.to_string()).into_response();
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.code()));
    response
}

/// Refuses requests for a host name that is not this machine's own.
///
/// Listening on loopback keeps other machines out, but not a page in a local browser whose name
/// was made to resolve to loopback; such a request still says the page's name.
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
