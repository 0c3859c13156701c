//! What is installed, by dpkg's own database.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use jiff::Timestamp;
use patchwave_engine::baseline::InstalledPackage;

use super::super::PackageError;
use super::deb822::{Line, for_each_line, text};
use super::root::AptRoot;

/// Reads `var/lib/dpkg/status`: every package that is at least unpacked, sorted by name.
///
/// Architecture `all` stays `all`. Whether a package asks for a reboot is added by the scan.
pub(super) fn installed(root: &AptRoot) -> Result<Vec<InstalledPackage>, PackageError> {
    let path = root.path("var/lib/dpkg/status");
    let read = |source| PackageError::Read { path: path.clone(), source };
    let file = BufReader::new(File::open(&path).map_err(read)?);
    let mut packages = parse(file).map_err(read)?;
    packages.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
    let info = root.path("var/lib/dpkg/info");
    for package in &mut packages {
        package.installed_at = unpacked_at(&info, package);
    }
    Ok(packages)
}

fn parse(input: impl std::io::BufRead) -> std::io::Result<Vec<InstalledPackage>> {
    let mut packages = Vec::new();
    let mut package = InstalledPackage::default();
    let mut present = false;
    for_each_line(input, |line| match line {
        Line::Field(b"Package", value) => package.name = text(value),
        Line::Field(b"Version", value) => package.version = text(value),
        Line::Field(b"Architecture", value) => package.architecture = text(value),
        Line::Field(b"Section", value) => package.section = text(value),
        Line::Field(b"Priority", value) => package.priority = text(value),
        Line::Field(b"Status", value) => {
            // Wanted state, flag, actual state.
            let mut words = value.split(|&b| b == b' ');
            package.held = words.next() == Some(b"hold");
            let actual = words.nth(1);
            present = !matches!(actual, None | Some(b"not-installed" | b"config-files" | b"half-installed"));
            package.unconfigured = matches!(actual, Some(b"unpacked" | b"half-configured"));
        }
        Line::End => {
            let package = std::mem::take(&mut package);
            if std::mem::take(&mut present) && !package.name.is_empty() && !package.version.is_empty() {
                packages.push(package);
            }
        }
        Line::Field(..) | Line::Continued(_) => {}
    })?;
    Ok(packages)
}

/// dpkg notes no time, but writes a package's file list when it unpacks it.
fn unpacked_at(info: &Path, package: &InstalledPackage) -> Option<Timestamp> {
    let InstalledPackage { name, architecture, .. } = package;
    // Packages that may be installed for several architectures at once carry theirs in the name.
    let named = |stem: String| fs::metadata(info.join(stem)).ok();
    let metadata = named(format!("{name}.list")).or_else(|| named(format!("{name}:{architecture}.list")))?;
    Timestamp::try_from(metadata.modified().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn unpacked_packages_count_and_removed_ones_do_not() {
        let status = b"Package: a\nStatus: install ok installed\nPriority: required\nSection: admin\n\
            Architecture: amd64\nVersion: 1:2.3-4\nDescription: text\n Status: deinstall ok config-files\n\n\
            Package: b\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n\
            Package: c\nStatus: hold ok installed\nArchitecture: all\nVersion: 2\n\n\
            Package: d\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 3\n\n\
            Package: e\nStatus: install reinstreq half-installed\nArchitecture: amd64\nVersion: 4\n\n\
            Package: f\nStatus: install ok triggers-pending\nArchitecture: i386\nVersion: 5\n\n\
            Package: g\nStatus: unknown ok not-installed\nArchitecture: i386\n";
        let packages = parse(&status[..]).unwrap();
        let seen: Vec<_> =
            packages.iter().map(|p| (p.name.as_str(), p.architecture.as_str(), p.version.as_str(), p.held)).collect();
        assert_eq!(
            seen,
            [
                ("a", "amd64", "1:2.3-4", false),
                ("c", "all", "2", true),
                ("d", "amd64", "3", false),
                ("f", "i386", "5", false)
            ]
        );
        assert_eq!(packages.iter().map(|p| p.unconfigured).collect::<Vec<_>>(), [false, false, true, false]);
        assert_eq!((packages[0].section.as_str(), packages[0].priority.as_str()), ("admin", "required"));
    }
}
