//! dnf, yum and rpm: Amazon Linux, CentOS, Oracle Linux, RHEL, Rocky, Alma.
//!
//! A scan asks rpm what is installed and reads the repositories' cached metadata itself, as a stream.
//! dnf is asked only where its configuration changes the answer (excludes, modules) and to fetch what
//! is not current: so a scan sees the repositories as dnf itself would at that moment, and not older.
//! An installation is planned and done by dnf.
//!
//! - `root`: where the system is, and how its tools are called there. `config`: what they are told.
//! - `cache`: where metadata lies. `choice`: which versions dnf would choose from.
//! - `scan`: all of it together. `reboot`: whether a restart is needed.
//! - `install`, by way of `plan` and `output`: changing it.
//!
//! yum 3 keeps a repository's packages in a database of its own, so it is asked for their versions
//! (`listing`); when they were built it does not say, and without a notice a version counts from when
//! this node first saw it. Its ways are followed by its documentation and recorded output alone: no
//! system that the tests can make still has it.
//!
//! What the administrator says is honoured, other than by SSM: what `excludepkgs`, `exclude`,
//! `includepkgs` or the version lock keep from a package is reported as missing and held back, and
//! never installed. A package of another name that replaces an installed one is not installed for its
//! own sake, only as a dependency (SSM). A script that fails after a package's files are in place does
//! not undo the installation: rpm counts it as installed, and so does the scan; the complaint is in
//! the output.

mod cache;
mod choice;
mod config;
mod install;
mod listing;
mod output;
mod plan;
mod reboot;
mod root;
mod scan;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;

pub use self::root::DnfRoot;
use super::{InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult};

/// dnf, or yum 3 where there is no dnf, on one root.
#[derive(Debug, Clone)]
pub struct Dnf {
    root: DnfRoot,
}

impl Dnf {
    /// Makes it; touches nothing.
    #[must_use]
    pub const fn new(root: DnfRoot) -> Self {
        Self { root }
    }
}

#[async_trait]
impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.root.tool().program()
    }

    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
        scan::scan(&self.root, baseline, now)
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        options: &InstallOptions,
        now: Timestamp,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        install::install(&self.root, baseline, options, now, progress).await
    }
}
