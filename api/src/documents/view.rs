//! How documents of the operator's own are shown.

use std::collections::BTreeMap;

use patchwave_engine::documents::{Definition, ParameterType};
use patchwave_platform::store::documents::{Document, DocumentVersion};
use serde_json::{Value, json};

use crate::tags::Tag;
use crate::wire::{Error, epoch, present};

/// Who owns them. SSM shows the account; there is one.
pub(super) const OWNER: &str = "Self";

/// SSM's `DocumentIdentifier`.
pub(super) fn identifier(
    document: &Document,
    version: &DocumentVersion,
    tags: &BTreeMap<String, String>,
) -> Result<Value, Error> {
    let tags: Vec<Tag> = tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect();
    Ok(present(json!({
        "Name": document.name,
        "DisplayName": document.display_name,
        "CreatedDate": epoch(document.created_at),
        "Owner": OWNER,
        "VersionName": version.version_name,
        "PlatformTypes": definition(version)?.platform_types(),
        "DocumentVersion": version.version.to_string(),
        "DocumentType": "Command",
        "SchemaVersion": "2.2",
        "DocumentFormat": version.format,
        "TargetType": document.target_type,
        "Tags": tags,
    })))
}

/// SSM's `DocumentDescription`.
pub(super) fn description(
    document: &Document,
    version: &DocumentVersion,
    tags: &BTreeMap<String, String>,
) -> Result<Value, Error> {
    let definition = definition(version)?;
    let parameters: Vec<Value> = definition
        .parameters
        .iter()
        .map(|parameter| {
            let default = parameter.default.as_ref().map(|values| match parameter.kind {
                ParameterType::StringList => json!(values).to_string(),
                _ => values.first().cloned().unwrap_or_default(),
            });
            present(json!({
                "Name": parameter.name,
                "Type": parameter.kind.name(),
                "Description": parameter.description,
                "DefaultValue": default,
            }))
        })
        .collect();
    let mut view = identifier(document, version, tags)?;
    for (member, value) in [
        ("Hash", json!(version.content_hash)),
        ("HashType", json!("Sha256")),
        ("CreatedDate", epoch(version.created_at)),
        ("Status", json!("Active")),
        ("Description", json!(definition.description)),
        ("Parameters", json!(parameters)),
        ("LatestVersion", json!(document.last_version.to_string())),
        ("DefaultVersion", json!(document.default_version.to_string())),
    ] {
        view[member] = value;
    }
    Ok(present(view))
}

fn definition(version: &DocumentVersion) -> Result<Definition, Error> {
    Definition::parse(&version.definition).map_err(|error| {
        Error::internal(patchwave_platform::Class::Rejected, "a stored document cannot be read", error)
    })
}
