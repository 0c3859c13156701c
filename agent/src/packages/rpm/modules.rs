//! `modules.yaml`: which names of packages belong to a module.
//!
//! Which stream of a module is active, and what that hides, is the tool's own matter: it is asked
//! about the names that are found here. So this reads no more of the YAML than the lists of artifacts
//! that the module tools write, `- name-epoch:version-release.architecture`.

use std::collections::HashSet;
use std::io::{self, BufRead};

use super::primary::Wanted;

/// Adds the installed names that some module has an artifact of.
///
/// # Errors
/// As of `input`.
pub(in crate::packages) fn read(
    mut input: impl BufRead,
    wanted: &Wanted<'_>,
    names: &mut HashSet<String>,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(name) = artifact(line.trim_ascii())
            && wanted.oldest(name).is_some()
            && let Ok(name) = std::str::from_utf8(name)
            && !names.contains(name)
        {
            names.insert(name.to_owned());
        }
    }
}

/// The name in `- name-epoch:version-release.architecture`.
fn artifact(line: &[u8]) -> Option<&[u8]> {
    let nevra = line.strip_prefix(b"- ")?.trim_ascii();
    let nevra = nevra.strip_prefix(b"\"").or_else(|| nevra.strip_prefix(b"'")).unwrap_or(nevra);
    let colon = memchr::memchr(b':', nevra)?;
    let (before, _) = nevra.split_at(colon);
    let dash = memchr::memrchr(b'-', before)?;
    let epoch = &before[dash + 1..];
    (!epoch.is_empty() && epoch.iter().all(u8::is_ascii_digit)).then_some(&before[..dash])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use patchwave_engine::baseline::InstalledPackage;

    use super::super::primary::Wanted;
    use super::read;

    #[test]
    fn names_are_those_of_artifacts() {
        let yaml = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: nodejs\n  stream: \"18\"\n  summary: >-\n    - npm: no\n\
            \x20 artifacts:\n    rpms:\n    - nodejs-1:18.1.0-1.module_el9+1+2.x86_64\n    - nodejs-full-i18n-1:18.1.0-1.x86_64\n...\n";
        let package = |name: &str| InstalledPackage { name: name.into(), ..Default::default() };
        let installed = ["nodejs", "nodejs-full-i18n", "npm", "bash"].map(package);
        let mut names = HashSet::new();
        read(yaml.as_bytes(), &Wanted::new(&installed), &mut names).unwrap();
        assert_eq!(names, HashSet::from(["nodejs".to_owned(), "nodejs-full-i18n".to_owned()]));
    }
}
