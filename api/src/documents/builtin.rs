//! How the documents that come with the program are shown.

use patchwave_engine::documents::Document;
use serde_json::{Value, json};

use crate::auth::canonical::sha256_hex;
use crate::wire::{epoch, present};

/// The content in JSON. Patching is the agent's own work: its step has an action that SSM does not
/// know.
pub(super) fn content(document: &Document) -> String {
    let parameters: serde_json::Map<String, Value> = document
        .parameters
        .iter()
        .map(|parameter| {
            let mut definition = json!({ "type": parameter.kind, "description": parameter.description });
            if let Some(default) = parameter.default {
                definition["default"] = json!(default);
            }
            if !parameter.allowed.is_empty() {
                definition["allowedValues"] = json!(parameter.allowed);
            }
            (parameter.name.to_owned(), definition)
        })
        .collect();
    let steps: Vec<Value> = document
        .steps
        .iter()
        .map(|step| {
            let inputs: serde_json::Map<String, Value> =
                step.inputs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({ "action": step.action, "name": step.name, "inputs": inputs })
        })
        .collect();
    let content = json!({
        "schemaVersion": "2.2",
        "description": document.description,
        "parameters": parameters,
        "mainSteps": steps,
    });
    content.to_string()
}

/// SSM's `DocumentDescription`.
pub(super) fn description(document: &Document) -> Value {
    let parameters: Vec<Value> = document
        .parameters
        .iter()
        .map(|parameter| {
            present(json!({
                "Name": parameter.name,
                "Type": parameter.kind,
                "Description": parameter.description,
                "DefaultValue": parameter.default,
            }))
        })
        .collect();
    let mut view = identifier(document);
    for (member, value) in [
        ("Hash", json!(sha256_hex(content(document).as_bytes()))),
        ("HashType", json!("Sha256")),
        ("Description", json!(document.description)),
        ("Parameters", json!(parameters)),
        ("Status", json!("Active")),
        ("LatestVersion", json!(document.version)),
        ("DefaultVersion", json!(document.version)),
        ("CreatedDate", epoch(jiff::Timestamp::UNIX_EPOCH)),
    ] {
        view[member] = value;
    }
    view
}

/// SSM's `DocumentIdentifier`.
pub(super) fn identifier(document: &Document) -> Value {
    json!({
        "Name": document.name,
        "Owner": "Amazon",
        "PlatformTypes": document.platform_types,
        "DocumentVersion": document.version,
        "DocumentType": "Command",
        "SchemaVersion": "2.2",
        "DocumentFormat": "JSON",
        "Tags": [],
    })
}

/// SSM's `DocumentVersionInfo` of its only version.
pub(super) fn version(document: &Document) -> Value {
    json!({
        "Name": document.name,
        "DocumentVersion": document.version,
        "CreatedDate": epoch(jiff::Timestamp::UNIX_EPOCH),
        "IsDefaultVersion": true,
        "DocumentFormat": "JSON",
        "Status": "Active",
    })
}
