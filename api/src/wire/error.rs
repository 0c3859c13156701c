//! Errors as AWS JSON 1.1 has them: a name that scripts match on, and a sentence.

use std::time::Duration;

use axum::http::StatusCode;
use patchwave_platform::{Class, store};
use uuid::Uuid;

/// An error that the caller is told.
#[derive(Debug)]
pub(crate) struct Error {
    code: &'static str,
    message: String,
    status: StatusCode,
    /// After what time it may be tried again.
    retry_after: Option<Duration>,
    /// What lies behind a fault of ours; logged, not told.
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A fault of the caller's, with SSM's name for it.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), status: StatusCode::BAD_REQUEST, retry_after: None, source: None }
    }

    /// A request that comes too soon after others.
    pub(crate) fn throttled(message: &str, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..Self::new("ThrottlingException", message) }
    }

    /// A request that breaks a rule of its own.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// Something that is named and is not there.
    pub(crate) fn does_not_exist(what: impl std::fmt::Display) -> Self {
        Self::new("DoesNotExistException", format!("{what} does not exist"))
    }

    /// A fault of ours, or of what we stand on.
    pub(crate) fn internal(
        class: Class,
        message: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (code, status) = match class {
            Class::Transient => ("ServiceUnavailable", StatusCode::SERVICE_UNAVAILABLE),
            Class::Rejected | Class::Fatal => ("InternalServerError", StatusCode::INTERNAL_SERVER_ERROR),
        };
        Self { code, message: message.to_owned(), status, retry_after: None, source: Some(source.into()) }
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Logs a fault of ours, with its whole chain. A caller's fault is told to the caller alone.
    pub(crate) fn log(&self, request_id: Uuid) {
        if let Some(source) = &self.source {
            let source: &(dyn std::error::Error + 'static) = source.as_ref();
            tracing::error!(request.id = %request_id, error = source, "request failed: {}", self.message);
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::internal(error.class(), "the store could not do as asked; try again later", error)
    }
}
