//! The workflows worker: carries executions of automations and state machines on.
//!
//! A message only says that there is something to do; what, is in the execution's inbox. One
//! transaction takes the inbox, lets the engine apply it, and stores frames, history, calls and
//! timers together. Killed before the commit nothing happened; after it everything is stored, and
//! what was to be said is in the outbox.

mod calls;
pub(crate) mod fan_out;
mod machines;
mod states;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::Delivery;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::workflows::Kind;
use patchwave_platform::store::{Store, from_json};
use patchwave_platform::workflows::Happening;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{Timer, TimerFired, WorkflowContinued};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message, WorkflowId};

use crate::HandlerError;
use crate::effects::Effects;
use crate::runtime::{Applied, Handler, Resolved};

/// Things that one transaction applies from an inbox.
const LETTERS_MAX: u32 = 200;

/// Carries executions on.
pub struct Workflows;

/// A message of the queue.
pub enum Input {
    /// There is something in the inbox.
    Continued(WorkflowId),
    /// An instant has come that the execution waits for.
    Due(WorkflowId, String),
}

#[async_trait]
impl Handler for Workflows {
    type Input = Input;

    const QUEUE: WorkQueue = WorkQueue::Workflows;

    fn decode(delivery: &Delivery) -> Result<Input, DecodeError> {
        let body = &delivery.body;
        let unknown = |found: &str| DecodeError::UnknownType { found: found.to_owned() };
        match Head::from_bytes(body)?.event_type.as_str() {
            WorkflowContinued::TYPE => {
                CloudEvent::<WorkflowContinued>::from_bytes(body).map(|event| Input::Continued(event.data.workflow_id))
            }
            TimerFired::TYPE => match CloudEvent::<TimerFired>::from_bytes(body)?.data.timer {
                Timer::Workflow { workflow_id, about } => Ok(Input::Due(workflow_id, about)),
                other => Err(unknown(&other.key())),
            },
            other => Err(unknown(other)),
        }
    }

    /// A transaction for each message: each locks one execution.
    async fn apply(
        store: &Store,
        master_key: &MasterKey,
        batch: &[Input],
        now: Timestamp,
    ) -> Result<Applied, HandlerError> {
        let mut applied = Applied::default();
        for (index, input) in batch.iter().enumerate() {
            if applied.is_away() {
                applied.again.push(index);
                continue;
            }
            applied.note(index, one(store, master_key, input, now).await)?;
        }
        Ok(applied)
    }
}

async fn one(store: &Store, master_key: &MasterKey, input: &Input, now: Timestamp) -> Resolved {
    let (Input::Continued(id) | Input::Due(id, _)) = input;
    let mut tx = store.begin().await?;
    let mut happenings = Vec::new();
    if let Input::Due(_, about) = input {
        tx.clear_timer(&Timer::Workflow { workflow_id: *id, about: about.clone() }).await?;
        happenings.push(Happening::Timer { about: about.clone() });
    }
    let Some(mut workflow) = tx.lock_workflow(*id).await? else {
        return Ok(Err(format!("workflow execution {id} is not stored")));
    };
    let letters = tx.take_letters(*id, LETTERS_MAX).await?;
    let more = letters.len() == LETTERS_MAX as usize;
    for letter in letters {
        happenings.push(from_json("workflow_inbox.event", &letter.event)?);
    }
    let mut outbox = Vec::new();
    // What comes after the end is late, and clears the inbox.
    if workflow.ended_at.is_none() && !happenings.is_empty() {
        match workflow.kind {
            Kind::StateMachine => {
                outbox = states::advance(&mut tx, master_key, &mut workflow, happenings, now).await?;
            }
            Kind::FanOut => {
                outbox = fan_out::advance(&mut tx, master_key, &mut workflow, happenings, now).await?;
            }
            Kind::Automation => {
                return Ok(Err(format!("workflow execution {id} is an automation, which nobody carries on yet")));
            }
        }
        tx.save_workflow(&workflow).await?;
    }
    if more {
        outbox.push(patchwave_platform::store::workflows::hint(*id, &format!("more/{now}"), now));
        tx.enqueue(&outbox[outbox.len() - 1..], now).await?;
    }
    tx.commit().await?;
    Ok(Ok(Effects { outbox, ..Effects::default() }))
}
