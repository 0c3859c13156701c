//! The inventory: which nodes there are, that they live, and what state their patches are in.

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::Delivery;
use patchwave_platform::store::Store;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{NodeRemoved, NodeUpserted};
use patchwave_schemas::report::{NodeHeartbeat, NodeScanned};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message};

use crate::HandlerError;
use crate::runtime::{Applied, Handler};

/// Keeps the inventory.
pub struct Inventory;

/// A message of the inventory's queue.
pub enum Input {
    /// A scan's result.
    Scanned(Box<NodeScanned>),
    /// A sign of life.
    Heartbeat(NodeHeartbeat),
    /// Another system adds or changes a node.
    Upserted(Box<NodeUpserted>),
    /// Another system takes a node out.
    Removed(NodeRemoved),
}

#[async_trait]
impl Handler for Inventory {
    type Input = Input;

    const QUEUE: WorkQueue = WorkQueue::Inventory;

    fn decode(delivery: &Delivery) -> Result<Input, DecodeError> {
        let body = &delivery.body;
        match Head::from_bytes(body)?.event_type.as_str() {
            NodeScanned::TYPE => {
                let event = CloudEvent::<NodeScanned>::from_bytes(body)?;
                event.spoken_by(&event.data.node_id)?;
                Ok(Input::Scanned(Box::new(event.data)))
            }
            NodeHeartbeat::TYPE => {
                let event = CloudEvent::<NodeHeartbeat>::from_bytes(body)?;
                event.spoken_by(&event.data.node_id)?;
                Ok(Input::Heartbeat(event.data))
            }
            NodeUpserted::TYPE => {
                let upserted = CloudEvent::<NodeUpserted>::from_bytes(body)?.data;
                upserted.facts.check().map_err(|problem| DecodeError::Value { problem })?;
                Ok(Input::Upserted(Box::new(upserted)))
            }
            NodeRemoved::TYPE => CloudEvent::from_bytes(body).map(|event| Input::Removed(event.data)),
            other => Err(DecodeError::UnknownType { found: other.to_owned() }),
        }
    }

    async fn apply(store: &Store, batch: &[Input], now: Timestamp) -> Result<Applied, HandlerError> {
        let mut reports = Vec::new();
        let mut alive = Vec::new();
        let mut tx = store.begin().await?;
        for input in batch {
            match input {
                Input::Scanned(report) => {
                    alive.push(report.node_id.clone());
                    reports.push(NodeScanned::clone(report));
                }
                Input::Heartbeat(beat) => alive.push(beat.node_id.clone()),
                Input::Upserted(upserted) => tx.put_node(&upserted.facts, now).await?,
                Input::Removed(removed) => {
                    tx.remove_node(&removed.node_id).await?;
                }
            }
        }
        alive.sort();
        alive.dedup();
        tx.nodes_alive(&alive, now).await?;
        if !reports.is_empty() {
            tx.put_patch_reports(&reports).await?;
        }
        tx.commit().await?;
        Ok(Applied::default())
    }
}
