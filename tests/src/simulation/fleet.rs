//! Simulated nodes: the agent's own core and journal, with work that only takes time.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use patchwave_agent::execute::{Execution, ExecutionEnd, Job, Mode};
use patchwave_agent::journal::MemoryJournal;
use patchwave_agent::node::{Effect, NodeCore, Policy};
use patchwave_agent::report::{Introduction, Report};
use patchwave_agent::trust::Trust;
use patchwave_schemas::CloudEvent;
use patchwave_schemas::command::RunInvocation;
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::{Outcome, StepResult};
use patchwave_schemas::topology::node_queue;
use patchwave_schemas::{CommandId, NodeId};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// One node, its journal, and what it is doing.
pub struct SimNode {
    /// Who it is.
    pub facts: NodeFacts,
    journal: MemoryJournal,
    /// Whose messages it acts on; all that it takes otherwise.
    policy: Policy,
    core: NodeCore,
    /// Its queue while it is connected.
    pub address: Option<String>,
    /// Work in hand, and when it is done.
    pub working: Option<(Job, Timestamp)>,
    /// Reports that the bus has not confirmed.
    pub outgoing: Vec<Report>,
    /// Clock times at which it wants to be woken.
    pub wake_at: Vec<Timestamp>,
    /// Until when it says nothing, although it is connected and works.
    pub silent_until: Option<Timestamp>,
    /// How often its work fails: 0 to 1.
    failing: f64,
    /// How often it falls silent after it was given a command: 0 to 1.
    silent: f64,
    sessions: u32,
}

/// What all nodes have done, for the invariants.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Times each command was executed from its first step.
    pub executed: BTreeMap<(CommandId, NodeId), u32>,
    /// How executions ended on the node, whatever became of the report.
    pub ended: BTreeMap<(CommandId, NodeId), Outcome>,
    /// What nodes have been given, wherever it stands with them.
    pub told: BTreeSet<(CommandId, NodeId)>,
    /// What each node is doing, and until when.
    pub working: BTreeMap<NodeId, (CommandId, Timestamp)>,
    /// When each execution started, with the message's own bounds.
    pub started: Vec<(CommandId, Timestamp, Timestamp, Timestamp)>,
}

impl SimNode {
    /// Node number `index`, never connected, with how often it fails and falls silent.
    #[must_use]
    pub fn new(index: u32, group: &str, trust: Trust, failing: f64, silent: f64) -> Self {
        let node_id = NodeId::from_bits(u128::from(index) + 1);
        let journal = MemoryJournal::default();
        let tags = BTreeMap::from([("Patch Group".to_owned(), group.to_owned())]);
        let facts = NodeFacts {
            node_id: node_id.clone(),
            computer_name: format!("simulated-{index}"),
            operating_system: OperatingSystem::Debian,
            platform_name: "Debian GNU/Linux".to_owned(),
            platform_version: "12".to_owned(),
            agent_version: "simulation".to_owned(),
            ip_address: None,
            simulated: true,
            tags,
        };
        let policy = Policy { trust, ..Policy::default() };
        let core = NodeCore::new(node_id, Box::new(journal.clone())).with_policy(policy.clone());
        Self {
            facts,
            journal,
            policy,
            core,
            address: None,
            working: None,
            outgoing: Vec::new(),
            wake_at: Vec::new(),
            silent_until: None,
            failing,
            silent,
            sessions: 0,
        }
    }

    /// Connects with a new session: says hello, and repeats what was not confirmed.
    pub fn connect(&mut self, now: Timestamp) -> String {
        self.sessions += 1;
        // What the old connection did not carry is in the journal; its hello is nobody's business now.
        self.outgoing.clear();
        let session = self.sessions.to_string();
        let address = node_queue(&self.facts.node_id, &session);
        self.address = Some(address.clone());
        self.outgoing.push(Report::connected(&self.facts, &Introduction::default(), &address, &session, now));
        self.outgoing.extend(self.core.unconfirmed());
        address
    }

    /// Where it listened before, if it did.
    #[must_use]
    pub fn former_address(&self) -> Option<String> {
        let before = self.sessions.checked_sub(1).filter(|session| *session > 0)?;
        Some(node_queue(&self.facts.node_id, &before.to_string()))
    }

    /// Whether it says nothing at the moment.
    #[must_use]
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    /// Loses its connection; returns the address that is gone.
    pub fn disconnect(&mut self) -> Option<String> {
        // What was not confirmed is in the journal, and is repeated after the next connect.
        self.outgoing.clear();
        self.address.take()
    }

    /// Dies and starts again from its journal, not connected.
    ///
    /// # Errors
    /// A journal that cannot be read back.
    pub fn crash(&mut self, now: Timestamp, rng: &mut ChaCha8Rng, deeds: &mut Deeds) -> anyhow::Result<Option<String>> {
        let address = self.disconnect();
        self.working = None;
        deeds.working.remove(&self.facts.node_id);
        self.wake_at.clear();
        let (core, effects) =
            NodeCore::restart(self.facts.node_id.clone(), Box::new(self.journal.clone()), self.policy.clone(), now)?;
        self.core = core;
        self.apply(effects, now, rng, deeds)?;
        // Told again after the next connect.
        self.outgoing.clear();
        Ok(address)
    }

