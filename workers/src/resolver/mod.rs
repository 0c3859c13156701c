//! The resolver: windows and requests become commands.
//!
//! One file for each message. A window execution's row is the lock for what happens to it.

mod approval;
mod command_requested;
mod execution;
mod rollout_finished;
mod window_started;
mod window_timer;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::Delivery;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{
    ApprovalSignalled, CommandRequested, RolloutFinished, Timer, TimerFired, WindowCancelRequested,
    WindowStartRequested, WindowStarted,
};
use patchwave_schemas::patch_now::PatchRequested;
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message, WindowExecutionId};

use crate::HandlerError;
use crate::runtime::{Applied, Handler, Resolved};

pub use window_started::requested_execution_id;

/// Resolves windows and requests.
pub struct Resolver;

/// A message of the resolver's queue.
pub enum Input {
    /// A window's scheduled instant has come.
    WindowStarted(WindowStarted),
    /// A window is to start now.
    WindowStartRequested(CloudEvent<WindowStartRequested>),
    /// A firing is to be cancelled.
    WindowCancelRequested(CloudEvent<WindowCancelRequested>),
    /// A firing's cutoff has come.
    Cutoff(WindowExecutionId),
    /// A firing's duration is over.
    End(WindowExecutionId),
    /// A firing's change calendars may have opened.
    Calendar(WindowExecutionId),
    /// A command ended.
    RolloutFinished(RolloutFinished),
    /// A document is to be run now.
    CommandRequested(Box<CloudEvent<CommandRequested>>),
    /// Somebody approves or rejects the next wave of a rollout.
    Approval(CloudEvent<ApprovalSignalled>),
    /// Another system wants nodes to be patched.
    PatchRequested(Box<CloudEvent<PatchRequested>>),
}

#[async_trait]
impl Handler for Resolver {
    type Input = Input;

    const QUEUE: WorkQueue = WorkQueue::Resolver;

    fn decode(delivery: &Delivery) -> Result<Input, DecodeError> {
        let body = &delivery.body;
        let unknown = |found: &str| DecodeError::UnknownType { found: found.to_owned() };
        match Head::from_bytes(body)?.event_type.as_str() {
            WindowStarted::TYPE => CloudEvent::from_bytes(body).map(|event| Input::WindowStarted(event.data)),
            WindowStartRequested::TYPE => CloudEvent::from_bytes(body).map(Input::WindowStartRequested),
            WindowCancelRequested::TYPE => CloudEvent::from_bytes(body).map(Input::WindowCancelRequested),
            RolloutFinished::TYPE => CloudEvent::from_bytes(body).map(|event| Input::RolloutFinished(event.data)),
            CommandRequested::TYPE => {
                CloudEvent::from_bytes(body).map(|event| Input::CommandRequested(Box::new(event)))
            }
            PatchRequested::TYPE => CloudEvent::from_bytes(body).map(|event| Input::PatchRequested(Box::new(event))),
            ApprovalSignalled::TYPE => CloudEvent::from_bytes(body).map(Input::Approval),
            TimerFired::TYPE => match CloudEvent::<TimerFired>::from_bytes(body)?.data.timer {
                Timer::WindowCutoff { execution_id } => Ok(Input::Cutoff(execution_id)),
                Timer::WindowEnd { execution_id } => Ok(Input::End(execution_id)),
                Timer::WindowCalendar { execution_id } => Ok(Input::Calendar(execution_id)),
                other => Err(unknown(&other.key())),
            },
            other => Err(unknown(other)),
        }
    }

    /// A transaction for each message: they are few, and some write many rows.
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
    match input {
        Input::WindowStarted(started) => window_started::scheduled(store, master_key, started, now).await,
        Input::WindowStartRequested(event) => window_started::requested(store, master_key, event, now).await,
        Input::WindowCancelRequested(event) => window_timer::cancel(store, master_key, event, now).await,
        Input::Cutoff(execution) => window_timer::cutoff(store, master_key, *execution, now).await,
        Input::End(execution) => window_timer::end(store, master_key, *execution, now).await,
        Input::Calendar(execution) => window_timer::calendar(store, master_key, *execution, now).await,
        Input::RolloutFinished(finished) => rollout_finished::apply(store, master_key, finished, now).await,
        Input::CommandRequested(event) => command_requested::apply(store, master_key, event, now).await,
        Input::Approval(event) => approval::apply(store, master_key, event, now).await,
        Input::PatchRequested(event) => command_requested::patch(store, master_key, event, now).await,
    }
}
