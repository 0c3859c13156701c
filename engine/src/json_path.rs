//! JSONPath, as documents and state machines use it.
//!
//! A definite path (names and indexes alone) gives the one value it names or nothing; any other gives
//! the list of what it finds. The latter is `serde_json_path`'s business (RFC 9535). The former is
//! read here: such paths also say where something is written, and RFC 9535 has no word for that.

use serde_json::Value;

/// Names and indexes that one path may have.
const PARTS_MAX: usize = 100;

/// A path that cannot be read, or finds nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not JSONPath.
    #[error("`{path}` is not a JSONPath: {problem}")]
    Syntax {
        /// The path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// It names something that is not there.
    #[error("`{path}` names nothing in the value it is applied to")]
    Absent {
        /// The path.
        path: String,
    },
}

/// A step of a definite path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A member.
    Name(String),
    /// An item, from 0.
    Index(usize),
}

/// The parts of a definite path such as `$.a['b c'][0]`; `None` for any other path.
#[must_use]
pub fn definite(path: &str) -> Option<Vec<Part>> {
    let mut rest = path.strip_prefix('$')?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if parts.len() == PARTS_MAX {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = after.get(..end)?;
            let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(is_name) {
                return None;
            }
            parts.push(Part::Name(name.to_owned()));
            rest = after.get(end..)?;
        } else {
            let after = rest.strip_prefix('[')?;
            if let Some(quote) = after.chars().next().filter(|c| *c == '\'' || *c == '"') {
                let inner = after.get(1..)?;
                let end = inner.find(quote)?;
                let name = inner.get(..end)?;
                if name.contains('\\') {
                    return None;
                }
                parts.push(Part::Name(name.to_owned()));
                rest = inner.get(end + 1..)?.strip_prefix(']')?;
            } else {
                let end = after.find(']')?;
                parts.push(Part::Index(after.get(..end)?.parse().ok()?));
                rest = after.get(end + 1..)?;
            }
        }
    }
    Some(parts)
}

/// The value at a definite path.
#[must_use]
pub fn at<'a>(value: &'a Value, parts: &[Part]) -> Option<&'a Value> {
    parts.iter().try_fold(value, |value, part| match part {
        Part::Name(name) => value.as_object()?.get(name),
        Part::Index(index) => value.as_array()?.get(*index),
    })
}

/// Whether a path can be read.
///
/// # Errors
/// [`PathError::Syntax`].
pub fn check(path: &str) -> Result<(), PathError> {
    if definite(path).is_some() {
        return Ok(());
    }
    serde_json_path::JsonPath::parse(path)
        .map(|_| ())
        .map_err(|error| PathError::Syntax { path: path.to_owned(), problem: error.to_string() })
}

/// What a path finds: one value for a definite one, a list for any other.
///
/// # Errors
/// [`PathError`].
pub fn select(path: &str, value: &Value) -> Result<Value, PathError> {
    if let Some(parts) = definite(path) {
        return at(value, &parts).cloned().ok_or_else(|| PathError::Absent { path: path.to_owned() });
    }
    let query = serde_json_path::JsonPath::parse(path)
        .map_err(|error| PathError::Syntax { path: path.to_owned(), problem: error.to_string() })?;
    Ok(Value::Array(query.query(value).all().into_iter().cloned().collect()))
}

/// Writes a value to a definite path, making objects on the way where there is nothing.
///
/// # Errors
/// [`PathError::Absent`] where something else than an object or an item stands in the way.
pub fn put(into: &mut Value, path: &str, parts: &[Part], value: Value) -> Result<(), PathError> {
    let absent = || PathError::Absent { path: path.to_owned() };
    let mut place = into;
    for part in parts {
        place = match part {
            Part::Name(name) => {
                if place.is_null() {
                    *place = Value::Object(serde_json::Map::new());
                }
                place.as_object_mut().ok_or_else(absent)?.entry(name).or_insert(Value::Null)
            }
            Part::Index(index) => place.as_array_mut().and_then(|items| items.get_mut(*index)).ok_or_else(absent)?,
        };
    }
    *place = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definite_paths_give_one_value_and_others_a_list() {
        let value = json!({ "a": [{ "b": 1 }, { "b": 2 }], "c d": { "é": true } });
        for (path, expected) in [
            ("$", value.clone()),
            ("$.a[1].b", json!(2)),
            ("$['c d'].é", json!(true)),
            ("$.a[*].b", json!([1, 2])),
            ("$.a[?@.b > 1].b", json!([2])),
            ("$..b", json!([1, 2])),
            ("$.a[0:1]", json!([{ "b": 1 }])),
        ] {
            assert_eq!(select(path, &value), Ok(expected), "{path}");
        }
        assert!(matches!(select("$.x", &value), Err(PathError::Absent { .. })));
        for bad in ["a", "$.", "$[", "$.a[", "$.a..", "$.a[?"] {
            assert!(matches!(select(bad, &value), Err(PathError::Syntax { .. })), "{bad}");
        }
    }

    #[test]
    fn writing_makes_objects_and_replaces_no_other_value() {
        let mut value = json!({ "a": 1 });
        let parts = definite("$.b.c").expect("definite");
        put(&mut value, "$.b.c", &parts, json!(2)).expect("written");
        assert_eq!(value, json!({ "a": 1, "b": { "c": 2 } }));
        let parts = definite("$.a.c").expect("definite");
        assert!(put(&mut value, "$.a.c", &parts, json!(2)).is_err());
    }
}
