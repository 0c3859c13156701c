//! Comparisons of filters that name one: SSM spells them `Equal` or `EQUAL`.

use super::Error;

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// One of the values.
    Equal,
    /// None of the values.
    NotEqual,
    /// Begins with one of the values.
    BeginWith,
    /// Before each value, as text, or as a number where both are numbers.
    LessThan,
    /// Behind each value, likewise.
    GreaterThan,
    /// Is there at all.
    Exists,
}

impl Comparison {
    /// Reads the `Type` of a filter; absence means equal. The model has checked which there are.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Error> {
        Ok(match text {
            None | Some("Equal" | "EQUAL") => Self::Equal,
            Some("NotEqual" | "NOT_EQUAL") => Self::NotEqual,
            Some("BeginWith" | "BEGIN_WITH") => Self::BeginWith,
            Some("LessThan" | "LESS_THAN") => Self::LessThan,
            Some("GreaterThan" | "GREATER_THAN") => Self::GreaterThan,
            Some("Exists") => Self::Exists,
            Some(other) => {
                let allowed = "Equal, NotEqual, BeginWith, LessThan, GreaterThan, Exists";
                return Err(Error::new("InvalidFilter", format!("Type is `{other}`; allowed are {allowed}")));
            }
        })
    }

    /// Whether a value passes.
    pub(crate) fn accepts(self, actual: &str, values: &[String]) -> bool {
        let order = |value: &String| match (actual.parse::<f64>(), value.parse::<f64>()) {
            (Ok(actual), Ok(value)) => actual.partial_cmp(&value),
            _ => Some(actual.cmp(value)),
        };
        match self {
            Self::Equal => values.iter().any(|value| value == actual),
            Self::NotEqual => values.iter().all(|value| value != actual),
            Self::BeginWith => values.iter().any(|value| actual.starts_with(value.as_str())),
            Self::LessThan => values.iter().all(|value| order(value).is_some_and(std::cmp::Ordering::is_lt)),
            Self::GreaterThan => values.iter().all(|value| order(value).is_some_and(std::cmp::Ordering::is_gt)),
            Self::Exists => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Comparison;

    #[test]
    fn values_are_compared_as_numbers_where_both_are() {
        for (kind, actual, value, passes) in [
            ("Equal", "a", "a", true),
            ("NOT_EQUAL", "a", "a", false),
            ("BEGIN_WITH", "abc", "ab", true),
            ("LessThan", "9", "10", true),
            ("LESS_THAN", "9.x", "10.x", false),
            ("GreaterThan", "b", "a", true),
            ("Exists", "b", "a", true),
        ] {
            let comparison = Comparison::read(Some(kind)).expect("a comparison");
            assert_eq!(comparison.accepts(actual, &[value.to_owned()]), passes, "{actual} {kind} {value}");
        }
        assert!(Comparison::read(Some("Near")).is_err());
    }
}
