//! A small client of the API: the SSM JSON 1.1 protocol.
//!
//! It sends and returns JSON as it is on the wire. What the members mean is the commands' business.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use patchwave_api::sign::Credentials;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use serde_json::{Map, Value, json};

use crate::failure::{EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE};

/// Time to reach the server; loopback answers at once.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time for one answer. Listings of large fleets take seconds, nothing takes a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Time for an answer about health: the server gives up asking others after 3 s.
const HEALTH_WITHIN: Duration = Duration::from_secs(8);
/// Elements of a page: allowed by every operation that has pages (10..=50 is common to all).
const PAGE: u32 = 50;
/// Most bytes of an answer that is not ours that are quoted.
const QUOTED_CHARS_MAX: usize = 200;

/// Speaks to one API endpoint. Clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Url,
    credentials: Option<Credentials>,
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint is no `http://` or `https://` URL, or its authority cannot be used.
    #[error("endpoint `{endpoint}`: {reason}; expected a URL such as `http://127.0.0.1:8080`")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there, or not in time.
    #[error("could not reach the API at {endpoint}: {reason}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// What happened.
        reason: String,
        /// Whether the connection was refused: nothing listens there.
        refused: bool,
    },
    /// The API refused the call.
    #[error("{operation} was refused: {message} ({code})")]
    Refused {
        /// The operation.
        operation: String,
        /// SSM's error name, such as `DoesNotExistException`.
        code: String,
        /// What the API says.
        message: String,
    },
    /// What answered does not speak the protocol.
    #[error("{endpoint} answered {status} with something that is not the API's JSON: {body}")]
    NotTheApi {
        /// The endpoint.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// The start of the answer.
        body: String,
    },
    /// The server repeats a page for ever.
    #[error("{operation} returned the same NextToken twice")]
    EndlessPages {
        /// The operation.
        operation: String,
    },
}

impl ClientError {
    /// SSM's error name, if the API refused the call.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the call may succeed later as it is.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
            || matches!(self.code(), Some("InternalServerError" | "ThrottlingException" | "ServiceUnavailable"))
    }

    /// How the program exits when this is why it fails.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Endpoint { .. } => EXIT_USAGE,
            Self::Unreachable { .. } => EXIT_UNREACHABLE,
            Self::Refused { .. } | Self::NotTheApi { .. } | Self::EndlessPages { .. } => EXIT_FAILED,
        }
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { refused: true, .. } => {
                Some("start it with `patchwave up`, or say where it is with --endpoint or PATCHWAVE_ENDPOINT")
            }
            Self::Unreachable { .. } => Some("check --endpoint, and that the server is not overloaded"),
            Self::NotTheApi { .. } => Some("check --endpoint: another program may listen there"),
            Self::Refused { code, message, .. } if code == "ValidationException" && message.contains("^mw-") => {
                Some("windows go by their ids: list them with `patchwave window list`")
            }
            Self::Refused { operation, code, .. } => hint_for(operation, code),
            Self::Endpoint { .. } | Self::EndlessPages { .. } => None,
        }
    }
}

/// What helps with the errors that operators meet most.
fn hint_for(operation: &str, code: &str) -> Option<&'static str> {
    Some(match code {
        "DoesNotExistException" if operation.contains("Execution") => {
            "list the executions with `patchwave execution list`; one that was just asked for appears in a moment"
        }
        "DoesNotExistException" if operation.contains("MaintenanceWindow") => {
            "list the windows with `patchwave window list`, their targets and tasks with `patchwave window target list` \
             and `patchwave window task list`"
        }
        "DoesNotExistException" if operation.contains("Baseline") => {
            "list the baselines with `patchwave baseline list`"
        }
        "DoesNotExistException" if operation.contains("DeadLetter") => "list them with `patchwave dead-letters list`",
        "DoesNotExistException" if operation.contains("ResourceGroup") => "list the groups with `patchwave group list`",
        "InvalidInstanceId" => "list the nodes with `patchwave node list`",
        "InvalidCommandId" => "list the commands with `patchwave command list`",
        "InvalidDocument" => "list the documents with `patchwave document list`",
        "ResourceInUseException" if operation.contains("AccessKey") => {
            "make another admin's key first: `patchwave access-key create --role admin`"
        }
        "ResourceInUseException" => {
            "take it out of use first: `patchwave patch-group deregister`, `patchwave baseline default`"
        }
        "MissingAuthenticationTokenException" => {
            "give an access key: PATCHWAVE_ACCESS_KEY_ID and PATCHWAVE_SECRET_ACCESS_KEY, or the file \
             ~/.config/patchwave/credentials; the server printed the first one at its first start, and may have left \
             it in its data directory: name that with --data-dir or PATCHWAVE_DATA_DIR"
        }
        "UnrecognizedClientException" => {
            "the server does not know this access key, or it is disabled: see `patchwave access-key list`"
        }
        "InvalidSignatureException" => "the secret may be wrong, or this machine's clock",
        "UnknownOperationException" => "the server may be of another version: compare `patchwave --version`",
        _ => return None,
    })
}

