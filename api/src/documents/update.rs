//! UpdateDocument and UpdateDocumentDefaultVersion.

use jiff::Timestamp;
use patchwave_platform::store::documents::{DocumentVersion, VersionSelector};
use patchwave_platform::store::tags::Taggable;
use serde::Deserialize;
use serde_json::{Value, json};

use super::content::Content;
use super::{calendar, no_version, refuse_builtin, refuse_parts, unknown, view};
use crate::Api;
use crate::wire::{Error, Request, present};

/// Versions of one document (SSM).
const VERSIONS_MAX: i64 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: String,
    content: String,
    display_name: Option<String>,
    version_name: Option<String>,
    document_version: Option<String>,
    document_format: Option<String>,
    target_type: Option<String>,
    attachments: Option<Value>,
}

/// UpdateDocument: adds a version. The default version stays.
pub(crate) async fn update(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.name;
    refuse_builtin(&name, "InvalidDocumentOperation")?;
    refuse_parts(None, input.attachments.as_ref())?;
    let earlier = api.store.document_version(&name, VersionSelector::Latest).await?.ok_or_else(|| unknown(&name))?;
    let content = if calendar::is_calendar(&earlier.format) {
        Content::read_calendar(input.content, input.document_format.as_deref()).await?
    } else {
        Content::read_apart(input.content, input.document_format).await?
    };
    let mut tx = api.store.begin().await?;
    let mut document = tx.lock_document(&name).await?.ok_or_else(|| unknown(&name))?;
    let latest = tx.document_version(&name, VersionSelector::Latest).await?.ok_or_else(|| unknown(&name))?;
    match input.document_version.as_deref() {
        None | Some("$LATEST") => {}
        Some(version) if version == latest.version.to_string() => {}
        Some(version) => {
            let message = format!(
                "DocumentVersion is `{version}`; allowed are $LATEST and {}, because a new version follows the latest",
                latest.version
            );
            return Err(Error::new("InvalidDocumentVersion", message));
        }
    }
    if latest.content_hash == content.hash {
        let message = format!("Content is that of version {} of document `{name}`", latest.version);
        return Err(Error::new("DuplicateDocumentContent", message));
    }
    if let Some(version_name) = &input.version_name
        && let Some(other) = tx.document_version(&name, VersionSelector::Named(version_name)).await?
    {
        let message = format!("VersionName is `{version_name}`, which is the name of version {}", other.version);
        return Err(Error::new("DuplicateDocumentVersionName", message));
    }
    if document.last_version >= VERSIONS_MAX {
        let message = format!("document `{name}` has had {VERSIONS_MAX} versions; no more are allowed");
        return Err(Error::new("DocumentVersionLimitExceeded", message));
    }
    document.last_version += 1;
    document.latest_version = document.last_version;
    document.display_name = input.display_name.or(document.display_name);
    document.target_type = input.target_type.or(document.target_type);
    let version = DocumentVersion {
        name: name.clone(),
        version: document.last_version,
        version_name: input.version_name,
        format: content.format,
        content: content.text,
        definition: content.json,
        content_hash: content.hash,
        created_at: Timestamp::now(),
    };
    tx.put_document(&document).await?;
    tx.add_document_version(&version).await?;
    tx.commit().await?;
    let tags = api.store.tags(Taggable::Document, &name).await?;
    Ok(json!({ "DocumentDescription": view::description(&document, &version, &tags)? }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DefaultInput {
    name: String,
    document_version: String,
}

/// UpdateDocumentDefaultVersion.
pub(crate) async fn set_default(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: DefaultInput = request.read()?;
    let (name, version) = (input.name, input.document_version);
    refuse_builtin(&name, "InvalidDocument")?;
    let mut tx = api.store.begin().await?;
    let mut document = tx.lock_document(&name).await?.ok_or_else(|| unknown(&name))?;
    let selector = VersionSelector::of(Some(&version));
    let found = tx.document_version(&name, selector).await?;
    let found =
        found.ok_or_else(|| no_version(&name, &version, &format!("numbers up to {}", document.latest_version)))?;
    document.default_version = found.version;
    tx.put_document(&document).await?;
    tx.commit().await?;
    Ok(json!({ "Description": present(json!({
        "Name": name,
        "DefaultVersion": found.version.to_string(),
        "DefaultVersionName": found.version_name,
    })) }))
}
