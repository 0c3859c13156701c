//! Patterns of the approved and rejected lists.
//!
//! An entry is a glob (`*`, `?`, `[…]`) without regard to case. It is tried against each way in
//! which people write a package: by name, with architecture, with version. The whole text must
//! match, so `bash` means bash and not bash-completion.

use super::family::Family;

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

/// What lists may name a version or a patch by.
#[derive(Debug, Clone)]
pub struct Names<'a> {
    /// Decides in which ways a version is written.
    pub family: Family,
    /// The package, or the patch's id.
    pub name: &'a str,
    /// Empty for patches.
    pub architecture: &'a str,
    /// The version, epoch included; empty for patches that have none.
    pub version: &'a str,
    /// Whatever else means it: advisories, CVE ids, Bugzilla numbers, bulletins, titles.
    pub ids: Vec<&'a str>,
}

impl Names<'_> {
    /// Every way in which people write it, but for the ids.
    fn renderings(&self) -> Vec<String> {
        let Self { name, architecture, version, .. } = self;
        match self.family {
            Family::Apt => vec![
                (*name).to_owned(),
                (*version).to_owned(),
                format!("{name}.{architecture}"),
                format!("{name}:{architecture}"),
                format!("{name} {version}"),
                format!("{name}={version}"),
                format!("{name}:{architecture}={version}"),
                format!("{architecture} {version}"),
                format!("{name} {architecture} {version}"),
                // The title that reports show.
                format!("{name}.{architecture}:{version}"),
            ],
            Family::Rpm => self.rpm_renderings(),
            Family::Zypper | Family::WindowsUpdate | Family::SoftwareUpdate if version.is_empty() => {
                vec![(*name).to_owned()]
            }
            Family::Zypper | Family::WindowsUpdate | Family::SoftwareUpdate => vec![
                (*name).to_owned(),
                format!("{name}.{version}"),
                format!("{name}-{version}"),
                format!("{name} {version}"),
            ],
        }
    }

    /// SSM's: n, na, n-v, n-v-r, nvra, nevra, envra, v, vr, evr and naevr, of which two with an
    /// epoch are written with a zero where the package has none.
    fn rpm_renderings(&self) -> Vec<String> {
        let Self { name, architecture, version: evr, .. } = self;
        let (epoch, rest) = match evr.split_once(':') {
            Some((epoch, rest)) => (epoch, rest),
            None => ("0", *evr),
        };
        let version = rest.rsplit_once('-').map_or(rest, |(version, _)| version);
        vec![
            (*name).to_owned(),
            format!("{name}.{architecture}"),
            format!("{name}-{version}"),
            format!("{name}-{rest}"),
            format!("{name}-{rest}.{architecture}"),
            format!("{name}-{epoch}:{rest}"),
            format!("{name}-{epoch}:{rest}.{architecture}"),
            format!("{epoch}:{name}-{rest}.{architecture}"),
            version.to_owned(),
            rest.to_owned(),
            format!("{epoch}:{rest}"),
            // The title that reports show.
            format!("{name}.{architecture}:{epoch}:{rest}"),
        ]
    }
}

/// The first entry of `list` that means this.
pub(super) fn find<'a>(list: &'a [String], names: &Names<'_>) -> Option<&'a str> {
    if list.is_empty() {
        return None;
    }
    let renderings = names.renderings();
    let texts = || renderings.iter().map(String::as_str).chain(names.ids.iter().copied());
    list.iter().map(String::as_str).find(|pattern| texts().any(|text| glob_matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::{Family, Names, find, glob_matches};

    fn openssl() -> Names<'static> {
        Names { family: Family::Apt, name: "openssl", architecture: "amd64", version: "3.0.11-1", ids: Vec::new() }
    }

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
            assert_eq!(find(&list, &openssl()), Some(entry));
        }
        for entry in ["libssl3", "openssl.arm64", "openssl=3.0.12*", "ssl"] {
            assert_eq!(find(&[entry.to_owned()], &openssl()), None, "{entry}");
        }
    }

    #[test]
    fn rpm_entries_match_every_rendering_and_every_id() {
        let names = Names {
            family: Family::Rpm,
            name: "dbus",
            architecture: "x86_64",
            version: "1:1.12.8-26.el8",
            ids: vec!["RHSA-2023:0096", "CVE-2022-42010", "2133616"],
        };
        for entry in [
            "dbus",
            "dbus.x86_64",
            "dbus-1.12.8",
            "dbus-1.12.8-26.el8",
            "dbus-1.12.8-26.el8.x86_64",
            "dbus-1:1.12.8-26.el8",
            "dbus-1:1.12.8-26.el8.x86_64",
            "1:dbus-1.12.8-26.el8.x86_64",
            "1.12.8",
            "1.12.8-26.el8",
            "1:1.12.8-26.el8",
            "dbus.x86_64:1:1.12.8-26.el8",
            "dbus-*.x86_64",
            "rhsa-2023:0096",
            "CVE-2022-42010",
            "2133616",
        ] {
            assert_eq!(find(&[entry.to_owned()], &names), Some(entry));
        }
        for entry in ["dbus-libs", "dbus.i686", "dbus-0:1.12.8-26.el8", "RHSA-2023", "CVE-2022-4201", "dbus-*.noarch"] {
            assert_eq!(find(&[entry.to_owned()], &names), None, "{entry}");
        }
        let without_epoch = Names { version: "1.12.8-26.el8", ..names };
        for entry in ["dbus-0:1.12.8-26.el8.x86_64", "dbus.x86_64:0:1.12.8-26.el8"] {
            assert_eq!(find(&[entry.to_owned()], &without_epoch), Some(entry));
        }
    }

    #[test]
    fn patches_are_listed_by_id_bulletin_package_or_cve() {
        let names = Names {
            family: Family::WindowsUpdate,
            name: "KB2032276",
            architecture: "",
            version: "",
            ids: vec!["Security Update for Windows (KB2032276)", "MS10-048"],
        };
        for entry in ["KB2032276", "kb2032276", "MS10-048", "KB20322??"] {
            assert_eq!(find(&[entry.to_owned()], &names), Some(entry));
        }
        assert_eq!(find(&["KB203227".to_owned()], &names), None);
        // What has no version is not matched by a version's wildcard.
        assert_eq!(find(&["KB2032276.?*".to_owned()], &names), None);
    }
}
