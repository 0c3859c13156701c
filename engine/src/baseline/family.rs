//! The families of systems: what their unit of patching is, and whose order their versions follow.

use std::cmp::Ordering;

use patchwave_schemas::node::OperatingSystem;

use crate::versions::{deb, rpm};

/// How a system is patched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// apt and dpkg: Debian, Ubuntu, Raspberry Pi OS. The unit is the package; security is told by
    /// the archive that offers a version.
    Apt,
    /// dnf and yum: Amazon Linux, CentOS and its successors, Oracle Linux, RHEL. The unit is the
    /// package; what it mends is told by the advisories that name it.
    Rpm,
    /// SLES: the unit is the patch, a set of packages that the vendor releases together.
    Zypper,
    /// Windows: the unit is the update.
    WindowsUpdate,
    /// macOS: the unit is the update.
    SoftwareUpdate,
}

impl Family {
    /// The family of an operating system.
    #[must_use]
    pub const fn of(os: OperatingSystem) -> Self {
        use OperatingSystem as Os;
        match os {
            Os::Debian | Os::Ubuntu | Os::Raspbian => Self::Apt,
            Os::AmazonLinux
            | Os::AmazonLinux2
            | Os::AmazonLinux2022
            | Os::AmazonLinux2023
            | Os::Centos
            | Os::OracleLinux
            | Os::RedhatEnterpriseLinux
            | Os::RockyLinux
            | Os::AlmaLinux => Self::Rpm,
            Os::Suse => Self::Zypper,
            Os::Windows => Self::WindowsUpdate,
            Os::Macos => Self::SoftwareUpdate,
        }
    }

    /// The order of two versions of one package. Systems whose unit is the patch have rpm's, which
    /// is that of SLES and does no harm elsewhere: two patches are never compared by version.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Apt => deb::compare(a, b),
            _ => rpm::compare_evr(a, b),
        }
    }

    /// What one patch is called in reasons.
    pub(super) const fn not_security(self) -> &'static str {
        match self {
            Self::Rpm => "in no advisory",
            _ => "not a security update",
        }
    }
}
