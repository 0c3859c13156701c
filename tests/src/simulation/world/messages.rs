//! Workers: batches that are handled, processes that die in the middle, commands that come back.

use anyhow::{Context as _, bail, ensure};
use patchwave_platform::bus::{Delivery, Sender};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_schemas::NodeId;
use patchwave_schemas::topology::WorkQueue;
use patchwave_workers::effects::{Effects, publish};
use patchwave_workers::letters::Payloads;
use patchwave_workers::runtime::Handler;
use patchwave_workers::{caller, collector, dead, dispatcher, inventory, notifier, resolver, workflows};
use rand::RngExt as _;

use super::World;
use crate::simulation::invariants::Invariants;

/// Where the process dies that handles a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    Never,
    BeforeApplying,
    /// The store goes away before the message of this position.
    Halfway(usize),
    AfterCommit,
    WhilePublishing(usize),
    BeforeAcknowledging,
}

/// A node's row as a transaction sees it that began before the node's hello was handled.
struct Stale {
    node_id: NodeId,
    then: Option<String>,
    known: String,
}

impl World {
    pub(super) async fn deliver(&mut self) -> anyhow::Result<()> {
        let busy = self.network.wires().busy();
        if busy.is_empty() {
            return Ok(());
        }
        let queue = busy[self.rng.random_range(0..busy.len())];
        let max = self.rng.random_range(1..=6);
        let crash = match self.rng.random_range(0..21) {
            20 => Crash::Halfway(self.rng.random_range(1..=max)),
            0 => Crash::BeforeApplying,
            1 => Crash::AfterCommit,
            2 => Crash::WhilePublishing(self.rng.random_range(0..4)),
            3 => Crash::BeforeAcknowledging,
            _ => Crash::Never,
        };
        self.deliver_from(queue, max, crash).await
    }

    pub(super) async fn deliver_from(&mut self, queue: WorkQueue, max: usize, crash: Crash) -> anyhow::Result<()> {
        let bodies = self.network.wires().take(queue, max);
        self.say(|| format!("{} handles {} messages, crash {crash:?}", queue.role(), bodies.len()));
        if crash != Crash::Never {
            self.summary.crashes += 1;
        }
        if crash != Crash::BeforeApplying {
            let stale = self.read_before_hellos(queue).await?;
            let handled = match crash {
                Crash::Halfway(messages) => &bodies[..messages.min(bodies.len())],
                _ => &bodies,
            };
            let effects = match queue {
                WorkQueue::Resolver => self.apply::<resolver::Resolver>(handled).await?,
                WorkQueue::Dispatcher => self.apply::<dispatcher::Dispatcher>(handled).await?,
                WorkQueue::Collector => self.apply::<collector::Collector>(handled).await?,
                WorkQueue::Inventory => self.apply::<inventory::Inventory>(handled).await?,
                WorkQueue::Notifier => self.apply::<notifier::Notifier>(handled).await?,
                WorkQueue::Workflows => self.apply::<workflows::Workflows>(handled).await?,
                WorkQueue::Caller => self.apply::<caller::Caller>(handled).await?,
                WorkQueue::Dead => self.apply::<dead::DeadLetters>(handled).await?,
            };
            self.end_stale_read(stale).await?;
            self.invariants.check_told(&effects)?;
            match crash {
                // The publisher is slow, and the world goes on meanwhile.
                Crash::Never if self.network.wires().faulty && self.rng.random_bool(0.2) => self.delayed.push(effects),
                Crash::Halfway(_) | Crash::AfterCommit => {}
                Crash::WhilePublishing(messages) => {
                    self.network.wires().dies_after = Some(messages);
                    self.carry_out(effects).await;
                    self.network.wires().dies_after = None;
                }
                _ => self.carry_out(effects).await,
            }
        }
        if crash != Crash::Never {
            // Not acknowledged: they come again.
            self.network.wires().queues.entry(queue).or_default().extend(bodies);
        }
        Ok(())
    }

    /// The broker's disk is gone, and with it every message and every connection.
    pub(super) fn lose_the_broker(&mut self) {
        self.say(|| "the broker's disk is lost".to_owned());
        let mut wires = self.network.wires();
        wires.faults += 1;
        wires.queues.values_mut().for_each(Vec::clear);
        wires.nodes.clear();
        drop(wires);
        self.invariants.broker_was_lost(self.now);
        for index in 0..self.nodes.len() {
            if self.nodes[index].disconnect().is_some() {
                self.connect(index);
            }
        }
    }

