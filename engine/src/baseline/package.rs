//! What the evaluation is told about a node and its packages.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::node::OperatingSystem;
use serde::{Deserialize, Serialize};

/// The node as far as a baseline asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProfile {
    /// A baseline for another operating system approves nothing here.
    pub operating_system: OperatingSystem,
    /// As in `VERSION_ID` of os-release, for instance `12` or `22.04`; empty when unknown.
    pub version: String,
    /// As in `VERSION_CODENAME`, for instance `bookworm`; empty when unknown.
    pub codename: String,
}

/// One package that is on the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledPackage {
    /// Name without architecture.
    pub name: String,
    /// For instance `amd64`; `all` for packages that fit every architecture.
    pub architecture: String,
    /// The installed version, epoch included.
    pub version: String,
    /// Archive section; empty when unknown.
    #[serde(default)]
    pub section: String,
    /// Debian priority; empty when unknown.
    #[serde(default)]
    pub priority: String,
    /// An administrator put the package on hold: it is reported, never upgraded.
    #[serde(default)]
    pub held: bool,
    /// The package asked for a reboot that has not happened yet.
    #[serde(default)]
    pub pending_reboot: bool,
    /// Unpacked, but its configuration did not complete: the version is on disk and not in order.
    #[serde(default)]
    pub unconfigured: bool,
    /// When this version was unpacked, if known.
    #[serde(default)]
    pub installed_at: Option<Timestamp>,
}

/// Where a version can be had from. Shared by the thousands of versions of one archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `Suite` of the archive's Release file, which apt calls archive: `jammy-security`.
    pub archive: String,
    /// `Codename` of the Release file.
    #[serde(default)]
    pub codename: String,
    /// `Origin` of the Release file, for instance `Debian`.
    #[serde(default)]
    pub origin: String,
    /// `Label` of the Release file.
    #[serde(default)]
    pub label: String,
    /// Host of the archive; empty for local ones.
    #[serde(default)]
    pub site: String,
    /// For instance `main`.
    #[serde(default)]
    pub component: String,
    /// The package manager has verified the archive's signature or was told to trust it.
    pub trusted: bool,
}

impl Origin {
    /// Whether what comes from here is a security update.
    ///
    /// SSM's rule: the archive is trusted, and its name contains `security` or it is Debian's own
    /// security site. Ubuntu's `…-apps-security` and `…-infra-security` match by name.
    #[must_use]
    pub fn is_security(&self) -> bool {
        let named = |text: &str| text.to_ascii_lowercase().contains("security");
        self.trusted
            && (named(&self.archive) || named(&self.codename) || self.site.eq_ignore_ascii_case("security.debian.org"))
    }
}

/// What a vendor published about one or more package versions: an update notice of `updateinfo`.
///
/// Shared by all the versions that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// The vendor's id, for instance `RHSA-2024:0001`, `ALAS2023-2024-500` or `ELSA-2024-0001`.
    pub id: String,
    /// SSM's CLASSIFICATION: `Security`, `Bugfix`, `Enhancement`, `Recommended`, `Newpackage`;
    /// empty when the notice does not say.
    #[serde(default)]
    pub classification: String,
    /// SSM's SEVERITY: `Critical`, `Important`, `Moderate`, `Low`, …; empty when unknown.
    #[serde(default)]
    pub severity: String,
    /// Vulnerabilities that it mends, for instance `CVE-2024-0001`.
    #[serde(default)]
    pub cve_ids: Vec<String>,
    /// Numbers of the bug reports it answers.
    #[serde(default)]
    pub bugzilla_ids: Vec<String>,
    /// `updated` of the notice, else `issued`.
    #[serde(default)]
    pub released_at: Option<Timestamp>,
}

