//! zypper: SUSE Linux Enterprise Server and openSUSE Leap, where the unit is the patch.
//!
//! A scan is one `zypper list-patches --all`, read as a stream: zypper says of each patch whether
//! it is needed, applied or not applicable, and its category, severity, date and issues. It takes
//! no lock, so that it may run beside an installation. An installation is `zypper install -t patch`,
//! planned by its dry run first.
//!
//! - `root`: where the system is, and how zypper is called there.
//! - `xml`, `listing`: what zypper says about patches. `contents`: which packages they bring.
//! - `scan`: all of it together. `locks`: what the administrator keeps as it is.
//! - `install`, by way of `plan`, `exit` and `call`: changing it.
//!
//! Interactive patches: one that only wants a restart is installed, because whether and when to
//! restart is the operation's own choice. One that shows a message or asks for a licence is
//! reported and not installed, unless `ApprovedPatches` names it: that is the administrator's word
//! that it was read. Patches that the vendor has retracted are never installed.
//!
//! What the baseline blocks is looked for in the dry run's plan; no package lock is ever taken, so
//! none can be left behind.

mod call;
mod contents;
mod exit;
mod install;
mod listing;
mod locks;
mod plan;
mod root;
mod scan;
mod xml;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;

pub use self::root::ZypperRoot;
use super::{InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult};

/// zypper on one root.
#[derive(Debug, Clone)]
pub struct Zypper {
    root: ZypperRoot,
}

impl Zypper {
    /// Makes it; touches nothing.
    #[must_use]
    pub const fn new(root: ZypperRoot) -> Self {
        Self { root }
    }
}

#[async_trait]
impl PackageManager for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
        let root = self.root.by_baseline(baseline)?;
        root.refresh_sources()?;
        Ok(scan::scan(&root, baseline, now)?.result)
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        options: &InstallOptions,
        now: Timestamp,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        install::install(&self.root.by_baseline(baseline)?, baseline, options, now, progress).await
    }
}
