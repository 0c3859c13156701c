//! Documents on a made-up machine: what is skipped, what is judged, when the node is restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::baseline::predefined;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::command::{Action, PatchOperation, RebootOption, RenderedDocument, RunInvocation, Step};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::{Outcome, StepResult};
use patchwave_schemas::{BaselineId, CommandId, NodeId};
use uuid::Uuid;

use super::*;
use crate::packages::{InstallProgress, InstallResult, PackageError, ScanResult};

/// A machine on which everything succeeds at once.
struct Machine {
    node_id: NodeId,
    system: OperatingSystem,
    needs_restart: bool,
    can_reboot: bool,
    installs: AtomicUsize,
}

impl Machine {
    fn debian() -> Self {
        Self {
            node_id: NodeId::from_bits(1),
            system: OperatingSystem::Debian,
            needs_restart: false,
            can_reboot: true,
            installs: AtomicUsize::new(0),
        }
    }

    fn run(&self, job: &Job) -> ExecutionEnd {
        run_document_now(self, job).end
    }

    fn outcomes(&self, job: &Job) -> Vec<Outcome> {
        match self.run(job) {
            ExecutionEnd::Done { steps, .. } => steps.iter().map(|step| step.outcome).collect(),
            ExecutionEnd::NeedsReboot(point) => panic!("wants to restart: {point:?}"),
        }
    }
}

#[async_trait]
impl StepRunner for Machine {
    fn node_id(&self) -> &NodeId {
        &self.node_id
    }
    fn operating_system(&self) -> OperatingSystem {
        self.system
    }
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    fn can_reboot(&self) -> bool {
        self.can_reboot
    }
    async fn shell(&self, _: &StepContext<'_>) -> StepEnd {
        StepEnd { exit_code: 0, ..StepEnd::not_started(Outcome::Success, "") }
    }
    async fn scan(&self, _: &BaselineSnapshot) -> Result<ScanResult, PackageError> {
        Ok(ScanResult { reboot_required: self.needs_restart, ..ScanResult::default() })
    }
    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        _: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        self.installs.fetch_add(1, Ordering::Relaxed);
        Ok(InstallResult { scan: self.scan(baseline).await?, ..InstallResult::default() })
    }
}

fn shell() -> Action {
    Action::RunShellScript { commands: Vec::new(), working_directory: None, environment: [].into() }
}

fn install(reboot_option: RebootOption) -> Action {
    Action::PatchBaseline { operation: PatchOperation::Install, reboot_option }
}

fn job(mode: Mode, actions: impl IntoIterator<Item = Action>) -> Job {
    let step = |(index, action)| Step { name: format!("step{index}"), timeout_seconds: 60, action };
    let invocation = RunInvocation {
        command_id: CommandId::from_uuid(Uuid::nil()),
        node_id: NodeId::from_bits(1),
        not_before: Timestamp::UNIX_EPOCH,
        not_after: Timestamp::MAX,
        document: RenderedDocument {
            name: "test".into(),
            version: "1".into(),
            steps: actions.into_iter().enumerate().map(step).collect(),
        },
        baseline: Some(BaselineSnapshot::new(
            "test",
            BaselineId::from_bits(1),
            "test",
            predefined(OperatingSystem::Debian).1,
        )),
    };
    Job { invocation: Arc::new(invocation), started_at: Timestamp::UNIX_EPOCH, mode }
}

#[test]
fn steps_for_another_platform_are_skipped() {
    let windows = Machine { system: OperatingSystem::Windows, ..Machine::debian() };
    let job = job(Mode::Fresh, [shell(), install(RebootOption::NoReboot)]);
    assert_eq!(windows.outcomes(&job), [Outcome::Skipped, Outcome::Skipped]);
}

#[test]
fn node_is_restarted_only_where_that_is_needed_wanted_and_possible() {
    for (needs_restart, option, can_reboot, restarts) in [
        (true, RebootOption::RebootIfNeeded, true, true),
        (false, RebootOption::RebootIfNeeded, true, false),
        (true, RebootOption::NoReboot, true, false),
        (true, RebootOption::RebootIfNeeded, false, false),
    ] {
        let machine = Machine { needs_restart, can_reboot, ..Machine::debian() };
        let end = machine.run(&job(Mode::Fresh, [shell(), install(option), shell()]));
        assert_eq!(matches!(end, ExecutionEnd::NeedsReboot(RebootPoint { step: 1, .. })), restarts, "{end:?}");
    }
}

#[test]
fn document_goes_on_behind_the_restart_without_installing_again() {
    let actions = || [shell(), install(RebootOption::RebootIfNeeded), shell()];
    let before = Machine { needs_restart: true, ..Machine::debian() };
    let ExecutionEnd::NeedsReboot(point) = before.run(&job(Mode::Fresh, actions())) else { panic!("no restart") };
    let results: Vec<StepResult> = point.results.clone();
    let after = Machine::debian();
    let job = job(Mode::AfterReboot(point), actions());
    let ExecutionEnd::Done { steps, scans, .. } = after.run(&job) else { panic!("another restart") };
    assert_eq!(steps[..1], results);
    assert_eq!(steps.iter().map(|step| step.outcome).collect::<Vec<_>>(), [Outcome::Success; 3]);
    assert_eq!(scans.len(), 2, "before and after");
    assert_eq!(after.installs.load(Ordering::Relaxed), 0);
}

#[test]
fn node_that_did_not_restart_fails_instead_of_restarting_for_ever() {
    let stubborn = Machine { needs_restart: true, ..Machine::debian() };
    let job = job(Mode::AfterReboot(RebootPoint::default()), [install(RebootOption::RebootIfNeeded)]);
    assert_eq!(stubborn.outcomes(&job), [Outcome::Failed]);
}

#[test]
fn interrupted_installation_is_judged_by_a_scan() {
    let machine = Machine::debian();
    let job = job(Mode::Judge, [install(RebootOption::RebootIfNeeded)]);
    assert_eq!(machine.outcomes(&job), [Outcome::Success]);
    assert_eq!(machine.installs.load(Ordering::Relaxed), 0);
}
