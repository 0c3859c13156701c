//! The loop that owns the nodes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::NodeFacts;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::link::{Connected, LinkNews, Up, link_news};
use super::pace::{Backoff, Heartbeats};
use super::work::News;
use super::{Agent, AgentOptions, Change};
use crate::execute::{Control, StepRunner};
use crate::journal::JournalError;
use crate::node::{Effect, NodeCore};
use crate::report::{Introduction, Report};
use crate::transport::{Attached, Transport};

/// One node and what it is doing.
pub(super) struct Slot {
    pub(super) core: NodeCore,
    pub(super) facts: NodeFacts,
    pub(super) introduction: Introduction,
    pub(super) runner: Arc<dyn StepRunner>,
    pub(super) online: bool,
    /// Where it is reached, while it is.
    pub(super) attached: Option<Attached>,
    /// Of the last execution that has a task of its own.
    pub(super) control: Option<Control>,
}

/// All nodes of an agent, and everything that happens to them.
pub(super) struct Driver {
    pub(super) slots: Vec<Slot>,
    pub(super) by_id: HashMap<NodeId, usize>,
    pub(super) options: AgentOptions,
    pub(super) transport: Arc<dyn Transport>,
    /// The connection, if there is one.
    pub(super) up: Option<Up>,
    /// The attempt to get one, if there is none.
    pub(super) connecting: Option<BoxFuture<'static, Connected>>,
    pub(super) backoff: Backoff,
    /// When which nodes want to be woken, soonest first.
    pub(super) wakes: BinaryHeap<Reverse<(Timestamp, usize)>>,
    pub(super) heartbeats: Heartbeats,
    pub(super) next_heartbeat: Instant,
    /// Executions.
    pub(super) jobs: JoinSet<()>,
    /// Restarts of the node, and other tasks that a stop does not wait for.
    pub(super) reboots: JoinSet<()>,
    pub(super) news: mpsc::UnboundedReceiver<(usize, News)>,
    /// Given to every task; kept so that the channel stays open without any.
    pub(super) tell: mpsc::UnboundedSender<(usize, News)>,
    pub(super) changes: mpsc::UnboundedReceiver<Change>,
    /// Kept so that the channel stays open without any handle.
    pub(super) change_self: mpsc::UnboundedSender<Change>,
}

impl Driver {
    pub(super) fn new(agent: Agent, transport: Arc<dyn Transport>) -> Result<Self, JournalError> {
        let now = Timestamp::now();
        let mut slots = Vec::with_capacity(agent.nodes.len());
        let mut first_effects = Vec::new();
        let mut by_id = HashMap::with_capacity(agent.nodes.len());
        for (index, node) in agent.nodes.into_iter().enumerate() {
            let policy = Some(node.policy.rules.clone()).filter(|rules| !rules.is_open());
            let introduction = Introduction { fingerprint: node.fingerprint, policy };
            let (core, effects) = NodeCore::restart(node.facts.node_id.clone(), node.journal, node.policy, now)?;
            by_id.insert(node.facts.node_id.clone(), index);
            if !effects.is_empty() {
                first_effects.push((index, effects));
            }
            let (facts, runner, online) = (node.facts, node.runner, node.online);
            slots.push(Slot { core, facts, introduction, runner, online, attached: None, control: None });
        }
        let heartbeats = Heartbeats::new(agent.options.heartbeat, slots.len());
        let (tell, news) = mpsc::unbounded_channel();
        let mut driver = Self {
            next_heartbeat: Instant::now() + heartbeats.wait(),
            heartbeats,
            slots,
            by_id,
            backoff: Backoff::new(agent.options.reconnect_max),
            options: agent.options,
            transport,
            up: None,
            connecting: None,
            wakes: BinaryHeap::new(),
            jobs: JoinSet::new(),
            reboots: JoinSet::new(),
            news,
            tell,
            changes: agent.changes.1,
            change_self: agent.changes.0,
        };
        for (index, effects) in first_effects {
            driver.carry_out(index, effects);
        }
        Ok(driver)
    }

    pub(super) async fn run(&mut self, stop: CancellationToken) {
        self.connect();
        let mut batch = Vec::new();
        let mut stop_by: Option<Instant> = None;
        loop {
            self.publish();
            if let Some(deadline) = stop_by
                && (self.is_done() || Instant::now() >= deadline)
            {
                break;
            }
            let wait = self.until_next();
            let wait = stop_by.map_or(wait, |deadline| wait.min(deadline.saturating_duration_since(Instant::now())));
            tokio::select! {
                () = stop.cancelled(), if stop_by.is_none() => {
                    tracing::info!(running = self.jobs.len(), "stopping");
                    stop_by = Some(Instant::now() + self.options.stop_grace);
                    self.slots.iter_mut().for_each(|slot| slot.core.hold());
                }
                connected = or_pending(self.connecting.as_mut()) => self.connected(connected),
                news = link_news(self.up.as_mut(), stop_by.is_none(), &mut batch) => match news {
                    LinkNews::Received(0) => self.lost("the link ended"),
                    LinkNews::Received(_) => self.take(&mut batch).await,
                    LinkNews::Lost => self.lost("the link was lost"),
                    LinkNews::Published(reports, published) => self.published(reports, published).await,
                },
                Some((index, news)) = self.news.recv() => self.told(index, news),
                Some(change) = self.changes.recv() => self.change(change).await,
                () = tokio::time::sleep(wait) => self.tick(),
            }
            while self.jobs.try_join_next().is_some() {}
        }
        // What has not ended is killed here; the journal says that it was started.
        self.jobs.shutdown().await;
        if let Some(up) = &self.up {
            up.connection.link.close().await;
        }
    }

    /// Whether a stopping agent has nothing left to do.
    fn is_done(&self) -> bool {
        let flushed = self.up.as_ref().is_none_or(|up| up.outbox.is_empty() && up.publishing.is_empty());
        self.jobs.is_empty() && self.news.is_empty() && flushed
    }

    fn tick(&mut self) {
        let now = Timestamp::now();
        while let Some(Reverse((at, index))) = self.wakes.peek().copied()
            && at <= now
        {
            self.wakes.pop();
            let effects = self.slots[index].core.wake(now);
            let effects = effects.unwrap_or_else(|error| {
                tracing::error!(error = chain(&error), "could not journal the start of a command; trying again");
                vec![Effect::WakeAt(now + JOURNAL_RETRY)]
            });
            self.carry_out(index, effects);
        }
        if Instant::now() >= self.next_heartbeat {
            self.next_heartbeat = Instant::now() + self.heartbeats.wait();
            for index in self.heartbeats.due() {
                let slot = &self.slots[index];
                if let (Some(up), Some(attached)) = (&mut self.up, &slot.attached) {
                    up.outbox.push(Report::heartbeat(&slot.facts.node_id, &attached.session, now));
                }
            }
        }
    }

    fn until_next(&self) -> Duration {
        let beat = self.next_heartbeat.saturating_duration_since(Instant::now());
        let wake = self.wakes.peek().map(|Reverse((at, _))| {
            // One millisecond more than the rounding may lose, so that it is due when we wake.
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default() + Duration::from_millis(1)
        });
        wake.map_or(beat, |wake| wake.min(beat))
    }
}

/// Wait before a journal that could not be written is tried again: a full disk takes a while.
pub(super) const JOURNAL_RETRY: Duration = Duration::from_secs(10);

async fn or_pending<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    crate::execute::error_chain(error)
}