impl Client {
    /// A client of the API at `endpoint` that signs with `credentials`. Does not connect yet.
    ///
    /// `ca_cert` is a PEM file with the certificates that an `https` endpoint's must come from; those
    /// of this machine count when it is absent.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`].
    pub fn new(endpoint: &str, credentials: Option<Credentials>, ca_cert: Option<&Path>) -> Result<Self, ClientError> {
        let fault = |reason: String| ClientError::Endpoint { endpoint: endpoint.to_owned(), reason };
        let url = Url::parse(endpoint).map_err(|error| fault(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(fault(format!("scheme `{}` is not supported", url.scheme())));
        }
        patchwave_api::use_ring();
        let mut builder = reqwest::Client::builder();
        if let Some(path) = ca_cert {
            let read = std::fs::read(path).map_err(|error| fault(format!("{}: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&read)
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or_else(|| fault(format!("{} holds no certificate in PEM form", path.display())))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder
            // What is signed must not go anywhere else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .user_agent(concat!("patchwave/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self { http, endpoint: url, credentials })
    }

    /// Calls an operation of SSM.
    ///
    /// # Errors
    /// [`ClientError`], but for [`ClientError::EndlessPages`].
    pub async fn ssm(&self, operation: &str, request: &Value) -> Result<Value, ClientError> {
        self.call("AmazonSSM", operation, request).await
    }

    /// Calls an operation that SSM does not have.
    ///
    /// # Errors
    /// As [`Client::ssm`].
    pub async fn patchwave(&self, operation: &str, request: &Value) -> Result<Value, ClientError> {
        self.call("Patchwave", operation, request).await
    }

    /// Calls a listing of SSM page by page and returns one answer with all elements of `list`, or
    /// the first `limit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ssm_all(
        &self,
        operation: &str,
        request: &Value,
        list: &str,
        limit: Option<usize>,
    ) -> Result<Value, ClientError> {
        self.pages("AmazonSSM", operation, request, list, limit).await
    }

    /// As [`Client::ssm_all`], for a listing that SSM does not have.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn patchwave_all(
        &self,
        operation: &str,
        request: &Value,
        list: &str,
        limit: Option<usize>,
    ) -> Result<Value, ClientError> {
        self.pages("Patchwave", operation, request, list, limit).await
    }

    /// Asks for `/livez` or `/readyz`. Returns whether the server is well, and its answer.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::NotTheApi`].
    pub async fn health(&self, path: &str) -> Result<(bool, Value), ClientError> {
        let request = self.http.get(self.at(&[path])).timeout(HEALTH_WITHIN);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| self.unreachable(&error))?;
        match serde_json::from_str(&body) {
            Ok(answer @ Value::Object(_)) if status.is_success() || status.as_u16() == 503 => {
                Ok((status.is_success(), answer))
            }
            _ => Err(self.not_the_api(status.as_u16(), &body)),
        }
    }

    /// Opens the event stream at `path`, such as `/topics/patchwave/events`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] or [`ClientError::Refused`].
    pub async fn events(&self, segments: &[&str]) -> Result<Response, ClientError> {
        let url = self.at(segments);
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/event-stream"))]);
        let response = self
            .http
            .get(url.clone())
            .headers(self.signed("GET", &url, headers, &[]))
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.text().await.map_err(|error| self.unreachable(&error))?;
        if serde_json::from_str::<Map<String, Value>>(&body).is_ok() {
            return Err(self.refused("the event stream", status, &body));
        }
        // Other errors of the stream are a line of text.
        let message: String = body.trim().chars().filter(|c| !c.is_control()).take(QUOTED_CHARS_MAX).collect();
        Err(ClientError::Refused { operation: "the event stream".to_owned(), code: format!("HTTP {status}"), message })
    }

    /// The headers of a request, with its signature if there is something to sign with.
    fn signed(&self, method: &str, url: &Url, mut headers: HeaderMap, body: &[u8]) -> HeaderMap {
        if let Some(credentials) = &self.credentials {
            let host = match url.port() {
                Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
                None => url.host_str().unwrap_or_default().to_owned(),
            };
            let target = (url.path(), url.query().unwrap_or_default());
            headers.extend(credentials.sign(method, &host, target, &headers, body, Timestamp::now()));
        }
        headers
    }

    fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    async fn pages(
        &self,
        service: &str,
        operation: &str,
        request: &Value,
        list: &str,
        limit: Option<usize>,
    ) -> Result<Value, ClientError> {
        let mut request = request.as_object().cloned().unwrap_or_default();
        request.entry("MaxResults").or_insert(json!(PAGE));
        let mut elements = Vec::new();
        let mut token: Option<String> = None;
        loop {
            if let Some(token) = &token {
                request.insert("NextToken".to_owned(), json!(token));
            }
            let mut answer = self.call(service, operation, &Value::Object(request.clone())).await?;
            if let Some(Value::Array(page)) = answer.get_mut(list).map(Value::take) {
                elements.extend(page);
            }
            let next = answer["NextToken"].as_str().filter(|next| !next.is_empty()).map(str::to_owned);
            let is_enough = limit.is_some_and(|limit| elements.len() >= limit);
            if next.is_none() || is_enough {
                elements.truncate(limit.unwrap_or(usize::MAX));
                let mut all = answer.as_object().cloned().unwrap_or_else(Map::new);
                all.remove("NextToken");
                all.insert(list.to_owned(), Value::Array(elements));
                return Ok(Value::Object(all));
            }
            if next == token {
                return Err(ClientError::EndlessPages { operation: operation.to_owned() });
            }
            token = next;
        }
    }

    async fn call(&self, service: &str, operation: &str, request: &Value) -> Result<Value, ClientError> {
        let body = request.to_string();
        let mut headers =
            HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"))]);
        if let Ok(target) = HeaderValue::from_str(&format!("{service}.{operation}")) {
            headers.insert("x-amz-target", target);
        }
        let response = self
            .http
            .post(self.endpoint.clone())
            .timeout(ANSWER_WITHIN)
            .headers(self.signed("POST", &self.endpoint, headers, body.as_bytes()))
            .body(body)
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| self.unreachable(&error))?;
        if !status.is_success() {
            return Err(self.refused(operation, status.as_u16(), &body));
        }
        match serde_json::from_str(&body) {
            Ok(answer @ Value::Object(_)) => Ok(answer),
            // SSM itself answers some operations with nothing at all.
            _ if body.trim().is_empty() => Ok(json!({})),
            _ => Err(self.not_the_api(status.as_u16(), &body)),
        }
    }

    fn refused(&self, operation: &str, status: u16, body: &str) -> ClientError {
        let Ok(Value::Object(error)) = serde_json::from_str(body) else {
            return self.not_the_api(status, body);
        };
        let member = |names: &[&str]| names.iter().find_map(|name| error.get(*name).and_then(Value::as_str));
        match member(&["__type", "code"]) {
            Some(code) => ClientError::Refused {
                operation: operation.to_owned(),
                // Some servers send `com.amazon…#Name`.
                code: code.rsplit('#').next().unwrap_or(code).to_owned(),
                message: member(&["message", "Message"]).unwrap_or("no reason given").to_owned(),
            },
            None => self.not_the_api(status, body),
        }
    }

    fn not_the_api(&self, status: u16, body: &str) -> ClientError {
        let body: String = body.chars().filter(|c| !c.is_control()).take(QUOTED_CHARS_MAX).collect();
        ClientError::NotTheApi { endpoint: self.endpoint.to_string(), status, body: format!("{body:?}") }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let mut refused = false;
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<io::Error>() {
                refused |= io.kind() == io::ErrorKind::ConnectionRefused;
            }
            reason = current.to_string();
            cause = current.source();
        }
        if refused {
            reason = "connection refused".to_owned();
        } else if error.is_timeout() {
            reason = "no answer in time".to_owned();
        }
        ClientError::Unreachable { endpoint: self.endpoint.to_string(), reason, refused }
    }
}
