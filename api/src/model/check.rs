//! Checks one request against its shape, in SSM's words.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Model;
use super::shape::{Kind, Members, Scalar, Shape};
use crate::wire::{Checks, Error, Shown, lower_camel};

/// Characters of a refused value that are repeated to the caller.
const SHOWN_CHARS_MAX: usize = 256;

/// Checks every member.
pub(super) fn request(model: &Model, input: &str, members: &Map<String, Value>) -> Result<(), Error> {
    let mut walk = Walk { model, checks: Checks::default(), mistyped: None };
    let shape = model.shape(input);
    if let Kind::Members(known) = &shape.kind {
        walk.members(known, members, "", shape.sensitive);
    }
    match walk.mistyped {
        Some(message) => Err(Error::new("SerializationException", message)),
        None => walk.checks.finish(),
    }
}

struct Walk<'m> {
    model: &'m Model,
    checks: Checks,
    /// The first value of another type than its member's. Nothing else is told then, as with SSM,
    /// which gets no further than reading the request.
    mistyped: Option<String>,
}

impl Walk<'_> {
    /// Whether nothing more would be told.
    fn is_done(&self) -> bool {
        self.checks.is_full() || self.mistyped.is_some()
    }

    fn members(&mut self, known: &Members, given: &Map<String, Value>, path: &str, hidden: bool) {
        for member in &known.0 {
            if self.is_done() {
                return;
            }
            let path = below(path, &lower_camel(&member.name));
            match given.get(&member.name) {
                None | Some(Value::Null) if member.required => {
                    self.checks.refuse_shown(&path, Shown::Absent, "Member must not be null");
                }
                None | Some(Value::Null) => {}
                Some(value) => self.value(&member.shape, value, &path, hidden),
            }
        }
    }

    fn value(&mut self, name: &str, value: &Value, path: &str, hidden: bool) {
        let shape = self.model.shape(name);
        let hidden = hidden || shape.sensitive;
        match (&shape.kind, value) {
            (Kind::Members(known), Value::Object(given)) => self.members(known, given, path, hidden),
            (Kind::List(item), Value::Array(items)) => {
                self.constraints(shape, value, path, hidden);
                // Of a list that is too long the items are not looked at: they may be a million.
                if !is_above(shape.max, items.len()) {
                    self.items(item, items, value, path, hidden);
                }
            }
            (Kind::Map(key, item), Value::Object(entries)) => {
                self.constraints(shape, value, path, hidden);
                if !is_above(shape.max, entries.len()) {
                    self.entries(key, item, entries, value, path, hidden);
                }
            }
            (Kind::Type(scalar), _) if scalar.takes(value) => self.constraints(shape, value, path, hidden),
            _ => self.mistyped(shape, value, path),
        }
    }

    /// The items of a list. What is wrong with items without parts is told of the list (SSM).
    fn items(&mut self, name: &str, items: &[Value], list: &Value, path: &str, hidden: bool) {
        let shape = self.model.shape(name);
        let hidden = hidden || shape.sensitive;
        let mut told = String::new();
        for (index, item) in items.iter().enumerate() {
            if self.is_done() {
                return;
            }
            let path = format!("{path}.{}.member", index + 1);
            match (&shape.kind, item) {
                (_, Value::Null) => {
                    self.checks.refuse_shown(&path, Shown::Absent, "Member must not be null");
                }
                (Kind::Type(scalar), item) if !scalar.takes(item) => self.mistyped(shape, item, &path),
                (Kind::Type(_), item) if told.is_empty() => told = broken(shape, item).join(", "),
                (Kind::Type(_), _) => {}
                _ => self.value(name, item, &path, hidden),
            }
        }
        if !told.is_empty() {
            let constraint = format!("Member must satisfy constraint: [{told}]");
            self.checks.refuse_shown(path, (&shown(list, hidden)).into(), constraint);
        }
    }

    fn entries(&mut self, key: &str, name: &str, entries: &Map<String, Value>, map: &Value, path: &str, hidden: bool) {
        let (keys, items) = (self.model.shape(key), self.model.shape(name));
        let hidden = hidden || keys.sensitive || items.sensitive;
        let mut told = [String::new(), String::new()];
        for (key, item) in entries {
            if self.is_done() {
                return;
            }
            if told[0].is_empty() {
                told[0] = broken(keys, &Value::String(key.clone())).join(", ");
            }
            let path = below(path, key);
            match (&items.kind, item) {
                (_, Value::Null) => {
                    self.checks.refuse_shown(&path, Shown::Absent, "Member must not be null");
                }
                (Kind::Type(scalar), item) if !scalar.takes(item) => self.mistyped(items, item, &path),
                (Kind::Type(_), item) if told[1].is_empty() => told[1] = broken(items, item).join(", "),
                (Kind::Type(_), _) => {}
                _ => self.value(name, item, &path, hidden),
            }
        }
        for (what, told) in ["keys", "value"].into_iter().zip(told) {
            if !told.is_empty() {
                let constraint = format!("Map {what} must satisfy constraint: [{told}]");
                self.checks.refuse_shown(path, (&shown(map, hidden)).into(), constraint);
            }
        }
    }

    fn constraints(&mut self, shape: &Shape, value: &Value, path: &str, hidden: bool) {
        for constraint in broken(shape, value) {
            self.checks.refuse_shown(path, (&shown(value, hidden)).into(), constraint);
        }
    }

    fn mistyped(&mut self, shape: &Shape, value: &Value, path: &str) {
        // Of the value only its type is told: what cannot be read may be anything, a secret too.
        self.mistyped
            .get_or_insert_with(|| format!("member '{path}' is {}; allowed is {}", type_of(value), wanted(shape)));
    }
}

