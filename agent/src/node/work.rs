//! What comes back: ends of executions, failed restarts, confirmations of reports.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::CommandId;
use patchwave_schemas::report::{InvocationFinished, InvocationProgressed, NodeScanned, Outcome, StepResult};

use super::{Effect, NodeCore};
use crate::execute::{Execution, ExecutionEnd};
use crate::journal::{Entry, Finished, JournalError};
use crate::report::Report;
use crate::run::{self, Event, Run};

impl NodeCore {
    /// Takes the end of an execution: reports it, or restarts the node for it.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be journaled; nothing has changed, it may be told again.
    pub fn finished(&mut self, execution: Execution, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        let command = execution.command_id;
        if self.running != Some(command) {
            tracing::warn!(node.id = %self.node_id, command.id = %command, "ignored the end of a command that is not running");
            return Ok(Vec::new());
        }
        match execution.end {
            ExecutionEnd::Done { steps, scans, reason } => self.ended(command, steps, scans, reason, now),
            ExecutionEnd::NeedsReboot(point) => {
                let (next, effect) = self.step(command, Event::RebootNeeded, now);
                if effect == Some(run::Effect::Reboot) {
                    let key = self.key(command);
                    self.journal.append(&[Entry::Rebooting { key, point: point.clone(), at: now }])?;
                    self.set(command, next);
                    if let Some(record) = self.runs.get_mut(&command) {
                        record.point = Some(point);
                    }
                    Ok(vec![Effect::Reboot(command)])
                } else {
                    let reason = "cancelled before the restart that its installation needs".to_owned();
                    self.ended(command, point.results, point.scans, reason, now)
                }
            }
        }
    }

    /// Takes that the node could not be restarted: the run fails, saying why.
    ///
    /// # Errors
    /// As [`finished`](Self::finished).
    pub fn reboot_failed(
        &mut self,
        command: CommandId,
        why: &str,
        now: Timestamp,
    ) -> Result<Vec<Effect>, JournalError> {
        let point = self.runs.get(&command).and_then(|record| record.point.clone());
        match point {
            Some(mut point) if self.running == Some(command) => {
                let invocation = self.runs.get(&command).and_then(|record| record.invocation.clone());
                let step = invocation.as_ref().and_then(|invocation| invocation.document.steps.get(point.step));
                point.results.push(StepResult {
                    name: step.map(|step| step.name.clone()).unwrap_or_default(),
                    outcome: Outcome::Failed,
                    exit_code: -1,
                    started_at: point.step_started_at,
                    finished_at: now,
                    stdout: point.stdout,
                    stderr: why.to_owned(),
                });
                let reason = format!("installed, but the node could not be restarted: {why}");
                self.ended(command, point.results, point.scans, reason, now)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn ended(
        &mut self,
        command: CommandId,
        steps: Vec<StepResult>,
        scans: Vec<NodeScanned>,
        reason: String,
        now: Timestamp,
    ) -> Result<Vec<Effect>, JournalError> {
        let Some(record) = self.runs.get(&command) else { return Ok(Vec::new()) };
        let outcome = match run::overall(&steps) {
            // Nothing but success so far, and yet it was told to stop: it did not do all it should.
            Outcome::Success if !reason.is_empty() && record.run == Run::Cancelling => Outcome::Cancelled,
            Outcome::Success if !reason.is_empty() => Outcome::Failed,
            outcome => outcome,
        };
        let finished = Arc::new(Finished {
            report: InvocationFinished {
                command_id: command,
                node_id: self.node_id.clone(),
                outcome,
                reason,
                started_at: record.started_at.unwrap_or(now),
                finished_at: now,
                steps,
            },
            scans,
            forget_after: record.forget_after,
        });
        let (next, _) = self.step(command, Event::Ended, now);
        self.end(command, next, finished, Vec::new(), now)
    }

    /// Takes that the report of a run, and everything reported before it, is on the bus.
    ///
    /// # Errors
    /// [`JournalError`] if that could not be noted; the report will be sent again.
    pub fn confirmed(&mut self, command: CommandId, now: Timestamp) -> Result<(), JournalError> {
        let (next, _) = self.step(command, Event::Confirmed, now);
        if next != Run::Confirmed || self.run(command) == Run::Confirmed {
            return Ok(());
        }
        self.journal.append(&[Entry::Confirmed { key: self.key(command), at: now }])?;
        self.set(command, next);
        if let Some(record) = self.runs.get_mut(&command) {
            record.finished = None;
        }
        if self.journal.is_bloated() { self.compact(now) } else { Ok(()) }
    }

    /// The reports that the bus has not confirmed, to be sent whenever a connection is made.
    #[must_use]
    pub fn unconfirmed(&self) -> Vec<Report> {
        self.runs
            .values()
            .filter_map(|record| record.finished.as_deref())
            .flat_map(|finished| Report::finished(&self.node_id, finished))
            .collect()
    }

    /// A report that the running command makes progress; `None` when it is not running any more.
    #[must_use]
    pub fn progressed(&self, data: InvocationProgressed, now: Timestamp) -> Option<Report> {
        (self.running == Some(data.command_id)).then(|| Report::progressed(data, now))
    }
}
