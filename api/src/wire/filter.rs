//! `Filters` of list operations: AND between filters, OR between values.

use serde::Deserialize;

use super::{Checks, Error};

/// One filter. Some operations of SSM spell the members in lower case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Filter {
    #[serde(rename = "Key", alias = "key")]
    pub(crate) key: String,
    #[serde(rename = "Values", alias = "valueSet", default)]
    pub(crate) values: Vec<String>,
}

impl Filter {
    /// Whether one of the values is `value`.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        self.values.iter().any(|accepted| accepted == value)
    }
}

/// Checks that every filter has a key of the operation.
pub(crate) fn check_filters(filters: &[Filter], allowed: &[&str]) -> Result<(), Error> {
    let mut checks = Checks::default();
    for (index, filter) in filters.iter().enumerate() {
        checks.one_of(&format!("filters.{}.member.key", index + 1), Some(&filter.key), allowed);
    }
    checks.finish()
}
