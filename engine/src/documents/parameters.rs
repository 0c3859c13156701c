//! What a document says of its parameters, and whether values are within it.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::content::{ContentError, Reader};

/// SSM's parameter types of Command documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterType {
    /// One text.
    String,
    /// Several texts.
    StringList,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An object, as JSON.
    StringMap,
    /// A list of objects, as JSON.
    MapList,
}

impl ParameterType {
    const ALL: [(&'static str, Self); 6] = [
        ("String", Self::String),
        ("StringList", Self::StringList),
        ("Integer", Self::Integer),
        ("Boolean", Self::Boolean),
        ("StringMap", Self::StringMap),
        ("MapList", Self::MapList),
    ];

    /// SSM's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name)
    }
}

/// Bytes of a pattern once it is compiled: a few characters with nested repetitions ask for
/// ten megabytes and a second of work. Enough for a hundred letters of any script.
const PATTERN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of all patterns of a document together. With the most parameters that there can be, each
/// has room for a word of any script.
const PATTERNS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a value must match, the whole of it. Compiled when it is first asked, which may take a
/// second or two for all patterns of a document.
#[derive(Debug, Clone)]
struct Pattern {
    /// As written.
    text: String,
    bytes_max: usize,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    /// One of `count` patterns of a document.
    fn one_of(count: usize, text: &str) -> Self {
        let bytes_max = PATTERN_BYTES_MAX.min(PATTERNS_BYTES_MAX / count.max(1));
        Self { text: text.to_owned(), bytes_max, compiled: OnceLock::new() }
    }

    fn regex(&self) -> Result<&Regex, String> {
        let compile = || {
            let text = &self.text;
            RegexBuilder::new(&format!("^(?:{text})$")).size_limit(self.bytes_max).build().map_err(|error| {
                let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                format!("`{text}` is no regular expression that is known here: {why}")
            })
        };
        self.compiled.get_or_init(compile).as_ref().map_err(Clone::clone)
    }
}

/// A parameter of a document.
#[derive(Debug, Clone)]
pub struct ParameterDefinition {
    /// Its name; letters, digits and `_`, so that it can name an environment variable.
    pub name: String,
    /// Its type.
    pub kind: ParameterType,
    /// For people.
    pub description: Option<String>,
    /// The value when none is given, as SSM carries values; `None` makes it mandatory.
    pub default: Option<Vec<String>>,
    allowed_values: Vec<String>,
    allowed_pattern: Option<Pattern>,
    items: (Option<usize>, Option<usize>),
    chars: (Option<usize>, Option<usize>),
}

/// Members that a parameter's definition may have.
const MEMBERS: [&str; 11] = [
    "type",
    "description",
    "default",
    "allowedValues",
    "allowedPattern",
    "displayType",
    "interpolationType",
    "minItems",
    "maxItems",
    "minChars",
    "maxChars",
];

