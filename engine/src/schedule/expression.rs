//! The three forms of a schedule expression: `cron(…)`, `rate(…)`, `at(…)`.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::civil::DateTime;

use super::cron::Cron;
use super::error::{ScheduleError, SyntaxError};

/// Least distance between two runs. SSM calls denser schedules "not supported"; as runs of one
/// window never overlap, they would mostly be recorded as skipped.
pub const MIN_INTERVAL: SignedDuration = SignedDuration::from_mins(5);

/// SSM's limit for the text of an expression, in characters.
const MAX_LENGTH: usize = 256;

/// A schedule expression that has been understood.
///
/// It is well formed, fires at least once in some year, and never twice within [`MIN_INTERVAL`]
/// of local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    kind: Kind,
}

/// The three forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Calendar fields, read in the window's zone.
    Cron(Box<Cron>),
    /// Elapsed time between runs; zones do not matter.
    Rate(SignedDuration),
    /// One local date and time, read in the window's zone.
    At(DateTime),
}

impl Schedule {
    /// Understands `expression`.
    ///
    /// # Errors
    /// [`ScheduleError::Syntax`] with the position of what was not understood,
    /// [`ScheduleError::TooDense`] or [`ScheduleError::NeverFires`].
    pub fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let source = Source { expression };
        if expression.chars().count() > MAX_LENGTH {
            let reason = format!("{} characters are too many", expression.chars().count());
            return Err(source.error(0, reason, format!("at most {MAX_LENGTH}")).into());
        }
        let (name, inner) = split_call(source)?;
        let kind = match name {
            "cron" => Kind::Cron(Box::new(Cron::parse(source, inner)?)),
            "rate" => Kind::Rate(parse_rate(source, inner)?),
            "at" => Kind::At(parse_at(source, inner)?),
            _ => return Err(source.error(0, format!("`{name}` is not a schedule"), FORMS.to_owned()).into()),
        };
        Ok(Self { text: expression.to_owned(), kind })
    }

    /// The expression as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is `cron(…)`, the only form that takes a `ScheduleOffset`.
    #[must_use]
    pub fn is_cron(&self) -> bool {
        matches!(self.kind, Kind::Cron(_))
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        Self::parse(text)
    }
}

const FORMS: &str = "`cron(…)`, `rate(…)` or `at(…)`";

/// The whole expression; makes errors that point into it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) expression: &'a str,
}

impl Source<'_> {
    pub(super) fn error(&self, position: usize, reason: String, expected: impl Into<String>) -> SyntaxError {
        SyntaxError { expression: self.expression.to_owned(), position, reason, expected: expected.into() }
    }
}

/// A piece of the expression and where it starts in it, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) text: &'a str,
    pub(super) position: usize,
}

impl<'a> Span<'a> {
    /// Splits at every `separator`; pieces may be empty.
    pub(super) fn split(self, separator: char) -> impl Iterator<Item = Span<'a>> {
        self.text.split(separator).scan(self.position, move |position, text| {
            let span = Span { text, position: *position };
            *position += text.len() + separator.len_utf8();
            Some(span)
        })
    }

    /// The pieces between blanks.
    pub(super) fn words(self) -> impl Iterator<Item = Span<'a>> {
        self.split(' ').filter(|word| !word.text.is_empty())
    }

    /// Splits at the first `separator`, if there is one.
    pub(super) fn split_once(self, separator: char) -> Option<(Span<'a>, Span<'a>)> {
        let (left, right) = self.text.split_once(separator)?;
        let position = self.position + left.len() + separator.len_utf8();
        Some((Span { text: left, position: self.position }, Span { text: right, position }))
    }

    /// Where the piece ends.
    pub(super) fn end(self) -> usize {
        self.position + self.text.len()
    }
}

/// Splits `name(inner)`.
fn split_call(source: Source<'_>) -> Result<(&str, Span<'_>), SyntaxError> {
    let Some((name, rest)) = source.expression.split_once('(') else {
        return Err(source.error(0, "no opening parenthesis".to_owned(), FORMS));
    };
    let Some(inner) = rest.strip_suffix(')') else {
        let reason = "no closing parenthesis at the end".to_owned();
        return Err(source.error(source.expression.len(), reason, FORMS));
    };
    let inner = Span { text: inner, position: name.len() + 1 };
    if inner.text.trim().is_empty() {
        return Err(source.error(inner.position, "nothing between the parentheses".to_owned(), FORMS));
    }
    Ok((name, inner))
}

/// Reads `value unit`.
fn parse_rate(source: Source<'_>, inner: Span<'_>) -> Result<SignedDuration, ScheduleError> {
    const EXPECTED: &str = "a positive whole number, a blank and `minute(s)`, `hour(s)` or `day(s)`";
    let mut words = inner.words();
    let (Some(value), Some(unit)) = (words.next(), words.next()) else {
        return Err(source.error(inner.position, format!("`{}` is not a rate", inner.text), EXPECTED).into());
    };
    if let Some(extra) = words.next() {
        return Err(source.error(extra.position, format!("`{}` is too much", extra.text), EXPECTED).into());
    }
    let digits = value.text.bytes().all(|b| b.is_ascii_digit());
    let number = value.text.parse::<u32>().ok().filter(|&number| digits && number > 0);
    let Some(number) = number else {
        let reason = format!("value `{}` is not allowed", value.text);
        return Err(source.error(value.position, reason, "a whole number from 1 to 4294967295").into());
    };
    let seconds_per_unit: i64 = match (unit.text, number) {
        ("minute", 1) | ("minutes", 2..) => 60,
        ("hour", 1) | ("hours", 2..) => 3_600,
        ("day", 1) | ("days", 2..) => 86_400,
        _ => {
            let reason = format!("unit `{}` is not allowed with {number}", unit.text);
            let expected = if number == 1 {
                "`minute`, `hour` or `day` (singular with 1)"
            } else {
                "`minutes`, `hours` or `days` (plural above 1)"
            };
            return Err(source.error(unit.position, reason, expected).into());
        }
    };
    let period = SignedDuration::from_secs(seconds_per_unit * i64::from(number));
    if period < MIN_INTERVAL {
        let seconds = u32::try_from(period.as_secs()).unwrap_or_default();
        return Err(ScheduleError::TooDense { expression: source.expression.to_owned(), seconds });
    }
    Ok(period)
}

/// Reads `YYYY-MM-DDThh:mm:ss`.
fn parse_at(source: Source<'_>, inner: Span<'_>) -> Result<DateTime, SyntaxError> {
    inner
        .text
        .parse::<DateTime>()
        .ok()
        // One spelling only: neither jiff's relaxed forms nor its reading of second 60 as 59.
        .filter(|at| at.to_string() == inner.text && at.year() >= 1970)
        .ok_or_else(|| {
            let reason = format!("`{}` is not a date and time", inner.text);
            source.error(inner.position, reason, "an existing `YYYY-MM-DDThh:mm:ss` from 1970 on, without zone")
        })
}
