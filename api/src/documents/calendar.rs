//! Change calendars among the documents: texts in iCalendar, which `engine::calendar` judges.

use patchwave_engine::calendar::{CALENDAR_BYTES_MAX, Calendar};
use patchwave_platform::calendars::FORMAT;
use serde_json::{Value, json};

use super::content::Content;
use crate::auth::canonical::sha256_hex;
use crate::wire::Error;

/// SSM's `DocumentType` of a document by its content's format: calendars are texts, and nothing else
/// is.
pub(super) fn document_type(format: &str) -> &'static str {
    if format == FORMAT { "ChangeCalendar" } else { "Command" }
}

/// Whether a document is a calendar.
pub(super) fn is_calendar(format: &str) -> bool {
    format == FORMAT
}

impl Content {
    /// Reads a calendar, beside the threads that answer requests.
    pub(super) async fn read_calendar(text: String, format: Option<&str>) -> Result<Self, Error> {
        if let Some(other) = format.filter(|format| *format != FORMAT) {
            let message =
                format!("DocumentFormat is `{other}`; allowed is TEXT, in which change calendars are written");
            return Err(Error::validation(message));
        }
        let read = tokio::task::spawn_blocking(move || Self::of_calendar(text));
        read.await.unwrap_or_else(|failure| {
            Err(Error::internal(patchwave_platform::Class::Rejected, "a calendar could not be read", failure))
        })
    }

    fn of_calendar(text: String) -> Result<Self, Error> {
        if text.len() > CALENDAR_BYTES_MAX {
            let message = format!("Content is {} bytes long; at most {CALENDAR_BYTES_MAX} are allowed", text.len());
            return Err(Error::new("MaxDocumentSizeExceeded", message));
        }
        let calendar = Calendar::parse(&text).map_err(|faults| {
            let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
            Error::new("InvalidDocumentContent", format!("Content is no change calendar: {}", said.join("; ")))
        })?;
        Ok(Self { hash: sha256_hex(text.as_bytes()), text, format: FORMAT.to_owned(), json: summary(&calendar) })
    }
}

/// What is kept of a calendar beside its text, for lists.
fn summary(calendar: &Calendar) -> Value {
    json!({ "calendarType": calendar.kind().name(), "description": calendar.description() })
}