impl ParameterDefinition {
    /// Reads a definition of a document with that many patterns. Of a `new` one the pattern and the
    /// default are checked as well; of one that was checked when it was stored they are believed.
    pub(super) fn read(name: &str, reader: &Reader<'_>, patterns: usize, new: bool) -> Result<Self, ContentError> {
        let names_variable = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || name.len() > 64 || !names_variable {
            return Err(reader.fault(format!(
                "parameter name `{name}` is not allowed; allowed are up to 64 letters, digits and `_`"
            )));
        }
        if name == "COMMAND_ID" {
            return Err(reader.fault("parameter name `COMMAND_ID` is not allowed: $SSM_COMMAND_ID is taken".to_owned()));
        }
        reader.only_members(&MEMBERS)?;
        let kind_reader = reader.required("type")?;
        let kind_name = kind_reader.text()?;
        let kind = ParameterType::ALL.iter().find(|(name, _)| *name == kind_name).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| {
            let known = ParameterType::ALL.map(|(name, _)| name).join(", ");
            kind_reader.fault(format!("`{kind_name}` is not allowed; allowed are {known}"))
        })?;
        if let Some(interpolation) = reader.member("interpolationType")
            && interpolation.text()? != "ENV_VAR"
        {
            let problem = "allowed is ENV_VAR: values are never pasted into a script";
            return Err(interpolation.fault(problem.to_owned()));
        }
        let allowed_pattern = match reader.member("allowedPattern") {
            None => None,
            Some(given) => {
                let pattern = Pattern::one_of(patterns, given.text()?);
                if new {
                    pattern.regex().map_err(|problem| given.fault(problem))?;
                }
                Some(pattern)
            }
        };
        let mut parameter = Self {
            name: name.to_owned(),
            kind,
            description: reader.optional_text("description")?.map(str::to_owned),
            default: None,
            allowed_values: match reader.member("allowedValues") {
                Some(values) => values.items()?.iter().map(|value| scalar_text(value)).collect::<Result<_, _>>()?,
                None => Vec::new(),
            },
            allowed_pattern,
            items: (reader.count("minItems")?, reader.count("maxItems")?),
            chars: (reader.count("minChars")?, reader.count("maxChars")?),
        };
        if let Some(default) = reader.member("default") {
            let values = match default.value() {
                Value::Array(_) if kind == ParameterType::StringList => {
                    default.items()?.iter().map(|item| scalar_text(item)).collect::<Result<Vec<_>, _>>()?
                }
                Value::Array(_) | Value::Object(_)
                    if matches!(kind, ParameterType::MapList | ParameterType::StringMap) =>
                {
                    vec![default.value().to_string()]
                }
                _ => vec![scalar_text(&default)?],
            };
            // An empty text or list stands for "nothing", whatever else is allowed (SSM's documents do so).
            let is_nothing = values.iter().all(String::is_empty);
            if new && !is_nothing {
                parameter.check(&values).map_err(|problem| default.fault(problem))?;
            }
            parameter.default = Some(values);
        }
        Ok(parameter)
    }

    /// Checks values.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn check(&self, values: &[String]) -> Result<(), String> {
        let kind = self.kind.name();
        let [one] = values else {
            if self.kind != ParameterType::StringList {
                return Err(format!("{} values were given; exactly 1 is allowed for a {kind}", values.len()));
            }
            return self.check_list(values);
        };
        match self.kind {
            ParameterType::StringList => return self.check_list(values),
            ParameterType::Integer if one.parse::<i64>().is_err() => {
                return Err(format!("`{one}` is not allowed; allowed is a whole number"));
            }
            ParameterType::Boolean if !["true", "false"].contains(&one.as_str()) => {
                return Err(format!("`{one}` is not allowed; allowed are true and false"));
            }
            ParameterType::StringMap if !serde_json::from_str(one).is_ok_and(|value: Value| value.is_object()) => {
                return Err(format!("`{one}` is not allowed; allowed is a JSON object"));
            }
            ParameterType::MapList if !serde_json::from_str(one).is_ok_and(|value: Value| is_map_list(&value)) => {
                return Err(format!("`{one}` is not allowed; allowed is a JSON list of objects"));
            }
            _ => {}
        }
        self.check_one(one)
    }

    fn check_list(&self, values: &[String]) -> Result<(), String> {
        within(values.len(), self.items, "items")?;
        values.iter().try_for_each(|value| self.check_one(value))
    }

    fn check_one(&self, value: &str) -> Result<(), String> {
        within(value.chars().count(), self.chars, "characters")?;
        if !self.allowed_values.is_empty() && !self.allowed_values.iter().any(|allowed| allowed == value) {
            return Err(format!("`{value}` is not allowed; allowed are {}", self.allowed_values.join(", ")));
        }
        match &self.allowed_pattern {
            Some(pattern) if !pattern.regex()?.is_match(value) => {
                Err(format!("`{value}` is not allowed; allowed is what matches {}", pattern.text))
            }
            _ => Ok(()),
        }
    }
}

fn within(count: usize, (least, most): (Option<usize>, Option<usize>), what: &str) -> Result<(), String> {
    match (least, most) {
        (Some(least), _) if count < least => Err(format!("{count} {what} were given; at least {least} are needed")),
        (_, Some(most)) if count > most => Err(format!("{count} {what} were given; at most {most} are allowed")),
        _ => Ok(()),
    }
}

fn is_map_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(Value::is_object))
}

/// A text, number or boolean, as parameters carry it.
fn scalar_text(reader: &Reader<'_>) -> Result<String, ContentError> {
    match reader.value() {
        Value::String(text) => Ok(text.clone()),
        value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
        _ => Err(reader.fault("allowed is a text, a number, true or false".to_owned())),
    }
}
