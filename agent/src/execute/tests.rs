//! Documents on a made-up machine: what is skipped, what is judged, when the node is restarted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::baseline::{Decision, Evaluation, predefined};
use patchwave_engine::documents::{Parameters, RUN_SHELL_SCRIPT, render, render_with_hooks};
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
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
    /// A patch is missing until it is installed.
    missing: bool,
    /// The script that fails, by the name of its step.
    bad_script: &'static str,
    /// What stands behind the URLs that it can fetch.
    files: Vec<(&'static str, String)>,
    /// What it scanned and installed by: the baseline's name and the ids of its list.
    went_by: Mutex<Vec<String>>,
}

impl Machine {
    fn debian() -> Self {
        Self {
            node_id: NodeId::from_bits(1),
            system: OperatingSystem::Debian,
            needs_restart: false,
            can_reboot: true,
            installs: AtomicUsize::new(0),
            missing: false,
            bad_script: "",
            files: Vec::new(),
            went_by: Mutex::default(),
        }
    }

    fn note(&self, what: &str, baseline: &BaselineSnapshot) {
        let ids: Vec<&str> = baseline.install_override.iter().map(|entry| entry.id.as_str()).collect();
        self.went_by.lock().unwrap().push(format!("{what} by {} {ids:?}", baseline.name));
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
    async fn shell(&self, context: &StepContext<'_>) -> StepEnd {
        let outcome = if context.step.name == self.bad_script { Outcome::Failed } else { Outcome::Success };
        StepEnd { exit_code: 0, ..StepEnd::not_started(outcome, "") }
    }
    async fn fetch(&self, url: &str, _: usize) -> Result<Vec<u8>, FetchError> {
        let found = self.files.iter().find(|(known, _)| *known == url);
        let away = || FetchError { url: url.to_owned(), problem: "away".to_owned(), is_transient: false };
        found.map(|(_, text)| text.clone().into_bytes()).ok_or_else(away)
    }
    async fn scan(&self, baseline: &BaselineSnapshot) -> Result<ScanResult, PackageError> {
        self.note("scan", baseline);
        let is_missing = self.missing && self.installs.load(Ordering::Relaxed) == 0;
        let missing =
            Decision { state: PatchState::Missing, approved_version: Some("2".into()), ..Decision::default() };
        let evaluation =
            Evaluation { decisions: if is_missing { vec![missing] } else { Vec::new() }, ..Evaluation::default() };
        Ok(ScanResult { reboot_required: self.needs_restart, evaluation, ..ScanResult::default() })
    }
    async fn install(
        &self,
        baseline: &BaselineSnapshot,
        _: &(dyn Fn(InstallProgress) + Send + Sync),
    ) -> Result<InstallResult, PackageError> {
        self.note("install", baseline);
        let is_first = self.installs.fetch_add(1, Ordering::Relaxed) == 0;
        let attempted = if self.missing && is_first { vec!["a.amd64".to_owned()] } else { Vec::new() };
        Ok(InstallResult { scan: self.scan(baseline).await?, attempted, ..InstallResult::default() })
    }
}

fn shell() -> Action {
    Action::RunShellScript { commands: Vec::new(), working_directory: None, environment: [].into() }
}

fn install(reboot_option: RebootOption) -> Action {
    Action::PatchBaseline {
        operation: PatchOperation::Install,
        reboot_option,
        install_override_list: None,
        baseline_override: None,
    }
}

fn job(mode: Mode, actions: impl IntoIterator<Item = Action>) -> Job {
    let step = |(index, action)| Step { name: format!("step{index}"), timeout_seconds: 60, action, phase: None };
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

/// An installation with a script as each hook.
fn hooked(mode: Mode, reboot_option: &str) -> Job {
    let given = |pairs: &[(&str, &str)]| -> Parameters {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect()
    };
    let hook = || render(RUN_SHELL_SCRIPT, None, &given(&[("commands", "true")])).unwrap();
    let parameters = given(&[("Operation", "Install"), ("RebootOption", reboot_option)]);
    let document = render_with_hooks(&parameters, [hook(), hook(), hook()]).unwrap();
    let plain = job(mode, []);
    Job { invocation: Arc::new(RunInvocation { document, ..(*plain.invocation).clone() }), ..plain }
}

/// Names of the steps that ran, of a document that came to its end.
fn ran(end: ExecutionEnd) -> Vec<String> {
    match end {
        ExecutionEnd::Done { steps, .. } => {
            steps.into_iter().filter(|step| step.outcome != Outcome::Skipped).map(|step| step.name).collect()
        }
        ExecutionEnd::NeedsReboot(point) => panic!("wants to restart: {point:?}"),
    }
}

#[test]
fn hooks_run_around_an_installation_and_not_where_nothing_is_missing() {
    let machine = Machine { missing: true, ..Machine::debian() };
    assert_eq!(
        ran(machine.run(&hooked(Mode::Fresh, "NoReboot"))),
        [
            "PatchScan",
            "PreInstall-runShellScript",
            "PatchInstall",
            "PostInstall-runShellScript",
            "OnExit-runShellScript"
        ]
    );
    assert_eq!(ran(Machine::debian().run(&hooked(Mode::Fresh, "NoReboot"))), ["PatchScan", "OnExit-runShellScript"]);
}

#[test]
fn failed_hook_keeps_the_installation_from_starting_but_not_the_last_hook() {
    let machine = Machine { missing: true, bad_script: "PreInstall-runShellScript", ..Machine::debian() };
    assert_eq!(
        ran(machine.run(&hooked(Mode::Fresh, "RebootIfNeeded"))),
        ["PatchScan", "PreInstall-runShellScript", "OnExit-runShellScript"]
    );
    assert_eq!(machine.installs.load(Ordering::Relaxed), 0);
}

#[test]
fn last_hook_runs_behind_the_restart() {
    let before = Machine { missing: true, needs_restart: true, ..Machine::debian() };
    let ExecutionEnd::NeedsReboot(point) = before.run(&hooked(Mode::Fresh, "RebootIfNeeded")) else {
        panic!("no restart")
    };
    assert_eq!(point.results.len(), 4, "{:?}", point.results);
    let ran = ran(Machine::debian().run(&hooked(Mode::AfterReboot(point), "RebootIfNeeded")));
    assert_eq!(ran[4..], ["PatchReboot", "OnExit-runShellScript"]);
}

/// A patch step with overrides, and what is behind their URLs.
fn overriding(operation: PatchOperation, list: Option<&str>, baseline: Option<&str>) -> Action {
    Action::PatchBaseline {
        operation,
        reboot_option: RebootOption::RebootIfNeeded,
        install_override_list: list.map(str::to_owned),
        baseline_override: baseline.map(str::to_owned),
    }
}

const LIST: &str = "https://host/list.yaml";
const BASELINE: &str = "https://host/baselines.json";

fn machine_with_files() -> Machine {
    let baselines = r#"[{ "Name": "other", "OperatingSystem": "DEBIAN" }, { "OperatingSystem": "UBUNTU" }]"#;
    let files = vec![(LIST, "patches:\n- id: bash\n".to_owned()), (BASELINE, baselines.to_owned())];
    Machine { files, ..Machine::debian() }
}

#[test]
fn list_says_what_is_installed_and_the_baseline_what_is_reported() {
    let machine = machine_with_files();
    let end = machine.run(&job(Mode::Fresh, [overriding(PatchOperation::Install, Some(LIST), None)]));
    let ExecutionEnd::Done { steps, scans, .. } = end else { panic!("a restart") };
    assert_eq!((steps[0].outcome, scans.len()), (Outcome::Success, 1), "{steps:?}");
    assert_eq!(
        *machine.went_by.lock().unwrap(),
        ["install by test [\"bash\"]", "scan by test [\"bash\"]", "scan by test []"],
        "the list judges its installation, the baseline the node"
    );
}

#[test]
fn scan_reads_over_a_list() {
    let machine = Machine::debian();
    let job = job(Mode::Fresh, [overriding(PatchOperation::Scan, Some(LIST), None)]);
    assert_eq!(machine.outcomes(&job), [Outcome::Success], "it is not even fetched");
    assert_eq!(*machine.went_by.lock().unwrap(), ["scan by test []"]);
}

#[test]
fn baseline_override_judges_for_this_command_and_is_not_reported() {
    for operation in [PatchOperation::Scan, PatchOperation::Install] {
        let machine = Machine { missing: true, ..machine_with_files() };
        let end = machine.run(&job(Mode::Fresh, [overriding(operation, None, Some(BASELINE))]));
        let ExecutionEnd::Done { steps, scans, .. } = end else { panic!("a restart") };
        assert_eq!((steps[0].outcome, scans.len()), (Outcome::Success, 0), "{steps:?}");
        assert!(steps[0].stdout.contains("Baseline other"), "{}", steps[0].stdout);
        assert!(machine.went_by.lock().unwrap().iter().all(|went| went.ends_with("by other []")));
    }
}

#[test]
fn override_that_cannot_be_had_fails_the_step_and_nothing_is_installed() {
    let files = vec![(LIST, "patches: []".to_owned()), (BASELINE, r#"[{ "OperatingSystem": "UBUNTU" }]"#.to_owned())];
    for (files, list, baseline, why) in [
        (vec![], Some(LIST), None, "could not fetch `https://host/list.yaml`: away"),
        (vec![], None, Some(BASELINE), "could not fetch `https://host/baselines.json`: away"),
        (files.clone(), Some(LIST), None, "InstallOverrideList: patches has 0 entries"),
        (files, None, Some(BASELINE), "BaselineOverride: 0 of the baselines are for Debian"),
    ] {
        let machine = Machine { files, ..Machine::debian() };
        let end = machine.run(&job(Mode::Fresh, [overriding(PatchOperation::Install, list, baseline)]));
        let ExecutionEnd::Done { steps, scans, .. } = end else { panic!("a restart") };
        assert_eq!((steps[0].outcome, scans.len()), (Outcome::Failed, 0));
        assert!(steps[0].stderr.contains(why), "{}", steps[0].stderr);
        assert!(machine.went_by.lock().unwrap().is_empty());
    }
}

#[test]
fn behind_a_restart_the_step_is_judged_by_the_override_that_it_began_with() {
    for (list, baseline, went_by, reports) in [
        (Some(LIST), None, &["scan by test [\"bash\"]", "scan by test []"][..], 2),
        (None, Some(BASELINE), &["scan by other []"], 0),
    ] {
        let actions = || [overriding(PatchOperation::Install, list, baseline)];
        let before = Machine { needs_restart: true, ..machine_with_files() };
        let ExecutionEnd::NeedsReboot(point) = before.run(&job(Mode::Fresh, actions())) else { panic!("no restart") };
        let journaled = serde_json::from_value(serde_json::to_value(&point).unwrap()).unwrap();
        assert_eq!(point, journaled);
        // What was behind the URL is gone.
        let after = Machine::debian();
        let ExecutionEnd::Done { steps, scans, .. } = after.run(&job(Mode::AfterReboot(journaled), actions())) else {
            panic!("another restart")
        };
        assert_eq!((steps[0].outcome, scans.len()), (Outcome::Success, reports), "{steps:?}");
        assert_eq!(*after.went_by.lock().unwrap(), went_by);
    }
}
