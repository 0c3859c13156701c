//! Patterns of the approved and rejected lists.
//!
//! An entry is a glob (`*`, `?`, `[…]`) without regard to case. It is tried against each way in
//! which people write a package: by name, with architecture, with version. The whole text must
//! match, so `bash` means bash and not bash-completion.

/// Whether `text` matches `pattern` as a whole, without regard to case.
///
/// `*` is any number of characters, `?` exactly one, `[a-z]` one of a set, `[!a-z]` one outside
/// it. A `[` that is never closed stands for itself. Takes at most `pattern × text` steps.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().map(fold).collect();
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on after a mismatch: behind the last `*`, with one more character under it.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if let Some(length) = one_matches(&pattern[p..], text[t]) {
            p += length;
            t += 1;
        } else if let Some((after_star, start)) = retry {
            retry = Some((after_star, start + 1));
            (p, t) = (after_star, start + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

fn fold(c: char) -> char {
    c.to_ascii_lowercase()
}

/// Length of the pattern's first item, when that item matches `c`.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '[' => match set(pattern) {
            Some((items, length)) => set_contains(items, c).then_some(length),
            None => (c == '[').then_some(1),
        },
        literal => (literal == c).then_some(1),
    }
}

/// The inside of a `[…]` and its length with the brackets. A `]` in first place is a member.
fn set(pattern: &[char]) -> Option<(&[char], usize)> {
    let first = if matches!(pattern.get(1), Some('!' | '^')) { 2 } else { 1 };
    let close = (first + 1..pattern.len()).find(|&at| pattern[at] == ']')?;
    Some((&pattern[1..close], close + 1))
}

fn set_contains(items: &[char], c: char) -> bool {
    let (negated, mut rest) = match items {
        ['!' | '^', rest @ ..] => (true, rest),
        _ => (false, items),
    };
    let mut found = false;
    while let [first, tail @ ..] = rest {
        if let ['-', last, after @ ..] = tail {
            found |= (*first..=*last).contains(&c);
            rest = after;
        } else {
            found |= *first == c;
            rest = tail;
        }
    }
    found != negated
}

/// The first entry of `list` that means this version of this package.
pub(super) fn find<'a>(list: &'a [String], name: &str, architecture: &str, version: &str) -> Option<&'a str> {
    if list.is_empty() {
        return None;
    }
    let renderings = renderings(name, architecture, version);
    list.iter().map(String::as_str).find(|pattern| renderings.iter().any(|text| glob_matches(pattern, text)))
}

/// Every way in which people write a Debian package.
fn renderings(name: &str, architecture: &str, version: &str) -> [String; 10] {
    [
        name.to_owned(),
        version.to_owned(),
        format!("{name}.{architecture}"),
        format!("{name}:{architecture}"),
        format!("{name} {version}"),
        format!("{name}={version}"),
        format!("{name}:{architecture}={version}"),
        format!("{architecture} {version}"),
        format!("{name} {architecture} {version}"),
        // The title that reports show.
        format!("{name}.{architecture}:{version}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::{find, glob_matches};

    #[test]
    fn globs_match_whole_texts_without_regard_to_case() {
        for (pattern, text, expected) in [
            ("bash", "bash", true),
            ("bash", "bash-completion", false),
            ("BASH", "bash", true),
            ("linux-image-*", "linux-image-6.1.0-9-amd64", true),
            ("*ssl*", "libssl3", true),
            ("*", "", true),
            ("?", "", false),
            ("lib?", "libz", true),
            ("python3.[0-9]", "python3.9", true),
            ("python3.[!0-9]", "python3.9", false),
            ("python3.[^0-9]", "python3.x", true),
            ("a[]]b", "a]b", true),
            ("a[b", "a[b", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} against {text}");
        }
    }

    #[test]
    fn hostile_pattern_ends_soon() {
        // A backtracking matcher would need some 5,000^50 steps for this one.
        assert!(!glob_matches(&format!("{}c", "*a".repeat(50)), &"a".repeat(5_000)));
    }

    #[test]
    fn entries_match_every_way_a_package_is_written() {
        for entry in [
            "openssl",
            "open*",
            "openssl.amd64",
            "openssl:amd64",
            "openssl 3.0.11-1",
            "openssl=3.0.11-1",
            "openssl=3.0.*",
            "openssl:amd64=3.0.11-1",
            "amd64 3.0.11-1",
            "openssl amd64 3.0.11-1",
            "openssl.amd64:3.0.11-1",
            "3.0.11-1",
        ] {
            let list = [entry.to_owned()];
            assert_eq!(find(&list, "openssl", "amd64", "3.0.11-1"), Some(entry));
        }
        for entry in ["libssl3", "openssl.arm64", "openssl=3.0.12*", "ssl"] {
            assert_eq!(find(&[entry.to_owned()], "openssl", "amd64", "3.0.11-1"), None, "{entry}");
        }
    }
}
