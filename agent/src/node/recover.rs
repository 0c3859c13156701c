//! Taking up after a crash, a restart of the agent or a reboot.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use patchwave_schemas::command::{Action, RunInvocation};
use patchwave_schemas::report::Outcome;
use patchwave_schemas::{CommandId, NodeId};

use super::{Effect, KEY_KEPT, NodeCore, Policy, Record, later};
use crate::execute::{Job, Mode};
use crate::journal::{Entry, Journal, JournalError};
use crate::run::{self, Event, Run, Terms};

impl NodeCore {
    /// The node as its journal remembers it, and what there is to do about it.
    ///
    /// What was executed when the agent died is not executed again: documents that only patch are
    /// judged by a scan, all others are reported as failed. What has ended is not among the
    /// effects: as after every other connection, send [`unconfirmed`](Self::unconfirmed).
    ///
    /// # Errors
    /// [`JournalError`] if the journal cannot be read or what follows cannot be written to it.
    pub fn restart(
        node_id: NodeId,
        mut journal: Box<dyn Journal>,
        policy: Policy,
        now: Timestamp,
    ) -> Result<(Self, Vec<Effect>), JournalError> {
        let (runs, order) = replay(&node_id, journal.replay()?);
        let mut core = Self { node_id, policy, journal, runs, queue: VecDeque::new(), running: None, held: false };
        let mut effects = Vec::new();
        for command in order {
            effects.extend(core.take_up(command, now)?);
        }
        if core.journal.is_bloated() {
            core.compact(now)?;
        }
        effects.extend(core.advance(Vec::new(), now)?);
        Ok((core, effects))
    }

    fn take_up(&mut self, command: CommandId, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        let (next, effect) = self.step(command, Event::Restarted, now);
        let Some(record) = self.runs.get(&command) else { return Ok(Vec::new()) };
        let started_at = record.started_at.unwrap_or(now);
        let forget_after = record.forget_after;
        match (effect, record.invocation.clone()) {
            (Some(run::Effect::Enqueue), _) => {
                self.queue.push_back(command);
                Ok(Vec::new())
            }
            (Some(run::Effect::Recover), Some(invocation)) if only_patches(&invocation) => {
                self.start_again(command, next, Job { invocation, started_at, mode: Mode::Judge }, now)
            }
            (Some(run::Effect::Recover), _) => {
                let reason = "the agent was restarted while the command ran; it was not started again".to_owned();
                self.give_up(command, Outcome::Failed, reason, now, forget_after)
            }
            (Some(run::Effect::Resume), Some(invocation)) => {
                let mode = Mode::AfterReboot(record.point.clone().unwrap_or_default());
                self.start_again(command, next, Job { invocation, started_at, mode }, now)
            }
            (Some(run::Effect::Conclude(outcome, reason)), _) => {
                self.give_up(command, outcome, reason, now, forget_after)
            }
            // Finished ones are sent by `unconfirmed` on the first connection, confirmed ones never.
            _ => Ok(Vec::new()),
        }
    }

    fn start_again(
        &mut self,
        command: CommandId,
        next: Run,
        job: Job,
        now: Timestamp,
    ) -> Result<Vec<Effect>, JournalError> {
        self.journal.append(&[Entry::Started { key: self.key(command), at: now }])?;
        self.set(command, next);
        self.running = Some(command);
        Ok(vec![Effect::Start(job)])
    }

    fn give_up(
        &mut self,
        command: CommandId,
        outcome: Outcome,
        reason: String,
        now: Timestamp,
        forget_after: Timestamp,
    ) -> Result<Vec<Effect>, JournalError> {
        let finished = self.concluded(command, outcome, reason, now, forget_after);
        self.journal.append(&[Entry::Finished(finished.clone())])?;
        Ok(self.close(command, Run::Finished, finished))
    }
}

/// Whether a scan can tell how the document went.
fn only_patches(invocation: &RunInvocation) -> bool {
    invocation.document.steps.iter().all(|step| matches!(step.action, Action::PatchBaseline { .. }))
}

/// The records that the entries leave, and the order in which their commands came.
fn replay(node_id: &NodeId, entries: Vec<Entry>) -> (BTreeMap<CommandId, Record>, Vec<CommandId>) {
    let mut runs: BTreeMap<CommandId, Record> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in entries {
        let key = entry.key();
        if key.node_id != *node_id {
            tracing::warn!(node.id = %node_id, journal.node_id = %key.node_id, "ignored another node's entry in the journal");
            continue;
        }
        let command = key.command_id;
        if !runs.contains_key(&command) {
            order.push(command);
        }
        apply(&mut runs, command, entry);
    }
    (runs, order)
}

fn apply(runs: &mut BTreeMap<CommandId, Record>, command: CommandId, entry: Entry) {
    match entry {
        Entry::Received { invocation, .. } => {
            let terms = Terms { not_before: invocation.not_before, not_after: invocation.not_after };
            let forget_after = later(invocation.not_after, KEY_KEPT);
            let invocation = Some(invocation);
            let run = Run::Waiting(terms);
            runs.insert(
                command,
                Record { run, invocation, started_at: None, point: None, finished: None, forget_after },
            );
        }
        Entry::Finished(finished) => {
            let forget_after = finished.forget_after;
            let record = Record {
                run: Run::Finished,
                invocation: None,
                started_at: None,
                point: None,
                finished: Some(finished),
                forget_after,
            };
            runs.insert(command, record);
        }
        Entry::Settled { forget_after, .. } => {
            let record = Record {
                run: Run::Confirmed,
                invocation: None,
                started_at: None,
                point: None,
                finished: None,
                forget_after,
            };
            runs.insert(command, record);
        }
        Entry::Started { at, .. } => change(runs, command, |record| {
            record.run = match record.run {
                Run::Started { attempts } => Run::Started { attempts: attempts + 1 },
                Run::Rebooting { attempts } => Run::Started { attempts },
                _ => Run::Started { attempts: 1 },
            };
            record.started_at.get_or_insert(at);
        }),
        Entry::Cancelling { .. } => change(runs, command, |record| record.run = Run::Cancelling),
        Entry::Rebooting { point, .. } => change(runs, command, |record| {
            let attempts = if let Run::Started { attempts } = record.run { attempts } else { 1 };
            record.run = Run::Rebooting { attempts };
            record.point = Some(point);
        }),
        Entry::Confirmed { .. } => change(runs, command, |record| {
            record.run = Run::Confirmed;
            record.finished = None;
        }),
    }
}

fn change(runs: &mut BTreeMap<CommandId, Record>, command: CommandId, change: impl FnOnce(&mut Record)) {
    if let Some(record) = runs.get_mut(&command) {
        change(record);
    }
}
