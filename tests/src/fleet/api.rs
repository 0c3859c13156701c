//! The API as its users reach it: SSM's JSON protocol over HTTP.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// Pages read of one listing before the test gives up.
const PAGES_MAX: usize = 200;

/// A client of one API endpoint.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    endpoint: String,
}

impl Api {
    /// A client of the API on a loopback port.
    #[must_use]
    pub fn new(port: u16) -> Self {
        // Set already by whoever was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), endpoint: format!("http://127.0.0.1:{port}") }
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
        let request = self.http.post(&self.endpoint).header("X-Amz-Target", target);
        let request = request.header("Content-Type", "application/x-amz-json-1.1").body(input.to_string());
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
