//! ListDocuments and ListDocumentVersions.

use std::collections::BTreeMap;

use patchwave_engine::documents::DOCUMENTS;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{bare_name, builtin, unknown, view};
use crate::Api;
use crate::wire::{Error, Request, epoch, present};

/// What documents can be found by; besides, `tag:<key>`.
const KEYS: [&str; 6] = ["Name", "Owner", "PlatformTypes", "DocumentType", "TargetType", "SearchKeyword"];

/// In a token: the part of the list that it ends in.
const BUILT_IN: &str = "0";
const OWN: &str = "1";
/// Rows read at a time while looking for documents that pass the filters. There are not many: each
/// was written by hand.
const SCAN_ROWS: u32 = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
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

/// ListDocuments: those that come with the program, and the operator's own.
pub(crate) async fn list(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(1..=50)?;
    let filters = [input.filters, input.document_filter_list].concat();
    let unknown = filters.iter().find(|filter| !KEYS.contains(&&*filter.key) && !filter.key.starts_with("tag:"));
    if let Some(filter) = unknown {
        let message = format!("filter key is `{}`; allowed are {} and tag:<key>", filter.key, KEYS.join(", "));
        return Err(Error::new("InvalidFilterKey", message));
    }
    let passes = |document: &Value| filters.iter().all(|filter| passes(document, filter));
    // Those that come with the program first; they are few. Each part has its own order.
    let (part, after) = paging.after().and_then(|after| after.split_once('/')).unwrap_or((BUILT_IN, ""));
    let mut found: Vec<(String, Value)> = Vec::new();
    if part == BUILT_IN {
        found.extend(DOCUMENTS.iter().map(|one| (format!("{BUILT_IN}/{}", one.name), builtin::identifier(one))));
        found.retain(|(key, document)| Some(key.as_str()) > paging.after() && passes(document));
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    let mut after = if part == BUILT_IN { String::new() } else { after.to_owned() };
    let limit = if filters.is_empty() { paging.rows() } else { SCAN_ROWS };
    while found.len() <= paging.size() {
        let documents = api.store.documents_after(&after, limit).await?;
        let Some(last) = documents.last() else { break };
        after.clone_from(&last.document.name);
        let is_last = documents.len() < limit as usize;
        let views = documents.iter().map(|one| (format!("{OWN}/{}", one.document.name), view::identifier(one)));
        found.extend(views.filter(|(_, document)| passes(document)));
        if is_last {
            break;
        }
    }
    found.truncate(paging.size() + 1);
    let (listed, next) = paging.of_rows(found, |(key, _)| key.clone());
    let listed: Vec<Value> = listed.into_iter().map(|(_, document)| document).collect();
    Ok(present(json!({ "DocumentIdentifiers": listed, "NextToken": next })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionsInput {
    name: String,
}

/// ListDocumentVersions, newest first.
pub(crate) async fn list_versions(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: VersionsInput = request.read()?;
    let paging = request.paging(1..=50)?;
    let name = bare_name(&input.name);
    let versions = match patchwave_engine::documents::find(name) {
        Some(document) => vec![builtin::version(document)],
        None => {
            let document = api.store.document(name).await?.ok_or_else(|| unknown(name))?;
            let versions = api.store.document_versions(name).await?;
            versions
                .into_iter()
                .map(|version| {
                    present(json!({
                        "Name": version.name,
                        "DisplayName": document.display_name,
                        "DocumentVersion": version.version.to_string(),
                        "VersionName": version.version_name,
                        "CreatedDate": epoch(version.created_at),
                        "IsDefaultVersion": version.version == document.default_version,
                        "DocumentFormat": version.format,
                        "Status": "Active",
                    }))
                })
                .collect()
        }
    };
    let key = |version: &Value| {
        let number: i64 = text(version, "DocumentVersion").parse().unwrap_or(0);
        format!("{:020}", i64::MAX - number)
    };
    let (versions, next) = paging.of_list(versions, key);
    Ok(present(json!({ "DocumentVersions": versions, "NextToken": next })))
}

fn passes(document: &Value, filter: &DocumentFilter) -> bool {
    let mut values = filter.values.iter().chain(&filter.value).map(String::as_str);
    match filter.key.as_str() {
        // SSM compares the beginning.
        "Name" => values.any(|value| text(document, "Name").starts_with(value)),
        "Owner" => {
            let is_own = text(document, "Owner") == view::OWNER;
            values.any(|value| match value {
                "All" => true,
                "Self" | "Private" => is_own,
                "Amazon" | "Public" => !is_own,
                _ => false,
            })
        }
        "PlatformTypes" => {
            let platforms = document["PlatformTypes"].as_array();
            values.any(|value| platforms.is_some_and(|platforms| platforms.iter().any(|one| one == value)))
        }
        "SearchKeyword" => values.any(|value| text(document, "Name").to_lowercase().contains(&value.to_lowercase())),
        key @ ("DocumentType" | "TargetType") => values.any(|value| text(document, key) == value),
        tag => {
            let tags: BTreeMap<&str, &str> = document["Tags"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|tag| (text(tag, "Key"), text(tag, "Value")))
                .collect();
            let value = tag.strip_prefix("tag:").and_then(|key| tags.get(key));
            value.is_some_and(|value| values.any(|wanted| wanted == *value))
        }
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}
