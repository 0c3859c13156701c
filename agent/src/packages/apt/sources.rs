//! Which lists are in use: `sources.list` and what is in `sources.list.d`.
//!
//! apt leaves lists of disabled sources lying about until its next update, so the directory alone
//! does not tell. Both formats are read: one line per source, and stanzas (`.sources`).

use std::fs;
use std::io::{self, Cursor};
use std::path::PathBuf;

use super::super::PackageError;
use super::deb822::{Line, for_each_line, text};
use super::root::AptRoot;

/// One archive of one source, as far as the names of its lists go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Beginning of the names of its Release files: `deb.debian.org_debian_dists_bookworm_`.
    pub(super) release_prefix: String,
    /// Its components; empty for an archive without `dists`, whose only list is at the top.
    pub(super) components: Vec<String>,
    /// Host; empty for local ones.
    pub(super) site: String,
    /// The administrator vouches for it: no signature needed.
    pub(super) trusted: bool,
}

/// Reads every enabled binary source.
pub(super) fn sources(root: &AptRoot) -> Result<Vec<Source>, PackageError> {
    let files = if let Some(own) = root.sources() {
        directory(own)?
    } else {
        let mut files = vec![root.path("etc/apt/sources.list")];
        files.extend(directory(root.path("etc/apt/sources.list.d"))?);
        files
    };
    let mut sources = Vec::new();
    for path in files {
        let read = |source| PackageError::Read { path: path.clone(), source };
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(read)?,
        };
        match path.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(text(&bytes).lines().flat_map(one_line)),
            Some("sources") => stanzas(&bytes, &mut sources).map_err(read)?,
            // apt ignores other names too: backups, disabled files.
            _ => {}
        }
    }
    Ok(sources)
}

/// The files of a directory in apt's order; none when there is no such directory.
pub(super) fn directory(path: PathBuf) -> Result<Vec<PathBuf>, PackageError> {
    let read = |source| PackageError::Read { path: path.clone(), source };
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(read)?,
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(read)?;
    files.retain(|file| file.is_file());
    files.sort();
    Ok(files)
}

/// `deb [option=value …] uri suite component …`
fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.starts_with([' ', '\t']).then(|| rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let trusted = options.split_whitespace().any(|option| {
        option.split_once('=').is_some_and(|(key, value)| key.eq_ignore_ascii_case("trusted") && is_yes(value))
    });
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    Some(source(uri, suite, words.map(str::to_owned).collect(), trusted))
}

fn stanzas(bytes: &[u8], sources: &mut Vec<Source>) -> io::Result<()> {
    /// Values of the five fields that matter, words joined by blanks.
    #[derive(Default)]
    struct Stanza {
        types: String,
        uris: String,
        suites: String,
        components: String,
        enabled: String,
        trusted: String,
    }
    let mut stanza = Stanza::default();
    let mut field = Vec::new();
    for_each_line(Cursor::new(bytes), |line| {
        let value = match line {
            Line::Field(name, value) => {
                field = name.to_ascii_lowercase();
                value
            }
            Line::Continued(value) => value,
            Line::End => {
                let stanza = std::mem::take(&mut stanza);
                if stanza.types.split_whitespace().any(|t| t == "deb")
                    && (stanza.enabled.is_empty() || is_yes(&stanza.enabled))
                {
                    let components: Vec<String> = stanza.components.split_whitespace().map(str::to_owned).collect();
                    for uri in stanza.uris.split_whitespace() {
                        for suite in stanza.suites.split_whitespace() {
                            sources.push(source(uri, suite, components.clone(), is_yes(&stanza.trusted)));
                        }
                    }
                }
                return;
            }
        };
        let target = match field.as_slice() {
            b"types" => &mut stanza.types,
            b"uris" => &mut stanza.uris,
            b"suites" => &mut stanza.suites,
            b"components" => &mut stanza.components,
            b"enabled" => &mut stanza.enabled,
            b"trusted" => &mut stanza.trusted,
            _ => return,
        };
        if !target.is_empty() {
            target.push(' ');
        }
        target.push_str(&String::from_utf8_lossy(value));
    })
}

