//! One field of a cron expression.
//!
//! Reads SSM's (Quartz's) notation into plain values, so that what reaches the calendar walk is a
//! list of numbers and has no dialect left: steps, names, wrapped ranges and the day numbering that
//! starts with 1 = Sunday all end here.

use std::collections::BTreeSet;

use super::error::SyntaxError;
use super::expression::{Source, Span};

/// What a field may hold.
#[derive(Debug)]
pub(super) struct Field {
    /// As in error messages.
    name: &'static str,
    min: u16,
    max: u16,
    /// Names of the values from `min` on; empty if it has none.
    names: &'static [&'static str],
    /// Whether `22-2` is a range that passes the maximum.
    wraps: bool,
    /// For error messages.
    expected: &'static str,
}

pub(super) const SECONDS: Field =
    Field { name: "seconds", min: 0, max: 59, names: &[], wraps: false, expected: "0-59 with `, - * /`" };
pub(super) const MINUTES: Field = Field { name: "minutes", ..SECONDS };
pub(super) const HOURS: Field =
    Field { name: "hours", min: 0, max: 23, names: &[], wraps: true, expected: "0-23 with `, - * /`" };
pub(super) const DAY_OF_MONTH: Field = Field {
    name: "day-of-month",
    min: 1,
    max: 31,
    names: &[],
    wraps: false,
    expected: "1-31 with `, - * ? /`, `L`, `LW` or a day with `W`",
};
pub(super) const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    wraps: false,
    expected: "1-12 or JAN-DEC with `, - * /`",
};
pub(super) const DAY_OF_WEEK: Field = Field {
    name: "day-of-week",
    min: 1,
    max: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    wraps: true,
    expected: "1-7 or SUN-SAT (1 is Sunday) with `, - * ? /`, a day with `L`, or one day with `#1` to `#5`",
};
pub(super) const YEAR: Field =
    Field { name: "year", min: 1970, max: 2199, names: &[], wraps: false, expected: "1970-2199 with `, - * /`" };

/// What the two day fields may hold besides values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// `L` in day-of-month: the last day.
    LastDay,
    /// `LW`: the last weekday.
    LastWeekday,
    /// `nW`: the weekday nearest to day n, within the month.
    NearestWeekday(u16),
    /// `nL` in day-of-week: the last such day of the month. 1 is Sunday.
    LastOf(u16),
    /// `d#k`: the k-th such day of the month. 1 is Sunday.
    Nth(u16, u16),
}

/// A field's content.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) values: BTreeSet<u16>,
    pub(super) specials: Vec<Special>,
}

impl Field {
    /// Reads a field that holds values only.
    pub(super) fn values(&self, source: Source<'_>, span: Span<'_>) -> Result<BTreeSet<u16>, SyntaxError> {
        let mut values = BTreeSet::new();
        for item in span.split(',') {
            values.extend(self.item(source, item)?);
        }
        Ok(values)
    }

    /// Reads the day-of-month field; `?` is the caller's.
    pub(super) fn days_of_month(&self, source: Source<'_>, span: Span<'_>) -> Result<Content, SyntaxError> {
        let mut content = Content::default();
        for item in span.split(',') {
            let upper = item.text.to_ascii_uppercase();
            match upper.as_str() {
                "L" => content.specials.push(Special::LastDay),
                "LW" => content.specials.push(Special::LastWeekday),
                _ => match upper.strip_suffix('W') {
                    Some(day) => {
                        let day = self.value(source, Span { text: day, position: item.position })?;
                        content.specials.push(Special::NearestWeekday(day));
                    }
                    None => content.values.extend(self.item(source, item)?),
                },
            }
            if content.specials.contains(&Special::LastDay) && content.specials.contains(&Special::LastWeekday) {
                return Err(self.refuse(source, item, "`L` and `LW` exclude each other"));
            }
        }
        Ok(content)
    }

    /// Reads the day-of-week field; `?` is the caller's.
    pub(super) fn days_of_week(&self, source: Source<'_>, span: Span<'_>) -> Result<Content, SyntaxError> {
        let mut content = Content::default();
        if span.text.contains('#')
            && let Some((_, second)) = span.split_once(',')
        {
            return Err(self.refuse(source, second, "`#` stands alone, so there is no second expression"));
        }
        for item in span.split(',') {
            let upper = item.text.to_ascii_uppercase();
            if upper == "L" {
                // As in Quartz: a lone L is the last day of the week.
                content.values.insert(self.max);
            } else if let Some((day, ordinal)) = item.split_once('#') {
                let day = self.value(source, day)?;
                let ordinal = match ordinal.text {
                    "1" => 1,
                    "2" => 2,
                    "3" => 3,
                    "4" => 4,
                    "5" => 5,
                    _ => return Err(self.refuse(source, ordinal, "no such occurrence in a month")),
                };
                content.specials.push(Special::Nth(day, ordinal));
            } else if let Some(day) = upper.strip_suffix('L') {
                let day = self.value(source, Span { text: day, position: item.position })?;
                content.specials.push(Special::LastOf(day));
            } else {
                content.values.extend(self.item(source, item)?);
            }
        }
        Ok(content)
    }

    /// `*`, `a`, `a-b`, and each of them with `/step`.
    fn item(&self, source: Source<'_>, item: Span<'_>) -> Result<Vec<u16>, SyntaxError> {
        let (base, step) = match item.split_once('/') {
            None => (item, None),
            Some((base, step)) => (base, Some(self.step(source, step)?)),
        };
        let values: Vec<u16> = if base.text == "*" {
            (self.min..=self.max).collect()
        } else if let Some((first, last)) = base.split_once('-') {
            self.range(source, base, self.value(source, first)?, self.value(source, last)?)?
        } else {
            let first = self.value(source, base)?;
            // `a/b` runs up to the maximum, `a` alone does not.
            (first..=if step.is_some() { self.max } else { first }).collect()
        };
        Ok(values.into_iter().step_by(step.unwrap_or(1)).collect())
    }

    fn range(&self, source: Source<'_>, span: Span<'_>, first: u16, last: u16) -> Result<Vec<u16>, SyntaxError> {
        if first <= last {
            Ok((first..=last).collect())
        } else if self.wraps {
            Ok((first..=self.max).chain(self.min..=last).collect())
        } else {
            Err(self.refuse(source, span, "the range ends before it starts"))
        }
    }

    fn step(&self, source: Source<'_>, span: Span<'_>) -> Result<usize, SyntaxError> {
        number(span.text).filter(|step| (1..=self.max).contains(step)).map(usize::from).ok_or_else(|| {
            let reason = format!("step `{}` is not allowed in {}", span.text, self.name);
            source.error(span.position, reason, format!("1-{}", self.max))
        })
    }

    fn value(&self, source: Source<'_>, span: Span<'_>) -> Result<u16, SyntaxError> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(span.text));
        named
            .map(|(_, value)| value)
            .or_else(|| number(span.text).filter(|value| (self.min..=self.max).contains(value)))
            .ok_or_else(|| self.refuse(source, span, "no such value"))
    }

    fn refuse(&self, source: Source<'_>, span: Span<'_>, why: &str) -> SyntaxError {
        let reason = format!("`{}` is not allowed in {}: {why}", span.text, self.name);
        source.error(span.position, reason, self.expected)
    }
}

/// Digits only: no sign, no blank.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
