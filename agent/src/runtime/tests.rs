//! The agent on a transport that a test can cut, repeat and look into.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::command::{Action, CancelInvocation, RenderedDocument, RunInvocation, Step};
use patchwave_schemas::envelope::{CloudEvent, Message};
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::report::{
    InvocationFinished, InvocationProgressed, NodeConnected, NodeHeartbeat, OUTPUT_CHARS_MAX, Outcome,
};
use patchwave_schemas::{CommandId, NodeId};
use tokio::sync::Notify;
use uuid::Uuid;

use super::*;
use crate::execute::HostRunner;
use crate::journal::MemoryJournal;
use crate::report::Report;
use crate::simulate::{Simulation, SimulationOptions};
use crate::transport::{Attached, Connection, Incoming, Link, Ticket, Transport, TransportError};

/// A bus of one test: it hands out the current connection and keeps what is reported.
#[derive(Clone)]
struct TestBus {
    shared: Arc<Shared>,
}

struct Shared {
    reports: mpsc::UnboundedSender<Report>,
    current: Mutex<Option<(mpsc::UnboundedSender<Incoming>, CancellationToken)>>,
    /// Reports are not confirmed, as if the broker had stopped answering.
    mute: AtomicBool,
    /// Confirms what was reported while it was mute.
    confirm: Notify,
    acknowledged: Mutex<usize>,
}

impl TestBus {
    fn new() -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (reports, receiver) = mpsc::unbounded_channel();
        let shared = Shared {
            reports,
            current: Mutex::default(),
            mute: AtomicBool::new(false),
            confirm: Notify::new(),
            acknowledged: Mutex::default(),
        };
        (Self { shared: Arc::new(shared) }, receiver)
    }

    fn send<M: Message>(&self, node: Option<&NodeId>, data: M) {
        let body = CloudEvent::new(Uuid::nil(), "/test", Timestamp::now(), data).to_bytes();
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, _) = current.as_ref().expect("connected");
        sender.send(Incoming { node_id: node.cloned(), body, ticket: Ticket::default() }).expect("listened to");
    }

    fn acknowledged(&self) -> usize {
        *self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many commands are acknowledged, and no more.
    async fn has_acknowledged(&self, count: usize) {
        for _ in 0..1_000 {
            if self.acknowledged() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.acknowledged(), count);
    }

    fn cut(&self) {
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).take();
        current.expect("connected").1.cancel();
    }
}

#[async_trait]
impl Transport for TestBus {
    async fn connect(&self) -> Result<Connection, TransportError> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let lost = CancellationToken::new();
        *self.shared.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((sender, lost.clone()));
        Ok(Connection { incoming, lost, link: Arc::new(self.clone()) })
    }
}

#[async_trait]
impl Link for TestBus {
    async fn attach(&self, nodes: &[NodeId]) -> Result<Vec<Attached>, TransportError> {
        let session: Arc<str> = Uuid::new_v4().to_string().into();
        let attached =
            |node: &NodeId| Attached { address: format!("patchwave.node.{node}").into(), session: session.clone() };
        Ok(nodes.iter().map(attached).collect())
    }
    async fn detach(&self, _: &[NodeId]) -> Result<(), TransportError> {
        Ok(())
    }
    async fn acknowledge(&self, tickets: Vec<Ticket>) -> Result<(), TransportError> {
        *self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) += tickets.len();
        Ok(())
    }
    async fn report(&self, reports: &[Report]) -> Result<(), TransportError> {
        reports.iter().for_each(|report| self.shared.reports.send(report.clone()).expect("looked at"));
        if self.shared.mute.load(Ordering::Relaxed) {
            self.shared.confirm.notified().await;
        }
        Ok(())
    }
    async fn close(&self) {}
}

/// An agent under test. Everything it does is bounded by the timeout in [`Scene::next`].
struct Scene {
    bus: TestBus,
    reports: mpsc::UnboundedReceiver<Report>,
    stop: CancellationToken,
    agent: tokio::task::JoinHandle<Result<(), JournalError>>,
    handle: AgentHandle,
}

impl Scene {
    fn of(nodes: Vec<AgentNode>) -> Self {
        let (bus, reports) = TestBus::new();
        let options = AgentOptions { stop_grace: Duration::from_millis(100), ..AgentOptions::default() };
        let agent = Agent::new(nodes, options);
        let (stop, handle) = (CancellationToken::new(), agent.handle());
        let agent = tokio::spawn(agent.run(Arc::new(bus.clone()), stop.clone()));
        Self { bus, reports, stop, agent, handle }
    }

