//! Which log lines this process writes, from what the command line says.
//!
//! How they are written is `platform::telemetry`'s business.

pub use patchwave_platform::telemetry::LogFormat;
use patchwave_platform::telemetry::{self, TelemetryError};
use tracing_subscriber::EnvFilter;

/// Starts logging: lines that pass `filter` (such as `info,patchwave=debug`), in `format`.
///
/// Only the first call of a process has an effect: an embedding program, such as a test, may have
/// set its own subscriber.
///
/// # Errors
/// [`TelemetryError::Filter`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    match telemetry::init(format, filter) {
        Ok(()) | Err(TelemetryError::Twice { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The filter that `-v` given `count` times stands for.
#[must_use]
pub const fn verbosity(count: u8) -> Option<&'static str> {
    match count {
        0 => None,
        1 => Some("info,patchwave=debug"),
        _ => Some("debug,patchwave=trace"),
    }
}

/// Whether `filter` says anything that is understood.
pub(crate) fn is_filter(filter: &str) -> bool {
    !filter.trim().is_empty() && EnvFilter::try_new(filter).is_ok()
}
