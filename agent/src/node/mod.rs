//! One node: its runs, its queue, its journal.
//!
//! Synchronous and deterministic: messages, ends of work and the time come in, effects go out,
//! and everything an effect rests on is in the journal before the effect is returned. The agent
//! and the seeded simulation drive the same [`NodeCore`].
//!
//! It guarantees: a command is executed at most once; every command that was accepted ends in
//! exactly one report, which is sent again until the bus has confirmed it; one command is
//! executed at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::command::{CancelInvocation, RunInvocation};
use patchwave_schemas::envelope::{CloudEvent, DecodeError, Head, Message};
use patchwave_schemas::{CommandId, NodeId};

use crate::execute::{Job, RebootPoint};
use crate::journal::{Entry, Finished, Journal, JournalError, RunKey};
use crate::report::Report;
use crate::run::{self, Event, Run, Terms};
use crate::trust::Distrust;

mod compact;
mod policy;
mod queue;
mod recover;
#[cfg(test)]
mod tests;
mod work;

pub use policy::Policy;

/// Commands that may wait on one node. Each holds its message in memory and in the journal.
pub const QUEUE_MAX: usize = 64;

/// Time a key is kept beyond `not_after`: clocks may differ and brokers may repeat.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Time the key of a command is kept that was cancelled before it was heard of. Nothing says how
/// long it stays valid; no delivery timeout is longer than 30 days.
const UNKNOWN_KEY_KEPT: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Something to do, in the order given. What it rests on is journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Execute this and tell [`NodeCore::finished`].
    Start(Job),
    /// Stop the execution of this command; its end is still to be told.
    Kill(CommandId),
    /// Restart the node for this command. If that is impossible, tell [`NodeCore::reboot_failed`].
    Reboot(CommandId),
    /// Publish this; when it is confirmed and settles a run, tell [`NodeCore::confirmed`].
    Report(Report),
    /// Call [`NodeCore::wake`] at this time.
    WakeAt(Timestamp),
    /// A message names a key that is not known: the control plane may have a new one.
    AskForKeys,
}

/// A run and what is needed to carry it on.
#[derive(Debug)]
struct Record {
    run: Run,
    /// Until it has ended.
    invocation: Option<Arc<RunInvocation>>,
    started_at: Option<Timestamp>,
    point: Option<RebootPoint>,
    /// From its end until the confirmation.
    finished: Option<Arc<Finished>>,
    forget_after: Timestamp,
}

/// One node's commands, from their arrival to the confirmation of their reports.
pub struct NodeCore {
    node_id: NodeId,
    policy: Policy,
    journal: Box<dyn Journal>,
    /// Ordered, so that everything that walks it is deterministic.
    runs: BTreeMap<CommandId, Record>,
    queue: VecDeque<CommandId>,
    running: Option<CommandId>,
    /// Nothing is started any more, because the agent stops.
    held: bool,
}

impl NodeCore {
    /// A node with an empty journal.
    #[must_use]
    pub fn new(node_id: NodeId, journal: Box<dyn Journal>) -> Self {
        Self {
            node_id,
            policy: Policy::default(),
            journal,
            runs: BTreeMap::new(),
            queue: VecDeque::new(),
            running: None,
            held: false,
        }
    }

