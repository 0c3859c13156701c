//! `MaxConcurrency` and `MaxErrors`: a count or a percentage of the targets.
//!
//! Rounding is not documented by SSM. Ours: concurrency `max(1, floor(p × targets / 100))`, errors
//! `floor(p × targets / 100)`, so 10 % of 9 targets allows no error and 100 % never stops.

use std::fmt;

/// SSM's default `MaxConcurrency` of SendCommand.
pub const DEFAULT_CONCURRENCY: Limit = Limit::Count(50);
/// SSM's default `MaxErrors` of SendCommand.
pub const DEFAULT_ERRORS: Limit = Limit::Count(0);

/// A count, or a percentage of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// So many.
    Count(u32),
    /// Of the targets, 0..=100.
    Percent(u8),
}

/// A text that is not a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; allowed is {allowed}")]
pub struct LimitError {
    /// `MaxConcurrency` or `MaxErrors`.
    pub field: &'static str,
    /// The text.
    pub value: String,
    /// The form that would have been accepted.
    pub allowed: &'static str,
}

impl Limit {
    /// Reads a `MaxConcurrency`: 1 or more, or 1% to 100%.
    ///
    /// # Errors
    /// [`LimitError`] for anything else, zero included.
    pub fn concurrency(text: &str) -> Result<Self, LimitError> {
        let error = || LimitError {
            field: "MaxConcurrency",
            value: text.to_owned(),
            allowed: "a count from 1, or a percentage from 1% to 100%",
        };
        parse(text).filter(|limit| !matches!(limit, Self::Count(0) | Self::Percent(0))).ok_or_else(error)
    }

    /// Reads a `MaxErrors`: 0 or more, or 0% to 100%.
    ///
    /// # Errors
    /// [`LimitError`] for anything else.
    pub fn errors(text: &str) -> Result<Self, LimitError> {
        parse(text).ok_or_else(|| LimitError {
            field: "MaxErrors",
            value: text.to_owned(),
            allowed: "a count from 0, or a percentage from 0% to 100%",
        })
    }

    /// Invocations that may be in flight among `targets`; at least 1.
    #[must_use]
    pub fn concurrency_of(self, targets: u32) -> u32 {
        self.of(targets).max(1)
    }

    /// Errors that are allowed among `targets`.
    #[must_use]
    pub fn errors_of(self, targets: u32) -> u32 {
        self.of(targets)
    }

    fn of(self, targets: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let share = u64::from(targets) * u64::from(percent) / 100;
                u32::try_from(share).expect("a share of a u32 is a u32")
            }
        }
    }
}

/// Reads either form; `None` is neither. The caller knows which field it was.
fn parse(text: &str) -> Option<Limit> {
    let (digits, percent) = match text.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    // `u32::from_str` takes a sign, and SSM's pattern takes no leading zero.
    let plain = !digits.is_empty()
        && digits.len() <= 7
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    let number: u32 = if plain { digits.parse().ok()? } else { return None };
    if percent {
        u8::try_from(number).ok().filter(|share| *share <= 100).map(Limit::Percent)
    } else {
        Some(Limit::Count(number))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_down_but_leave_one_slot() {
        for (limit, targets, concurrency, errors) in
            [("10%", 9, 1, 0), ("10%", 50, 5, 5), ("100%", 7, 7, 7), ("3", 1, 3, 3), ("1%", 0, 1, 0)]
        {
            let limit = Limit::concurrency(limit).expect("a valid limit");
            assert_eq!((limit.concurrency_of(targets), limit.errors_of(targets)), (concurrency, errors));
        }
    }

    #[test]
    fn malformed_limits_are_refused_with_field_and_value() {
        for text in ["", "0", "-1", "+1", "01", "0%", "101%", "5 %", "%", "1e3", "99999999"] {
            let error = Limit::concurrency(text).expect_err(text);
            assert_eq!((error.field, error.value.as_str()), ("MaxConcurrency", text));
        }
        for text in ["", "-1", "101%", "007"] {
            assert_eq!(Limit::errors(text).expect_err(text).field, "MaxErrors");
        }
        assert_eq!(Limit::errors("0"), Ok(Limit::Count(0)));
        assert_eq!(Limit::errors("0%"), Ok(Limit::Percent(0)));
    }
}
