//! Whose turn it is: one command at a time, in order of arrival, none before or after its time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::CommandId;
use patchwave_schemas::report::{InvocationFinished, Outcome};

use super::{Effect, NodeCore, Record, later};
use crate::execute::{Job, Mode};
use crate::journal::{Entry, Finished, JournalError};
use crate::report::Report;
use crate::run::{self, Event, Run};

impl NodeCore {
    /// Takes that time has passed: commands that waited for it may start.
    ///
    /// # Errors
    /// [`JournalError`] if a start could not be journaled; it has not happened.
    pub fn wake(&mut self, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        self.advance(Vec::new(), now)
    }

    /// Starts nothing any more: what is accepted stays in the journal for the next start.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Starts whatever may start, journaling `entries` along with it.
    pub(super) fn advance(&mut self, mut entries: Vec<Entry>, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        let mut wake_at: Option<Timestamp> = None;
        let mut start = None;
        let mut late = Vec::new();
        if self.running.is_none() && !self.held {
            for command in &self.queue {
                let (next, effect) = self.step(*command, Event::Turn, now);
                match effect {
                    Some(run::Effect::Execute) => {
                        start = Some((*command, next));
                        break;
                    }
                    Some(run::Effect::WaitUntil(at)) => {
                        wake_at = Some(wake_at.map_or(at, |wake: Timestamp| wake.min(at)))
                    }
                    Some(run::Effect::Conclude(outcome, reason)) => late.push((*command, next, outcome, reason)),
                    _ => {}
                }
            }
        }
        if let Some((command, _)) = start {
            entries.push(Entry::Started { key: self.key(command), at: now });
        }
        let mut ended = Vec::new();
        for (command, next, outcome, reason) in late {
            let forget_after = self.runs.get(&command).map_or(now, |record| record.forget_after);
            let finished = self.concluded(command, outcome, reason, now, forget_after);
            entries.push(Entry::Finished(Arc::clone(&finished)));
            ended.push((command, next, finished));
        }
        if !entries.is_empty() {
            self.journal.append(&entries)?;
        }
        let mut effects = Vec::new();
        for (command, next, finished) in ended {
            self.queue.retain(|queued| *queued != command);
            effects.extend(self.close(command, next, finished));
        }
        if let Some((command, next)) = start {
            self.queue.retain(|queued| *queued != command);
            self.running = Some(command);
            self.set(command, next);
            if let Some(record) = self.runs.get_mut(&command) {
                record.started_at = Some(now);
                if let Some(invocation) = record.invocation.clone() {
                    effects.push(Effect::Start(Job { invocation, started_at: now, mode: Mode::Fresh }));
                }
            }
        } else if let Some(at) = wake_at {
            effects.push(Effect::WakeAt(at));
        }
        Ok(effects)
    }

    /// Journals an end, reports it and gives the next command its turn.
    pub(super) fn end(
        &mut self,
        command: CommandId,
        next: Run,
        finished: Arc<Finished>,
        mut entries: Vec<Entry>,
        now: Timestamp,
    ) -> Result<Vec<Effect>, JournalError> {
        entries.push(Entry::Finished(Arc::clone(&finished)));
        self.journal.append(&entries)?;
        let mut effects = self.close(command, next, finished);
        // Its own write: should it fail, the end that is journaled stands and the next one waits.
        match self.advance(Vec::new(), now) {
            Ok(more) => effects.extend(more),
            Err(error) => {
                tracing::error!(node.id = %self.node_id, %error, "could not start the next command");
                effects.push(Effect::WakeAt(later(now, SignedDuration::from_secs(60))));
            }
        }
        Ok(effects)
    }

    /// Notes an end that is journaled.
    pub(super) fn close(&mut self, command: CommandId, next: Run, finished: Arc<Finished>) -> Vec<Effect> {
        if self.running == Some(command) {
            self.running = None;
        }
        let reports = Report::finished(&self.node_id, &finished);
        let record = Record {
            run: next,
            invocation: None,
            started_at: None,
            point: None,
            forget_after: finished.forget_after,
            finished: Some(finished),
        };
        self.runs.insert(command, record);
        reports.into_iter().map(Effect::Report).collect()
    }

    pub(super) fn concluded(
        &self,
        command: CommandId,
        outcome: Outcome,
        reason: String,
        now: Timestamp,
        forget_after: Timestamp,
    ) -> Arc<Finished> {
        let started_at = self.runs.get(&command).and_then(|record| record.started_at).unwrap_or(now);
        Arc::new(Finished {
            report: InvocationFinished {
                command_id: command,
                node_id: self.node_id.clone(),
                outcome,
                reason,
                started_at,
                finished_at: now,
                steps: Vec::new(),
            },
            scans: Vec::new(),
            forget_after,
        })
    }
}
