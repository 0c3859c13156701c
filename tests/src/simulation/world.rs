//! What may happen next, and the clock.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use patchwave_platform::bus::{Delivery, Outgoing, Route};
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::windows::{CutoffBehavior, RunCommandParameters, Window, WindowTarget, WindowTask};
use patchwave_platform::store::{Durability, Store};
use patchwave_platform::topics::embedded::EmbeddedTopics;
use patchwave_schemas::event::{
    CommandRequested, ErrorMode, RolloutCancelRequested, Target, Timer, WindowCancelRequested, WindowStartRequested,
};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CommandId, WindowId, WindowTargetId, WindowTaskId};
use patchwave_workers::effects::{Effects, NodeDelivery, Payloads, publish};
use patchwave_workers::runtime::Handler;
use patchwave_workers::{Context, collector, dead, dispatcher, inventory, notifier, resolver};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::Summary;
use super::fleet::{Deeds, SimNode};
use super::invariants::{Invariants, check_end};
use super::network::Network;

/// Where the clock starts: a Monday.
const START: &str = "2026-03-02T00:00:00Z";
/// Steps that healing may take: each either does something or moves the clock.
const HEALING_STEPS: usize = 6_000;

/// Everything there is.
pub struct World {
    rng: ChaCha8Rng,
    now: Timestamp,
    context: Context,
    network: Network,
    nodes: Vec<SimNode>,
    deeds: Deeds,
    invariants: Invariants,
    windows: Vec<WindowId>,
    /// Commands that came back from the bus, and are not handled yet.
    returned: Vec<Vec<NodeDelivery>>,
    summary: Summary,
    trace: bool,
    _directory: tempfile::TempDir,
}