    pub(super) async fn apply<H: Handler>(&self, bodies: &[Vec<u8>]) -> anyhow::Result<Effects> {
        let mut inputs = Vec::new();
        for body in bodies {
            let delivery =
                Delivery { tag: 0, body: body.clone(), redelivered: false, death: None, sender: Sender::ControlPlane };
            inputs.push(H::decode(&delivery).with_context(|| String::from_utf8_lossy(body).into_owned())?);
        }
        let applied = H::apply(&self.context.store, &self.context.master_key, &inputs, self.now).await?;
        if let Some((index, reason)) = applied.refused.first() {
            bail!("{} refused a message: {reason}: {}", H::QUEUE.role(), String::from_utf8_lossy(&bodies[*index]));
        }
        ensure!(applied.again.is_empty(), "{} takes the store for away, which it is not", H::QUEUE.role());
        Ok(applied.effects)
    }

    /// Publishes; what comes back is looked at later, like any answer of a bus.
    pub(super) async fn carry_out(&mut self, effects: Effects) {
        if effects.is_empty() {
            return;
        }
        // An error means that the process died publishing: the sweeps take over.
        if let Ok(returned) = publish(&self.context, &mut Payloads::default(), effects, self.now).await
            && !returned.is_empty()
        {
            self.returned.push(returned);
        }
    }

    /// Handles commands that came back, unless their publisher died meanwhile.
    pub(super) async fn take_back(&mut self) -> anyhow::Result<bool> {
        if self.returned.is_empty() {
            return Ok(false);
        }
        let index = self.rng.random_range(0..self.returned.len());
        let returned = self.returned.swap_remove(index);
        if self.network.wires().faulty && self.rng.random_bool(0.1) {
            self.summary.crashes += 1;
            return Ok(true);
        }
        self.say(|| format!("{} commands came back", returned.len()));
        let effects = dispatcher::returned::apply(&self.context.store, &returned, self.now).await?;
        self.invariants.check_told(&effects)?;
        Invariants::check_slots_are_free(&self.context.store, &returned).await?;
        self.carry_out(effects).await;
        Ok(true)
    }

    /// Publishes what a slow publisher still holds.
    pub(super) async fn catch_up(&mut self) -> bool {
        if self.delayed.is_empty() {
            return false;
        }
        let index = self.rng.random_range(0..self.delayed.len());
        let effects = self.delayed.swap_remove(index);
        self.say(|| format!("{} commands are published late", effects.deliveries.len()));
        self.carry_out(effects).await;
        true
    }

    /// On PostgreSQL a transaction may have read where nodes listen before their hellos were
    /// committed, and commit after them. Here those are rows which are put back for the time being.
    async fn read_before_hellos(&mut self, queue: WorkQueue) -> anyhow::Result<Vec<Stale>> {
        // A check that always came too early would wake nobody.
        let may = match queue {
            WorkQueue::Collector => true,
            WorkQueue::Dispatcher => self.network.wires().faulty,
            _ => false,
        };
        if !may || !self.rng.random_bool(0.15) {
            return Ok(Vec::new());
        }
        let mut stale = Vec::new();
        for node in &self.nodes {
            let node_id = node.facts.node_id.clone();
            if let Some(known) = self.context.store.node(&node_id).await?.and_then(|node| node.address) {
                let then = node.former_address().filter(|_| self.rng.random_bool(0.5));
                self.put_address(&node_id, then.as_ref(), Some(&known)).await?;
                stale.push(Stale { node_id, then, known });
            }
        }
        Ok(stale)
    }

    async fn end_stale_read(&self, stale: Vec<Stale>) -> anyhow::Result<()> {
        for Stale { node_id, then, known } in stale {
            self.put_address(&node_id, Some(&known), then.as_ref()).await?;
        }
        Ok(())
    }

    async fn put_address(&self, node: &NodeId, to: Option<&String>, from: Option<&String>) -> anyhow::Result<()> {
        let mut tx = self.context.store.begin().await?;
        sqlx::query("UPDATE nodes SET address = $2 WHERE node_id = $1 AND address IS $3")
            .bind(node.as_str())
            .bind(to)
            .bind(from)
            .execute(tx.connection())
            .await?;
        Ok(tx.commit().await?)
    }

    pub(super) fn publish(&self, message: &OutboxMessage) {
        self.network.wires().put(&message.outgoing());
    }
}
