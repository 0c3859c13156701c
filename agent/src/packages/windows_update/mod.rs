//! The Windows Update Agent: Windows Server, where the unit is Microsoft's update.
//!
//! Everything goes through one PowerShell script of ours, which talks to the agent's COM objects and
//! answers in JSON: it searches what is needed, hidden and installed, and installs by update id.
//! Which server is asked, Microsoft's or a WSUS, is the system's own setting.
//!
//! - `root`: where the system is, and how PowerShell is called there. `answer`: what the script says.
//! - `category`: Microsoft's categories in SSM's words.
//! - `scan`: updates as patches, and what the baseline says. `install`: changing it.
//!
//! An update that another listed one supersedes does not apply (SSM drops it, too). Hidden updates are
//! reported and not installed, and so are those that ask questions. Licence terms are accepted for
//! updates only that `ApprovedPatches` names.
//!
//! Nothing here is compiled for Windows alone, so that all of it is tested everywhere. What is not
//! there is the Windows service around the agent.

mod answer;
mod category;
mod install;
mod root;
mod scan;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;

pub use self::root::WindowsRoot;
pub(super) use self::root::is_windows;
use super::{InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult};

/// The Windows Update Agent of this computer.
#[derive(Debug, Clone)]
pub struct WindowsUpdate {
    root: WindowsRoot,
}

impl WindowsUpdate {
    /// Makes it; touches nothing.
    #[must_use]
    pub const fn new(root: WindowsRoot) -> Self {
        Self { root }
    }
}

#[async_trait]
impl PackageManager for WindowsUpdate {
    fn name(&self) -> &'static str {
        "windows-update"
    }

    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
        Ok(scan::scan(&self.root, baseline, now)?.result)
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
