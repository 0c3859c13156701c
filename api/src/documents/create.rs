//! CreateDocument.

use jiff::Timestamp;
use patchwave_platform::store;
use patchwave_platform::store::documents::{Document, DocumentVersion};
use patchwave_platform::store::tags::Taggable;
use serde::Deserialize;
use serde_json::{Value, json};

use super::content::Content;
use super::{refuse_parts, view};
use crate::Api;
use crate::tags::{Tag, checked_tags};
use crate::wire::{Error, Request};

/// How names of documents must not begin, in any case (SSM).
const RESERVED: [&str; 3] = ["aws", "amazon", "amzn"];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: String,
    content: String,
    display_name: Option<String>,
    version_name: Option<String>,
    document_type: Option<String>,
    document_format: Option<String>,
    target_type: Option<String>,
    requires: Option<Value>,
    attachments: Option<Value>,
    #[serde(default)]
    tags: Vec<Tag>,
}

pub(crate) async fn create(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.name;
    let lower = name.to_ascii_lowercase();
    if let Some(prefix) = RESERVED.iter().find(|prefix| lower.starts_with(*prefix)) {
        return Err(Error::validation(format!("Name is `{name}`; names that begin with `{prefix}` are reserved")));
    }
    match input.document_type.as_deref() {
        None | Some("Command" | "ChangeCalendar") => {}
        Some(other) => {
            return Err(Error::validation(format!(
                "DocumentType is `{other}`, which Patchwave does not carry out; allowed are Command and ChangeCalendar"
            )));
        }
    }
    refuse_parts(input.requires.as_ref(), input.attachments.as_ref())?;
    let tags = checked_tags(&input.tags)?;
    let content = match input.document_type.as_deref() {
        Some("ChangeCalendar") => Content::read_calendar(input.content, input.document_format.as_deref()).await?,
        _ => Content::read_apart(input.content, input.document_format).await?,
    };
    let now = Timestamp::now();
    let document = Document {
        name: name.clone(),
        display_name: input.display_name,
        target_type: input.target_type,
        default_version: 1,
        last_version: 1,
        latest_version: 1,
        created_at: now,
    };
    let version = DocumentVersion {
        name: name.clone(),
        version: 1,
        version_name: input.version_name,
        format: content.format,
        content: content.text,
        definition: content.json,
        content_hash: content.hash,
        created_at: now,
    };
    let mut tx = api.store.begin().await?;
    match tx.add_document(&document).await {
        Ok(()) => {}
        Err(error @ store::Error::Conflict { .. }) => {
            return Err(Error::new("DocumentAlreadyExists", error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    tx.add_document_version(&version).await?;
    tx.set_tags(Taggable::Document, &name, &tags).await?;
    tx.commit().await?;
    Ok(json!({ "DocumentDescription": view::description(&document, &version, &tags)? }))
}
