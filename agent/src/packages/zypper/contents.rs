//! Which packages a patch brings, by `zypper info -t patch`.
//!
//! A patch brings nothing by itself: it conflicts with every older version of its packages.

use std::collections::BTreeMap;

use super::super::PackageError;
use super::root::ZypperRoot;

/// Names of patches in one call. A command line takes some hundred thousand characters.
const NAMES_MAX: usize = 500;

/// Architectures that SUSE appends to a package's name in a patch.
const ARCHITECTURES: &[&str] = &[
    "noarch",
    "x86_64",
    "i586",
    "i686",
    "aarch64",
    "aarch64_ilp32",
    "armv6hl",
    "armv7hl",
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390",
    "s390x",
];

/// Packages by the patch that brings them.
pub(super) type Contents = BTreeMap<String, Vec<String>>;

/// Asks zypper about these patches. Blocks; takes no lock.
pub(super) fn ask(root: &ZypperRoot, names: &[&str]) -> Result<Contents, PackageError> {
    let mut contents = Contents::new();
    for names in names.chunks(NAMES_MAX) {
        let mut command = root.looking(&["info", "-t", "patch", "--"]);
        let output = command
            .args(names)
            .output()
            .map_err(|source| PackageError::Run { program: "zypper info".to_owned(), source })?;
        parse(&String::from_utf8_lossy(&output.stdout), &mut contents);
    }
    Ok(contents)
}

fn parse(text: &str, contents: &mut Contents) {
    let mut patch = None;
    let mut in_list = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Information for patch ") {
            let packages = contents.entry(name.trim_end_matches(':').to_owned()).or_default();
            packages.clear();
            patch = Some(packages);
            in_list = false;
        } else if let Some(packages) = &mut patch {
            // What the vendor wrote is indented, so that it cannot pass for a field.
            let value = if let Some(value) = line.strip_prefix("Conflicts") {
                in_list = true;
                value.trim_start().trim_start_matches(':').trim()
            } else if in_list && line.starts_with("    ") {
                line.trim()
            } else {
                in_list = false;
                continue;
            };
            if let Some((package, _)) = value.split_once(" < ") {
                packages.extend((!package.contains(':')).then(|| without_architecture(package).to_owned()));
            }
        }
    }
}

fn without_architecture(package: &str) -> &str {
    package.rsplit_once('.').filter(|(_, arch)| ARCHITECTURES.contains(arch)).map_or(package, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::{Contents, parse};

    #[test]
    fn packages_are_what_a_patch_conflicts_with() {
        let mut contents = Contents::new();
        parse(
            "Loading repository data...\n\nInformation for patch P-one:\n---\nName        : P-one\n\
             Summary     : T\nDescription : \n    d\n    Conflicts   : evil < 1\nProvides    : patch:P-one = 1\n\
             Conflicts   : pw-new < 2-1\n\n\nInformation for patch P-many:\n---\nConflicts   : [4]\n\
             \u{20}   java-1.8.0.x86_64 < 2-1\n    srcpackage:java < 2-1\n    python3.11.noarch < 1-1\n    php7.4 < 1-1\n\n\
             patch 'P-none' not found.\n    x < 1\n",
            &mut contents,
        );
        assert_eq!(contents["P-one"], ["pw-new"]);
        assert_eq!(contents["P-many"], ["java-1.8.0", "python3.11", "php7.4"]);
        assert_eq!(contents.len(), 2);
    }
}
