//! apt and dpkg: Debian, Ubuntu, Raspbian and what is built on them.
//!
//! A scan reads dpkg's status and apt's lists itself, as a stream: the answer is that of
//! `apt-get -s upgrade`, in a fraction of its time and memory. apt is asked only where its own
//! configuration changes the answer (pins). An installation is planned and done by apt-get.
//!
//! - `root`: where the system is, and how its tools are called there.
//! - `dpkg`: what is installed. `sources`, `release`, `lists`: what is available.
//! - `pins`: which of it apt would choose. `scan`: all of it together.
//! - `install`, by way of `plan`, `apt_get` and `lock`: changing it.
//!
//! Phased updates (Ubuntu): whether this machine is in the share that gets one is apt's own draw,
//! which is not repeated here. A version that is phased to less than 100 % counts as not yet
//! available, unless it is a security update.

mod apt_get;
mod deb822;
mod dpkg;
mod install;
mod lists;
mod lock;
mod pins;
mod plan;
mod release;
mod root;
mod scan;
mod sources;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;

pub use self::root::AptRoot;
use super::{InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult};

/// apt on one root.
#[derive(Debug, Clone)]
pub struct Apt {
    root: AptRoot,
}

impl Apt {
    /// Makes it; touches nothing.
    #[must_use]
    pub const fn new(root: AptRoot) -> Self {
        Self { root }
    }
}

#[async_trait]
impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn scan(&self, baseline: &BaselineSnapshot, now: Timestamp) -> Result<ScanResult, PackageError> {
        let root = self.root.by_baseline(baseline)?;
        root.refresh_sources()?;
        scan::scan(&root, baseline, now)
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
