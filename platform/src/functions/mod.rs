//! Functions and endpoints over HTTP: calls of executions that leave the control plane.
//!
//! A function is whatever speaks Lambda's Invoke interface, as the Lambda runtime's emulator and
//! LocalStack do. Whom a call reaches is told its token, by which it can recognise that the same call
//! is made again. Answers are read to a bound, and nobody is followed to another address.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable as _};
use patchwave_engine::calls::{Call, CallOutcome, FunctionCall, HttpCall, InvocationType};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use serde_json::{Value, json};

use crate::operations::CallMaker;
use crate::store::Store;
use crate::store::calls::StoredCall;
use crate::telemetry::error_chain;
use crate::workflows::{PAYLOAD_BYTES_MAX, failed};

#[cfg(test)]
mod tests;

/// Bytes of an answer that are read: what is longer than a result may be is told as such.
const ANSWER_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 1;
/// Characters of an answer that an error repeats.
const CAUSE_CHARS_MAX: usize = 4_000;
/// Tries to reach a function that nobody can have received yet, or that asked to be left for a moment.
const TRIES: usize = 4;
/// The first pause between two tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The header that names a call to whoever is called.
const TOKEN_HEADER: &str = "x-patchwave-token";

/// Makes calls of functions and endpoints.
#[derive(Debug, Clone)]
pub struct Functions {
    store: Store,
    http: Client,
}

/// What an address may be: `https` anywhere, `http` on this machine.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let address: Option<IpAddr> = host.parse().ok();
    let is_here = host.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback());
    let allowed = "allowed are https URLs, and http ones on loopback";
    match url.scheme() {
        // Where clouds keep the credentials of their machines.
        _ if address.is_some_and(|address| matches!(address, IpAddr::V4(v4) if v4.is_link_local())) => {
            Err(format!("`{text}` is a link-local address; {allowed}"))
        }
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("the URL holds a password; allowed are URLs without one".to_owned())
        }
        "https" => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(format!("`{text}` is not allowed; {allowed}")),
    }
}

impl Functions {
    /// Calls functions that this store has registered.
    ///
    /// # Errors
    /// [`reqwest::Error`] when there can be no client.
    pub fn new(store: Store) -> Result<Self, reqwest::Error> {
        // Fails when it is set already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().redirect(redirect::Policy::none()).connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Self { store, http })
    }

