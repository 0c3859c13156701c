//! Faults of request members in SSM's wording: field, value, what is allowed. What can be said as
//! data is checked by `model`; here is what words it, and what handlers add.

use std::fmt::Display;
use std::str::FromStr;

use super::Error;

/// Faults that are told at most. A request of a megabyte may have a million.
const FAULTS_MAX: usize = 20;

/// Collects what is wrong with a request, so that all of it is told at once, up to a number.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    faults: Vec<String>,
}

/// A refused value as the caller is told it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'a> {
    /// There is none, and there has to be.
    Absent,
    /// It is a secret, or may hold one.
    Hidden,
    /// This.
    Value(&'a str),
}

impl Checks {
    /// Whether as many faults are recorded as are told; further ones are passed over.
    pub(crate) fn is_full(&self) -> bool {
        self.faults.len() >= FAULTS_MAX
    }

    /// Records a value that a constraint refuses. `field` is SSM's member path, lower camel case.
    pub(crate) fn refuse(&mut self, field: &str, value: impl Display, constraint: impl Display) {
        if !self.is_full() {
            self.faults.push(format!("Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"));
        }
    }

    /// Records a value that is repeated as it is given here: without quotes for a member that is
    /// not there, not at all for one that must not be shown.
    pub(crate) fn refuse_shown(&mut self, field: &str, value: Shown<'_>, constraint: impl Display) {
        if self.is_full() {
            return;
        }
        let value = match value {
            Shown::Absent => " null".to_owned(),
            Shown::Hidden => String::new(),
            Shown::Value(value) => format!(" '{value}'"),
        };
        self.faults.push(format!("Value{value} at '{field}' failed to satisfy constraint: {constraint}"));
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
        let (count, rest) = (self.faults.len(), if self.is_full() { "; what follows was not looked at" } else { "" });
        let noun = if count == 1 { "error" } else { "errors" };
        Err(Error::validation(format!("{count} validation {noun} detected: {}{rest}", self.faults.join("; "))))
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
        checks.one_of("key", Some("X"), &["Name", "Enabled"]);
        checks.one_of("key", Some("Name"), &["Name", "Enabled"]);
        checks.refuse("before", "soon", "Member must be an instant");
        let message = checks.finish().expect_err("two faults").message().to_owned();
        assert_eq!(
            message,
            "2 validation errors detected: \
             Value 'X' at 'key' failed to satisfy constraint: Member must satisfy enum value set: [Name, Enabled]; \
             Value 'soon' at 'before' failed to satisfy constraint: Member must be an instant"
        );
    }
}
