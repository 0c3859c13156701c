//! The node's promises: executed at most once, reported exactly once, whatever is repeated or lost.

use jiff::Timestamp;
use patchwave_schemas::baseline::{BaselineRules, BaselineSnapshot};
use patchwave_schemas::command::{
    Action, CancelInvocation, PatchOperation, RebootOption, RenderedDocument, RunInvocation, Step,
};
use patchwave_schemas::envelope::{CloudEvent, Message};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::{InvocationFinished, Outcome, StepResult};
use patchwave_schemas::{BaselineId, CommandId, NodeId};
use uuid::Uuid;

use super::{Effect, NodeCore, Policy, QUEUE_MAX};
use crate::execute::{Execution, ExecutionEnd, Mode, RebootPoint};
use crate::journal::{Entry, Journal, JournalError, MemoryJournal};
use crate::run::Run;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a small number")
}

fn node() -> NodeId {
    NodeId::from_bits(1)
}

fn command(number: u128) -> CommandId {
    CommandId::from_uuid(Uuid::from_u128(number))
}

fn shell() -> Action {
    Action::RunShellScript { commands: vec!["true".into()], working_directory: None, environment: [].into() }
}

fn patch(operation: PatchOperation) -> Action {
    Action::PatchBaseline {
        operation,
        reboot_option: RebootOption::RebootIfNeeded,
        install_override_list: None,
        baseline_override: None,
    }
}

fn invocation(number: u128, action: Action) -> RunInvocation {
    RunInvocation {
        command_id: command(number),
        node_id: node(),
        not_before: at(0),
        not_after: at(1_000),
        document: RenderedDocument {
            name: "test".into(),
            version: "1".into(),
            steps: vec![Step { name: "only".into(), timeout_seconds: 60, action, phase: None }],
        },
        baseline: Some(BaselineSnapshot::new(
            "snapshot",
            BaselineId::from_bits(1),
            "test",
            BaselineRules {
                operating_system: OperatingSystem::Debian,
                global_filters: Default::default(),
                approval_rules: Default::default(),
                approved_patches: Vec::new(),
                approved_patches_compliance_level: Default::default(),
                approved_patches_enable_non_security: false,
                rejected_patches: Vec::new(),
                rejected_patches_action: Default::default(),
                available_security_updates_compliance_status: Default::default(),
            },
        )),
    }
}

fn bytes<M: Message>(data: M) -> Vec<u8> {
    CloudEvent::new(Uuid::nil(), "/test", at(0), data).to_bytes()
}

fn run_message(number: u128) -> Vec<u8> {
    bytes(invocation(number, shell()))
}

fn cancel_message(number: u128) -> Vec<u8> {
    bytes(CancelInvocation { command_id: command(number), node_id: node() })
}

fn fresh() -> (NodeCore, MemoryJournal) {
    let journal = MemoryJournal::default();
    (NodeCore::new(node(), Box::new(journal.clone())), journal)
}

fn done(number: u128, outcome: Outcome) -> Execution {
    let step = StepResult {
        name: "only".into(),
        outcome,
        exit_code: 0,
        started_at: at(10),
        finished_at: at(20),
        stdout: String::new(),
        stderr: String::new(),
    };
    let end = ExecutionEnd::Done { steps: vec![step], scans: Vec::new(), reason: String::new() };
    Execution { command_id: command(number), end }
}

fn starts(effects: &[Effect]) -> Vec<CommandId> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Start(job) = effect { Some(job.invocation.command_id) } else { None })
        .collect()
}

fn ends(effects: &[Effect]) -> Vec<InvocationFinished> {
    let reports =
        effects.iter().filter_map(|effect| if let Effect::Report(report) = effect { Some(report) } else { None });
    reports.map(|report| CloudEvent::from_bytes(&report.body).expect("an end").data).collect()
}

fn only_end(effects: &[Effect]) -> InvocationFinished {
    let mut ends = ends(effects);
    assert_eq!(ends.len(), 1, "{effects:?}");
    ends.remove(0)
}

#[test]
fn command_is_started_once_however_often_it_comes() {
    let (mut core, _) = fresh();
    assert_eq!(starts(&core.handle(&run_message(1), at(1)).expect("journaled")), [command(1)]);
    assert_eq!(core.handle(&run_message(1), at(2)).expect("journaled"), []);
    assert_eq!(
        only_end(&core.finished(done(1, Outcome::Success), at(3)).expect("journaled")).outcome,
        Outcome::Success
    );
    assert_eq!(core.handle(&run_message(1), at(4)).expect("journaled"), []);
    core.confirmed(command(1), at(5)).expect("noted");
    assert_eq!(core.handle(&run_message(1), at(6)).expect("journaled"), []);
    assert_eq!(core.unconfirmed(), []);
}

