//! Recorded examples of every message keep decoding, and are what the JSON Schemas describe.
//!
//! An example is never changed once it is released: it stands for messages that are on their way.
//! Names say what a file may do: `unknown-…` has attributes and fields that are ignored, `smallest…`
//! leaves out what has a default; all others come back exactly as they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use patchwave_schemas::catalogue::{self, MESSAGES};
use patchwave_schemas::generated::NEWS_SCHEMA;
use patchwave_schemas::notification::SnsEnvelope;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every example, by the name of its message.
fn examples() -> BTreeMap<String, Vec<PathBuf>> {
    let mut found = BTreeMap::new();
    for directory in fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path()) {
        if directory.is_dir() {
            let files: Vec<PathBuf> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
            found.insert(directory.file_name().unwrap().to_str().unwrap().to_owned(), files);
        }
    }
    found
}

fn schema_of(name: &str) -> Value {
    match catalogue::find(name) {
        Some(entry) => entry.schema().to_value(),
        None if name == NEWS_SCHEMA => schemars::schema_for!(SnsEnvelope).to_value(),
        None => panic!("schemas/examples/{name} is of no message in the catalogue"),
    }
}

fn reencode(name: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    match catalogue::find(name) {
        Some(entry) => {
            entry.reencode(body).map_err(|error| format!("{error}: {:?}", std::error::Error::source(&error)))
        }
        None => serde_json::from_slice::<SnsEnvelope>(body)
            .and_then(|news| serde_json::to_vec(&news))
            .map_err(|error| error.to_string()),
    }
}

/// How a re-encoded message may differ from what was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Differences {
    ignored: BTreeSet<String>,
    filled_in: BTreeSet<String>,
}

fn compare(path: &str, before: &Value, after: &Value, differences: &mut Differences) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(again) => compare(&path, value, again, differences),
                    None => {
                        differences.ignored.insert(path);
                    }
                }
            }
            let added = after.keys().filter(|key| !before.contains_key(*key));
            differences.filled_in.extend(added.map(|key| format!("{path}/{key}")));
        }
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len(), "{path}");
            for (index, (value, again)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}/{index}"), value, again, differences);
            }
        }
        // The same instant may be written in another offset or with fewer zeros.
        (Value::String(before), Value::String(after)) if before != after => {
            let instants = before.parse::<Timestamp>().and_then(|before| Ok((before, after.parse::<Timestamp>()?)));
            assert!(instants.is_ok_and(|(before, after)| before == after), "{path}: `{before}` became `{after}`");
        }
        (before, after) => assert_eq!(before, after, "{path}"),
    }
}

#[test]
fn every_message_in_the_source_is_in_the_catalogue_and_has_an_example() {
    let mut declared = BTreeSet::new();
    for file in fs::read_dir(root().join("src")).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        for implementation in source.split("\nimpl Message for ").skip(1) {
            let (_, rest) = implementation.split_once("const TYPE: &'static str = \"").unwrap();
            declared.insert(rest.split_once('"').unwrap().0.to_owned());
        }
    }
    let registered: BTreeSet<String> = MESSAGES.iter().map(|entry| entry.message_type.to_owned()).collect();
    assert_eq!(declared, registered, "left: `impl Message for …`, right: catalogue::MESSAGES");

    let examples = examples();
    for name in registered.iter().map(String::as_str).chain([NEWS_SCHEMA]) {
        let count = examples.get(name).map_or(0, Vec::len);
        assert!(count > 0, "schemas/examples/{name}/ has no example; record one");
    }
}

#[test]
fn recorded_examples_decode_and_encode_to_the_same() {
    for (name, files) in examples() {
        for file in files {
            let body = fs::read(&file).unwrap();
            let again = reencode(&name, &body).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let before: Value = serde_json::from_slice(&body).unwrap();
            let after: Value = serde_json::from_slice(&again).unwrap();
            let mut differences = Differences::default();
            compare("", &before, &after, &mut differences);
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let (unknown, smallest) = (stem.starts_with("unknown"), stem.starts_with("smallest"));
            assert_eq!(!differences.ignored.is_empty(), unknown, "{}: {differences:?}", file.display());
            assert_eq!(!differences.filled_in.is_empty(), smallest, "{}: {differences:?}", file.display());
        }
    }
}

#[test]
fn recorded_examples_are_valid_by_their_schema() {
    for (name, files) in examples() {
        let validator = validator(&schema_of(&name));
        for file in files {
            let example: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let faults: Vec<String> =
                validator.iter_errors(&example).map(|error| format!("{}: {error}", error.instance_path())).collect();
            assert!(faults.is_empty(), "{}: {faults:#?}", file.display());
        }
    }
}

#[test]
fn schemas_refuse_what_the_types_refuse() {
    let started = fs::read(root().join("examples/patchwave.window.started.v1/started.json")).unwrap();
    let started: Value = serde_json::from_slice(&started).unwrap();
    let validator = validator(&schema_of("patchwave.window.started.v1"));
    for (pointer, wrong) in [
        ("/type", "patchwave.window.started.v2"),
        ("/specversion", "0.3"),
        ("/id", "1"),
        ("/time", "yesterday"),
        ("/data/window_id", "mw-1"),
        ("/data/scheduled_at", "02:00"),
    ] {
        let mut event = started.clone();
        *event.pointer_mut(pointer).unwrap() = Value::from(wrong);
        assert!(!validator.is_valid(&event), "the schema accepts {pointer} = {wrong}");
        let refused = reencode("patchwave.window.started.v1", event.to_string().as_bytes());
        assert!(refused.is_err(), "the type accepts {pointer} = {wrong}");
    }
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}
