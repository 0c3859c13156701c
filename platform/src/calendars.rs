//! Change calendars as they are stored: documents in the format `TEXT`, which no other kind has.

use jiff::Timestamp;
use patchwave_engine::calendar::{Calendar, Gate, gate};

use crate::store::documents::{DocumentVersion, VersionSelector};
use crate::store::{Error, Tx};

/// The format of a calendar's content, and of no other document's.
pub const FORMAT: &str = "TEXT";

/// What calendars say at `at`, each in its default version.
///
/// One that is not there, is no calendar or cannot be read counts as closed.
///
/// # Errors
/// The store's.
pub async fn judge(tx: &mut Tx, names: &[String], at: Timestamp) -> Result<Gate, Error> {
    if names.is_empty() {
        return Ok(Gate::Open);
    }
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let bare = name.rsplit('/').next().unwrap_or(name);
        found.push((bare.to_owned(), tx.document_version(bare, VersionSelector::Default).await?));
    }
    // Reading a large calendar takes milliseconds; it is done beside the threads that serve others.
    let judged = tokio::task::spawn_blocking(move || {
        let read: Vec<_> = found.into_iter().map(|(name, version)| (name, read(version.as_ref()))).collect();
        gate(&read, at)
    });
    Ok(judged.await.unwrap_or_else(|failure| std::panic::resume_unwind(failure.into_panic())))
}

/// Reads the calendar that a version holds.
///
/// # Errors
/// What is wrong, as the rest of a sentence that begins with its name.
pub fn read(version: Option<&DocumentVersion>) -> Result<Calendar, String> {
    let version = version.ok_or("does not exist")?;
    if version.format != FORMAT {
        return Err("is a document that is no change calendar".to_owned());
    }
    Calendar::parse(&version.content).map_err(|faults| {
        let first = faults.first().map(ToString::to_string).unwrap_or_default();
        format!("cannot be read ({first})")
    })
}
