//! The API as its users reach it: SSM's JSON protocol over HTTP.

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use patchwave_api::sign::Credentials;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

/// Pages read of one listing before the test gives up.
const PAGES_MAX: usize = 200;

/// A client of one API endpoint.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    host: String,
    endpoint: String,
    key: Credentials,
}

impl Api {
    /// A client of the API on a loopback port that signs with `key`.
    #[must_use]
    pub fn new(port: u16, key: Credentials) -> Self {
        patchwave_api::use_ring();
        let host = format!("127.0.0.1:{port}");
        Self { http: reqwest::Client::new(), endpoint: format!("http://{host}"), host, key }
    }

    /// Variables that other clients find the access key by; `prefix` is `PATCHWAVE` or `AWS`.
    #[must_use]
    pub fn variables(&self, prefix: &str) -> [(String, String); 2] {
        let secret = self.key.secret_access_key.reveal().to_owned();
        [
            (format!("{prefix}_ACCESS_KEY_ID"), self.key.access_key_id.clone()),
            (format!("{prefix}_SECRET_ACCESS_KEY"), secret),
        ]
    }

    /// The URL that programs are given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether `/readyz` says that everything it stands on answers.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.endpoint)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Calls an operation of SSM, or `Patchwave.<operation>`.
    ///
    /// # Errors
    /// When nobody answers or the call is refused.
    pub async fn call(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        let target = if operation.contains('.') { operation.to_owned() } else { format!("AmazonSSM.{operation}") };
        let body = input.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-target", HeaderValue::from_str(&target)?);
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.extend(self.key.sign("POST", &self.host, ("/", ""), &headers, body.as_bytes(), Timestamp::now()));
        let request = self.http.post(&self.endpoint).headers(headers).body(body);
        let answer = request.send().await.with_context(|| format!("{operation} was not answered"))?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{operation} {input} was answered {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("{operation} was answered {body}"))
    }

    /// A call that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, &input).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A text member of the answer of a call that must succeed.
    ///
    /// # Panics
    /// When the call fails or the answer has no such member.
    pub async fn id(&self, operation: &str, input: Value, member: &str) -> String {
        let answer = self.ok(operation, input).await;
        answer[member].as_str().unwrap_or_else(|| panic!("{operation}: no {member} in {answer}")).to_owned()
    }

    /// Every item of a listing, page by page.
    ///
    /// # Errors
    /// As [`Api::call`], or when the listing does not end.
    pub async fn all(&self, operation: &str, mut input: Value, member: &str) -> anyhow::Result<Vec<Value>> {
        input["MaxResults"] = json!(50);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.call(operation, &input).await?;
            items.extend(page[member].as_array().with_context(|| format!("no {member} in {page}"))?.iter().cloned());
            match page.get("NextToken") {
                Some(token) => input["NextToken"] = token.clone(),
                None => return Ok(items),
            }
        }
        anyhow::bail!("{operation} has more than {PAGES_MAX} pages")
    }

    /// As [`Api::all`], for a listing that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub async fn list(&self, operation: &str, input: Value, member: &str) -> Vec<Value> {
        self.all(operation, input, member).await.unwrap_or_else(|error| panic!("{error:#}"))
    }
}