#[test]
fn second_command_waits_for_the_first() {
    let (mut core, _) = fresh();
    assert_eq!(starts(&core.handle(&run_message(1), at(1)).expect("journaled")), [command(1)]);
    assert_eq!(core.handle(&run_message(2), at(2)).expect("journaled"), []);
    let effects = core.finished(done(1, Outcome::Failed), at(3)).expect("journaled");
    assert_eq!(only_end(&effects).command_id, command(1));
    assert_eq!(starts(&effects), [command(2)]);
}

#[test]
fn command_whose_time_passes_while_it_waits_is_refused() {
    let (mut core, _) = fresh();
    core.handle(&run_message(1), at(1)).expect("journaled");
    core.handle(&run_message(2), at(2)).expect("journaled");
    let ends = ends(&core.finished(done(1, Outcome::Success), at(1_001)).expect("journaled"));
    assert_eq!(ends.iter().map(|end| end.outcome).collect::<Vec<_>>(), [Outcome::Success, Outcome::Refused]);
}

#[test]
fn late_command_is_refused() {
    let (mut core, _) = fresh();
    let end = only_end(&core.handle(&run_message(1), at(1_001)).expect("journaled"));
    assert_eq!((end.outcome, end.command_id), (Outcome::Refused, command(1)));
    assert!(end.reason.contains("too late"), "{}", end.reason);
}

#[test]
fn misaddressed_command_is_dropped_and_not_journaled() {
    let (mut core, journal) = fresh();
    let mut other = invocation(1, shell());
    other.node_id = NodeId::from_bits(2);
    assert_eq!(core.handle(&bytes(other), at(1)).expect("handled"), [], "nothing is said for another node");
    assert_eq!(journal.entries(), []);
}

#[test]
fn early_command_waits_without_holding_up_the_next() {
    let (mut core, _) = fresh();
    let mut early = invocation(1, shell());
    early.not_before = at(100);
    assert_eq!(core.handle(&bytes(early), at(1)).expect("journaled"), [Effect::WakeAt(at(100))]);
    assert_eq!(starts(&core.handle(&run_message(2), at(2)).expect("journaled")), [command(2)]);
    let effects = core.finished(done(2, Outcome::Success), at(3)).expect("journaled");
    assert!(effects.contains(&Effect::WakeAt(at(100))), "{effects:?}");
    assert_eq!(starts(&core.wake(at(100)).expect("journaled")), [command(1)]);
}

#[test]
fn scan_only_node_refuses_all_else() {
    for (action, refused) in
        [(shell(), true), (patch(PatchOperation::Install), true), (patch(PatchOperation::Scan), false)]
    {
        let core = NodeCore::new(node(), Box::new(MemoryJournal::default()));
        let mut core = core.with_policy(Policy::scan_only(true));
        let effects = core.handle(&bytes(invocation(1, action)), at(1)).expect("journaled");
        assert_eq!(starts(&effects).is_empty(), refused, "{effects:?}");
        assert_eq!(ends(&effects).iter().any(|end| end.outcome == Outcome::Refused), refused);
    }
}

#[test]
fn full_queue_refuses_and_keeps_what_it_has() {
    let (mut core, _) = fresh();
    let count = QUEUE_MAX as u128 + 1;
    for number in 1..=count {
        assert_eq!(ends(&core.handle(&run_message(number), at(1)).expect("journaled")), []);
    }
    let end = only_end(&core.handle(&run_message(count + 1), at(1)).expect("journaled"));
    assert_eq!(end.outcome, Outcome::Refused);
}

#[test]
fn cancelled_before_its_start_never_starts() {
    let (mut core, _) = fresh();
    core.handle(&run_message(1), at(1)).expect("journaled");
    core.handle(&run_message(2), at(2)).expect("journaled");
    let end = only_end(&core.handle(&cancel_message(2), at(3)).expect("journaled"));
    assert_eq!((end.command_id, end.outcome), (command(2), Outcome::Cancelled));
    assert_eq!(starts(&core.finished(done(1, Outcome::Success), at(4)).expect("journaled")), []);
}