impl Scalar {
    pub(super) fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::Blob => value.is_string(),
            Self::Integer => value.as_i64().is_some(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Timestamp => value.is_number() || value.is_string(),
        }
    }
}

/// The constraints that a value breaks, as SSM words them.
fn broken(shape: &Shape, value: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let (count, noun) = match value {
        Value::String(text) => (i64::try_from(text.chars().count()).ok(), "length"),
        Value::Array(items) => (i64::try_from(items.len()).ok(), "length"),
        Value::Object(entries) => (i64::try_from(entries.len()).ok(), "length"),
        number => (number.as_i64(), "value"),
    };
    if let (Some(count), Some(most)) = (count, shape.max)
        && count > most
    {
        broken.push(format!("Member must have {noun} less than or equal to {most}"));
    }
    if let (Some(count), Some(least)) = (count, shape.min)
        && count < least
    {
        broken.push(format!("Member must have {noun} greater than or equal to {least}"));
    }
    if let Value::String(text) = value {
        if let Some(pattern) = &shape.pattern
            && !pattern.matches(text)
        {
            broken.push(format!("Member must satisfy regular expression pattern: {}", pattern.text));
        }
        if !shape.words.is_empty() && !shape.words.contains(text) {
            broken.push(format!("Member must satisfy enum value set: [{}]", shape.words.join(", ")));
        }
    }
    broken
}

impl<'a> From<&'a Option<String>> for Shown<'a> {
    fn from(text: &'a Option<String>) -> Self {
        text.as_deref().map_or(Shown::Hidden, Shown::Value)
    }
}

/// A value as it is repeated to the caller; `None` when it must not be.
fn shown(value: &Value, hidden: bool) -> Option<String> {
    if hidden {
        return None;
    }
    let mut text = String::new();
    write_shown(value, &mut text);
    if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    // Line breaks and the like would make one message look like several.
    Some(text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect())
}

/// Lists in brackets without quotes, as SSM shows them.
fn write_shown(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                if text.len() > 4 * SHOWN_CHARS_MAX {
                    break;
                }
                write_shown(item, text);
            }
            text.push(']');
        }
        other => write!(text, "{other}").expect("writing to a String cannot fail"),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn wanted(shape: &Shape) -> &'static str {
    match shape.kind {
        Kind::Members(_) | Kind::Map(..) => "an object",
        Kind::List(_) => "a list",
        Kind::Type(Scalar::Text) => "a string",
        Kind::Type(Scalar::Blob) => "a string of Base64",
        Kind::Type(Scalar::Integer) => "an integer",
        Kind::Type(Scalar::Number) => "a number",
        Kind::Type(Scalar::Boolean) => "true or false",
        Kind::Type(Scalar::Timestamp) => "a number of seconds since 1970",
    }
}

fn is_above(most: Option<i64>, count: usize) -> bool {
    most.is_some_and(|most| usize::try_from(most).is_ok_and(|most| count > most))
}

/// The path of a member or of a map's entry, whose key may be of any length.
fn below(path: &str, member: &str) -> String {
    let member = member.char_indices().nth(SHOWN_CHARS_MAX).map_or(member, |(end, _)| &member[..end]);
    if path.is_empty() { member.to_owned() } else { format!("{path}.{member}") }
}
