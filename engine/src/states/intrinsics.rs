//! The intrinsic functions of payload templates: read once, called with a bound on what they make.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::PAYLOAD_BYTES_MAX;
use super::data::{Scope, check_path, failure};
use crate::calls::Failure;

/// Functions within functions (Step Functions).
const NESTING_MAX: usize = 10;
/// Arguments of one function.
const ARGUMENTS_MAX: usize = 100;
/// Items that ArrayRange makes (Step Functions).
const RANGE_ITEMS_MAX: i64 = 1_000;
/// Characters that the Base64 and hash functions take (Step Functions).
const TEXT_CHARS_MAX: usize = 10_000;

/// A call of a function.
#[derive(Debug, Clone)]
pub(super) struct Function {
    name: Name,
    arguments: Vec<Argument>,
}

#[derive(Debug, Clone)]
enum Argument {
    Literal(Value),
    Path(String),
    Call(Function),
}

macro_rules! names {
    ($($variant:ident: $text:literal, $least:literal..=$most:expr;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Name { $($variant),* }

        /// Each function: its name, and how many arguments it takes.
        const NAMES: &[(&str, Name, usize, usize)] = &[$(($text, Name::$variant, $least, $most)),*];
    };
}

names! {
    Format: "Format", 1..=ARGUMENTS_MAX;
    StringToJson: "StringToJson", 1..=1;
    JsonToString: "JsonToString", 1..=1;
    Array: "Array", 0..=ARGUMENTS_MAX;
    ArrayPartition: "ArrayPartition", 2..=2;
    ArrayContains: "ArrayContains", 2..=2;
    ArrayRange: "ArrayRange", 3..=3;
    ArrayGetItem: "ArrayGetItem", 2..=2;
    ArrayLength: "ArrayLength", 1..=1;
    ArrayUnique: "ArrayUnique", 1..=1;
    Base64Encode: "Base64Encode", 1..=1;
    Base64Decode: "Base64Decode", 1..=1;
    Hash: "Hash", 2..=2;
    JsonMerge: "JsonMerge", 3..=3;
    MathRandom: "MathRandom", 2..=3;
    MathAdd: "MathAdd", 2..=2;
    StringSplit: "StringSplit", 2..=2;
    Uuid: "UUID", 0..=0;
}

/// Whether a text is a call of a function.
pub(super) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// Reads a call such as `States.Format('{} of {}', $.a, $.b)`.
pub(super) fn parse(text: &str) -> Result<Function, String> {
    let mut reader = Reader { rest: text };
    let function = reader.function(0)?;
    reader.blanks();
    if reader.rest.is_empty() { Ok(function) } else { Err(format!("`{}` stands behind the function", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn function(&mut self, depth: usize) -> Result<Function, String> {
        if depth == NESTING_MAX {
            return Err(format!("functions within functions are allowed {NESTING_MAX} deep"));
        }
        if !self.eat("States.") {
            return Err("a function's name begins with `States.`".to_owned());
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let Some((_, name, least, most)) = NAMES.iter().find(|(known, ..)| *known == text) else {
            let known: Vec<_> = NAMES.iter().map(|(known, ..)| *known).collect();
            return Err(format!("`States.{text}` is no intrinsic function; there are {}", known.join(", ")));
        };
        self.rest = rest;
        if !self.eat("(") {
            return Err(format!("`(` is missing behind States.{text}"));
        }
        let mut arguments = Vec::new();
        if !self.eat(")") {
            loop {
                if arguments.len() == ARGUMENTS_MAX {
                    return Err(format!("more than {ARGUMENTS_MAX} arguments"));
                }
                arguments.push(self.argument(depth)?);
                if self.eat(")") {
                    break;
                }
                if !self.eat(",") {
                    return Err(format!("`,` or `)` is missing before `{}`", shown(self.rest)));
                }
            }
        }
        if !(*least..=*most).contains(&arguments.len()) {
            return Err(format!("States.{text} has {} arguments; allowed are {least} to {most}", arguments.len()));
        }
        Ok(Function { name: *name, arguments })
    }

    fn argument(&mut self, depth: usize) -> Result<Argument, String> {
        self.blanks();
        if self.rest.starts_with("States.") {
            return self.function(depth + 1).map(Argument::Call);
        }
        if self.rest.starts_with('\'') {
            return self.quoted().map(|text| Argument::Literal(Value::String(text)));
        }
        let end = self.end_of_bare();
        let (text, rest) = self.rest.split_at(end);
        let text = text.trim();
        self.rest = rest;
        if text.starts_with('$') {
            check_path(text)?;
            return Ok(Argument::Path(text.to_owned()));
        }
        match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Null)) => Ok(Argument::Literal(value)),
            _ => Err(format!(
                "`{}` is no argument; allowed are 'texts', numbers, true, false, null, paths and functions",
                shown(text)
            )),
        }
    }

    /// Where an unquoted argument ends: at a comma or bracket that is not within the path's own brackets.
    fn end_of_bare(&self) -> usize {
        let (mut depth, mut quote) = (0_usize, None);
        for (at, c) in self.rest.char_indices() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if depth > 0 => quote = Some(c),
                (None, '[' | '(') => depth += 1,
                (None, ']') => depth = depth.saturating_sub(1),
                (None, ')') if depth > 0 => depth -= 1,
                (None, ',' | ')') if depth == 0 => return at,
                _ => {}
            }
        }
        self.rest.len()
    }

    /// A text in quotes; a backslash keeps what follows it.
    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\'' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    // Format reads these itself.
                    Some((_, c @ ('{' | '}'))) => text.extend(['\\', c]),
                    Some((_, c)) => text.push(c),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(format!("`{}` has no closing quote", shown(self.rest)))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn failed(problem: impl Into<String>) -> Failure {
    failure("States.IntrinsicFailure", problem)
}

impl Function {
    /// Calls the function.
    ///
    /// # Errors
    /// `States.IntrinsicFailure`, `States.ParameterPathFailure`.
    pub(super) fn call(&self, scope: &Scope<'_>) -> Result<Value, Failure> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(match argument {
                Argument::Literal(value) => value.clone(),
                Argument::Path(path) => scope.select(path)?,
                Argument::Call(function) => function.call(scope)?,
            });
        }
        self.name.call(values, scope)
    }
}

