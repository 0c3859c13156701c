//! Checks of request members, with SSM's wording: field, value, what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Error;

/// Collects what is wrong with a request, so that all of it is told at once.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    faults: Vec<String>,
}

impl Checks {
    /// Records a value that a constraint refuses. `field` is SSM's member path, lower camel case.
    pub(crate) fn refuse(&mut self, field: &str, value: impl Display, constraint: impl Display) {
        self.faults.push(format!("Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"));
    }

    /// Checks the number of characters.
    pub(crate) fn length(&mut self, field: &str, value: Option<&str>, allowed: RangeInclusive<usize>) {
        let Some(value) = value else { return };
        let count = value.chars().count();
        if count < *allowed.start() {
            let least = allowed.start();
            self.refuse(field, value, format_args!("Member must have length greater than or equal to {least}"));
        } else if count > *allowed.end() {
            let most = allowed.end();
            self.refuse(field, value, format_args!("Member must have length less than or equal to {most}"));
        }
    }

    /// Checks a number.
    pub(crate) fn range(&mut self, field: &str, value: Option<i64>, allowed: RangeInclusive<i64>) {
        let Some(value) = value else { return };
        if value < *allowed.start() {
            let least = allowed.start();
            self.refuse(field, value, format_args!("Member must have value greater than or equal to {least}"));
        } else if value > *allowed.end() {
            let most = allowed.end();
            self.refuse(field, value, format_args!("Member must have value less than or equal to {most}"));
        }
    }

    /// Checks SSM's pattern for the names of windows, tasks, targets and baselines.
    pub(crate) fn name(&mut self, field: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        let fits = (3..=128).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if !fits {
            let pattern = r"Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\-.]{3,128}$";
            self.refuse(field, value, pattern);
        }
    }

    /// Checks a word out of a list.
    pub(crate) fn one_of(&mut self, field: &str, value: Option<&str>, allowed: &[&str]) {
        let Some(value) = value else { return };
        if !allowed.contains(&value) {
            let set = allowed.join(", ");
            self.refuse(field, value, format_args!("Member must satisfy enum value set: [{set}]"));
        }
    }

    /// The verdict.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let count = self.faults.len();
        let noun = if count == 1 { "error" } else { "errors" };
        Err(Error::validation(format!("{count} validation {noun} detected: {}", self.faults.join("; "))))
    }
}

/// A member that must be there.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| {
        Error::validation(format!(
            "1 validation error detected: Value null at '{field}' failed to satisfy constraint: \
             Member must not be null"
        ))
    })
}

/// A member that must be there and be an id of its kind.
pub(crate) fn id<T>(field: &str, value: Option<&str>) -> Result<T, Error>
where
    T: FromStr<Err = patchwave_schemas::IdError>,
{
    let text = required(field, value)?;
    text.parse().map_err(|error: patchwave_schemas::IdError| {
        let mut checks = Checks::default();
        checks.refuse(field, text, format_args!("Member must be {}", error.expected));
        match checks.finish() {
            Err(error) => error,
            Ok(()) => unreachable!("a fault was just recorded"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::Checks;

    #[test]
    fn all_faults_are_told_with_field_value_and_what_is_allowed() {
        let mut checks = Checks::default();
        checks.name("name", Some("a b"));
        checks.range("duration", Some(25), 1..=24);
        checks.length("description", Some(""), 1..=128);
        checks.one_of("resourceType", Some("X"), &["INSTANCE", "RESOURCE_GROUP"]);
        checks.range("cutoff", Some(0), 0..=23);
        let message = checks.finish().expect_err("four faults").message().to_owned();
        assert_eq!(
            message,
            "4 validation errors detected: \
             Value 'a b' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: ^[a-zA-Z0-9_\\-.]{3,128}$; \
             Value '25' at 'duration' failed to satisfy constraint: Member must have value less than or equal to 24; \
             Value '' at 'description' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; \
             Value 'X' at 'resourceType' failed to satisfy constraint: \
             Member must satisfy enum value set: [INSTANCE, RESOURCE_GROUP]"
        );
    }
}
