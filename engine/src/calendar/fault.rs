//! What is wrong with a calendar, and where.

/// Something in a calendar that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Fault {
    /// The line, from 1; of a folded line, its first.
    pub line: usize,
    /// What is wrong there, and what would be accepted.
    pub problem: String,
}

impl Fault {
    pub(super) fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }
}

/// Characters of a value that a fault repeats.
const QUOTED_CHARS_MAX: usize = 60;

/// A value as a fault repeats it: short, and on one line.
pub(super) fn quoted(value: &str) -> String {
    let mut short: String = value.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(QUOTED_CHARS_MAX).is_some() {
        short.push('…');
    }
    format!("`{short}`")
}