#[test]
fn cancellation_that_overtakes_its_command_wins() {
    let (mut core, _) = fresh();
    assert_eq!(only_end(&core.handle(&cancel_message(1), at(1)).expect("journaled")).outcome, Outcome::Cancelled);
    assert_eq!(core.handle(&run_message(1), at(2)).expect("journaled"), []);
}

#[test]
fn running_command_is_killed_once() {
    let (mut core, _) = fresh();
    core.handle(&run_message(1), at(1)).expect("journaled");
    assert_eq!(core.handle(&cancel_message(1), at(2)).expect("journaled"), [Effect::Kill(command(1))]);
    assert_eq!(core.handle(&cancel_message(1), at(3)).expect("journaled"), []);
    let end = only_end(&core.finished(done(1, Outcome::Cancelled), at(4)).expect("journaled"));
    assert_eq!(end.outcome, Outcome::Cancelled);
}

#[test]
fn unreadable_messages_change_nothing() {
    let (mut core, journal) = fresh();
    for body in [&b"no json"[..], b"{}", br#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000000","source":"/x","type":"patchwave.unknown.v1"}"#] {
        assert_eq!(core.handle(body, at(1)).expect("dropped"), []);
    }
    assert_eq!(journal.entries(), []);
}

/// Takes a command through its life, and at each boundary of the journal lets the node die there.
#[test]
fn crash_at_every_journal_boundary_never_runs_twice_and_reports_one_end() {
    for (action, judged) in
        [(shell(), false), (patch(PatchOperation::Scan), true), (patch(PatchOperation::Install), true)]
    {
        let (mut core, journal) = fresh();
        let message = bytes(invocation(1, action));
        core.handle(&message, at(1)).expect("journaled");
        core.handle(&cancel_message(9), at(1)).expect("journaled");
        core.finished(done(1, Outcome::Success), at(2)).expect("journaled");
        let mut entries: Vec<Entry> =
            journal.entries().into_iter().filter(|entry| entry.key().command_id == command(1)).collect();
        // Written down here, because the core would compact its journal along with it.
        entries.push(Entry::Confirmed { key: entries[0].key(), at: at(3) });
        assert_eq!(entries.len(), 4, "received, started, finished, confirmed");

        for survived in 0..=entries.len() {
            let journal = MemoryJournal::with_entries(entries[..survived].to_vec());
            let (mut core, effects) =
                NodeCore::restart(node(), Box::new(journal.clone()), Policy::default(), at(10)).expect("replayed");
            let mut modes: Vec<Mode> = Vec::new();
            let mut all = effects;
            // The broker repeats whatever was not acknowledged, and then some.
            all.extend(core.handle(&message, at(11)).expect("journaled"));
            all.extend(core.handle(&message, at(12)).expect("journaled"));
            for effect in &all {
                if let Effect::Start(job) = effect {
                    modes.push(job.mode.clone());
                }
            }
            match survived {
                // The message was never acknowledged, or never started: it runs, once.
                0 | 1 => assert_eq!(modes, [Mode::Fresh]),
                2 if judged => assert_eq!(modes, [Mode::Judge]),
                _ => assert!(modes.is_empty(), "{survived}: {modes:?}"),
            }
            if !modes.is_empty() {
                core.finished(done(1, Outcome::Success), at(13)).expect("journaled");
            }
            let reports = core.unconfirmed();
            assert_eq!(reports.len(), usize::from(survived < 4), "{survived}");
            for report in reports {
                core.confirmed(report.settles.expect("an end"), at(14)).expect("noted");
            }
            assert_eq!(core.unconfirmed(), []);
            assert_eq!(core.run(command(1)), Run::Confirmed);
        }
    }
}

#[test]
fn script_interrupted_by_a_crash_is_reported_failed() {
    let (mut core, journal) = fresh();
    core.handle(&run_message(1), at(1)).expect("journaled");
    core.handle(&run_message(2), at(1)).expect("journaled");
    let (_, effects) = NodeCore::restart(node(), Box::new(journal), Policy::default(), at(10)).expect("replayed");
    let end = only_end(&effects);
    assert_eq!((end.outcome, end.started_at), (Outcome::Failed, at(1)));
    assert!(end.reason.contains("not started again"), "{}", end.reason);
    assert_eq!(starts(&effects), [command(2)], "the one that waited has its turn");
}