fn is_yes(value: &str) -> bool {
    ["yes", "true", "1", "on", "with", "enable"].iter().any(|yes| value.trim().eq_ignore_ascii_case(yes))
}

fn source(uri: &str, suite: &str, components: Vec<String>, trusted: bool) -> Source {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let (site, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            // Credentials are not part of the name.
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            (host, format!("{host}/{path}"))
        }
        None => ("", rest.to_owned()),
    };
    // `file:///srv` has an empty host: its path starts with the slash.
    let site = if scheme.starts_with("file") || scheme.starts_with("copy") { "" } else { site };
    let base = if path.ends_with('/') { path } else { format!("{path}/") };
    // A suite with a slash at its end is a directory, not a distribution.
    let release = if suite.ends_with('/') {
        if suite == "/" { base } else { format!("{base}{suite}") }
    } else {
        format!("{base}dists/{suite}/")
    };
    Source {
        release_prefix: file_name(&release),
        components,
        site: site.split(':').next().unwrap_or_default().to_owned(),
        trusted,
    }
}

/// apt's name of the file for a URI: certain characters as `%xx`, then slashes as underscores.
fn file_name(uri: &str) -> String {
    let mut name = String::with_capacity(uri.len());
    for byte in uri.bytes() {
        match byte {
            b'/' => name.push('_'),
            b'!'..=b'~' if !br#"\|{}[]<>"^~_=!@#$%^&*"#.contains(&byte) => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::{Source, one_line, stanzas};

    fn line(text: &str) -> Option<(String, Vec<String>, String, bool)> {
        one_line(text).map(|s: Source| (s.release_prefix, s.components, s.site, s.trusted))
    }

    #[test]
    fn lines_name_the_files_that_apt_names() {
        let c = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (text, expected) in [
            (
                "deb http://deb.debian.org/debian bookworm main contrib",
                Some(("deb.debian.org_debian_dists_bookworm_", c(&["main", "contrib"]), "deb.debian.org", false)),
            ),
            (
                "deb [arch=amd64 trusted=yes] https://user:word@apt.example.org:8080/a_b/ x/updates main # note",
                Some(("apt.example.org:8080_a%5fb_dists_x_updates_", c(&["main"]), "apt.example.org", true)),
            ),
            ("deb [trusted=yes] file:/srv/repo ./", Some(("_srv_repo_._", c(&[]), "", true))),
            ("deb file:///srv/repo stable main", Some(("_srv_repo_dists_stable_", c(&["main"]), "", false))),
            ("deb http://h/flat /", Some(("h_flat_", c(&[]), "h", false))),
            ("deb-src http://deb.debian.org/debian bookworm main", None),
            ("# deb http://deb.debian.org/debian bookworm main", None),
            ("deb http://deb.debian.org/debian", None),
            ("", None),
        ] {
            let expected = expected
                .map(|(prefix, components, site, trusted)| (prefix.to_owned(), components, site.to_owned(), trusted));
            assert_eq!(line(text), expected, "{text}");
        }
    }

    #[test]
    fn stanzas_multiply_uris_and_suites_and_may_be_disabled() {
        let mut sources = Vec::new();
        let text =
            b"Types: deb deb-src\n# note\nURIs: http://a/d\n http://b/d\nSuites: s s-updates\nComponents: main\n\n\
            Types: deb\nEnabled: no\nURIs: http://c/d\nSuites: s\nComponents: main\n\n\
            Types: deb-src\nURIs: http://e/d\nSuites: s\nComponents: main\n\n\
            Types: deb\nTrusted: yes\nURIs: http://f/d\nSuites: ./\n";
        stanzas(text, &mut sources).unwrap();
        let seen: Vec<_> = sources.iter().map(|s| (s.release_prefix.as_str(), s.trusted)).collect();
        assert_eq!(
            seen,
            [
                ("a_d_dists_s_", false),
                ("a_d_dists_s-updates_", false),
                ("b_d_dists_s_", false),
                ("b_d_dists_s-updates_", false),
                ("f_d_._", true)
            ]
        );
    }
}
