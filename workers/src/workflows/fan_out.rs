//! Carrying a window's task on that makes one call for each target: the engine's rollout counts, this
//! places the calls.

use std::collections::VecDeque;

use jiff::Timestamp;
use patchwave_engine::calls::CallOutcome;
use patchwave_engine::invocation::Ending;
use patchwave_engine::rollout::{Arrival, Cause, Effect, Event, Move, Place};
use patchwave_platform::fan_outs::FanOut;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::workflows::Workflow;
use patchwave_platform::store::{Tx, from_json, to_json};
use patchwave_platform::workflows::{Happening, failed};
use patchwave_schemas::CommandId;
use patchwave_schemas::event::RolloutFinished;
use patchwave_schemas::ids::derived_uuid;
use serde_json::json;

use super::calls::{Placing, place};
use crate::HandlerError;

/// How the cutoff is told, beside every other reason to stop.
pub(crate) const CUTOFF: &str = "Cutoff";

/// Applies what happened to a fan-out. The caller holds its row, and stores it afterwards.
pub(super) async fn advance(
    tx: &mut Tx,
    master_key: &MasterKey,
    workflow: &mut Workflow,
    happenings: Vec<Happening>,
    now: Timestamp,
) -> Result<Vec<OutboxMessage>, HandlerError> {
    let text = if workflow.state.is_empty() { &workflow.input } else { &workflow.state };
    let mut state: FanOut = from_json("workflows.state", text)?;
    let mut outbox = Vec::new();
    let mut events: VecDeque<Event> = happenings.into_iter().filter_map(event_of).collect();
    // Bounded: each call ends once, and each further event is about one of them.
    while let Some(event) = events.pop_front() {
        let contradiction = |error| HandlerError::Contradiction(format!("task {}: {error}", state.task_execution_id));
        let (next, effects) = state.rollout.step(&event).map_err(contradiction)?;
        state.rollout = next;
        for effect in effects {
            match effect {
                Effect::Release { pending, .. } => {
                    for ordinal in state.cursor..state.cursor + pending {
                        let ended = release(tx, master_key, workflow, &state, ordinal, &mut outbox, now).await?;
                        events.extend(ended.as_ref().map(moved));
                    }
                    state.cursor += pending;
                }
                Effect::Finished(status) => {
                    let (word, details) = (status.status(), status.details());
                    workflow.status = word.to_owned();
                    workflow.cause = Some(details.to_owned());
                    workflow.ended_at = Some(now);
                    outbox.push(finished(tx, &state, workflow, now).await?);
                }
                // What is in flight goes on (SSM): only nothing new starts.
                Effect::CancelInFlight | Effect::EndUnreleased(_) | Effect::Stopped(_) => {}
            }
        }
    }
    workflow.state = to_json(&state);
    Ok(outbox)
}

fn event_of(happening: Happening) -> Option<Event> {
    match happening {
        Happening::Start => Some(Event::Start),
        Happening::CallEnded { outcome, .. } => Some(moved(&outcome)),
        Happening::Stop { how, .. } => Some(Event::Stop(if how == CUTOFF { Cause::Cutoff } else { Cause::Cancelled })),
        // A fan-out has no timers, signals or engine of its own.
        Happening::Heartbeat { .. } | Happening::Timer { .. } | Happening::Signal { .. } | Happening::Engine { .. } => {
            None
        }
    }
}

fn moved(outcome: &CallOutcome) -> Event {
    let ending = match outcome {
        CallOutcome::Succeeded(_) => Ending::Success,
        CallOutcome::Failed(_) => Ending::Failed,
    };
    Event::Moved(vec![Move { from: Place::InFlight, to: Arrival::Ended(ending), count: 1 }])
}

/// Places the call for a target; says how it ended where that is known at once.
async fn release(
    tx: &mut Tx,
    master_key: &MasterKey,
    workflow: &Workflow,
    state: &FanOut,
    ordinal: u32,
    outbox: &mut Vec<OutboxMessage>,
    now: Timestamp,
) -> Result<Option<CallOutcome>, HandlerError> {
    let call = match state.call(ordinal) {
        Ok(call) => call,
        Err(problem) => return Ok(Some(failed("States.Runtime", problem))),
    };
    let placing = Placing {
        workflow,
        token: state.invocation_id(ordinal),
        about: to_json(&json!({ "ordinal": ordinal })),
        call,
        by_token: false,
        deadline_at: None,
    };
    let placed = place(tx, master_key, placing, now).await?;
    outbox.extend(placed.messages);
    Ok(placed.outcome)
}

/// Tells the resolver that a window's task is over, as a command does.
async fn finished(
    tx: &mut Tx,
    state: &FanOut,
    workflow: &Workflow,
    now: Timestamp,
) -> Result<OutboxMessage, HandlerError> {
    let finished = RolloutFinished {
        command_id: CommandId::from_uuid(workflow.workflow_id.as_uuid()),
        task_execution_id: Some(state.task_execution_id),
        window_execution_id: Some(state.window_execution_id),
    };
    let id = derived_uuid("fan-out finished:", &workflow.workflow_id.to_string());
    let message = OutboxMessage::event(id, "/patchwave/workflows", now, finished);
    tx.enqueue(std::slice::from_ref(&message), now).await?;
    Ok(message)
}
