//! `primary.xml`: the packages that a repository offers.

use std::collections::HashMap;
use std::io::{self, BufRead};

use jiff::Timestamp;
use patchwave_engine::baseline::InstalledPackage;
use patchwave_engine::versions::rpm;

use super::elements::{Step, first_text, for_each, walk};
use super::installed::evr;

/// One version that a repository offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::packages) struct Offer {
    pub(in crate::packages) architecture: String,
    /// `[epoch:]version-release`.
    pub(in crate::packages) version: String,
    pub(in crate::packages) built_at: Option<Timestamp>,
    /// Place of the repository in the list of repositories.
    pub(in crate::packages) repository: usize,
}

/// The names that are installed, each with its oldest version: what is below is of no interest.
#[derive(Debug, Default)]
pub(in crate::packages) struct Wanted<'a>(HashMap<&'a [u8], &'a str>);

impl<'a> Wanted<'a> {
    /// By what is installed.
    pub(in crate::packages) fn new(installed: &'a [InstalledPackage]) -> Self {
        let mut wanted: HashMap<&[u8], &str> = HashMap::with_capacity(installed.len());
        for package in installed {
            let oldest = wanted.entry(package.name.as_bytes()).or_insert(&package.version);
            if rpm::compare_evr(&package.version, oldest).is_lt() {
                *oldest = &package.version;
            }
        }
        Self(wanted)
    }

    /// The oldest installed version of a name.
    pub(in crate::packages) fn oldest(&self, name: &[u8]) -> Option<&'a str> {
        self.0.get(name).copied()
    }
}

/// Calls `each` with the name and the version of every package of an installed name, older ones
/// included.
///
/// # Errors
/// As of `input`.
pub(in crate::packages) fn read(
    input: impl BufRead,
    wanted: &Wanted<'_>,
    repository: usize,
    mut each: impl FnMut(&str, Offer),
) -> io::Result<()> {
    for_each(input, "package", |element| {
        // Names are never escaped: rpm allows letters, digits and a few signs in them.
        if first_text(element, b"<name>").is_some_and(|name| wanted.oldest(name).is_some())
            && let Some((name, offer)) = package(element, repository)
        {
            each(&name, offer);
        }
    })
}

fn package(element: &[u8], repository: usize) -> Option<(String, Offer)> {
    let (mut name, mut architecture, mut version) = (String::new(), String::new(), String::new());
    let mut built_at = None;
    walk(element, |step| match step {
        Step::Text("name", text) if name.is_empty() => name = text,
        Step::Text("arch", text) if architecture.is_empty() => architecture = text,
        Step::Open("version", a) if version.is_empty() => version = evr(&a.get("epoch"), &a.get("ver"), &a.get("rel")),
        Step::Open("time", a) => {
            built_at = a.get("build").parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        }
        _ => {}
    });
    // Sources are listed in some repositories, and are nothing to install.
    let complete = !name.is_empty() && !version.is_empty() && !matches!(architecture.as_str(), "" | "src" | "nosrc");
    complete.then_some((name, Offer { architecture, version, built_at, repository }))
}

#[cfg(test)]
mod tests {
    use patchwave_engine::baseline::InstalledPackage;

    use super::{Wanted, read};

    const PRIMARY: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="4">
<package type="rpm">
  <name>bash</name>
  <arch>x86_64</arch>
  <version epoch="0" ver="5.1.8" rel="9.el9"/>
  <checksum type="sha256" pkgid="YES">ab</checksum>
  <summary>The GNU Bourne Again shell</summary>
  <time file="1700000100" build="1700000000"/>
  <format><rpm:requires><rpm:entry name="/bin/sh"/></rpm:requires></format>
</package>
<package type="rpm"><name>zlib</name><arch>x86_64</arch><version epoch="0" ver="1" rel="1"/></package>
<package type="rpm"><name>dhcp</name><arch>i686</arch><version epoch="12" ver="4.4" rel="1"/><time file="1" build="x"/></package>
<package type="rpm"><name>bash</name><arch>src</arch><version epoch="0" ver="6" rel="1"/></package>
</metadata>"#;

    #[test]
    fn only_installed_names_are_kept_and_no_sources() {
        let package = |name: &str| InstalledPackage { name: name.into(), version: "1-1".into(), ..Default::default() };
        let installed = [package("bash"), package("dhcp")];
        let mut seen = Vec::new();
        read(PRIMARY.as_bytes(), &Wanted::new(&installed), 3, |name, offer| {
            seen.push(format!(
                "{name} {} {} {:?}",
                offer.architecture,
                offer.version,
                offer.built_at.map(|t| t.as_second())
            ));
            assert_eq!(offer.repository, 3);
        })
        .unwrap();
        assert_eq!(seen, ["bash x86_64 5.1.8-9.el9 Some(1700000000)", "dhcp i686 12:4.4-1 None"]);
    }
}
