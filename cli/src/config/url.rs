//! Addresses of other programs, which may hold passwords.

use std::fmt;

use patchwave_platform::telemetry::redact_url;

/// The URL of a bus, store, topics server or artifact store, or the word `embedded`.
///
/// `Display` and `Debug` hide the password; [`ServiceUrl::as_str`] does not, and is for the adapter
/// that connects.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceUrl(String);

impl ServiceUrl {
    pub(super) fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL as it was given, password included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the adapter inside the process, which no other process can reach.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.0 == EMBEDDED
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceUrl({self})")
    }
}

/// The adapter inside the process.
pub(super) const EMBEDDED: &str = "embedded";

/// `text` without passwords: in front of the host, in the query, and where a URL was meant but
/// its scheme is missing.
pub(crate) fn redact(text: &str) -> String {
    let (address, query) = match text.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (text, None),
    };
    // A password may itself hold a `?`; then what looks like an address has no host yet.
    if let Some(query) = query
        && query.contains('@')
    {
        return redact_address(text);
    }
    let address = redact_address(address);
    let Some(query) = query else { return address };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{address}?{}", query.join("&"))
}

fn redact_address(address: &str) -> String {
    if address.contains("://") {
        return redact_url(address);
    }
    match address.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_shows_a_password() {
        for (url, expected) in [
            ("amqp://user:secret@host:5672/%2f", "amqp://user:***@host:5672/%2f"),
            ("amqp://user:sec@ret@host", "amqp://user:***@host"),
            ("postgres://u:sec?ret@host/db", "postgres://u:***@host/db"),
            ("redis://:secret@host", "redis://:***@host"),
            ("postgres://host/db?password=secret&sslmode=require", "postgres://host/db?password=***&sslmode=require"),
            ("user:secret@host", "***@host"),
            ("embedded", "embedded"),
            ("sqlite:///var/lib/patchwave.db", "sqlite:///var/lib/patchwave.db"),
        ] {
            assert_eq!(redact(url), expected);
        }
    }
}
