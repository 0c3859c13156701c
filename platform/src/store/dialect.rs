//! The few places where SQLite and PostgreSQL differ, as fragments of SQL.

use std::fmt::Write;

use super::Error;

/// The SQL a store speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite 3.35 or newer (`RETURNING`, `UPDATE … FROM`).
    Sqlite,
    /// PostgreSQL 13 or newer.
    Postgres,
}

/// Type of a column of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Text, or JSON as text.
    Text,
    /// A whole number.
    Int,
}

impl Dialect {
    pub(super) fn of_url(url: &str) -> Result<Self, Error> {
        if url.starts_with("sqlite:") {
            Ok(Self::Sqlite)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Ok(Self::Postgres)
        } else {
            Err(Error::Url { url: crate::telemetry::redact_url(url) })
        }
    }

    /// Locks the selected rows until the transaction ends. SQLite's write transaction already has.
    #[must_use]
    pub fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// Keeps the selected rows from being changed until the transaction ends; others may read and
    /// hold them as well.
    #[must_use]
    pub fn for_share(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR SHARE",
        }
    }

    /// Locks the selected rows, passing over those that another process holds.
    #[must_use]
    pub fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// A statement that keeps every other writer from a table until the transaction ends. None on
    /// SQLite, where a writing transaction is alone.
    #[must_use]
    pub fn table_lock(self, table: &str) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")),
        }
    }

    /// A table expression over a JSON array of objects bound as parameter `$parameter`.
    ///
    /// One statement thereby takes a batch of any size, on both databases.
    #[must_use]
    pub fn rows(self, alias: &str, parameter: usize, columns: &[(&str, Column)]) -> String {
        let mut text = String::new();
        match self {
            Self::Sqlite => {
                text.push_str("(SELECT ");
                for (index, (name, _)) in columns.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(text, "{comma}value->>'{name}' AS {name}").expect("writing to a String cannot fail");
                }
                write!(text, " FROM json_each(${parameter})) AS {alias}").expect("writing to a String cannot fail");
            }
            Self::Postgres => {
                write!(text, "json_to_recordset(${parameter}::json) AS {alias}(")
                    .expect("writing to a String cannot fail");
                for (index, (name, column)) in columns.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    let kind = match column {
                        Column::Text => "text",
                        Column::Int => "bigint",
                    };
                    write!(text, "{comma}{name} {kind}").expect("writing to a String cannot fail");
                }
                text.push(')');
            }
        }
        text
    }
}
