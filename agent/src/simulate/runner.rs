//! What the steps of a simulated node do: nothing, plausibly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::Outcome;

use super::packages::Packages;
use super::{Behaviour, chance};
use crate::execute::{FetchError, StepContext, StepEnd, StepRunner};
use crate::packages::{InstallProgress, InstallResult, PackageError, ScanResult};

/// A node without a machine.
pub struct SimulatedRunner {
    node_id: NodeId,
    operating_system: OperatingSystem,
    packages: Packages,
    behaviour: Arc<Behaviour>,
}

impl SimulatedRunner {
    pub(super) fn new(
        node_id: NodeId,
        operating_system: OperatingSystem,
        packages: Packages,
        behaviour: Arc<Behaviour>,
    ) -> Self {
        Self { node_id, operating_system, packages, behaviour }
    }

    /// Whether the node fails at what `cause` names. The same cause always gives the same answer.
    fn fails(&self, cause: &str) -> bool {
        chance(self.behaviour.seed, &format!("{}/fails/{cause}", self.node_id)) < self.behaviour.failure_rate()
    }

    async fn take_time(&self, cause: &str) {
        let (least, most) = (*self.behaviour.duration.start(), *self.behaviour.duration.end());
        if most > Duration::ZERO {
            let share = chance(self.behaviour.seed, &format!("{}/time/{cause}", self.node_id));
            tokio::time::sleep(least + most.saturating_sub(least).mul_f64(share)).await;
        }
    }
}

#[async_trait]
impl StepRunner for SimulatedRunner {
    fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    fn operating_system(&self) -> OperatingSystem {
        self.operating_system
    }

    fn now(&self) -> Timestamp {
        (self.behaviour.clock)()
    }

    fn can_reboot(&self) -> bool {
        false
    }

    fn is_instant(&self) -> bool {
        self.behaviour.duration.end().is_zero()
    }

    async fn shell(&self, context: &StepContext<'_>) -> StepEnd {
        let cause = format!("{}/{}", context.invocation.command_id, context.step.name);
        if !self.is_instant() {
            let limit = Duration::from_secs(u64::from(context.step.timeout_seconds));
            tokio::select! {
                () = self.take_time(&cause) => {}
                () = context.control.cancel.cancelled() => return StepEnd::not_started(Outcome::Cancelled, ""),
                () = tokio::time::sleep(limit) => return StepEnd::not_started(Outcome::TimedOut, ""),
            }
        }
        let failed = self.fails(&cause);
        StepEnd {
            outcome: if failed { Outcome::Failed } else { Outcome::Success },
            exit_code: i32::from(failed),
            stdout: "simulated\n".to_owned(),
            stderr: if failed { "simulated failure\n".to_owned() } else { String::new() },
            ends_document: false,
        }
    }

    async fn fetch(&self, url: &str, _bytes_max: usize) -> Result<Vec<u8>, FetchError> {
        let url = url.split(['?', '#']).next().unwrap_or_default().to_owned();
        Err(FetchError { url, problem: "simulated nodes fetch nothing".to_owned(), is_transient: false })
    }

    async fn scan(&self, baseline: &BaselineSnapshot) -> Result<ScanResult, PackageError> {
        let cause = format!("scan/{}", baseline.snapshot_id);
        self.take_time(&cause).await;
        if self.fails(&cause) {
            return Err(PackageError::Failed {
                program: "simulated scan".to_owned(),
                status: "exit status 1".to_owned(),
                message: "simulated failure".to_owned(),
            });
        }
        Ok(self.packages.scan(baseline, self.now()))
    }

    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        progress: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        let cause = format!("install/{}", baseline.snapshot_id);
        self.take_time(&cause).await;
        if self.fails(&cause) {
            return Err(PackageError::Failed {
                program: "simulated installation".to_owned(),
                status: "exit status 100".to_owned(),
                message: "simulated failure".to_owned(),
            });
        }
        let fails = |package: &str| self.behaviour.is_bad(package);
        Ok(self.packages.install(baseline, self.now(), fails, progress))
    }
}
