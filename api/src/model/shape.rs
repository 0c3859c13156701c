//! The format of the model's files.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::Model;

/// The derived file.
#[derive(Deserialize)]
pub(super) struct Source {
    operations: BTreeMap<String, Option<Operation>>,
    shapes: BTreeMap<String, Shape>,
}

/// The file written by hand.
#[derive(Deserialize)]
pub(super) struct Overlay {
    operations: BTreeMap<String, Operation>,
    /// Members that we add to SSM's structures.
    extends: BTreeMap<String, Members>,
    shapes: BTreeMap<String, Shape>,
}

impl Overlay {
    /// Puts our own beside SSM's and Step Functions'.
    pub(super) fn onto(self, source: Source, states: Source) -> Model {
        let mut shapes = source.shapes;
        shapes.extend(states.shapes);
        for (name, added) in self.extends {
            match shapes.get_mut(&name).map(|shape| &mut shape.kind) {
                Some(Kind::Members(members)) => members.0.extend(added.0),
                _ => unreachable!("the overlay extends `{name}`, which is no structure of SSM's; a test loads it"),
            }
        }
        shapes.extend(self.shapes);
        Model { ssm: source.operations, states: states.operations, patchwave: self.operations, shapes }
    }
}

/// An operation that is served.
#[derive(Deserialize)]
pub(super) struct Operation {
    /// Name of its request's shape.
    pub(super) input: String,
}

/// What a value may be.
#[derive(Deserialize)]
pub(super) struct Shape {
    #[serde(flatten)]
    pub(super) kind: Kind,
    /// Characters, entries, or the number itself: at least.
    pub(super) min: Option<i64>,
    /// At most.
    pub(super) max: Option<i64>,
    /// The words allowed; any when empty.
    #[serde(default, rename = "enum")]
    pub(super) words: Vec<String>,
    #[serde(flatten)]
    pub(super) pattern: Option<Pattern>,
    /// Holds what must not be shown.
    #[serde(default)]
    pub(super) sensitive: bool,
}

/// The types.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    /// A structure.
    Members(Members),
    /// Of items of a shape.
    List(String),
    /// From keys of one shape to values of another.
    Map(String, String),
    Type(Scalar),
}

/// Members in the model's order. In the file `!` stands behind the names of those that must be there.
pub(super) struct Members(pub(super) Vec<Member>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object from member names to shape names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<Member> = Vec::new();
                while let Some((name, shape)) = map.next_entry::<String, String>()? {
                    let (name, required) = match name.strip_suffix('!') {
                        Some(name) => (name.to_owned(), true),
                        None => (name, false),
                    };
                    if members.iter().any(|member| member.name == name) {
                        return Err(de::Error::custom(format_args!("member `{name}` is there twice")));
                    }
                    members.push(Member { name, shape, required });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A member of a structure.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) shape: String,
    pub(super) required: bool,
}

/// Types without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Scalar {
    Text,
    Integer,
    Number,
    Boolean,
    /// Seconds since 1970, or text.
    Timestamp,
    /// Base64.
    Blob,
}

/// A regular expression, which must match the whole value.
#[derive(Deserialize)]
pub(super) struct Pattern {
    /// As SSM has it, in Java's syntax.
    #[serde(rename = "pattern")]
    pub(super) text: String,
    /// In the syntax of `regex`, where that differs.
    #[serde(rename = "regex")]
    translation: Option<String>,
    #[serde(skip)]
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// Whether the whole of `value` matches; in time linear in its length.
    pub(super) fn matches(&self, value: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| {
            let pattern = self.translation.as_deref().unwrap_or(&self.text);
            Regex::new(&format!("^(?:{pattern})$")).expect("a test compiles every pattern")
        });
        compiled.is_match(value)
    }
}