impl Name {
    fn call(self, values: Vec<Value>, scope: &Scope<'_>) -> Result<Value, Failure> {
        let mut values = values.into_iter();
        // How many there are was checked when the call was read.
        let mut next = || values.next().unwrap_or_default();
        Ok(match self {
            Self::Format => {
                let template = text(next())?;
                Value::String(format(&template, values.collect())?)
            }
            Self::StringToJson => {
                let text = text(next())?;
                serde_json::from_str(&text).map_err(|error| failed(format!("StringToJson: not JSON: {error}")))?
            }
            Self::JsonToString => Value::String(next().to_string()),
            Self::Array => Value::Array(values.collect()),
            Self::ArrayPartition => {
                let (items, size) = (list(next())?, whole(&next())?);
                let size = usize::try_from(size).ok().filter(|size| *size > 0);
                let size = size.ok_or_else(|| failed("ArrayPartition: parts have at least one item"))?;
                Value::Array(items.chunks(size).map(|part| Value::Array(part.to_vec())).collect())
            }
            Self::ArrayContains => {
                let (items, wanted) = (list(next())?, next());
                Value::Bool(items.contains(&wanted))
            }
            Self::ArrayRange => range(whole(&next())?, whole(&next())?, whole(&next())?)?,
            Self::ArrayGetItem => {
                let (items, index) = (list(next())?, whole(&next())?);
                let item = usize::try_from(index).ok().and_then(|index| items.get(index).cloned());
                item.ok_or_else(|| failed(format!("ArrayGetItem: there is no item {index} of {}", items.len())))?
            }
            Self::ArrayLength => json!(list(next())?.len()),
            Self::ArrayUnique => {
                let mut unique: Vec<Value> = Vec::new();
                let mut seen = std::collections::BTreeSet::new();
                for item in list(next())? {
                    if seen.insert(item.to_string()) {
                        unique.push(item);
                    }
                }
                Value::Array(unique)
            }
            Self::Base64Encode => Value::String(STANDARD.encode(short_text(next())?)),
            Self::Base64Decode => {
                let bytes = STANDARD.decode(short_text(next())?).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                Value::String(text.ok_or_else(|| failed("Base64Decode: not the Base64 of a text"))?)
            }
            Self::Hash => {
                let (data, algorithm) = (next(), text(next())?);
                let data = match data {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                Value::String(hash(&short_text(Value::String(data))?, &algorithm)?)
            }
            Self::JsonMerge => {
                let (first, second, deep) = (object(next())?, object(next())?, next());
                match deep {
                    Value::Bool(false) => Value::Object(merged(first, second)),
                    _ => return Err(failed("JsonMerge: its third argument is false; a deep merge is not supported")),
                }
            }
            Self::MathRandom => {
                let (from, to) = (whole(&next())?, whole(&next())?);
                let seed = match values.next() {
                    Some(seed) => super::data::splitmix(whole(&seed)?.cast_unsigned()),
                    None => scope.draw(),
                };
                let span = to.checked_sub(from).filter(|span| *span > 0);
                let span = span.ok_or_else(|| failed("MathRandom: its second argument is greater than the first"))?;
                json!(from + (seed % span.cast_unsigned()).cast_signed())
            }
            Self::MathAdd => {
                let (a, b) = (whole(&next())?, whole(&next())?);
                json!(a.checked_add(b).ok_or_else(|| failed("MathAdd: the sum is too large"))?)
            }
            Self::StringSplit => {
                let (text, separators) = (text(next())?, text(next())?);
                let parts = text.split(|c| separators.contains(c)).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
            }
            Self::Uuid => {
                let (high, low) = (scope.draw(), scope.draw());
                let digits = format!("{high:016x}{low:016x}");
                let variant = ["8", "9", "a", "b"][usize::try_from(low & 3).unwrap_or_default()];
                Value::String(format!(
                    "{}-{}-4{}-{variant}{}-{}",
                    &digits[0..8],
                    &digits[8..12],
                    &digits[13..16],
                    &digits[17..20],
                    &digits[20..32]
                ))
            }
        })
    }
}

fn text(value: Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(failed(format!("`{}` is no text", shown(&other.to_string())))),
    }
}

