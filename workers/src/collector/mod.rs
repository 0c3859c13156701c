//! The collector: what nodes report about their invocations, and what follows from it at once.
//!
//! The busiest worker. A batch of reports is one transaction: lock the rollouts, read where the
//! invocations stand, let `engine` judge each, store them with one statement, advance each
//! rollout. The next releases are part of the same transaction, so a crossed error threshold and
//! the last release cannot pass each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_engine::invocation::{self, State, Step};
use patchwave_engine::rollout::Arrival;
use patchwave_platform::bus::Delivery;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::store::invocations::Change;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::report::{InvocationFinished, InvocationProgressed};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, CommandId, Message, NodeId};
use tracing::warn;

use crate::advance::{Moves, advance, ending_of, tell};
use crate::effects::Effects;
use crate::runtime::{Applied, Handler, spoken_by};
use crate::{HandlerError, news};

/// Collects reports.
pub struct Collector;

/// A message of the collector's queue.
pub enum Input {
    /// An invocation is at work.
    Progressed(InvocationProgressed),
    /// An invocation ended.
    Finished(Box<InvocationFinished>),
}

impl Input {
    fn key(&self) -> (CommandId, NodeId) {
        match self {
            Self::Progressed(report) => (report.command_id, report.node_id.clone()),
            Self::Finished(report) => (report.command_id, report.node_id.clone()),
        }
    }

    fn event(&self) -> invocation::Event {
        match self {
            Self::Progressed(_) => invocation::Event::Progressed,
            Self::Finished(report) => invocation::Event::Reported(ending_of(report.outcome)),
        }
    }
}

#[async_trait]
impl Handler for Collector {
    type Input = Input;

    const QUEUE: WorkQueue = WorkQueue::Collector;

    /// A node speaks for itself: a command that reached the wrong one is refused there, and that
    /// refusal must not end the invocation of the node it was meant for.
    fn decode(delivery: &Delivery) -> Result<Input, DecodeError> {
        let body = &delivery.body;
        match Head::from_bytes(body)?.event_type.as_str() {
            InvocationFinished::TYPE => {
                let event = CloudEvent::<InvocationFinished>::from_bytes(body)?;
                spoken_by(delivery, &event, &event.data.node_id)?;
                Ok(Input::Finished(Box::new(event.data)))
            }
            InvocationProgressed::TYPE => {
                let event = CloudEvent::<InvocationProgressed>::from_bytes(body)?;
                spoken_by(delivery, &event, &event.data.node_id)?;
                Ok(Input::Progressed(event.data))
            }
            other => Err(DecodeError::UnknownType { found: other.to_owned() }),
        }
    }

    async fn apply(store: &Store, _: &MasterKey, batch: &[Input], now: Timestamp) -> Result<Applied, HandlerError> {
        let keys: BTreeSet<_> = batch.iter().map(Input::key).collect();
        let commands: BTreeSet<_> = keys.iter().map(|(command, _)| *command).collect();
        let keys: Vec<_> = keys.into_iter().collect();
        let commands: Vec<_> = commands.into_iter().collect();

        let mut tx = store.begin().await?;
        let mut rollouts = tx.lock_rollouts(&commands).await?;
        let mut states: HashMap<_, _> = tx
            .invocation_states(&keys)
            .await?
            .into_iter()
            .map(|(command, node, state, _)| ((command, node), state))
            .collect();

        let speakers: BTreeSet<_> = keys.iter().map(|(_, node)| node.clone()).collect();
        let cut_off = tx.deregistered(&speakers.into_iter().collect::<Vec<_>>()).await?;

        let mut refused: BTreeMap<Refusal, u32> = BTreeMap::new();
        let mut refuse = |reason| *refused.entry(reason).or_default() += 1;
        let mut changes: BTreeMap<(CommandId, NodeId), Change> = BTreeMap::new();
        let mut moves: HashMap<CommandId, Moves> = HashMap::new();
        for input in batch {
            let key = input.key();
            if cut_off.contains(&key.1) {
                warn!(command.id = %key.0, node.id = %key.1, "a report of a deregistered node is ignored");
                refuse(Refusal::NotRegistered);
                continue;
            }
            let Some(state) = states.get_mut(&key) else {
                // Nobody gave this node this command: a stray or forged report changes nothing.
                warn!(command.id = %key.0, node.id = %key.1, "a report about an unknown invocation is ignored");
                refuse(Refusal::UnknownInvocation);
                continue;
            };
            let Some(change) = judge(&key, *state, input) else {
                if matches!(state, State::Ended(_)) {
                    refuse(Refusal::Finished);
                }
                continue;
            };
            if let State::Ended(ending) = change.state
                && let Some(from) = state.place()
            {
                moves.entry(key.0).or_default().add(from, Arrival::Ended(ending));
            }
            *state = change.state;
            // A repeated report is no late one: what was noted first in this batch stands.
            if !(change.late && changes.contains_key(&key)) {
                changes.insert(key, change);
            }
        }
        let changes: Vec<_> = changes.into_values().collect();
        tx.change_invocations(&changes, now).await?;

        let mut effects = Effects::default();
        for locked in &mut rollouts {
            if locked.plan.notifies_invocations() {
                // Progress is no change of status: it was in progress since its release.
                let told = changes
                    .iter()
                    .filter(|change| change.command_id == locked.command_id && !change.late)
                    .filter(|change| matches!(change.state, State::Ended(_)))
                    .filter_map(|change| news::invocation_changed(locked, &change.node_id, change.state, now))
                    .collect();
                tell(&mut tx, told, now, &mut effects).await?;
            }
            if let Some(event) = moves.remove(&locked.command_id).and_then(Moves::into_event) {
                effects.merge(advance(&mut tx, locked, event, now).await?);
            }
        }
        // Last: everybody counts in the same rows, and waits for them holding as little as can be.
        tx.count_refused_reports(&refused).await?;
        tx.commit().await?;
        Ok(effects.into())
    }
}

/// What a report changes about its invocation, if anything.
fn judge(key: &(CommandId, NodeId), state: State, input: &Input) -> Option<Change> {
    let report = match input {
        Input::Finished(report) => Some(InvocationFinished::clone(report)),
        Input::Progressed(_) => None,
    };
    let change = |state, late| Change { command_id: key.0, node_id: key.1.clone(), state, report, late };
    match state.step(input.event()) {
        Ok(Step::To(next)) => Some(change(next, false)),
        Ok(Step::LateReport) => Some(change(state, true)),
        Ok(Step::Unchanged) => None,
        Err(illegal) => {
            warn!(command.id = %key.0, node.id = %key.1, error = %illegal, "a report is ignored");
            None
        }
    }
}