/// One version of one package that some archive offers to the node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableVersion {
    /// Name without architecture.
    pub name: String,
    /// For instance `amd64`, or `all`.
    pub architecture: String,
    /// The version, epoch included.
    pub version: String,
    /// Archive section; empty when unknown.
    #[serde(default)]
    pub section: String,
    /// Debian priority; empty when unknown.
    #[serde(default)]
    pub priority: String,
    /// Every archive that offers exactly this version.
    #[serde(default)]
    pub origins: Vec<Arc<Origin>>,
    /// Every notice that names exactly this version (rpm).
    #[serde(default)]
    pub advisories: Vec<Arc<Advisory>>,
    /// When the package was built, where it says so (rpm).
    #[serde(default)]
    pub built_at: Option<Timestamp>,
    /// Id of the repository that offers it (rpm); empty when unknown.
    #[serde(default)]
    pub repository: String,
    /// When the vendor released it, where the vendor says so.
    #[serde(default)]
    pub released_at: Option<Timestamp>,
    /// When this node first saw it; counts as its release where nothing better is known.
    #[serde(default)]
    pub first_seen: Option<Timestamp>,
}

/// Whether a patch is on the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchStatus {
    /// It applies and is not there.
    #[default]
    Needed,
    /// It is there.
    Installed,
    /// What it mends is not there, or something newer is.
    NotApplicable,
}

/// One patch, where the vendor's unit is the patch and not the package: zypper, Windows, macOS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// What lists name it by and reports show as `KBId`: `SUSE-SLE-…-2024-1`, `KB5034441`, or the
    /// label of a macOS update.
    pub id: String,
    /// For people.
    pub title: String,
    /// Version, where the vendor gives it one (macOS); else empty.
    #[serde(default)]
    pub version: String,
    /// Whether it is on the node.
    pub status: PatchStatus,
    /// SSM's CLASSIFICATION in SSM's spelling; empty when unknown.
    #[serde(default)]
    pub classification: String,
    /// SSM's SEVERITY or MSRC_SEVERITY; empty when unknown.
    #[serde(default)]
    pub severity: String,
    /// SSM's PRODUCT values that it is for; empty where it is for whatever the node runs.
    #[serde(default)]
    pub products: Vec<String>,
    /// SSM's PRODUCT_FAMILY (Windows); empty elsewhere.
    #[serde(default)]
    pub product_family: String,
    /// It is for an application, not for the operating system (SSM's PATCH_SET; Windows).
    #[serde(default)]
    pub is_application: bool,
    /// Vulnerabilities that it mends.
    #[serde(default)]
    pub cve_ids: Vec<String>,
    /// Numbers of the bug reports it answers.
    #[serde(default)]
    pub bugzilla_ids: Vec<String>,
    /// Other names that lists may use: bulletins, update ids, packages it brings.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// When the vendor released it, if known.
    #[serde(default)]
    pub released_at: Option<Timestamp>,
    /// When this node first saw it; counts as its release where nothing better is known.
    #[serde(default)]
    pub first_seen: Option<Timestamp>,
    /// When it was installed, if known.
    #[serde(default)]
    pub installed_at: Option<Timestamp>,
    /// It is locked or hidden by the administrator: reported, never installed.
    #[serde(default)]
    pub held: bool,
    /// It is installed and takes effect at the next start.
    #[serde(default)]
    pub pending_reboot: bool,
}

#[cfg(test)]
mod tests {
    use super::Origin;

    fn origin(archive: &str, site: &str, trusted: bool) -> Origin {
        Origin { archive: archive.into(), site: site.into(), trusted, ..Origin::default() }
    }

    #[test]
    fn security_is_told_by_archive_name_or_debians_own_site_and_needs_trust() {
        for (archive, site, trusted, expected) in [
            ("jammy-security", "archive.ubuntu.com", true, true),
            ("jammy-apps-security", "esm.ubuntu.com", true, true),
            ("oldstable-security", "deb.debian.org", true, true),
            ("stable", "security.debian.org", true, true),
            ("jammy-updates", "security.ubuntu.com", true, false),
            ("jammy-security", "archive.ubuntu.com", false, false),
            ("stable", "deb.debian.org", true, false),
        ] {
            assert_eq!(origin(archive, site, trusted).is_security(), expected, "{archive} at {site}");
        }
    }
}
