//! Building request bodies: what was not given is absent, as SSM wants it.

use serde_json::{Map, Value};

/// A request body under construction.
#[derive(Debug, Default)]
pub(super) struct Request(Map<String, Value>);

impl Request {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Sets a member.
    pub(super) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Sets a member if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Sets a list or a map unless it is empty.
    pub(super) fn unless_empty(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if is_empty { self } else { self.set(name, value) }
    }

    /// Sets a flag if it was given.
    pub(super) fn flag(self, name: &str, is_given: bool) -> Self {
        if is_given { self.set(name, true) } else { self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn done(self) -> Value {
        Value::Object(self.0)
    }
}
