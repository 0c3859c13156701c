//! Which operating system this is: by os-release, on macOS by its property list, on Windows
//! by what PowerShell says.
//!
//! Unknown versions of known systems are accepted as they are: a new minor release needs no new
//! agent.

use std::path::Path;
use std::{fs, io};

use patchwave_engine::baseline::NodeProfile;
use patchwave_schemas::node::OperatingSystem;

use super::PackageError;
use super::windows_update::{WindowsRoot, is_windows};

/// What os-release says. The fields are those of a node's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsRelease {
    /// Which baselines apply.
    pub operating_system: OperatingSystem,
    /// For people, for instance `Debian GNU/Linux`.
    pub platform_name: String,
    /// `VERSION_ID`, for instance `12`; empty where a rolling release has none.
    pub platform_version: String,
    /// `VERSION_CODENAME`, for instance `bookworm`; empty where there is none.
    pub codename: String,
}

impl OsRelease {
    /// The node as a baseline sees it.
    #[must_use]
    pub fn profile(&self) -> NodeProfile {
        NodeProfile {
            operating_system: self.operating_system,
            version: self.platform_version.clone(),
            codename: self.codename.clone(),
        }
    }
}

/// Reads `etc/os-release`, else `usr/lib/os-release`, else macOS's `SystemVersion.plist`, under `root`;
/// on Windows PowerShell is asked.
///
/// # Errors
/// [`PackageError::Read`] when there is none of them, [`PackageError::UnknownSystem`] when neither `ID`
/// nor `ID_LIKE` is a system that baselines know.
pub fn os_release(root: &Path) -> Result<OsRelease, PackageError> {
    let first = root.join("etc/os-release");
    let text = match fs::read_to_string(&first) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::read_to_string(root.join("usr/lib/os-release")),
        other => other,
    };
    match text {
        Ok(text) => parse(&text),
        Err(source) => match macos(root) {
            Some(os) => Ok(os),
            None if is_windows(root) => WindowsRoot::new(root, root).os_release(),
            None => Err(PackageError::Read { path: first, source }),
        },
    }
}

/// macOS has no os-release and says the same in a property list.
fn macos(root: &Path) -> Option<OsRelease> {
    let text = fs::read_to_string(root.join("System/Library/CoreServices/SystemVersion.plist")).ok()?;
    let value = |key: &str| {
        let (_, rest) = text.split_once(&format!("<key>{key}</key>"))?;
        let (_, rest) = rest.split_once("<string>")?;
        Some(rest.split_once("</string>")?.0.trim().to_owned())
    };
    Some(OsRelease {
        operating_system: OperatingSystem::Macos,
        platform_name: value("ProductName").unwrap_or_else(|| "macOS".to_owned()),
        platform_version: value("ProductVersion").unwrap_or_default(),
        codename: String::new(),
    })
}

fn parse(text: &str) -> Result<OsRelease, PackageError> {
    let value = |key: &str| -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|raw| raw.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    let (id, version) = (value("ID"), value("VERSION_ID"));
    // Derivatives name their parents, nearest first.
    let like = value("ID_LIKE");
    let operating_system = std::iter::once(id.as_str())
        .chain(like.split_whitespace())
        .find_map(|id| known(id, &version))
        .ok_or(PackageError::UnknownSystem { id })?;
    Ok(OsRelease {
        operating_system,
        platform_name: value("NAME"),
        platform_version: version,
        codename: value("VERSION_CODENAME"),
    })
}

fn known(id: &str, version: &str) -> Option<OperatingSystem> {
    use OperatingSystem as Os;
    Some(match id {
        "debian" => Os::Debian,
        "ubuntu" => Os::Ubuntu,
        "raspbian" => Os::Raspbian,
        "amzn" => match version {
            "2" => Os::AmazonLinux2,
            "2022" => Os::AmazonLinux2022,
            "2023" => Os::AmazonLinux2023,
            _ => Os::AmazonLinux,
        },
        "rhel" => Os::RedhatEnterpriseLinux,
        "centos" => Os::Centos,
        "ol" => Os::OracleLinux,
        "rocky" => Os::RockyLinux,
        "almalinux" => Os::AlmaLinux,
        // openSUSE Leap is built from SLES's sources and patched by patches of the same form.
        "sles" | "sles_sap" | "suse" | "opensuse-leap" | "opensuse" => Os::Suse,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::node::OperatingSystem as Os;

    use super::parse;

    #[test]
    fn systems_are_known_by_id_then_by_what_they_are_like() {
        for (text, expected) in [
            ("ID=debian\nVERSION_ID=\"12\"\n", Some(Os::Debian)),
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", Some(Os::Ubuntu)),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Os::Ubuntu)),
            ("ID=\"amzn\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"2023\"\n", Some(Os::AmazonLinux2023)),
            ("ID=\"amzn\"\nVERSION_ID=\"2018.03\"\n", Some(Os::AmazonLinux)),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"\n", Some(Os::RockyLinux)),
            ("ID='ol'\n", Some(Os::OracleLinux)),
            ("ID=\"sles\"\nVERSION_ID=\"15.5\"\n", Some(Os::Suse)),
            ("ID=\"sles_sap\"\nVERSION_ID=\"15.5\"\n", Some(Os::Suse)),
            ("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", Some(Os::Suse)),
            ("ID=plan9\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().map(|os| os.operating_system), expected, "{text}");
        }
    }

    #[test]
    fn unknown_system_is_named() {
        let error = parse("ID=plan9\n").unwrap_err();
        assert!(error.to_string().contains("`plan9` is unknown"), "{error}");
    }

    #[test]
    fn facts_are_taken_without_quotes() {
        let os = parse(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
             VERSION_CODENAME=bookworm\nID=debian\n",
        )
        .unwrap();
        assert_eq!(
            (os.platform_name.as_str(), os.platform_version.as_str(), os.codename.as_str()),
            ("Debian GNU/Linux", "12", "bookworm")
        );
    }
}
