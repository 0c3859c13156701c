//! Arguments of the form `KEY=VALUE`.

use serde_json::{Map, Value, json};

/// A key and its value, or its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Left of the first `=`; never empty.
    pub key: String,
    /// Right of it; may be empty.
    pub value: String,
}

/// Reads `KEY=VALUE`.
///
/// # Errors
/// What is allowed, for clap to print beside the argument's name.
pub(super) fn parse_pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        _ => Err("expected KEY=VALUE, such as `Patch Group=canary` or `Operation=Scan`".to_owned()),
    }
}

/// SSM's tags: `[{"Key": …, "Value": …}]`.
pub(super) fn tags(pairs: &[Pair]) -> Value {
    pairs.iter().map(|pair| json!({"Key": pair.key, "Value": pair.value})).collect()
}

/// SSM's parameters: each name with the list of its values, in the order given.
pub(super) fn parameters(pairs: &[Pair]) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for pair in pairs {
        let values = map.entry(pair.key.clone()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(json!(pair.value));
        }
    }
    Value::Object(map)
}

/// SSM's filters and targets: `[{"Key": …, "Values": […]}]`. The same key given again adds values.
pub(super) fn key_values(pairs: impl IntoIterator<Item = (String, Vec<String>)>) -> Value {
    let mut list: Vec<(String, Vec<String>)> = Vec::new();
    for (key, values) in pairs {
        match list.iter_mut().find(|(other, _)| *other == key) {
            Some((_, known)) => known.extend(values),
            None => list.push((key, values)),
        }
    }
    list.into_iter().map(|(key, values)| json!({"Key": key, "Values": values})).collect()
}

/// Splits `a,b` into values.
pub(super) fn split(values: &str) -> Vec<String> {
    values.split(',').map(str::to_owned).collect()
}
