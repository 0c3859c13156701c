//! The built-in documents, to be listed and read.

use patchwave_engine::documents::{DOCUMENTS, Document, find};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, epoch, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    name: Option<String>,
    document_version: Option<String>,
    #[serde(default)]
    filters: Vec<DocumentFilter>,
    /// The older form, with one `value`.
    #[serde(default)]
    document_filter_list: Vec<DocumentFilter>,
}

#[derive(Clone, Deserialize)]
struct DocumentFilter {
    #[serde(rename = "Key", alias = "key")]
    key: String,
    #[serde(rename = "Values", default)]
    values: Vec<String>,
    #[serde(default)]
    value: Option<String>,
}

/// ListDocuments.
pub(crate) async fn list(_: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let filters = [input.filters, input.document_filter_list].concat();
    let known = ["Name", "Owner", "PlatformTypes", "DocumentType"];
    if let Some(filter) = filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
        let message = format!("filter key is `{}`; allowed are {}", filter.key, known.join(", "));
        return Err(Error::new("InvalidFilterKey", message));
    }
    let documents = DOCUMENTS.iter().filter(|document| filters.iter().all(|filter| passes(document, filter)));
    let (documents, next) = paging.of_list(documents.collect(), |document| document.name.to_owned());
    let identifiers: Vec<Value> = documents.into_iter().map(identifier).collect();
    Ok(present(json!({ "DocumentIdentifiers": identifiers, "NextToken": next })))
}

/// DescribeDocument.
pub(crate) async fn describe(_: &Api, request: &Request) -> Result<Value, Error> {
    let document = named(&request.read()?)?;
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
        ("Description", json!(document.description)),
        ("Parameters", json!(parameters)),
        ("Status", json!("Active")),
        ("LatestVersion", json!(document.version)),
        ("DefaultVersion", json!(document.version)),
        ("CreatedDate", epoch(jiff::Timestamp::UNIX_EPOCH)),
    ] {
        view[member] = value;
    }
    Ok(json!({ "Document": view }))
}

/// GetDocument. Patching is the agent's own work: its step has an action that SSM does not know.
pub(crate) async fn get(_: &Api, request: &Request) -> Result<Value, Error> {
    let document = named(&request.read()?)?;
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
    let step = document.step;
    let inputs: serde_json::Map<String, Value> =
        step.inputs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let content = json!({
        "schemaVersion": "2.2",
        "description": document.description,
        "parameters": parameters,
        "mainSteps": [{ "action": step.action, "name": step.name, "inputs": inputs }],
    });
    Ok(json!({
        "Name": document.name,
        "DocumentVersion": document.version,
        "Status": "Active",
        "Content": content.to_string(),
        "DocumentType": "Command",
        "DocumentFormat": "JSON",
    }))
}

fn passes(document: &Document, filter: &DocumentFilter) -> bool {
    let mut values = filter.values.iter().chain(&filter.value).map(String::as_str);
    match filter.key.as_str() {
        // SSM compares the beginning.
        "Name" => values.any(|value| document.name.starts_with(value)),
        "Owner" => values.any(|value| ["Amazon", "All", "Public"].contains(&value)),
        "PlatformTypes" => values.any(|value| document.platform_types.contains(&value)),
        _ => values.any(|value| value == "Command"),
    }
}

/// The name of a document as requests give it: bare, or at the end of an ARN.
pub(crate) fn bare_name(name: &str) -> &str {
    if name.starts_with("arn:") { name.rsplit('/').next().unwrap_or_default() } else { name }
}

fn named(input: &Input) -> Result<&'static Document, Error> {
    let name = required("name", input.name.as_deref())?;
    let document = find(bare_name(name)).ok_or_else(|| {
        let known = DOCUMENTS.map(|document| document.name).join(", ");
        Error::new("InvalidDocument", format!("document `{name}` does not exist; there are {known}"))
    })?;
    match input.document_version.as_deref() {
        None | Some("$DEFAULT" | "$LATEST") => Ok(document),
        Some(version) if version == document.version => Ok(document),
        Some(version) => Err(Error::new(
            "InvalidDocumentVersion",
            format!(
                "document `{name}` has no version `{version}`; allowed are $DEFAULT, $LATEST and {}",
                document.version
            ),
        )),
    }
}

fn identifier(document: &Document) -> Value {
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