    /// Takes a message from its queue.
    ///
    /// # Errors
    /// An invariant that broke, or the journal.
    pub fn receive(
        &mut self,
        body: &[u8],
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        deeds: &mut Deeds,
    ) -> anyhow::Result<()> {
        if let Ok(run) = CloudEvent::<RunInvocation>::from_bytes(body) {
            deeds.told.insert((run.data.command_id, self.facts.node_id.clone()));
            if rng.random_bool(self.silent) {
                self.silent_until = Some(now + SignedDuration::from_secs(rng.random_range(60..3_000)));
            }
        }
        let effects = self.core.handle(body, now)?;
        self.apply(effects, now, rng, deeds)
    }

    /// Ends the work in hand if its time has come.
    ///
    /// # Errors
    /// An invariant that broke, or the journal.
    pub fn work(&mut self, now: Timestamp, rng: &mut ChaCha8Rng, deeds: &mut Deeds) -> anyhow::Result<()> {
        let due: Vec<_> = self.wake_at.extract_if(.., |at| *at <= now).collect();
        if !due.is_empty() {
            let effects = self.core.wake(now)?;
            self.apply(effects, now, rng, deeds)?;
        }
        if let Some((job, _)) = self.working.take_if(|(_, done_at)| *done_at <= now) {
            let outcome = if rng.random_bool(self.failing) { Outcome::Failed } else { Outcome::Success };
            self.end(&job, outcome, now, rng, deeds)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        job: &Job,
        outcome: Outcome,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        deeds: &mut Deeds,
    ) -> anyhow::Result<()> {
        let command_id = job.invocation.command_id;
        deeds.working.remove(&self.facts.node_id);
        deeds.ended.insert((command_id, self.facts.node_id.clone()), outcome);
        let steps = vec![StepResult {
            name: "simulated".to_owned(),
            outcome,
            exit_code: i32::from(outcome != Outcome::Success),
            started_at: job.started_at,
            finished_at: now,
            stdout: String::new(),
            stderr: String::new(),
        }];
        let end = ExecutionEnd::Done { steps, scans: Vec::new(), reason: String::new() };
        let effects = self.core.finished(Execution { command_id, end }, now)?;
        self.apply(effects, now, rng, deeds)
    }

    fn apply(
        &mut self,
        effects: Vec<Effect>,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        deeds: &mut Deeds,
    ) -> anyhow::Result<()> {
        for effect in effects {
            match effect {
                Effect::Start(job) => {
                    let invocation = &job.invocation;
                    let key = (invocation.command_id, self.facts.node_id.clone());
                    if matches!(job.mode, Mode::Fresh) {
                        let times = deeds.executed.entry(key.clone()).or_default();
                        *times += 1;
                        ensure!(*times == 1, "{} ran twice on {}", key.0, key.1);
                        deeds.started.push((key.0, now, invocation.not_before, invocation.not_after));
                    }
                    let longest = i64::from(invocation.document.steps.first().map_or(5, |step| step.timeout_seconds));
                    let done_at = now + SignedDuration::from_secs(rng.random_range(0..=longest));
                    deeds.working.insert(key.1, (key.0, done_at));
                    self.working = Some((job, done_at));
                }
                Effect::Kill(command) => {
                    if let Some((job, _)) = self.working.take_if(|(job, _)| job.invocation.command_id == command) {
                        self.end_cancelled(&job, now, rng, deeds)?;
                    }
                }
                Effect::Report(report) => self.outgoing.push(report),
                Effect::WakeAt(at) => self.wake_at.push(at),
                // Nobody here signs with a key that is not known.
                Effect::AskForKeys => {}
                Effect::Reboot(_) => anyhow::bail!("nothing here needs a reboot"),
            }
        }
        Ok(())
    }

    fn end_cancelled(
        &mut self,
        job: &Job,
        now: Timestamp,
        rng: &mut ChaCha8Rng,
        deeds: &mut Deeds,
    ) -> anyhow::Result<()> {
        self.end(job, Outcome::Cancelled, now, rng, deeds)
    }

    /// A progress report, if it is at work.
    pub fn progress(&mut self, now: Timestamp) {
        let Some((job, _)) = &self.working else { return };
        let data = patchwave_schemas::report::InvocationProgressed {
            command_id: job.invocation.command_id,
            node_id: self.facts.node_id.clone(),
            steps_done: 0,
            steps_total: 1,
            message: String::new(),
        };
        self.outgoing.extend(self.core.progressed(data, now));
    }

    /// Notes that the bus has confirmed a report.
    ///
    /// # Errors
    /// The journal.
    pub fn confirmed(&mut self, report: &Report, now: Timestamp) -> anyhow::Result<()> {
        if let Some(command) = report.settles {
            self.core.confirmed(command, now)?;
        }
        Ok(())
    }
}
