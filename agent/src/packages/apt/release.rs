//! Release files: what an archive says about itself, and whether apt has verified it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use patchwave_engine::baseline::Origin;

use super::super::PackageError;
use super::deb822::{Line, for_each_line, text};
use super::sources::Source;

/// apt's priority of an ordinary archive.
pub(super) const PRIORITY_ORDINARY: i32 = 500;
/// Of archives such as backports: not installed from by themselves, but upgraded from.
const PRIORITY_UPGRADES_ONLY: i32 = 100;
/// Of archives such as experimental: only on request.
const PRIORITY_ON_REQUEST: i32 = 1;

/// An archive, for the versions in its lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archive {
    /// Component left empty.
    pub(super) origin: Origin,
    /// apt's priority where no pin says otherwise.
    pub(super) priority: i32,
}

/// Reads the Release file of a source; an archive without one is unnamed and not trusted.
pub(super) fn archive(lists: &Path, source: &Source) -> Result<Archive, PackageError> {
    let mut archive = Archive { origin: Origin::default(), priority: PRIORITY_ORDINARY };
    archive.origin.site.clone_from(&source.site);
    let exists = |name: &str| lists.join(format!("{}{name}", source.release_prefix)).is_file();
    // apt keeps a signed file only when the signature was good, or need not be.
    archive.origin.trusted = source.trusted || exists("InRelease") || exists("Release.gpg");
    for name in ["InRelease", "Release"] {
        let path = lists.join(format!("{}{name}", source.release_prefix));
        let read = |source| PackageError::Read { path: path.clone(), source };
        match File::open(&path) {
            Ok(file) => {
                parse(BufReader::new(file), &mut archive).map_err(read)?;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(read(error)),
        }
    }
    Ok(archive)
}

fn parse(input: impl io::BufRead, archive: &mut Archive) -> io::Result<()> {
    let (mut not_automatic, mut but_upgrades) = (false, false);
    for_each_line(input, |line| match line {
        Line::Field(b"Origin", value) => archive.origin.origin = text(value),
        Line::Field(b"Label", value) => archive.origin.label = text(value),
        Line::Field(b"Suite", value) => archive.origin.archive = text(value),
        Line::Field(b"Codename", value) => archive.origin.codename = text(value),
        Line::Field(b"NotAutomatic", value) => not_automatic = value == b"yes",
        Line::Field(b"ButAutomaticUpgrades", value) => but_upgrades = value == b"yes",
        Line::Field(..) | Line::Continued(_) | Line::End => {}
    })?;
    archive.priority = match (not_automatic, but_upgrades) {
        (false, _) => PRIORITY_ORDINARY,
        (true, true) => PRIORITY_UPGRADES_ONLY,
        (true, false) => PRIORITY_ON_REQUEST,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use patchwave_engine::baseline::Origin;

    use super::{Archive, parse};

    fn read(text: &str) -> Archive {
        let mut archive = Archive { origin: Origin::default(), priority: 0 };
        parse(text.as_bytes(), &mut archive).unwrap();
        archive
    }

    #[test]
    fn signed_file_is_read_through_its_signature() {
        let archive = read(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nLabel: Debian-Security\n\
             Suite: oldstable-security\nCodename: bookworm-security\nSHA256:\n e3b0 0 main/Suite: x\n\
             -----BEGIN PGP SIGNATURE-----\n\niQIz\n-----END PGP SIGNATURE-----\n",
        );
        assert_eq!(archive.origin.archive, "oldstable-security");
        assert_eq!(archive.origin.codename, "bookworm-security");
        assert_eq!(archive.origin.label, "Debian-Security");
        assert_eq!(archive.priority, 500);
    }

    #[test]
    fn priority_follows_what_the_archive_says_of_itself() {
        assert_eq!(read("NotAutomatic: yes\nButAutomaticUpgrades: yes\n").priority, 100);
        assert_eq!(read("NotAutomatic: yes\n").priority, 1);
        assert_eq!(read("Suite: stable\n").priority, 500);
    }
}
