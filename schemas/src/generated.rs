//! The files that are generated from this crate, as paths and text.
//!
//! `cargo run -p patchwave-schemas --example generate` writes them; a test compares them with what
//! is committed. Nothing here touches a disk.

use serde_json::{Map, Value};

use crate::asyncapi;
use crate::catalogue::MESSAGES;
use crate::notification::SnsEnvelope;

/// The command that brings the generated files up to date.
pub const COMMAND: &str = "cargo run -p patchwave-schemas --example generate";

/// Name of the schema of what subscribers receive, which is SNS's envelope and no CloudEvent.
pub const NEWS_SCHEMA: &str = "sns.notification";

/// A generated file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it belongs, relative to this crate.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Path of the JSON Schema with this name, relative to this crate.
#[must_use]
pub fn schema_path(name: &str) -> String {
    format!("json/{name}.schema.json")
}

/// Every generated file.
#[must_use]
pub fn files() -> Vec<File> {
    let mut files: Vec<File> =
        MESSAGES.iter().map(|entry| file(schema_path(entry.message_type), entry.schema().to_value())).collect();
    files.push(file(schema_path(NEWS_SCHEMA), schemars::schema_for!(SnsEnvelope).to_value()));
    files.push(file("asyncapi.json".to_owned(), asyncapi::document()));
    files
}

fn file(path: String, value: Value) -> File {
    File { path, text: format!("{:#}\n", sorted(value)) }
}

/// The value with its keys in order: serde_json keeps another order when a feature of it is on, and
/// features depend on what else is built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