    /// The next report of a type; others are passed over.
    async fn next<M: Message>(&mut self) -> M {
        let find = async {
            loop {
                let report = self.reports.recv().await.expect("the agent runs");
                if report.message_type == M::TYPE {
                    return CloudEvent::from_bytes(&report.body).expect("of its type").data;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), find).await.expect("reported in time")
    }

    async fn stopped(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.agent).await;
        ended.expect("stopped in time").expect("no panic").expect("a readable journal");
    }
}

fn host(directory: &std::path::Path, journal: MemoryJournal) -> AgentNode {
    let simulation = Simulation::new(SimulationOptions { count: 1, ..SimulationOptions::default() });
    let facts = simulation.facts(0);
    let runner = HostRunner {
        node_id: facts.node_id.clone(),
        operating_system: OperatingSystem::Debian,
        state_dir: directory.to_owned(),
        packages: None,
        can_reboot: false,
    };
    AgentNode {
        facts,
        runner: Arc::new(runner),
        journal: Box::new(journal),
        policy: Policy::default(),
        fingerprint: None,
        online: true,
    }
}

fn script(node: &NodeId, number: u128, timeout_seconds: u32, lines: &[&str]) -> RunInvocation {
    let now = Timestamp::now();
    let step = |(index, line): (usize, &&str)| Step {
        name: format!("step{index}"),
        timeout_seconds,
        action: Action::RunShellScript {
            commands: vec![(*line).to_owned()],
            working_directory: None,
            environment: [("WORD".to_owned(), "it's $HOME".to_owned())].into(),
        },
        phase: None,
    };
    RunInvocation {
        command_id: CommandId::from_uuid(Uuid::from_u128(number)),
        node_id: node.clone(),
        not_before: now,
        not_after: now + SignedDuration::from_hours(1),
        document: RenderedDocument {
            name: "test".into(),
            version: "1".into(),
            steps: lines.iter().enumerate().map(step).collect(),
        },
        baseline: None,
    }
}

