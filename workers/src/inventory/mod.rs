//! The inventory: which nodes there are, that they live, and what state their patches are in.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::Delivery;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{NodeRemoved, NodeUpserted};
use patchwave_schemas::report::{NodeHeartbeat, NodeScanned};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message, NodeId};
use serde_json::json;
use tracing::warn;

use crate::HandlerError;
use crate::audit::{self, Actor, Deed};
use crate::runtime::{Applied, Handler, spoken_by};

/// Keeps the inventory.
pub struct Inventory;

/// A message of the inventory's queue.
pub enum Input {
    /// A scan's result.
    Scanned(Box<NodeScanned>),
    /// A sign of life.
    Heartbeat(NodeHeartbeat),
    /// Another system adds or changes a node.
    Upserted(Box<CloudEvent<NodeUpserted>>),
    /// Another system takes a node out.
    Removed(Box<CloudEvent<NodeRemoved>>),
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
                spoken_by(delivery, &event, &event.data.node_id)?;
                Ok(Input::Scanned(Box::new(event.data)))
            }
            NodeHeartbeat::TYPE => {
                let event = CloudEvent::<NodeHeartbeat>::from_bytes(body)?;
                spoken_by(delivery, &event, &event.data.node_id)?;
                Ok(Input::Heartbeat(event.data))
            }
            NodeUpserted::TYPE => {
                let upserted = CloudEvent::<NodeUpserted>::from_bytes(body)?;
                upserted.data.facts.check().map_err(|problem| DecodeError::Value { problem })?;
                Ok(Input::Upserted(Box::new(upserted)))
            }
            NodeRemoved::TYPE => CloudEvent::from_bytes(body).map(|event| Input::Removed(Box::new(event))),
            other => Err(DecodeError::UnknownType { found: other.to_owned() }),
        }
    }

    async fn apply(
        store: &Store,
        master_key: &MasterKey,
        batch: &[Input],
        now: Timestamp,
    ) -> Result<Applied, HandlerError> {
        let mut reports = Vec::new();
        let mut alive = BTreeSet::new();
        let mut changed = Vec::new();
        for input in batch {
            match input {
                Input::Scanned(report) => {
                    alive.insert(&report.node_id);
                    reports.push(NodeScanned::clone(report));
                }
                Input::Heartbeat(beat) => {
                    alive.insert(&beat.node_id);
                }
                Input::Upserted(event) => {
                    let facts = &event.data.facts;
                    changed.push((&facts.node_id, event.source.as_str(), Some(facts)));
                }
                Input::Removed(event) => changed.push((&event.data.node_id, event.source.as_str(), None)),
            }
        }
        // Two batches of the same nodes do not wait for each other: known rows are locked in order
        // of id, new ones are added in that order. What happens to one node keeps its own.
        changed.sort_by_key(|(node, ..)| *node);
        let touched: BTreeSet<_> = changed.iter().map(|(node, ..)| *node).chain(alive.iter().copied()).collect();
        let mut tx = store.begin().await?;
        // Whoever deregisters one of them at this moment waits, or was waited for: it is not put back.
        let upserted = changed.iter().filter(|(_, _, facts)| facts.is_some()).map(|(node, ..)| NodeId::clone(node));
        tx.hold_identities(&upserted.collect::<Vec<_>>()).await?;
        let cut_off = tx.deregistered(&touched.iter().copied().cloned().collect::<Vec<_>>()).await?;
        let mut refused: BTreeMap<Refusal, u32> = BTreeMap::new();
        reports.retain(|report| !cut_off.contains(&report.node_id));
        alive.retain(|node| !cut_off.contains(*node));
        let is_ignored = |input: &&Input| match input {
            Input::Scanned(report) => cut_off.contains(&report.node_id),
            Input::Heartbeat(beat) => cut_off.contains(&beat.node_id),
            Input::Upserted(_) | Input::Removed(_) => false,
        };
        let ignored = batch.iter().filter(is_ignored).count();
        if ignored > 0 {
            warn!(reports = ignored, "scans and heartbeats of deregistered nodes are ignored");
            refused.insert(Refusal::NotRegistered, u32::try_from(ignored).unwrap_or(u32::MAX));
        }
        if !changed.is_empty() {
            tx.lock_nodes(touched.into_iter()).await?;
        }
        let mut deeds = Vec::new();
        let mut note = |source, action, node: &NodeId, detail| {
            let deed = Deed::done(WorkQueue::Inventory, action, node.to_string(), detail);
            deeds.push((Actor::Event(source), deed));
        };
        for (node, source, facts) in changed {
            match facts {
                // What was cut off does not come back under its old id.
                Some(_) if cut_off.contains(node) => {
                    warn!(node.id = %node, "an event about a deregistered node is ignored");
                }
                Some(facts) => {
                    // Tags say who may touch a node and what it gets; the rest is for people.
                    let before = tx.lock_node_tags(node).await?;
                    tx.put_node(facts, now).await?;
                    if before.as_ref() != Some(&facts.tags) {
                        note(source, "PutNode", node, json!({ "Tags": facts.tags, "Before": before }));
                    }
                }
                None if tx.remove_node(node).await? => note(source, "RemoveNode", node, json!({})),
                None => {}
            }
        }
        let alive: Vec<_> = alive.into_iter().cloned().collect();
        tx.nodes_alive(&alive, now).await?;
        if !reports.is_empty() {
            tx.put_patch_reports(&reports).await?;
            tx.note_patches(&reports, now).await?;
            tx.put_inventories(&reports, now).await?;
        }
        // Last: everybody counts in the same rows and appends to the same log, and whoever waits for
        // them holds nothing else's.
        tx.count_refused_reports(&refused).await?;
        for (actor, deed) in deeds {
            audit::record(&mut tx, master_key, &actor, deed, now).await?;
        }
        tx.commit().await?;
        Ok(Applied::default())
    }
}