    async fn function(&self, token: &str, call: &FunctionCall) -> CallOutcome {
        // An ARN or a qualified name ends in a version or an alias.
        let (name, suffix) =
            call.function.split_once(':').map_or((call.function.as_str(), None), |(name, rest)| (name, Some(rest)));
        let function = match self.store.function(name).await {
            Ok(Some(function)) => function,
            Ok(None) => {
                let cause =
                    format!("function `{name}` is not registered; `patchwave function list` has those that are");
                return failed("Lambda.ResourceNotFoundException", cause);
            }
            Err(error) => return failed("Lambda.ServiceException", error_chain(&error)),
        };
        let address = format!("{}/2015-03-31/functions/{name}/invocations", function.url.trim_end_matches('/'));
        let mut url = match check_url(&address) {
            Ok(url) => url,
            Err(problem) => return failed("Lambda.ServiceException", problem),
        };
        if let Some(qualifier) = call.qualifier.as_deref().or(suffix) {
            url.query_pairs_mut().append_pair("Qualifier", qualifier);
        }
        let kind = match call.invocation_type {
            InvocationType::RequestResponse => "RequestResponse",
            InvocationType::Event => "Event",
            InvocationType::DryRun => "DryRun",
        };
        let send = || async {
            let mut request = self
                .http
                .post(url.clone())
                .header("x-amz-invocation-type", kind)
                .header("x-amz-log-type", "None")
                .header(TOKEN_HEADER, token)
                .header("content-type", "application/json")
                .body(call.payload.to_string());
            if let Some(context) = &call.client_context {
                request = request.header("x-amz-client-context", context);
            }
            match request.send().await {
                // It asks to be left for a moment, and has done nothing.
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => Err(Sent::Busy),
                Ok(response) => Ok(response),
                Err(error) if error.is_connect() => Err(Sent::Unreached(error)),
                Err(error) => Err(Sent::Lost(error)),
            }
        };
        let policy = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(TRIES - 1).with_jitter();
        // What may have arrived is not sent again: whoever retries is the machine, by its own rules.
        let sent = send.retry(policy).when(|sent| !matches!(sent, Sent::Lost(_))).await;
        let response = match sent {
            Ok(response) => response,
            Err(Sent::Busy) => return failed("Lambda.TooManyRequestsException", "the function answered 429"),
            Err(Sent::Unreached(error) | Sent::Lost(error)) => {
                return failed("Lambda.ServiceException", error_chain(&error.without_url()));
            }
        };
        let status = response.status();
        let thrown = response.headers().contains_key("x-amz-function-error");
        let body = match bounded(response).await {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        if !status.is_success() {
            let error = match status {
                StatusCode::NOT_FOUND => "Lambda.ResourceNotFoundException",
                StatusCode::BAD_REQUEST => "Lambda.InvalidRequestContentException",
                _ => "Lambda.ServiceException",
            };
            return failed(error, format!("the function answered {status}: {}", shortened(&body)));
        }
        let answer = if body.trim().is_empty() { Ok(Value::Null) } else { serde_json::from_str::<Value>(&body) };
        match answer {
            Ok(answer) if thrown => {
                let error = answer["errorType"].as_str().unwrap_or("Lambda.Unknown").to_owned();
                failed(&error, shortened(&body))
            }
            Ok(answer) => CallOutcome::Succeeded(answer),
            Err(error) => failed("Lambda.Unknown", format!("the answer is not JSON: {error}")),
        }
    }

    async fn endpoint(&self, token: &str, call: &HttpCall) -> CallOutcome {
        let refused = |problem: String| failed("States.Runtime", problem);
        let mut url = match check_url(&call.url) {
            Ok(url) => url,
            Err(problem) => return refused(format!("ApiEndpoint: {problem}")),
        };
        for (name, values) in &call.query {
            for value in values {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let method = match call.method.as_str() {
            method @ ("GET" | "POST" | "PUT" | "DELETE" | "PATCH" | "HEAD" | "OPTIONS") => method,
            other => {
                return refused(format!(
                    "Method is `{other}`; allowed are GET, POST, PUT, DELETE, PATCH, HEAD and OPTIONS"
                ));
            }
        };
        let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
        let mut request = self.http.request(method, url).header(TOKEN_HEADER, token);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        // Made once: what may have arrived is not sent again.
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => return refused(error_chain(&error.without_url())),
            Err(error) => return failed("States.Http.Socket", error_chain(&error.without_url())),
        };
        let status = response.status();
        let headers: Value = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), json!([value.to_str().ok()?]))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let body = match bounded(response).await {
            Ok(body) => body,
            Err(outcome) => return outcome,
        };
        if !status.is_success() {
            return failed(&format!("States.Http.StatusCode.{}", status.as_u16()), shortened(&body));
        }
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        CallOutcome::Succeeded(json!({
            "StatusCode": status.as_u16(),
            "StatusText": status.canonical_reason().unwrap_or_default(),
            "Headers": headers,
            "ResponseBody": body,
        }))
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Sent {
    Busy,
    Unreached(reqwest::Error),
    Lost(reqwest::Error),
}

/// An answer's text, up to the bound.
async fn bounded(mut response: Response) -> Result<String, CallOutcome> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() < ANSWER_BYTES_MAX => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let cause = format!("the answer is longer than {PAYLOAD_BYTES_MAX} bytes");
                return Err(failed("States.DataLimitExceeded", cause));
            }
            Ok(None) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => return Err(failed("Lambda.ServiceException", error_chain(&error.without_url()))),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(CAUSE_CHARS_MAX).collect()
}

#[async_trait]
impl CallMaker for Functions {
    async fn make(&self, call: &StoredCall, time: Duration) -> Option<CallOutcome> {
        let made = async {
            match &call.call {
                Call::Function(function) => {
                    let own = self.store.function(function.function.split(':').next().unwrap_or_default()).await;
                    let own =
                        own.ok().flatten().map_or(time, |one| Duration::from_secs(u64::from(one.timeout_seconds)));
                    let made = tokio::time::timeout(own.min(time), self.function(&call.token, function)).await;
                    made.unwrap_or_else(|_| failed("States.Timeout", "the function did not answer within its time"))
                }
                Call::Http(http) => self.endpoint(&call.token, http).await,
                _ => failed("States.Runtime", "functions and endpoints are all that is called here"),
            }
        };
        match &call.call {
            Call::Function(_) | Call::Http(_) => Some(made.await),
            _ => None,
        }
    }
}
