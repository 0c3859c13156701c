//! Steps on the machine the agent runs on.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::node::OperatingSystem;

use super::document::{StepContext, StepEnd, StepRunner};
use super::fetch::{self, FetchError};
use super::shell;
use crate::packages::{
    InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult, exclusive,
};

/// How others are told who is at work on the packages.
const HOLDER: &str = "the running patchwave-agent";

/// Runs scripts with `sh` and patches with the system's own package manager.
pub struct HostRunner {
    /// The node.
    pub node_id: NodeId,
    /// What it runs.
    pub operating_system: OperatingSystem,
    /// Absolute; where scripts are written, and run unless they say otherwise.
    pub state_dir: PathBuf,
    /// Absent on systems whose package manager is not known.
    pub packages: Option<Arc<dyn PackageManager>>,
    /// Whether the agent was given a way to restart the node.
    pub can_reboot: bool,
}

impl HostRunner {
    fn packages(&self) -> Result<Arc<dyn PackageManager>, PackageError> {
        self.packages.clone().ok_or_else(|| PackageError::UnknownSystem {
            id: format!("{:?} without a package manager that this agent knows", self.operating_system),
        })
    }
}

#[async_trait]
impl StepRunner for HostRunner {
    fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    fn operating_system(&self) -> OperatingSystem {
        self.operating_system
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn can_reboot(&self) -> bool {
        self.can_reboot
    }

    async fn shell(&self, context: &StepContext<'_>) -> StepEnd {
        shell::run(context, &self.state_dir).await
    }

    async fn fetch(&self, url: &str, bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        fetch::fetch(url, bytes_max).await
    }

    async fn scan(&self, baseline: &BaselineSnapshot) -> Result<ScanResult, PackageError> {
        let packages = self.packages()?;
        let (baseline, state_dir) = (baseline.clone(), self.state_dir.clone());
        let scan = tokio::task::spawn_blocking(move || {
            let _alone = exclusive(&state_dir, HOLDER, InstallOptions::default().lock_timeout)?;
            packages.scan(&baseline, Timestamp::now())
        });
        scan.await.unwrap_or(Err(PackageError::Interrupted))
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        let (packages, options) = (self.packages()?, InstallOptions::default());
        let (state_dir, limit) = (self.state_dir.clone(), options.lock_timeout);
        let alone = tokio::task::spawn_blocking(move || exclusive(&state_dir, HOLDER, limit));
        let _alone = alone.await.unwrap_or(Err(PackageError::Interrupted))?;
        packages.install(baseline, &options, Timestamp::now(), progress).await
    }
}
