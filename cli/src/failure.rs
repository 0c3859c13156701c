//! How the program fails: what is printed, with which hint, and the exit code.
//!
//! Everything here goes to standard error; standard output is for data.

use std::io::{self, Write as _};
use std::process::ExitCode;

use patchwave_api::ServeError;

use crate::client::ClientError;
use crate::config::ConfigError;

/// The request was understood and did not succeed.
pub const EXIT_FAILED: u8 = 1;
/// The arguments or the configuration are wrong; nothing was attempted.
pub const EXIT_USAGE: u8 = 2;
/// The server is not reachable.
pub const EXIT_UNREACHABLE: u8 = 3;

/// For `--help`.
pub const EXIT_CODES_HELP: &str = "\
Exit codes:
  0  done; for `watch`, the status is Success
  1  failed: the server refused or is not ready, or what was watched did not succeed
  2  the arguments or the configuration are wrong; nothing was attempted
  3  the server is not reachable";

/// An error that knows its exit code, and perhaps what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The exit code.
    code: u8,
    message: String,
    /// One sentence for the reader, without `hint:`.
    hint: Option<String>,
}

impl Failure {
    /// Something that was attempted did not succeed.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: EXIT_FAILED, message: message.into(), hint: None }
    }

    /// The arguments or the configuration are wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: EXIT_USAGE, message: message.into(), hint: None }
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Prints `error` with its causes and hint, and says how to exit.
///
/// A reader of standard output that went away (`patchwave … | head`) is no error.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some libraries repeat their source in their own message.
        if !said.contains(&cause) {
            text.push_str(&format!("  because: {cause}\n"));
        }
        said = cause;
    }
    let (code, hint) = verdict(error);
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // If standard error is gone too, nobody is left to be told.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}

/// Exit code and hint of the first cause that knows them.
fn verdict(error: &anyhow::Error) -> (u8, Option<&str>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.code, failure.hint.as_deref());
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            return (client.exit_code(), client.hint());
        }
        if let Some(ServeError::NotLoopback { .. } | ServeError::Tls(_)) = cause.downcast_ref() {
            return (EXIT_USAGE, None);
        }
        if let Some(ServeError::Bind { .. }) = cause.downcast_ref() {
            return (
                EXIT_FAILED,
                Some(
                    "if it is in use, choose another with --listen, --health-listen or --demo-listen; port 0 is a free one",
                ),
            );
        }
        if cause.is::<ConfigError>() {
            return (EXIT_USAGE, Some("`patchwave config` prints what is in force and where it comes from"));
        }
    }
    (EXIT_FAILED, None)
}

/// Prints what clap says: help and version to standard output, faults to standard error.
#[must_use]
pub fn report_usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(cause);
        while let Some(current) = cause {
            if current.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
                return true;
            }
            cause = current.source();
        }
        false
    })
}
