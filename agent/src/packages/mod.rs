//! Package managers: what is on this node, what may be installed, and installing it.
//!
//! One directory per package manager behind [`PackageManager`]. Which versions are approved is
//! not decided here but in `engine::baseline`; whether and when to reboot is the executor's
//! matter. Nothing here talks to the control plane.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::baseline::{Evaluation, Inventory};
use patchwave_schemas::baseline::{BaselineSnapshot, PatchRecord};

pub mod apt;
pub mod dnf;
mod error;
mod exclusive;
mod first_seen;
mod halving;
mod os_release;
mod rpm;
pub mod softwareupdate;
mod sources;
mod tool;
pub mod windows_update;
pub mod zypper;

pub use error::PackageError;
pub use exclusive::{Exclusive, exclusive};
pub use first_seen::FirstSeen;
pub use os_release::{OsRelease, os_release};

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanResult {
    /// What the baseline says about each installed package.
    pub evaluation: Evaluation,
    /// The same as reports carry it, with `Failed` where an installation did not succeed.
    pub patches: Vec<PatchRecord>,
    /// The system says that something installed needs a reboot to take effect.
    pub reboot_required: bool,
    /// What was evaluated, for the control plane to evaluate again; absent where a package manager
    /// does not say.
    pub inventory: Option<Inventory>,
}

/// How an installation is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOptions {
    /// Fetch the lists of available versions first.
    pub refresh: bool,
    /// How long to wait for another program that holds the package manager's lock.
    pub lock_timeout: Duration,
}

impl Default for InstallOptions {
    /// Refreshes, and waits ten minutes: longer than an unattended upgrade usually takes.
    fn default() -> Self {
        Self { refresh: true, lock_timeout: Duration::from_mins(10) }
    }
}

/// Where an installation has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallProgress {
    /// Fetching the lists of available versions.
    Refreshing,
    /// Finding out what is missing.
    Scanning,
    /// Installing: packages done, and packages in all.
    Installing {
        /// Packages whose installation was tried.
        done: usize,
        /// Packages to install.
        total: usize,
    },
    /// Finding out what is installed now.
    Verifying,
}

/// What an installation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallResult {
    /// The node after the installation: states are what this scan says, not what tools returned.
    pub scan: ScanResult,
    /// `name.arch` of what was tried, whether or not it succeeded.
    pub attempted: Vec<String>,
    /// What the package manager printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// A package manager of this node.
#[async_trait]
pub trait PackageManager: Send + Sync {
    /// Name for people and logs, for instance `apt`.
    fn name(&self) -> &'static str;

    /// Finds out what the baseline says about this node. Changes nothing but the agent's own notes.
    ///
    /// Blocks for tenths of a second, in bad cases for seconds: call it off the async threads.
    ///
    /// # Errors
    /// [`PackageError`] when the package manager's files cannot be read.
    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError>;

    /// Installs what the baseline approves and the node lacks, then scans again.
    ///
    /// One package that cannot be installed does not keep the others from it; it is `Failed` in
    /// the result, with the reason. Never removes a package, never reboots. Dropping the future
    /// leaves a running tool to finish by itself: killing it half way would do harm.
    ///
    /// # Errors
    /// [`PackageError`] when nothing could be tried: lists that cannot be fetched or read, or a
    /// lock that somebody keeps.
    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        options: &InstallOptions,
        now: Timestamp,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError>;
}

/// The package manager of the system under `root`, or nothing when it has none that we know.
///
/// `state_dir` is the agent's own directory, for notes that must outlive it.
#[must_use]
pub fn detect(root: &Path, state_dir: &Path) -> Option<Box<dyn PackageManager>> {
    let apt = apt::AptRoot::new(root, state_dir);
    if apt.is_present() {
        return Some(Box::new(apt::Apt::new(apt)));
    }
    let dnf = dnf::DnfRoot::new(root, state_dir);
    if dnf.is_present() {
        return Some(Box::new(dnf::Dnf::new(dnf)));
    }
    let zypper = zypper::ZypperRoot::new(root, state_dir);
    if zypper.is_present() {
        return Some(Box::new(zypper::Zypper::new(zypper)));
    }
    let mac = softwareupdate::MacRoot::new(root, state_dir);
    if mac.is_present() {
        return Some(Box::new(softwareupdate::SoftwareUpdate::new(mac)));
    }
    let windows = windows_update::WindowsRoot::new(root, state_dir);
    windows.is_present().then(|| Box::new(windows_update::WindowsUpdate::new(windows)) as Box<dyn PackageManager>)
}