    /// Restricts what commands the node takes.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The node.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.node_id
    }

    /// The command being executed, if any.
    #[must_use]
    pub fn running(&self) -> Option<CommandId> {
        self.running
    }

    /// Where a command stands; [`Run::Unknown`] for those never heard of or forgotten.
    #[must_use]
    pub fn run(&self, command: CommandId) -> Run {
        self.runs.get(&command).map_or(Run::Unknown, |record| record.run)
    }

    /// Takes a message. When it returns `Ok` the message may be acknowledged.
    ///
    /// What cannot be read is dropped with a warning: nobody could do anything else with it.
    ///
    /// # Errors
    /// [`JournalError`] if the message could not be journaled; nothing has changed and it must
    /// not be acknowledged.
    pub fn handle(&mut self, body: &[u8], now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        if let Err(distrust) = self.policy.trust.check(body) {
            return Ok(self.distrusted(&distrust));
        }
        match self.decode(body) {
            Ok(Incoming::Run(invocation)) => self.received(*invocation, now),
            Ok(Incoming::Cancel(cancel)) => self.cancelled(&cancel, now),
            Err(error) => {
                tracing::warn!(node.id = %self.node_id, %error, source = error_source(&error), "dropped an unreadable message");
                Ok(Vec::new())
            }
        }
    }

    /// Drops what nobody of trust signed. It is not answered: whoever forges messages learns nothing,
    /// and cannot make this node say anything.
    fn distrusted(&self, distrust: &Distrust) -> Vec<Effect> {
        tracing::warn!(node.id = %self.node_id, error = %distrust, "dropped a message that is not to be trusted");
        match distrust {
            Distrust::UnknownKey { .. } => vec![Effect::AskForKeys],
            _ => Vec::new(),
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Incoming, DecodeError> {
        let head = Head::from_bytes(body)?;
        match head.event_type.as_str() {
            RunInvocation::TYPE => Ok(Incoming::Run(Box::new(CloudEvent::from_bytes(body)?.data))),
            CancelInvocation::TYPE => Ok(Incoming::Cancel(CloudEvent::from_bytes(body)?.data)),
            _ => Err(DecodeError::UnknownType { found: head.event_type }),
        }
    }

    fn received(&mut self, invocation: RunInvocation, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        let command = invocation.command_id;
        if invocation.node_id != self.node_id {
            // Not answered, as what nobody signed is not: a node speaks for itself alone, and whoever
            // brings it other nodes' commands would have it report without end.
            tracing::warn!(
                node.id = %self.node_id,
                command.id = %command,
                message.node_id = %invocation.node_id,
                "dropped another node's command"
            );
            return Ok(Vec::new());
        }
        let refusal = self.policy.refusal(&invocation).or_else(|| {
            (self.queue.len() >= QUEUE_MAX).then(|| format!("{QUEUE_MAX} commands are waiting on this node already"))
        });
        let terms = Terms { not_before: invocation.not_before, not_after: invocation.not_after };
        let forget_after = later(invocation.not_after, KEY_KEPT);
        let (next, effect) = self.step(command, Event::Received { terms, refusal }, now);
        match effect {
            None => Ok(Vec::new()),
            Some(run::Effect::Conclude(outcome, reason)) => {
                let finished = self.concluded(command, outcome, reason, now, forget_after);
                self.end(command, next, finished, Vec::new(), now)
            }
            Some(_) => {
                let invocation = Arc::new(invocation);
                let received = Entry::Received { invocation: Arc::clone(&invocation), at: now };
                let record = Record {
                    run: next,
                    invocation: Some(invocation),
                    started_at: None,
                    point: None,
                    finished: None,
                    forget_after,
                };
                // Started in the same write where it can start at once: one flush instead of two.
                self.runs.insert(command, record);
                self.queue.push_back(command);
                let taken = self.advance(vec![received], now);
                if taken.is_err() {
                    self.runs.remove(&command);
                    self.queue.retain(|queued| *queued != command);
                }
                taken
            }
        }
    }

    fn cancelled(&mut self, cancel: &CancelInvocation, now: Timestamp) -> Result<Vec<Effect>, JournalError> {
        let command = cancel.command_id;
        if cancel.node_id != self.node_id {
            tracing::warn!(node.id = %self.node_id, message.node_id = %cancel.node_id, "dropped another node's cancellation");
            return Ok(Vec::new());
        }
        let (next, effect) = self.step(command, Event::Cancel, now);
        match effect {
            Some(run::Effect::Conclude(outcome, reason)) => {
                let forget_after =
                    self.runs.get(&command).map_or(later(now, UNKNOWN_KEY_KEPT), |record| record.forget_after);
                let finished = self.concluded(command, outcome, reason, now, forget_after);
                let effects = self.end(command, next, finished, Vec::new(), now)?;
                self.queue.retain(|queued| *queued != command);
                Ok(effects)
            }
            Some(run::Effect::Kill) => {
                self.journal.append(&[Entry::Cancelling { key: self.key(command), at: now }])?;
                self.set(command, next);
                Ok(vec![Effect::Kill(command)])
            }
            _ => Ok(Vec::new()),
        }
    }

    /// The step of a command's run. What cannot happen changes nothing and is logged as our mistake.
    fn step(&self, command: CommandId, event: Event, now: Timestamp) -> (Run, Option<run::Effect>) {
        let state = self.run(command);
        run::step(state, event, now).unwrap_or_else(|error| {
            tracing::error!(node.id = %self.node_id, command.id = %command, %error, "ignored an impossible event");
            (state, None)
        })
    }

    fn set(&mut self, command: CommandId, run: Run) {
        if let Some(record) = self.runs.get_mut(&command) {
            record.run = run;
        }
    }

    fn key(&self, command_id: CommandId) -> RunKey {
        RunKey { command_id, node_id: self.node_id.clone() }
    }
}

enum Incoming {
    Run(Box<RunInvocation>),
    Cancel(CancelInvocation),
}

fn error_source(error: &DecodeError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
