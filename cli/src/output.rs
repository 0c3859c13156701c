//! Standard output: the one place that writes data to it.
//!
//! Notes, progress and errors go to standard error, so that a pipe carries data alone.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    #[default]
    Table,
    /// The API's own JSON, for programs
    Json,
}

/// Writes data in the format that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Writes to standard output in `format`.
    #[must_use]
    pub const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether JSON was asked for.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// The operating system's; `BrokenPipe` when the reader has gone, which callers pass on so that
    /// the program ends quietly.
    pub fn line(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.write_all(b"\n")?;
        stdout.flush()
    }

    /// Writes `value` as indented JSON.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json(self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string_pretty(value)?)
    }

    /// Writes `value` as JSON on one line, for streams.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn json_line(self, value: &impl Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// Writes `value` as JSON if that was asked for, else what `text` makes of it.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn either(self, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
        if self.is_json() { self.json(value) } else { self.line(&text()) }
    }

    /// Tells the person at the terminal something that is not data.
    pub fn note(self, text: &str) {
        // Nothing depends on it: a closed standard error is ignored.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Whether a person is watching: progress bars make sense.
    #[must_use]
    pub fn is_interactive(self) -> bool {
        !self.is_json() && io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}
