//! How documents of the operator's own are shown.

use std::collections::BTreeMap;

use patchwave_engine::documents::{Definition, ParameterType};
use patchwave_platform::store::documents::{Document, DocumentSummary, DocumentVersion};
use serde_json::{Value, json};

use super::calendar;
use crate::tags::Tag;
use crate::wire::{Error, epoch, present};

/// Who owns them. SSM shows the account; there is one.
pub(super) const OWNER: &str = "Self";

/// SSM's `DocumentIdentifier`: of the default version.
pub(super) fn identifier(one: &DocumentSummary) -> Value {
    let document = &one.document;
    named(document, document.default_version, one.version_name.as_deref(), &one.format, &one.tags)
}

fn named(
    document: &Document,
    version: i64,
    version_name: Option<&str>,
    format: &str,
    tags: &BTreeMap<String, String>,
) -> Value {
    let is_calendar = calendar::is_calendar(format);
    let tags: Vec<Tag> = tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect();
    present(json!({
        "Name": document.name,
        "DisplayName": document.display_name,
        "CreatedDate": epoch(document.created_at),
        "Owner": OWNER,
        "VersionName": version_name,
        "PlatformTypes": if is_calendar { Vec::new() } else { Definition::platform_types().to_vec() },
        "DocumentVersion": version.to_string(),
        "DocumentType": calendar::document_type(format),
        "SchemaVersion": if is_calendar { "1.0" } else { "2.2" },
        "DocumentFormat": format,
        "TargetType": document.target_type,
        "Tags": tags,
    }))
}

/// SSM's `DocumentDescription`.
pub(super) fn description(
    document: &Document,
    version: &DocumentVersion,
    tags: &BTreeMap<String, String>,
) -> Result<Value, Error> {
    let (description, parameters) = if calendar::is_calendar(&version.format) {
        (version.definition["description"].as_str().map(str::to_owned), Vec::new())
    } else {
        let definition = definition(version)?;
        (definition.description.clone(), definition.parameters)
    };
    let parameters: Vec<Value> = parameters
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
    let mut view = named(document, version.version, version.version_name.as_deref(), &version.format, tags);
    for (member, value) in [
        ("Hash", json!(version.content_hash)),
        ("HashType", json!("Sha256")),
        ("CreatedDate", epoch(version.created_at)),
        ("Status", json!("Active")),
        ("Description", json!(description)),
        ("Parameters", json!(parameters)),
        ("LatestVersion", json!(document.latest_version.to_string())),
        ("DefaultVersion", json!(document.default_version.to_string())),
    ] {
        view[member] = value;
    }
    Ok(present(view))
}

fn definition(version: &DocumentVersion) -> Result<Definition, Error> {
    Definition::stored(&version.definition).map_err(|error| {
        Error::internal(patchwave_platform::Class::Rejected, "a stored document cannot be read", error)
    })
}