#[test]
fn reboot_is_journaled_first_and_resumed_behind_it() {
    let (mut core, journal) = fresh();
    core.handle(&bytes(invocation(1, patch(PatchOperation::Install))), at(1)).expect("journaled");
    let point = RebootPoint { step: 0, step_started_at: at(1), ..RebootPoint::default() };
    let execution = Execution { command_id: command(1), end: ExecutionEnd::NeedsReboot(point.clone()) };
    assert_eq!(core.finished(execution, at(2)).expect("journaled"), [Effect::Reboot(command(1))]);
    let (mut core, effects) =
        NodeCore::restart(node(), Box::new(journal), Policy::default(), at(100)).expect("replayed");
    let [Effect::Start(job)] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(job.mode, Mode::AfterReboot(point));
    assert_eq!(job.started_at, at(1));
    assert_eq!(
        only_end(&core.finished(done(1, Outcome::Success), at(101)).expect("journaled")).outcome,
        Outcome::Success
    );
}

#[test]
fn failed_reboot_fails_the_run_with_its_reason() {
    let (mut core, _) = fresh();
    core.handle(&bytes(invocation(1, patch(PatchOperation::Install))), at(1)).expect("journaled");
    let point = RebootPoint { step: 0, step_started_at: at(1), ..RebootPoint::default() };
    let execution = Execution { command_id: command(1), end: ExecutionEnd::NeedsReboot(point) };
    core.finished(execution, at(2)).expect("journaled");
    let end = only_end(&core.reboot_failed(command(1), "no such program", at(3)).expect("journaled"));
    assert_eq!(end.outcome, Outcome::Failed);
    assert!(end.reason.contains("no such program"), "{}", end.reason);
}

#[test]
fn compaction_forgets_only_what_can_no_longer_come_in_time() {
    let (mut core, journal) = fresh();
    for number in 1..=40 {
        core.handle(&run_message(number), at(1)).expect("journaled");
        core.finished(done(number, Outcome::Success), at(2)).expect("journaled");
        core.confirmed(command(number), at(3)).expect("noted");
    }
    assert!(journal.entries().len() < 80, "{} entries for 160", journal.entries().len());
    core.handle(&run_message(41), at(4)).expect("journaled");
    let (mut core, _) =
        NodeCore::restart(node(), Box::new(journal.clone()), Policy::default(), at(5)).expect("replayed");
    for number in 1..=41 {
        assert_eq!(starts(&core.handle(&run_message(number), at(6)).expect("journaled")), [], "{number}");
    }
    let day_later = at(1_000 + 25 * 3_600);
    for number in 42..=90 {
        let mut later = invocation(number, shell());
        later.not_after = at(200_000);
        core.handle(&bytes(later), day_later).expect("journaled");
        core.finished(done(number, Outcome::Success), day_later).expect("journaled");
        core.confirmed(command(number), day_later).expect("noted");
    }
    assert_eq!(core.run(command(1)), Run::Unknown, "nothing that old can be in time");
    assert_eq!(core.run(command(42)), Run::Confirmed);
}

/// A journal whose disk is full from the `good`-th write on.
struct FullDisk {
    good: usize,
}

impl Journal for FullDisk {
    fn append(&mut self, _: &[Entry]) -> Result<(), JournalError> {
        if self.good == 0 {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(JournalError::Io { attempted: "write", path: "journal".into(), source });
        }
        self.good -= 1;
        Ok(())
    }
    fn replay(&mut self) -> Result<Vec<Entry>, JournalError> {
        Ok(Vec::new())
    }
    fn is_bloated(&self) -> bool {
        false
    }
    fn rewrite(&mut self, _: &[Entry]) -> Result<(), JournalError> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_journaled_does_not_happen() {
    let mut core = NodeCore::new(node(), Box::new(FullDisk { good: 0 }));
    core.handle(&run_message(1), at(1)).expect_err("refused");
    assert_eq!(core.run(command(1)), Run::Unknown);

    let mut core = NodeCore::new(node(), Box::new(FullDisk { good: 1 }));
    core.handle(&run_message(1), at(1)).expect("journaled");
    core.handle(&cancel_message(1), at(2)).expect_err("refused");
    assert_eq!(core.run(command(1)), Run::Started { attempts: 1 });
    core.finished(done(1, Outcome::Success), at(3)).expect_err("refused");
    assert_eq!(core.running(), Some(command(1)), "its end may be told again");
}
