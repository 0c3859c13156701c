//! What a scan saw: enough to judge the node again, by other rules or at another time, without
//! asking it.

use serde::{Deserialize, Serialize};

mod entry;
mod pack;

pub use self::entry::Entry;
pub use self::pack::{PACKED_BYTES_MAX, PackError, Unpacked, unpack};
use super::package::{AvailableVersion, InstalledPackage, NodeProfile, Patch};

/// A node and what was found on it, as the evaluation takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The node as far as a baseline asks.
    pub node: NodeProfile,
    /// What was found.
    pub found: Found,
}

/// What a scan found, by what the vendor's unit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Packages: apt, dnf and yum.
    Packages {
        /// What is installed.
        installed: Vec<InstalledPackage>,
        /// Every version that the package manager may choose for it, from the installed one upwards.
        available: Vec<AvailableVersion>,
    },
    /// Patches: zypper, Windows, macOS.
    Patches(Vec<Patch>),
}

impl Inventory {
    /// Of a system whose unit is the package.
    #[must_use]
    pub const fn of_packages(
        node: NodeProfile,
        installed: Vec<InstalledPackage>,
        available: Vec<AvailableVersion>,
    ) -> Self {
        Self { node, found: Found::Packages { installed, available } }
    }

    /// Of a system whose unit is the patch.
    #[must_use]
    pub const fn of_patches(node: NodeProfile, patches: Vec<Patch>) -> Self {
        Self { node, found: Found::Patches(patches) }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
