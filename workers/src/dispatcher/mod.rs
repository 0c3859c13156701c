//! The dispatcher: rollouts that start, stop or wait, and nodes that come back.
//!
//! One file for each message. Each locks the rollouts it touches, so all that happens to one of
//! them happens in one order.

pub mod check;
pub mod connected;
mod disconnected;
pub mod returned;
mod start;
mod stop;

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::{Delivery, Sender};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{RolloutCancelRequested, RolloutStarted, Timer, TimerFired};
use patchwave_schemas::report::{NodeConnected, NodeDisconnected};
use patchwave_schemas::topology::{WorkQueue, is_node_address};
use patchwave_schemas::{CloudEvent, CommandId, Message};

use crate::HandlerError;
use crate::effects::Effects;
use crate::runtime::{Applied, Handler, spoken_by};
pub use connected::Hello;

/// Dispatches commands to nodes.
pub struct Dispatcher;

/// A message of the dispatcher's queue.
pub enum Input {
    /// A rollout was stored.
    Started(CommandId),
    /// A rollout, or some nodes of it, are to be stopped.
    Cancel(Box<CloudEvent<RolloutCancelRequested>>),
    /// A rollout is to be looked at.
    Check(CommandId),
    /// A node can be reached.
    Connected(Box<Hello>),
    /// A gateway does not reach a node.
    Disconnected(NodeDisconnected),
}

#[async_trait]
impl Handler for Dispatcher {
    type Input = Input;

    const QUEUE: WorkQueue = WorkQueue::Dispatcher;

    fn decode(delivery: &Delivery) -> Result<Input, DecodeError> {
        let body = &delivery.body;
        let unknown = |found: &str| DecodeError::UnknownType { found: found.to_owned() };
        match Head::from_bytes(body)?.event_type.as_str() {
            RolloutStarted::TYPE => {
                CloudEvent::<RolloutStarted>::from_bytes(body).map(|event| Input::Started(event.data.command_id))
            }
            RolloutCancelRequested::TYPE => CloudEvent::from_bytes(body).map(|event| Input::Cancel(Box::new(event))),
            TimerFired::TYPE => match CloudEvent::<TimerFired>::from_bytes(body)?.data.timer {
                Timer::RolloutCheck { command_id } => Ok(Input::Check(command_id)),
                other => Err(unknown(&other.key())),
            },
            NodeConnected::TYPE => {
                let event = CloudEvent::<NodeConnected>::from_bytes(body)?;
                spoken_by(delivery, &event, &event.data.facts.node_id)?;
                let hello = event.data;
                hello.check().map_err(|problem| DecodeError::Value { problem })?;
                if is_node_address(&hello.address) {
                    // Only a node that logs in as itself must have registered: who else is believed was
                    // trusted with the bus.
                    let registered = matches!(delivery.sender, Sender::Node(_));
                    Ok(Input::Connected(Box::new(Hello { hello, registered })))
                } else {
                    Err(unknown(&format!("{} with address {}", NodeConnected::TYPE, hello.address)))
                }
            }
            // A gateway's word alone: nodes do not say it of each other.
            NodeDisconnected::TYPE if delivery.sender == Sender::ControlPlane => {
                CloudEvent::from_bytes(body).map(|event| Input::Disconnected(event.data))
            }
            other => Err(unknown(other)),
        }
    }

    async fn apply(
        store: &Store,
        master_key: &MasterKey,
        batch: &[Input],
        now: Timestamp,
    ) -> Result<Applied, HandlerError> {
        let mut applied = Applied::default();
        // Hellos come by the thousand when a broker restarts; the others are few.
        let hellos: Vec<_> = batch
            .iter()
            .filter_map(|input| match input {
                Input::Connected(hello) => Some(Hello::clone(hello)),
                _ => None,
            })
            .collect();
        // Each in a transaction of its own: two dispatchers that each held one rollout and wanted
        // the other's would wait for each other.
        if !hellos.is_empty() {
            let mut tx = store.begin().await?;
            applied.effects.merge(connected::apply(&mut tx, &hellos, now).await?);
            tx.commit().await?;
        }
        for (index, input) in batch.iter().enumerate() {
            if matches!(input, Input::Connected(_)) {
                continue;
            }
            if applied.is_away() {
                applied.again.push(index);
                continue;
            }
            applied.note(index, one(store, master_key, input, now).await.map(Ok))?;
        }
        Ok(applied)
    }
}

async fn one(store: &Store, master_key: &MasterKey, input: &Input, now: Timestamp) -> Result<Effects, HandlerError> {
    let mut tx = store.begin().await?;
    let follows = match input {
        Input::Started(command) => start::apply(&mut tx, *command, now).await?,
        Input::Cancel(event) => stop::apply(&mut tx, master_key, event, now).await?,
        Input::Check(command) => check::apply(&mut tx, *command, now).await?,
        Input::Disconnected(news) => disconnected::apply(&mut tx, news, now).await?,
        // Handled with its like.
        Input::Connected(_) => Effects::default(),
    };
    tx.commit().await?;
    Ok(follows)
}