fn short_text(value: Value) -> Result<String, Failure> {
    let text = text(value)?;
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(failed(format!("the text is longer than {TEXT_CHARS_MAX} characters")));
    }
    Ok(text)
}

fn list(value: Value) -> Result<Vec<Value>, Failure> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(failed(format!("`{}` is no list", shown(&other.to_string())))),
    }
}

fn object(value: Value) -> Result<Map<String, Value>, Failure> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(failed(format!("`{}` is no object", shown(&other.to_string())))),
    }
}

/// A whole number; a fraction is rounded, as Step Functions does.
fn whole(value: &Value) -> Result<i64, Failure> {
    let rounded = || {
        #[expect(clippy::cast_possible_truncation, reason = "within what an i64 holds exactly")]
        value.as_f64().filter(|number| number.abs() < 9.0e15).map(|number| number.round() as i64)
    };
    value.as_i64().or_else(rounded).ok_or_else(|| failed(format!("`{}` is no number", shown(&value.to_string()))))
}

fn range(first: i64, last: i64, step: i64) -> Result<Value, Failure> {
    if step == 0 {
        return Err(failed("ArrayRange: the step is not 0"));
    }
    let span = last.checked_sub(first).ok_or_else(|| failed("ArrayRange: the numbers are too far apart"))?;
    let count = span.checked_div(step).unwrap_or(-1).saturating_add(1);
    if count > RANGE_ITEMS_MAX {
        return Err(failed(format!("ArrayRange: {count} items; allowed are up to {RANGE_ITEMS_MAX}")));
    }
    Ok(Value::Array((0..count.max(0)).map(|index| json!(first + index * step)).collect()))
}

/// Puts the values in the place of `{}`.
fn format(template: &str, values: Vec<Value>) -> Result<String, Failure> {
    let (expected, mut values) = (values.len(), values.into_iter());
    let mut out = String::new();
    let mut characters = template.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if matches!(characters.peek(), Some('{' | '}')) => out.extend(characters.next()),
            '{' if characters.peek() == Some(&'}') => {
                characters.next();
                match values.next() {
                    Some(Value::String(text)) => out.push_str(&text),
                    Some(Value::Object(_)) => return Err(failed("Format: an object has no place in a text")),
                    Some(other) => out.push_str(&other.to_string()),
                    None => return Err(failed(format!("Format: more places than the {expected} values"))),
                }
            }
            c => out.push(c),
        }
        if out.len() > PAYLOAD_BYTES_MAX {
            return Err(failed(format!("Format: the text is longer than {PAYLOAD_BYTES_MAX} bytes")));
        }
    }
    match values.next() {
        Some(_) => Err(failed(format!("Format: fewer places than the {expected} values"))),
        None => Ok(out),
    }
}

fn merged(mut first: Map<String, Value>, second: Map<String, Value>) -> Map<String, Value> {
    first.extend(second);
    first
}

fn hash(data: &str, algorithm: &str) -> Result<String, Failure> {
    use sha1::Digest as _;
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    Ok(match algorithm {
        "MD5" => hex(&md5::Md5::digest(data)),
        "SHA-1" => hex(&sha1::Sha1::digest(data)),
        "SHA-256" => hex(&sha2::Sha256::digest(data)),
        "SHA-384" => hex(&sha2::Sha384::digest(data)),
        "SHA-512" => hex(&sha2::Sha512::digest(data)),
        other => {
            return Err(failed(format!(
                "Hash: `{}` is not allowed; allowed are MD5, SHA-1, SHA-256, SHA-384 and SHA-512",
                shown(other)
            )));
        }
    })
}

#[cfg(test)]
#[path = "intrinsics_tests.rs"]
mod tests;
