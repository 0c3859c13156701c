//! The committed JSON Schemas and AsyncAPI document are those that this crate generates.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use patchwave_schemas::catalogue::MESSAGES;
use patchwave_schemas::generated::{self, COMMAND};
use serde_json::Value;

#[test]
fn committed_files_are_those_that_are_generated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in generated::files() {
        let committed = fs::read_to_string(root.join(&file.path))
            .unwrap_or_else(|error| panic!("schemas/{}: {error}; run `{COMMAND}`", file.path));
        assert!(committed == file.text, "schemas/{} is stale; run `{COMMAND}`", file.path);
    }
}

#[test]
fn no_schema_is_left_of_a_message_that_is_gone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wanted: BTreeSet<_> = generated::files().into_iter().map(|file| root.join(file.path)).collect();
    for entry in fs::read_dir(root.join("json")).unwrap() {
        let path = entry.unwrap().path();
        assert!(wanted.contains(&path), "{} belongs to no message; run `{COMMAND}`", path.display());
    }
}

#[test]
fn every_reference_in_the_asyncapi_document_leads_somewhere() {
    let document = patchwave_schemas::asyncapi::document();
    let files: BTreeSet<String> = generated::files().into_iter().map(|file| file.path).collect();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "only {} references were found", references.len());
    for reference in references {
        let found = match reference.strip_prefix('#') {
            Some(pointer) => document.pointer(pointer).is_some(),
            None => reference.strip_prefix("./").is_some_and(|path| files.contains(path)),
        };
        assert!(found, "`{reference}` leads nowhere");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[test]
fn readme_lists_every_message_as_the_catalogue_has_it() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `patchwave.")).collect();
    let expected: Vec<String> = MESSAGES
        .iter()
        .map(|entry| {
            let publishers: Vec<&str> = entry.publishers.iter().map(|publisher| publisher.name()).collect();
            let keys: Vec<String> = entry.routing_keys().iter().map(|key| format!("`{key}`")).collect();
            let way = match entry.direction.exchange() {
                Some(exchange) => format!("`{exchange}`, {}", keys.join(" or ")),
                None => "the node's queue".to_owned(),
            };
            let readers: Vec<&str> = entry.readers().iter().map(|queue| queue.role()).collect();
            let readers = if readers.is_empty() { "agent".to_owned() } else { readers.join(", ") };
            format!("| `{}` | {} | {way} | {readers} |", entry.message_type, publishers.join(", "))
        })
        .collect();
    assert!(rows == expected, "the table in schemas/README.md should be:\n{}", expected.join("\n"));
}
