//! The canonical form of a request, which is what a signature is over (AWS SigV4).
//!
//! Client and server must come to the same bytes, so this is the only place that makes them: for
//! checking here and for signing in `sign`.

use axum::http::HeaderMap;

/// What SigV4 calls the scheme.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The query parameter that is never part of what is signed.
const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// A request as a signature sees it. `path` and `query` are as they are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// The canonical request: lines of method, path, query, headers, their names, and the body's hash.
///
/// `signed` are lower-case names in order. `None` when a signed header is absent or is no text.
pub(crate) fn request(parts: &Parts<'_>, signed: &[&str], body_sha256: &str) -> Option<String> {
    let mut text = format!("{}\n{}\n{}\n", parts.method, path(parts.path), query(parts.query));
    for name in signed {
        let mut values = parts.headers.get_all(*name).into_iter().peekable();
        values.peek()?;
        let values = values.map(|value| std::str::from_utf8(value.as_bytes()).ok().map(folded));
        text.push_str(name);
        text.push(':');
        text.push_str(&values.collect::<Option<Vec<String>>>()?.join(","));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&signed.join(";"));
    text.push('\n');
    text.push_str(body_sha256);
    Some(text)
}

/// What the signature is computed over.
pub(crate) fn string_to_sign(timestamp: &str, scope: &str, canonical: &str) -> String {
    let digest = sha256_hex(canonical.as_bytes());
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{digest}")
}

/// SHA-256 in hex digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    patchwave_platform::secrets::hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// A header's value without white space around it, and with single spaces in it.
fn folded(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The path without empty and dot segments, encoded once more: services other than S3 do so.
fn path(sent: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut text = String::from("/");
    text.push_str(&kept.iter().map(|segment| encoded(segment.as_bytes())).collect::<Vec<_>>().join("/"));
    if sent.ends_with('/') && !kept.is_empty() {
        text.push('/');
    }
    text
}

/// The parameters, encoded alike and in order.
fn query(sent: &str) -> String {
    let mut pairs: Vec<(String, String)> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| *name != SIGNATURE_PARAMETER)
        .map(|(name, value)| (encoded(&decoded(name)), encoded(&decoded(value))))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Takes percent-encoding back; what is no encoding stays as it is.
pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let value = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_normalised_and_encoded() {
        for (sent, expected) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/a/../b/./c//", "/b/c/"),
            ("/topics/*/events", "/topics/%2A/events"),
            ("/topics/%2A/events", "/topics/%252A/events"),
            ("/../..", "/"),
            ("/ü", "/%C3%BC"),
        ] {
            assert_eq!(path(sent), expected, "{sent}");
        }
    }

    #[test]
    fn parameters_are_sorted_and_encoded_alike() {
        for (sent, expected) in [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&a", "a=&a=1&a=2"),
            ("a=%2f&b=x y", "a=%2F&b=x%20y"),
            ("X-Amz-Signature=ff&X-Amz-Date=1", "X-Amz-Date=1"),
            ("a=%zz", "a=%25zz"),
            ("a=b=c", "a=b%3Dc"),
        ] {
            assert_eq!(query(sent), expected, "{sent}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_has_a_canonical_form_of_plain_characters(sent in ".{0,60}") {
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%/=&".contains(&byte));
            prop_assert!(plain(&path(&sent)));
            prop_assert!(plain(&query(&sent)));
            // Encoding is undone by decoding.
            prop_assert_eq!(decoded(&encoded(sent.as_bytes())), sent.as_bytes());
        }

        #[test]
        fn the_order_of_parameters_does_not_matter(mut pairs in prop::collection::vec("[a-c]=[a-c%]{0,3}", 0..6)) {
            let forward = query(&pairs.join("&"));
            pairs.reverse();
            prop_assert_eq!(forward, query(&pairs.join("&")));
        }
    }
}
