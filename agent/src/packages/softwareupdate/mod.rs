//! softwareupdate: macOS, where the unit is Apple's update.
//!
//! A scan is `softwareupdate --list` for what is needed and `--history` for what is there. Apple's
//! tool says neither when an update was released nor what it mends: delays count from when this node
//! first saw it, and what is security is told by its title (`kind`). Updates that the administrator
//! ignores (`--ignore`) are not listed, and so not missing.
//!
//! An installation is one `softwareupdate --install` for each update, so that one that fails keeps no
//! other from it. Its exit code says nothing; the list after it does. An update that needs a restart
//! is still listed until then, and is noted (`pending`) as waiting for it.
//!
//! Not here: updates of macOS itself on Apple silicon need a volume owner's password, which nobody
//! gives an agent; they fail with what softwareupdate says. Packages by `installer` and Homebrew's
//! are not looked at.

mod history;
mod install;
mod kind;
mod list;
mod pending;
mod root;
mod scan;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;

pub use self::root::MacRoot;
use super::{InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult};

/// softwareupdate on this Mac.
#[derive(Debug, Clone)]
pub struct SoftwareUpdate {
    root: MacRoot,
}

impl SoftwareUpdate {
    /// Makes it; touches nothing.
    #[must_use]
    pub const fn new(root: MacRoot) -> Self {
        Self { root }
    }
}

#[async_trait]
impl PackageManager for SoftwareUpdate {
    fn name(&self) -> &'static str {
        "softwareupdate"
    }

    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
        scan::scan(&self.root, baseline, now)
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        _options: &InstallOptions,
        now: Timestamp,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        install::install(&self.root, baseline, now, progress).await
    }
}
