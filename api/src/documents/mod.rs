//! Command documents, those that come with the program and those of the operator's own; and change
//! calendars.
//!
//! A content is read and judged by `engine::documents`; here it is turned from text into JSON, and
//! kept.

use patchwave_platform::store::documents::{Document, DocumentVersion, VersionSelector};
use serde_json::Value;

use crate::Api;
use crate::auth::canonical::sha256_hex;
use crate::wire::Error;

mod builtin;
mod calendar;
mod content;
mod create;
mod delete;
mod list;
mod permissions;
mod read;
mod update;
mod view;

pub(crate) use create::create;
pub(crate) use delete::delete;
pub(crate) use list::{list, list_versions};
pub(crate) use permissions::{describe_permission, modify_permission};
pub(crate) use read::{describe, get};
pub(crate) use update::{set_default, update};

/// Whether a content would be stored.
#[cfg(feature = "fuzzing")]
pub(crate) fn check_content(text: &str, format: &str) -> Result<(), Error> {
    content::Content::read(text.to_owned(), Some(format)).map(drop)
}

/// The name of a document as requests give it: bare, or at the end of an ARN.
pub(crate) fn bare_name(name: &str) -> &str {
    if name.starts_with("arn:") { name.rsplit('/').next().unwrap_or_default() } else { name }
}

/// A document that is there.
enum Found {
    /// Comes with the program.
    BuiltIn(&'static patchwave_engine::documents::Document),
    /// The operator's own, with the version asked for.
    Own(Box<(Document, DocumentVersion)>),
}

/// Finds a document by what a request says of it.
async fn find(api: &Api, name: &str, version: Option<&str>, version_name: Option<&str>) -> Result<Found, Error> {
    let name = bare_name(name);
    let selector = match version_name {
        Some(version_name) => VersionSelector::Named(version_name),
        None => VersionSelector::of(version),
    };
    if let Some(document) = patchwave_engine::documents::find(name) {
        return match (version_name, version) {
            (None, None | Some("$DEFAULT" | "$LATEST")) => Ok(Found::BuiltIn(document)),
            (None, Some(version)) if version == document.version => Ok(Found::BuiltIn(document)),
            _ => Err(no_version(name, version_name.or(version).unwrap_or_default(), document.version)),
        };
    }
    let document = api.store.document(name).await?.ok_or_else(|| unknown(name))?;
    let found = api.store.document_version(name, selector).await?;
    match found {
        Some(version) => Ok(Found::Own(Box::new((document, version)))),
        None => {
            let known = format!("numbers up to {}", document.latest_version);
            Err(no_version(name, version_name.or(version).unwrap_or_default(), &known))
        }
    }
}

/// Checks that a document's content is the one that the caller has seen, by its hash.
///
/// # Errors
/// `InvalidDocument` when it is another; returns the version that has that content.
pub(crate) async fn check_hash(api: &Api, name: &str, version: Option<&str>, hash: &str) -> Result<String, Error> {
    let (number, actual) = match find(api, name, version, None).await? {
        Found::BuiltIn(document) => (document.version.to_owned(), sha256_hex(builtin::content(document).as_bytes())),
        Found::Own(own) => (own.1.version.to_string(), own.1.content_hash),
    };
    if actual.eq_ignore_ascii_case(hash) {
        return Ok(number);
    }
    let message = format!("DocumentHash is `{hash}`; allowed is {actual}, of version {number} of document `{name}`");
    Err(Error::new("InvalidDocument", message))
}

fn unknown(name: &str) -> Error {
    Error::new("InvalidDocument", format!("document `{name}` does not exist"))
}

fn no_version(name: &str, version: &str, known: &str) -> Error {
    let message = format!("document `{name}` has no version `{version}`; allowed are $DEFAULT, $LATEST and {known}");
    Error::new("InvalidDocumentVersion", message)
}

/// Refuses to change a document that comes with the program.
fn refuse_builtin(name: &str, code: &'static str) -> Result<(), Error> {
    match patchwave_engine::documents::find(name) {
        Some(_) => Err(Error::new(code, format!("document `{name}` comes with Patchwave and cannot be changed"))),
        None => Ok(()),
    }
}

/// Refuses what a request asks for and a document cannot have here.
fn refuse_parts(requires: Option<&Value>, attachments: Option<&Value>) -> Result<(), Error> {
    for (member, value) in [("Requires", requires), ("Attachments", attachments)] {
        if value.and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
            return Err(Error::validation(format!(
                "{member} is given; Patchwave keeps documents without attachments and dependencies"
            )));
        }
    }
    Ok(())
}
