//! What can be wrong with a configuration.

use std::fmt;

/// One fault: where, which value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting or key, its value (without passwords) and where it comes from.
    pub subject: String,
    /// What is wrong with it.
    pub reason: String,
    /// What is allowed.
    pub expected: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; expected {}", self.subject, self.reason, self.expected)
    }
}

/// Every fault of a configuration, so that one attempt finds them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has 1 fault")?,
            count => write!(f, "the configuration has {count} faults")?,
        }
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
