//! DeleteDocument. Commands that were sent carry their document with them and are not touched; a
//! window's task that names it fails at its next firing.

use std::collections::BTreeMap;

use patchwave_platform::store::documents::VersionSelector;
use patchwave_platform::store::tags::Taggable;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{no_version, refuse_builtin, unknown};
use crate::Api;
use crate::wire::{Error, Request};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: String,
    document_version: Option<String>,
    version_name: Option<String>,
}

pub(crate) async fn delete(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let name = input.name;
    refuse_builtin(&name, "InvalidDocumentOperation")?;
    let selector = match (&input.version_name, &input.document_version) {
        (Some(version_name), _) => Some(VersionSelector::Named(version_name)),
        (None, Some(version)) => Some(VersionSelector::of(Some(version))),
        (None, None) => None,
    };
    let mut tx = api.store.begin().await?;
    let document = tx.lock_document(&name).await?.ok_or_else(|| unknown(&name))?;
    match selector {
        None => {
            tx.delete_document(&name).await?;
            tx.set_tags(Taggable::Document, &name, &BTreeMap::new()).await?;
        }
        Some(selector) => {
            let asked = input.version_name.as_deref().or(input.document_version.as_deref()).unwrap_or_default();
            let version = tx.document_version(&name, selector).await?;
            // The operation declares no error for a version that is not there.
            let version = version.ok_or_else(|| {
                let error = no_version(&name, asked, &format!("numbers up to {}", document.latest_version));
                Error::new("InvalidDocumentOperation", error.message().to_owned())
            })?;
            if version.version == document.default_version {
                let message = format!(
                    "version {} is the default version of document `{name}`; make another the default first, or \
                     delete the whole document",
                    version.version
                );
                return Err(Error::new("InvalidDocumentOperation", message));
            }
            tx.delete_document_version(&name, version.version).await?;
        }
    }
    tx.commit().await?;
    Ok(json!({}))
}
