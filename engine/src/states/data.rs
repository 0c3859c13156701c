//! How data flows through a state: paths, payload templates, variables and the context object.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use serde_json::{Map, Value};

use super::PAYLOAD_BYTES_MAX;
use super::intrinsics::{self, Function};
use super::machine::{ResultPath, escaped};
use crate::calls::Failure;
use crate::json_path;

/// Characters of a variable's name (Step Functions).
const VARIABLE_CHARS_MAX: usize = 80;

/// What a state's paths and templates may look at.
pub(super) struct Scope<'a> {
    /// `$`.
    pub(super) value: &'a Value,
    /// `$name`.
    pub(super) variables: &'a Map<String, Value>,
    /// `$$`, made when it is asked for: it holds the execution's whole input.
    pub(super) context: &'a dyn Fn() -> Value,
    context_made: OnceCell<Value>,
    /// Where random numbers come from; each draw is another.
    draws: &'a Cell<u64>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        value: &'a Value,
        variables: &'a Map<String, Value>,
        context: &'a dyn Fn() -> Value,
        draws: &'a Cell<u64>,
    ) -> Self {
        Self { value, variables, context, context_made: OnceCell::new(), draws }
    }

    /// The same, of another value.
    pub(super) fn of<'b>(&self, value: &'b Value) -> Scope<'b>
    where
        'a: 'b,
    {
        Scope::new(value, self.variables, self.context, self.draws)
    }

    /// What a path finds.
    ///
    /// # Errors
    /// `States.ParameterPathFailure`.
    pub(super) fn select(&self, path: &str) -> Result<Value, Failure> {
        let failed = |error: json_path::PathError| failure("States.ParameterPathFailure", error.to_string());
        if path == "$" {
            return Ok(self.value.clone());
        }
        if let Some(rest) = path.strip_prefix("$$") {
            let context = self.context_made.get_or_init(|| (self.context)());
            return json_path::select(&format!("${rest}"), context).map_err(failed);
        }
        if let Some((name, rest)) = variable_of(path) {
            let value = self.variables.get(name).ok_or_else(|| {
                failure("States.ParameterPathFailure", format!("variable `{name}` has no value here"))
            })?;
            return json_path::select(&format!("${rest}"), value).map_err(failed);
        }
        json_path::select(path, self.value).map_err(failed)
    }

    /// What a definite path finds in the value itself, without a copy of it.
    pub(super) fn borrow(&self, path: &str) -> Option<&'a Value> {
        if path.starts_with("$$") || variable_of(path).is_some() {
            return None;
        }
        json_path::at(self.value, &json_path::definite(path)?)
    }

    /// As [`Scope::select`]; `None` for a path that finds nothing.
    pub(super) fn find(&self, path: &str) -> Option<Value> {
        self.select(path).ok()
    }

    /// A number that no other draw of this execution has.
    pub(super) fn draw(&self) -> u64 {
        let next = splitmix(self.draws.get());
        self.draws.set(next);
        next
    }
}

/// One step of SplitMix64: enough for jitter and ids, and the same in every replay.
pub(super) fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The name and the rest of a path that begins with a variable.
fn variable_of(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix('$')?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    is_variable(name).then_some((name, rest))
}

/// Whether a text may be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    name.len() <= VARIABLE_CHARS_MAX
        && name != "states"
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a path can be read.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let bare = match (path.strip_prefix("$$"), variable_of(path)) {
        (Some(rest), _) => format!("${rest}"),
        (None, Some((_, rest))) => format!("${rest}"),
        (None, None) => path.to_owned(),
    };
    json_path::check(&bare).map_err(|error| error.to_string())
}

/// A payload template: JSON in which members whose names end in `.$` are filled in.
#[derive(Debug, Clone)]
pub(super) enum Template {
    Literal(Value),
    List(Vec<Template>),
    Object(Vec<(String, Template)>),
    Path(String),
    Call(Function),
}

