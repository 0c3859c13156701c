//! Package locks of the administrator's own (`zypper addlock`), as far as they are names.

use std::fs;

use patchwave_engine::baseline::glob_matches;

use super::root::ZypperRoot;

/// Names of packages, with wildcards, that are to stay as they are.
///
/// Locks by other things than the name (repository, version, text) are left to zypper, which
/// refuses a patch that they forbid: such a patch fails where a locked name keeps it from being
/// tried. A file that cannot be read is no lock.
pub(super) fn locked_packages(root: &ZypperRoot) -> Vec<String> {
    fs::read_to_string(root.path("etc/zypp/locks")).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// The locked name that one of these packages matches, if any does.
pub(super) fn lock_on<'a>(locks: &'a [String], packages: &[String]) -> Option<&'a str> {
    locks.iter().find(|lock| packages.iter().any(|package| glob_matches(lock, package))).map(String::as_str)
}

/// A file of `key: value` lines; an empty line ends a lock.
fn parse(text: &str) -> Vec<String> {
    let mut locks = Vec::new();
    for block in text.split("\n\n") {
        let mut name = None;
        let mut is_plain = true;
        for line in block.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("solvable_name", value)) if !value.contains([' ', '<', '>', '=']) => {
                    name = Some(value.to_owned())
                }
                Some(("type", "package")) | Some(("match_type" | "case_sensitive" | "comment", _)) => {}
                _ => is_plain = false,
            }
        }
        locks.extend(name.filter(|_| is_plain));
    }
    locks
}

#[cfg(test)]
mod tests {
    use super::{lock_on, parse};

    #[test]
    fn only_locks_on_names_of_packages_count() {
        let locks = parse(
            "\ntype: patch\nmatch_type: glob\nsolvable_name: SUSE-1\n\n\n\ntype: package\nmatch_type: glob\n\
             case_sensitive: on\nsolvable_name: kernel-*\n\n\ntype: package\nrepo: x\nsolvable_name: other\n\n\
             type: package\nsolvable_name: old < 3\n\n# type: package\n# solvable_name: none\n\n\
             type: package\nsolvable_name: pw-d\n",
        );
        assert_eq!(locks, ["kernel-*", "pw-d"]);
        let brings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(lock_on(&locks, &brings(&["a", "kernel-default"])), Some("kernel-*"));
        assert_eq!(lock_on(&locks, &brings(&["a", "pw-dd"])), None);
    }
}