#[tokio::test]
async fn script_runs_once_and_failed_step_does_not_stop_the_document() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::of(vec![host(directory.path(), MemoryJournal::default())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    let run =
        script(&node, 1, 60, &["echo ran >>count; exit 3", "printf '%s' \"$WORD\"; echo \"$AWS_SSM_INSTANCE_ID\" >&2"]);
    scene.bus.send(Some(&node), run.clone());
    scene.bus.send(Some(&node), run.clone());
    let end: InvocationFinished = scene.next().await;
    scene.bus.send(Some(&node), run);
    scene.bus.send(Some(&node), script(&node, 2, 60, &["true"]));
    assert_eq!(scene.next::<InvocationFinished>().await.outcome, Outcome::Success);
    assert_eq!(end.outcome, Outcome::Failed);
    assert_eq!((end.steps[0].exit_code, end.steps[1].exit_code), (3, 0));
    assert_eq!(end.steps[1].stdout, "it's $HOME", "parameters are not pasted into the script");
    assert_eq!(end.steps[1].stderr.trim(), node.as_str());
    assert_eq!(std::fs::read_to_string(directory.path().join("count")).expect("written"), "ran\n");
    assert_eq!(std::fs::read_dir(directory.path().join("scripts")).expect("listed").count(), 0, "scripts are removed");
    let bus = scene.bus.clone();
    scene.stopped().await;
    assert_eq!(bus.acknowledged(), 4);
}

#[tokio::test]
async fn busy_agent_acknowledges_with_its_confirms_and_before_too_many_wait() {
    let simulation = Simulation::new(SimulationOptions { count: 1, ..SimulationOptions::default() });
    let mut scene = Scene::of(simulation.nodes(Policy::default()));
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    scene.bus.shared.mute.store(true, Ordering::Relaxed);
    // Idle: at once.
    scene.bus.send(Some(&node), script(&node, 1, 60, &["true"]));
    scene.next::<InvocationFinished>().await;
    scene.bus.has_acknowledged(1).await;
    // Busy: with the confirms.
    scene.bus.send(Some(&node), script(&node, 2, 60, &["true"]));
    scene.next::<InvocationFinished>().await;
    assert_eq!(scene.bus.acknowledged(), 1);
    scene.bus.shared.confirm.notify_waiters();
    scene.bus.has_acknowledged(2).await;
    // A shared queue hands out no more than a thousand in advance, whatever is confirmed.
    for number in 3..603 {
        scene.bus.send(Some(&node), script(&node, number, 60, &["true"]));
        if number == 3 {
            scene.next::<InvocationFinished>().await;
        }
    }
    for _ in 4..603 {
        scene.next::<InvocationFinished>().await;
    }
    assert!(scene.bus.acknowledged() >= 512, "{}", scene.bus.acknowledged());
    scene.bus.shared.mute.store(false, Ordering::Relaxed);
    scene.bus.shared.confirm.notify_waiters();
    scene.bus.has_acknowledged(602).await;
    scene.stopped().await;
}

/// Waits until the process that wrote its id to `path` is gone.
async fn gone(path: &std::path::Path) {
    let id: i32 = std::fs::read_to_string(path).expect("written").trim().parse().expect("a process id");
    let process = rustix::process::Pid::from_raw(id).expect("a process id");
    for _ in 0..500 {
        if rustix::process::test_kill_process(process).is_err() {
            return;
        }
        // A killed orphan stays a zombie until somebody reaps it.
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        if state.contains(") Z ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("process {id} is still there");
}

/// Waits until a script says in a file that it is under way.
async fn written(path: &std::path::Path) {
    for _ in 0..1_000 {
        if std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n')) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} was never written", path.display());
}

const BACKGROUND: &str = "sleep 300 & echo $! >pid.new; mv pid.new pid; wait";

#[tokio::test]
async fn cancellation_kills_the_whole_process_group() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::of(vec![host(directory.path(), MemoryJournal::default())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    let run = script(&node, 1, 600, &[BACKGROUND, "touch never"]);
    let cancel = CancelInvocation { command_id: run.command_id, node_id: node.clone() };
    scene.bus.send(Some(&node), run);
    let pid = directory.path().join("pid");
    written(&pid).await;
    scene.bus.send(Some(&node), cancel);
    let end: InvocationFinished = scene.next().await;
    assert_eq!(end.outcome, Outcome::Cancelled);
    assert_eq!(end.steps[1].outcome, Outcome::Cancelled);
    assert!(!directory.path().join("never").exists());
    gone(&pid).await;
    scene.stopped().await;
}

#[tokio::test]
async fn timeout_kills_the_whole_process_group_and_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::of(vec![host(directory.path(), MemoryJournal::default())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    scene.bus.send(Some(&node), script(&node, 1, 1, &[BACKGROUND, "true"]));
    let end: InvocationFinished = scene.next().await;
    assert_eq!(end.outcome, Outcome::TimedOut);
    assert_eq!(end.steps[1].outcome, Outcome::Success);
    gone(&directory.path().join("pid")).await;
    scene.stopped().await;
}

#[tokio::test]
async fn endless_output_is_bounded_and_background_processes_do_not_hold_the_end_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::of(vec![host(directory.path(), MemoryJournal::default())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    scene.bus.send(Some(&node), script(&node, 1, 60, &["head -c 3000000 /dev/zero | tr '\\0' x", "sleep 15 & exit 0"]));
    let end: InvocationFinished = scene.next().await;
    assert_eq!(end.outcome, Outcome::Success);
    assert_eq!(end.steps[0].stdout.len(), OUTPUT_CHARS_MAX + "--output truncated--".len());
    let took = end.steps[1].finished_at.duration_since(end.steps[1].started_at);
    assert!(took < SignedDuration::from_secs(10), "{took}");
    scene.stopped().await;
}

#[tokio::test]
async fn exit_codes_with_a_meaning_are_honoured() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::of(vec![host(directory.path(), MemoryJournal::default())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    for (number, (exit, outcome, next)) in [
        ("exit 168", Outcome::Success, Outcome::Skipped),
        ("exit 169", Outcome::Failed, Outcome::Skipped),
        ("exit 194", Outcome::Failed, Outcome::Success),
    ]
    .into_iter()
    .enumerate()
    {
        scene.bus.send(Some(&node), script(&node, number as u128, 60, &[exit, "true"]));
        let end: InvocationFinished = scene.next().await;
        assert_eq!((end.outcome, end.steps[1].outcome), (outcome, next), "{exit}");
        assert_eq!(end.steps[0].stderr.contains("reboot"), exit == "exit 194");
    }
    scene.stopped().await;
}

#[tokio::test]
async fn unconfirmed_report_comes_again_on_the_next_connection_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = MemoryJournal::default();
    let mut scene = Scene::of(vec![host(directory.path(), journal.clone())]);
    let first: NodeConnected = scene.next().await;
    let node = first.facts.node_id;
    scene.bus.shared.mute.store(true, Ordering::Relaxed);
    scene.bus.send(Some(&node), script(&node, 1, 60, &["echo ran >>count"]));
    let end: InvocationFinished = scene.next().await;
    scene.bus.cut();
    let second: NodeConnected = scene.next().await;
    assert_ne!(first.session, second.session);
    assert_eq!(scene.next::<InvocationFinished>().await, end);
    scene.agent.abort();

    let mut scene = Scene::of(vec![host(directory.path(), journal.clone())]);
    assert_eq!(scene.next::<InvocationFinished>().await, end);
    scene.stopped().await;
    assert_eq!(std::fs::read_to_string(directory.path().join("count")).expect("written"), "ran\n");
}

#[tokio::test]
async fn stopped_agent_kills_what_outlasts_its_grace_and_reports_it_after_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let journal = MemoryJournal::default();
    let mut scene = Scene::of(vec![host(directory.path(), journal.clone())]);
    let node = scene.next::<NodeConnected>().await.facts.node_id;
    scene.bus.send(Some(&node), script(&node, 1, 600, &[BACKGROUND]));
    scene.bus.send(Some(&node), script(&node, 2, 600, &["true"]));
    let pid = directory.path().join("pid");
    written(&pid).await;
    scene.stopped().await;
    gone(&pid).await;

    let mut scene = Scene::of(vec![host(directory.path(), journal)]);
    let outcomes = [scene.next::<InvocationFinished>().await.outcome, scene.next::<InvocationFinished>().await.outcome];
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Success]);
    scene.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn progress_and_heartbeats_keep_their_pace() {
    let options = SimulationOptions {
        count: 1,
        duration: Duration::from_secs(100)..=Duration::from_secs(100),
        ..SimulationOptions::default()
    };
    let nodes = Simulation::new(options).nodes(Policy::default());
    let (bus, mut reports) = TestBus::new();
    let stop = CancellationToken::new();
    let agent = tokio::spawn(Agent::new(nodes, AgentOptions::default()).run(Arc::new(bus.clone()), stop.clone()));
    let start = tokio::time::Instant::now();
    let first = reports.recv().await.expect("hello");
    bus.send(Some(&first.node_id), script(&first.node_id, 1, 600, &["true"]));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let report = reports.recv().await.expect("reports");
        seen.push((report.message_type, start.elapsed().as_secs()));
    }
    stop.cancel();
    agent.await.expect("no panic").expect("a readable journal");
    let progressed = InvocationProgressed::TYPE;
    assert_eq!(seen[..3], [(progressed, 3), (progressed, 63), (InvocationFinished::TYPE, 100)]);
    assert_eq!(seen[3].0, NodeHeartbeat::TYPE);
    assert!((270..=330).contains(&seen[3].1), "{seen:?}");
}

#[tokio::test]
async fn many_simulated_nodes_share_one_address_and_all_report() {
    let options =
        SimulationOptions { count: 500, failure_rate: 0.1, offline_share: 0.2, ..SimulationOptions::default() };
    let simulation = Simulation::new(options);
    let mut scene = Scene::of(simulation.nodes(Policy::default()));
    let online: Vec<NodeId> = (0..500)
        .filter(|offset| !simulation.is_offline(*offset))
        .map(|offset| simulation.facts(offset).node_id)
        .collect();
    for _ in &online {
        scene.next::<NodeConnected>().await;
    }
    for node in &online {
        scene.bus.send(None, script(node, 1, 60, &["true"]));
    }
    let mut failed = 0;
    for _ in &online {
        let end: InvocationFinished = scene.next().await;
        assert_eq!(end.steps[0].stdout, "simulated\n");
        failed += usize::from(end.outcome == Outcome::Failed);
    }
    assert!((15..70).contains(&failed), "{failed} of {}", online.len());
    let offline = (0..500).find(|offset| simulation.is_offline(*offset)).expect("some are offline");
    let node = simulation.facts(offline).node_id;
    scene.handle.set_online(&node, true);
    assert_eq!(scene.next::<NodeConnected>().await.facts.node_id, node);
    scene.bus.send(None, script(&node, 1, 60, &["true"]));
    assert_eq!(scene.next::<InvocationFinished>().await.node_id, node);
    scene.stopped().await;
}