impl Template {
    /// Reads a template. A fault has the pointer to its place.
    pub(super) fn parse(value: &Value) -> Result<Self, (String, String)> {
        match value {
            Value::Array(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    list.push(Self::parse(item).map_err(|(below, problem)| (format!("/{index}{below}"), problem))?);
                }
                Ok(Self::List(list))
            }
            Value::Object(members) => {
                let mut object = Vec::with_capacity(members.len());
                for (name, member) in members {
                    let here = format!("/{}", escaped(name));
                    let Some(bare) = name.strip_suffix(".$") else {
                        let template =
                            Self::parse(member).map_err(|(below, problem)| (format!("{here}{below}"), problem))?;
                        object.push((name.clone(), template));
                        continue;
                    };
                    let text = member.as_str().ok_or_else(|| {
                        (here.clone(), "a member whose name ends in `.$` is a path or an intrinsic function".to_owned())
                    })?;
                    if members.contains_key(bare) {
                        return Err((here, format!("`{bare}` is there too; allowed is one of them")));
                    }
                    let filled = if text.starts_with("States.") {
                        Self::Call(intrinsics::parse(text).map_err(|problem| (here.clone(), problem))?)
                    } else {
                        check_path(text).map_err(|problem| (here.clone(), problem))?;
                        Self::Path(text.to_owned())
                    };
                    object.push((bare.to_owned(), filled));
                }
                Ok(Self::Object(object))
            }
            other => Ok(Self::Literal(other.clone())),
        }
    }

    /// Fills a template in.
    ///
    /// # Errors
    /// `States.ParameterPathFailure`, `States.IntrinsicFailure`.
    pub(super) fn fill(&self, scope: &Scope<'_>) -> Result<Value, Failure> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::List(items) => Value::Array(items.iter().map(|item| item.fill(scope)).collect::<Result<_, _>>()?),
            Self::Object(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    object.insert(name.clone(), member.fill(scope)?);
                }
                Value::Object(object)
            }
            Self::Path(path) => scope.select(path)?,
            Self::Call(function) => function.call(scope)?,
        })
    }
}

/// Applies `InputPath` or `OutputPath`.
///
/// # Errors
/// `States.Runtime`: Step Functions ends an execution whose path finds nothing.
pub(super) fn through<'a>(path: Option<&str>, scope: &Scope<'a>) -> Result<Cow<'a, Value>, Failure> {
    match path {
        None => Ok(Cow::Owned(Value::Object(Map::new()))),
        Some(path) => match scope.borrow(path) {
            Some(found) => Ok(Cow::Borrowed(found)),
            None => scope.select(path).map(Cow::Owned).map_err(|failed| failure("States.Runtime", failed.cause)),
        },
    }
}

/// Puts a result into a state's raw input.
///
/// # Errors
/// `States.ResultPathMatchFailure`.
pub(super) fn place_result(mut input: Value, path: &ResultPath, result: Value) -> Result<Value, Failure> {
    match path {
        ResultPath::Discard => Ok(input),
        ResultPath::At(_, parts) if parts.is_empty() => Ok(result),
        ResultPath::At(path, parts) => {
            json_path::put(&mut input, path, parts, result)
                .map_err(|error| failure("States.ResultPathMatchFailure", error.to_string()))?;
            Ok(input)
        }
    }
}

/// Refuses what is longer than may be passed on.
///
/// # Errors
/// `States.DataLimitExceeded`.
pub(super) fn within_limit(value: &Value) -> Result<(), Failure> {
    // Most are short: only what might be long is written out to be counted.
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            if self.0 > PAYLOAD_BYTES_MAX { Err(std::io::Error::other("too long")) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    match serde_json::to_writer(Counter(0), value) {
        Ok(()) => Ok(()),
        Err(_) => Err(failure(
            "States.DataLimitExceeded",
            format!("the state's result is longer than {PAYLOAD_BYTES_MAX} bytes"),
        )),
    }
}

/// An error of the language's own.
pub(super) fn failure(error: &str, cause: impl Into<String>) -> Failure {
    Failure { error: error.to_owned(), cause: cause.into() }
}