impl World {
    /// Sets a world up from a seed.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub async fn new(seed: u64, trace: bool) -> anyhow::Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite://{}", directory.path().join("simulation.db").display());
        let store = Store::open_with(&url, Durability::None).await?;
        let network = Network::new(ChaCha8Rng::seed_from_u64(rng.random()));
        let context = Context { store, bus: Arc::new(network.clone()), topics: Arc::new(EmbeddedTopics::new()) };
        let count = rng.random_range(2..=10);
        let nodes = (0..count).map(|index| SimNode::new(index, ["canary", "production"][index as usize % 2])).collect();
        let mut world = Self {
            rng,
            now: START.parse()?,
            context,
            network,
            nodes,
            deeds: Deeds::default(),
            invariants: Invariants::default(),
            windows: Vec::new(),
            returned: Vec::new(),
            summary: Summary::default(),
            trace,
            _directory: directory,
        };
        world.context.store.ensure_predefined_baselines(world.now).await?;
        for index in 0..world.nodes.len() {
            // Known from the start; whether they are connected is another matter.
            let facts = world.nodes[index].facts.clone();
            let mut tx = world.context.store.begin().await?;
            tx.put_node(&facts, world.now).await?;
            tx.commit().await?;
            if world.rng.random_bool(0.8) {
                world.connect(index);
            }
        }
        for _ in 0..world.rng.random_range(1..=2) {
            world.create_window().await?;
        }
        Ok(world)
    }

    /// What has happened so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary { faults: self.network.wires().faults, executions: self.deeds.executed.len(), ..self.summary }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>5} {} {}", self.summary.steps, self.now, what());
        }
    }

    /// Lets one thing happen, chosen at random, and checks the invariants.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub async fn step(&mut self) -> anyhow::Result<()> {
        self.summary.steps += 1;
        match self.rng.random_range(0..100) {
            0..34 => self.deliver().await?,
            34..40 => {
                self.take_back().await?;
            }
            40..62 => self.some_node()?,
            62..74 => self.pass_time().await?,
            74..77 => self.sweep().await?,
            77..88 => self.node_trouble()?,
            88..92 => self.request_command().await?,
            92..95 => self.request_window()?,
            95..97 => self.cancel().await?,
            97 if self.rng.random_bool(0.3) => self.lose_the_broker(),
            _ => self.edit_window().await?,
        }
        self.invariants.check(&self.context.store, &self.deeds).await
    }

    /// No more faults: everybody connects, and everything comes to its end.
    ///
    /// # Errors
    /// The first invariant that does not hold, or work that does not end.
    pub async fn heal(&mut self) -> anyhow::Result<()> {
        self.say(|| "healing".to_owned());
        self.network.wires().faulty = false;
        self.network.wires().dies_after = None;
        for window in self.windows.clone() {
            self.set_enabled(&window, false).await?;
        }
        for index in 0..self.nodes.len() {
            // Some nodes never come back; their invocations end at their deadlines.
            if self.nodes[index].address.is_none() && self.rng.random_bool(0.7) {
                self.connect(index);
            }
        }
        for _ in 0..HEALING_STEPS {
            self.summary.steps += 1;
            let queue = self.network.wires().busy().first().copied();
            if let Some(queue) = queue {
                self.deliver_from(queue, 8, Crash::Never).await?;
            } else if !self.take_back().await? && !self.all_nodes()? {
                let before = self.now;
                self.pass_time_calmly().await?;
                self.sweep_calmly().await?;
                if self.is_quiet().await? && self.now == before {
                    break;
                }
            }
            self.invariants.check(&self.context.store, &self.deeds).await?;
            self.invariants.check_nobody_is_forgotten(&self.context.store, self.now).await?;
        }
        self.summary.commands = self.context.store.commands(None, 1_000).await?.len();
        for window in &self.windows {
            self.summary.window_executions += self.context.store.executions(window, None, 1_000).await?.len();
        }
        self.invariants.check_all(&self.context.store, &self.deeds).await?;
        check_end(&self.context.store, &self.deeds).await
    }

    async fn is_quiet(&self) -> anyhow::Result<bool> {
        let timers = self.context.store.next_timer_at().await?;
        Ok(timers.is_none() && self.network.wires().busy().is_empty() && self.nodes.iter().all(|n| n.working.is_none()))
    }

    // Messages.

    async fn deliver(&mut self) -> anyhow::Result<()> {
        let busy = self.network.wires().busy();
        if busy.is_empty() {
            return Ok(());
        }
        let queue = busy[self.rng.random_range(0..busy.len())];
        let max = self.rng.random_range(1..=6);
        let crash = match self.rng.random_range(0..20) {
            0 => Crash::BeforeApplying,
            1 => Crash::AfterCommit,
            2 => Crash::WhilePublishing(self.rng.random_range(0..4)),
            3 => Crash::BeforeAcknowledging,
            _ => Crash::Never,
        };
        self.deliver_from(queue, max, crash).await
    }

    async fn deliver_from(&mut self, queue: WorkQueue, max: usize, crash: Crash) -> anyhow::Result<()> {
        let bodies = self.network.wires().take(queue, max);
        self.say(|| format!("{} handles {} messages, crash {crash:?}", queue.role(), bodies.len()));
        if crash != Crash::Never {
            self.summary.crashes += 1;
        }
        if crash != Crash::BeforeApplying {
            let effects = match queue {
                WorkQueue::Resolver => self.apply::<resolver::Resolver>(&bodies).await?,
                WorkQueue::Dispatcher => self.apply::<dispatcher::Dispatcher>(&bodies).await?,
                WorkQueue::Collector => self.apply::<collector::Collector>(&bodies).await?,
                WorkQueue::Inventory => self.apply::<inventory::Inventory>(&bodies).await?,
                WorkQueue::Notifier => self.apply::<notifier::Notifier>(&bodies).await?,
                WorkQueue::Dead => self.apply::<dead::DeadLetters>(&bodies).await?,
            };
            match crash {
                Crash::AfterCommit => {}
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
    fn lose_the_broker(&mut self) {
        self.say(|| "the broker's disk is lost".to_owned());
        let mut wires = self.network.wires();
        wires.faults += 1;
        wires.queues.values_mut().for_each(Vec::clear);
        wires.nodes.clear();
        drop(wires);
        for index in 0..self.nodes.len() {
            if self.nodes[index].disconnect().is_some() {
                self.connect(index);
            }
        }
    }

    async fn apply<H: Handler>(&self, bodies: &[Vec<u8>]) -> anyhow::Result<Effects> {
        let mut inputs = Vec::new();
        for body in bodies {
            let delivery = Delivery { tag: 0, body: body.clone(), redelivered: false, death: None };
            inputs.push(H::decode(&delivery).with_context(|| String::from_utf8_lossy(body).into_owned())?);
        }
        let applied = H::apply(&self.context.store, &inputs, self.now).await?;
        if let Some((index, reason)) = applied.refused.first() {
            bail!("{} refused a message: {reason}: {}", H::QUEUE.role(), String::from_utf8_lossy(&bodies[*index]));
        }
        Ok(applied.effects)
    }

    /// Publishes; what comes back is looked at later, like any answer of a bus.
    async fn carry_out(&mut self, effects: Effects) {
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
    async fn take_back(&mut self) -> anyhow::Result<bool> {
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
        self.carry_out(effects).await;
        Ok(true)
    }

    fn publish(&self, message: &OutboxMessage) {
        self.network.wires().put(&message.outgoing());
    }

    // Time.

    async fn pass_time(&mut self) -> anyhow::Result<()> {
        let step = match self.rng.random_range(0..10) {
            0..6 => self.rng.random_range(1..20),
            6..9 => self.rng.random_range(20..300),
            _ => self.rng.random_range(300..4_000),
        };
        self.now += SignedDuration::from_secs(step);
        self.say(|| format!("{step} s pass"));
        let messages = patchwave_scheduler::tick(&self.context.store, self.now).await?;
        // A scheduler that dies here leaves its events to the outbox.
        if self.rng.random_bool(0.9) {
            self.flush(messages).await?;
        } else {
            self.summary.crashes += 1;
        }
        Ok(())
    }

    async fn flush(&mut self, messages: Vec<OutboxMessage>) -> anyhow::Result<()> {
        self.carry_out(Effects { outbox: messages, ..Effects::default() }).await;
        Ok(())
    }

    async fn pass_time_calmly(&mut self) -> anyhow::Result<()> {
        let timer = self.context.store.next_timer_at().await?;
        let work = self.nodes.iter().filter_map(|node| node.working.as_ref().map(|(_, at)| *at)).min();
        let wake = self.nodes.iter().flat_map(|node| node.wake_at.iter().copied()).min();
        if let Some(next) = [timer, work, wake].into_iter().flatten().min() {
            self.now = self.now.max(next);
            let messages = patchwave_scheduler::tick(&self.context.store, self.now).await?;
            self.flush(messages).await?;
        }
        Ok(())
    }

    async fn sweep(&mut self) -> anyhow::Result<()> {
        self.sweep_calmly().await
    }

    async fn sweep_calmly(&mut self) -> anyhow::Result<()> {
        let context = patchwave_scheduler::Context {
            store: self.context.store.clone(),
            bus: Arc::clone(&self.context.bus),
            topics: Arc::clone(&self.context.topics),
        };
        // What is due for a sweep is due within this time at the latest.
        let soon = if self.network.wires().faulty { self.now } else { self.now + SignedDuration::from_mins(1) };
        patchwave_scheduler::sweep(&context, soon).await.map_err(|error| anyhow::anyhow!(error.to_string()))?;
        Ok(())
    }

    // Nodes.

    fn connect(&mut self, index: usize) {
        let address = self.nodes[index].connect(self.now);
        self.say(|| format!("node {index} connects as {address}"));
        self.network.wires().nodes.insert(address, std::collections::VecDeque::new());
    }

    fn some_node(&mut self) -> anyhow::Result<()> {
        let index = self.rng.random_range(0..self.nodes.len());
        self.node(index).map(|_| ())
    }

    fn all_nodes(&mut self) -> anyhow::Result<bool> {
        let mut acted = false;
        for index in 0..self.nodes.len() {
            acted |= self.node(index)?;
        }
        Ok(acted)
    }

    /// Lets a node take one message, go on with its work and send what it has to say.
    fn node(&mut self, index: usize) -> anyhow::Result<bool> {
        let now = self.now;
        let address = self.nodes[index].address.clone();
        let message = address.as_ref().and_then(|address| {
            self.network.wires().nodes.get_mut(address).and_then(std::collections::VecDeque::pop_front)
        });
        let mut acted = message.is_some();
        let node = &mut self.nodes[index];
        if let Some(body) = message {
            node.receive(&body, now, &mut self.rng, &mut self.deeds)?;
        }
        let working = node.working.is_some();
        node.work(now, &mut self.rng, &mut self.deeds)?;
        acted |= working != node.working.is_some();
        if node.working.is_some() && self.rng.random_bool(0.2) {
            node.progress(now);
        }
        if address.is_some() {
            let reports = std::mem::take(&mut node.outgoing);
            acted |= !reports.is_empty();
            for report in reports {
                let outgoing = Outgoing {
                    route: Route::Report { key: report.routing_key().to_owned() },
                    message_id: report.id,
                    message_type: report.message_type.to_owned(),
                    body: report.body.clone(),
                };
                self.network.wires().put(&outgoing);
                // The confirmation may be lost: it is then sent again after the next connect.
                if !self.network.wires().faulty || self.rng.random_bool(0.9) {
                    self.nodes[index].confirmed(&report, now)?;
                }
            }
        }
        Ok(acted)
    }

    fn node_trouble(&mut self) -> anyhow::Result<()> {
        let index = self.rng.random_range(0..self.nodes.len());
        let node = &mut self.nodes[index];
        let gone = match self.rng.random_range(0..3) {
            0 => node.disconnect(),
            1 => {
                self.summary.crashes += 1;
                node.crash(self.now, &mut self.rng, &mut self.deeds)?
            }
            _ if node.address.is_none() => {
                self.connect(index);
                None
            }
            // A new connection while the old one is half open: its queue stays for a while.
            _ => {
                self.connect(index);
                None
            }
        };
        if let Some(address) = gone {
            self.say(|| format!("node {index} is gone from {address}"));
            self.network.wires().nodes.remove(&address);
        }
        Ok(())
    }

    // Users.

    async fn create_window(&mut self) -> anyhow::Result<()> {
        let window_id = WindowId::from_bits(self.rng.random());
        let duration = self.rng.random_range(1..=3);
        let window = Window {
            window_id: window_id.clone(),
            name: "simulated".to_owned(),
            description: None,
            schedule: "rate(30 minutes)".to_owned(),
            schedule_timezone: None,
            schedule_offset: None,
            start_date: None,
            end_date: None,
            duration,
            cutoff: self.rng.random_range(0..duration),
            allow_unassociated_targets: true,
            enabled: true,
            schedule_base: self.now,
            created_date: self.now,
            modified_date: self.now,
            next_execution_at: None,
        };
        let target = WindowTarget {
            window_target_id: WindowTargetId::from_uuid(self.uuid()),
            window_id: window_id.clone(),
            resource_type: "INSTANCE".to_owned(),
            targets: vec![Target { key: "tag:Patch Group".to_owned(), values: vec!["canary".to_owned()] }],
            owner_information: None,
            name: None,
            description: None,
        };
        let mut tx = self.context.store.begin().await?;
        tx.put_window(&window).await?;
        tx.put_window_target(&target, self.now).await?;
        for _ in 0..self.rng.random_range(0..=3) {
            let by_target = self.rng.random_bool(0.5);
            let targets = if by_target {
                Target { key: "WindowTargetIds".to_owned(), values: vec![target.window_target_id.to_string()] }
            } else {
                Target { key: "tag:Patch Group".to_owned(), values: vec!["production".to_owned()] }
            };
            let cutoff_behavior =
                if self.rng.random_bool(0.5) { CutoffBehavior::CancelTask } else { CutoffBehavior::ContinueTask };
            let request = self.request();
            let task = WindowTask {
                window_task_id: WindowTaskId::from_uuid(self.uuid()),
                window_id: window_id.clone(),
                task_type: "RUN_COMMAND".to_owned(),
                task_arn: request.document_name.clone(),
                targets: vec![targets],
                priority: self.rng.random_range(0..3),
                max_concurrency: request.max_concurrency.clone(),
                max_errors: request.max_errors.clone(),
                error_mode: request.error_mode,
                cutoff_behavior,
                run_command: RunCommandParameters {
                    parameters: request.parameters,
                    timeout_seconds: request.timeout_seconds,
                    ..RunCommandParameters::default()
                },
                service_role_arn: None,
                name: None,
                description: None,
            };
            tx.put_window_task(&task, self.now).await?;
        }
        tx.commit().await?;
        self.windows.push(window_id.clone());
        self.set_enabled(&window_id, true).await
    }

    async fn set_enabled(&mut self, id: &WindowId, enabled: bool) -> anyhow::Result<()> {
        let mut tx = self.context.store.begin().await?;
        let mut window = tx.lock_window(id).await?.context("the window exists")?;
        window.enabled = enabled;
        let timer = Timer::Window { window_id: id.clone() };
        window.next_execution_at = if enabled { window.schedule()?.next_after(self.now) } else { None };
        match window.next_execution_at {
            Some(at) => tx.set_timer(&timer, at).await?,
            None => tx.clear_timer(&timer).await?,
        }
        tx.put_window(&window).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn edit_window(&mut self) -> anyhow::Result<()> {
        let id = self.windows[self.rng.random_range(0..self.windows.len())].clone();
        let enabled = self.rng.random_bool(0.7);
        self.say(|| format!("window {id} enabled: {enabled}"));
        self.set_enabled(&id, enabled).await
    }

    fn request(&mut self) -> CommandRequested {
        let percent = self.rng.random_bool(0.3);
        CommandRequested {
            document_name: "AWS-RunShellScript".to_owned(),
            document_version: None,
            instance_ids: Vec::new(),
            targets: vec![Target {
                key: "tag:Patch Group".to_owned(),
                values: vec!["canary".to_owned(), "production".to_owned()],
            }],
            parameters: [
                ("commands".to_owned(), vec!["true".to_owned()]),
                ("executionTimeout".to_owned(), vec![self.rng.random_range(5..120).to_string()]),
            ]
            .into(),
            max_concurrency: Some(if percent { "30%".to_owned() } else { self.rng.random_range(1..5).to_string() }),
            max_errors: Some(self.rng.random_range(0..4).to_string()),
            error_mode: if self.rng.random_bool(0.5) { ErrorMode::Strict } else { ErrorMode::Ssm },
            timeout_seconds: Some(self.rng.random_range(30..600)),
            comment: None,
            notification_config: None,
        }
    }

    async fn request_command(&mut self) -> anyhow::Result<()> {
        let request = self.request();
        let id = self.uuid();
        self.say(|| format!("command {id} is requested"));
        if self.rng.random_bool(0.5) {
            // Another system publishes an event, perhaps twice.
            let message = OutboxMessage::event(id, "/elsewhere", self.now, request);
            for _ in 0..self.rng.random_range(1..=2) {
                self.publish(&message);
            }
            return Ok(());
        }
        let command_id = CommandId::from_uuid(id);
        let mut tx = self.context.store.begin().await?;
        let launched = launch(&mut tx, Launch { command_id, request, window: None }, self.now).await?;
        tx.commit().await?;
        if self.rng.random_bool(0.9) {
            self.flush(launched.messages).await?;
        }
        Ok(())
    }

    fn request_window(&mut self) -> anyhow::Result<()> {
        let window_id = self.windows[self.rng.random_range(0..self.windows.len())].clone();
        self.say(|| format!("window {window_id} is requested"));
        let id = self.uuid();
        self.publish(&OutboxMessage::event(
            id,
            "/elsewhere",
            self.now,
            WindowStartRequested { window_id, reason: None },
        ));
        Ok(())
    }

    async fn cancel(&mut self) -> anyhow::Result<()> {
        let commands = self.context.store.commands(None, 50).await?;
        if commands.is_empty() {
            return Ok(());
        }
        let command = &commands[self.rng.random_range(0..commands.len())];
        let id = self.uuid();
        let message = match command.window_execution_id.filter(|_| self.rng.random_bool(0.5)) {
            Some(execution_id) => OutboxMessage::event(id, "/user", self.now, WindowCancelRequested { execution_id }),
            None => {
                let node_ids = if self.rng.random_bool(0.5) {
                    vec![self.nodes[self.rng.random_range(0..self.nodes.len())].facts.node_id.clone()]
                } else {
                    Vec::new()
                };
                let request =
                    RolloutCancelRequested { command_id: command.command_id, node_ids, reason: String::new() };
                OutboxMessage::event(id, "/user", self.now, request)
            }
        };
        self.say(|| format!("cancels {}", command.command_id));
        self.publish(&message);
        Ok(())
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.random())
    }
}

/// Where the process dies that handles a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Never,
    BeforeApplying,
    AfterCommit,
    WhilePublishing(usize),
    BeforeAcknowledging,
}

/// A guard against a world in which nothing happens.
///
/// # Errors
/// When the seeds together did too little to mean anything.
pub fn ensure_eventful(total: &Summary, seeds: usize) -> anyhow::Result<()> {
    ensure!(total.executions > seeds, "{} executions in {seeds} seeds", total.executions);
    ensure!(total.crashes > seeds, "{} crashes in {seeds} seeds", total.crashes);
    ensure!(total.faults > seeds, "{} faults in {seeds} seeds", total.faults);
    ensure!(total.window_executions > seeds, "{} window executions in {seeds} seeds", total.window_executions);
    Ok(())
}
