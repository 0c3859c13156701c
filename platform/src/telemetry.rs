//! Logs on standard error, and what must be taken out of them.
//!
//! Standard output belongs to the commands: nothing here writes to it.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::util::SubscriberInitExt;

/// Directives that hold whatever the operator asks for, unless he names the same target.
///
/// lapin logs every returned message with its body, and bodies may hold secrets. A return is how a
/// node that is away shows itself: normal.
const ALWAYS: &str = "lapin=error,sqlx=warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line, for collectors.
    Json,
}

impl FromStr for LogFormat {
    type Err = TelemetryError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format { found: name.to_owned() }),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A format that does not exist.
    #[error("log format is `{found}`; expected `pretty` or `json`")]
    Format {
        /// What was given.
        found: String,
    },
    /// A filter that does not parse.
    #[error(
        "log filter is `{found}`; expected a level or `target=level` pairs, such as `info,patchwave_workers=debug`"
    )]
    Filter {
        /// What was given.
        found: String,
        /// Position and reason.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A second call in one process.
    #[error("logging was already set up")]
    Twice {
        /// The subscriber's reason.
        #[source]
        source: tracing_subscriber::util::TryInitError,
    },
}

/// Starts logging to standard error. Once per process.
///
/// `filter` is a level (`info`) or `target=level` pairs, as in `RUST_LOG`.
///
/// # Errors
/// [`TelemetryError`] for a filter that does not parse, and for a second call.
pub fn init(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(format!("{ALWAYS},{filter}"))
        .map_err(|source| TelemetryError::Filter { found: filter.to_owned(), source })?;
    let builder: SubscriberBuilder<DefaultFields, Format, EnvFilter> =
        tracing_subscriber::fmt().with_env_filter(filter);
    let builder = builder.with_writer(std::io::stderr);
    let result = match format {
        LogFormat::Pretty => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colour).finish().try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    result.map_err(|source| TelemetryError::Twice { source })
}

/// A URL with its password, if it has one, replaced by `***`. Works on what is no URL, too.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A password may hold `/` or `@` where somebody forgot to escape it: better hide too much.
    let Some((user_info, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    match user_info.split_once(':') {
        Some((user, _password)) => format!("{scheme}://{user}:***@{host}"),
        None => url.to_owned(),
    }
}

/// An error with all its causes in one line, for a log field or a status.
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some drivers repeat their source in their own message.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_of_urls() {
        for (url, expected) in [
            ("amqp://guest:secret@host:5672/%2f", "amqp://guest:***@host:5672/%2f"),
            ("postgres://user:p@ss/w@host/db", "postgres://user:***@host/db"),
            ("redis://:secret@host", "redis://:***@host"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("amqp://user@host", "amqp://user@host"),
            ("embedded", "embedded"),
        ] {
            assert_eq!(redact_url(url), expected);
        }
    }

    #[test]
    fn unknown_format_is_refused_with_what_is_allowed() {
        let error = "xml".parse::<LogFormat>().unwrap_err();
        assert_eq!(error.to_string(), "log format is `xml`; expected `pretty` or `json`");
    }

    #[test]
    fn malformed_filter_is_refused_with_an_example() {
        let error = init(LogFormat::Json, "info,=,[").unwrap_err();
        assert!(error.to_string().contains("log filter is `info,=,[`"), "{error}");
    }
}
