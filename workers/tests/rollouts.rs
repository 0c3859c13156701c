//! What handlers store and what they say about it, on a store of their own and without a bus.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::documents::RUN_SHELL_SCRIPT;
use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{
    CancelCause, CommandRequested, ErrorMode, NotificationConfig, NotificationType, RolloutCancelRequested,
};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::notification::NotificationRaised;
use patchwave_schemas::report::{
    InvocationFinished, InvocationProgressed, NodeConnected, NodeDisconnected, Outcome, ReturnedCommand,
};
use patchwave_schemas::topology::node_queue;
use patchwave_schemas::{CloudEvent, CommandId, Message, NodeId};
use patchwave_workers::dispatcher::Hello;
use patchwave_workers::effects::Effects;
use patchwave_workers::runtime::{Applied, Handler};
use patchwave_workers::{collector, dispatcher};
use uuid::Uuid;

use dispatcher::{Dispatcher, Input};

/// The topic that hears of every invocation.
const TOPIC: &str = "invocations";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn node(number: u128) -> NodeId {
    NodeId::from_bits(number)
}

fn hello(number: u128, session: &str) -> NodeConnected {
    let facts = NodeFacts {
        node_id: node(number),
        computer_name: format!("host-{number}"),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        ip_address: None,
        simulated: true,
        tags: BTreeMap::new(),
    };
    NodeConnected {
        facts,
        address: node_queue(&node(number), session),
        session: session.to_owned(),
        fingerprint: None,
        policy: None,
    }
}

/// A store with connected nodes 0 to `nodes`.
struct World {
    store: Store,
    master_key: MasterKey,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(nodes: u128) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        let hellos: Vec<_> = (0..nodes).map(|number| hello(number, "a")).collect();
        let mut tx = store.begin().await.unwrap();
        tx.nodes_connected(&hellos, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        Self { store, master_key: MasterKey::ephemeral().unwrap(), _directory: directory }
    }

    /// A command on nodes 0 to `targets`, one at a time, that allows no error.
    async fn command(&self, cause: &str, targets: u128) -> CommandId {
        let command_id = CommandId::derived(cause);
        let request = CommandRequested {
            document_name: RUN_SHELL_SCRIPT.to_owned(),
            document_version: None,
            instance_ids: (0..targets).map(|number| node(number).to_string()).collect(),
            targets: Vec::new(),
            parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
            max_concurrency: Some("1".to_owned()),
            max_errors: None,
            error_mode: ErrorMode::Ssm,
            timeout_seconds: Some(60),
            comment: None,
            notification_config: Some(NotificationConfig {
                notification_arn: TOPIC.to_owned(),
                notification_events: vec!["All".to_owned()],
                notification_type: NotificationType::Invocation,
            }),
            rollout_plan: None,
            waves: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        launch(&mut tx, Launch { command_id, request, window: None }, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        command_id
    }

    async fn dispatch(&self, batch: &[Input], now: Timestamp) -> Applied {
        Dispatcher::apply(&self.store, &self.master_key, batch, now).await.unwrap()
    }

    async fn collect(&self, input: collector::Input, now: Timestamp) -> Applied {
        collector::Collector::apply(&self.store, &self.master_key, &[input], now).await.unwrap()
    }

    async fn state(&self, command: CommandId, node: &NodeId) -> State {
        self.store.invocation(command, node).await.unwrap().unwrap().state
    }
}

/// What the topic hears, by node.
fn told(effects: &Effects) -> Vec<(String, String)> {
    let mut told: Vec<_> = effects
        .outbox
        .iter()
        .filter(|message| message.message_type == NotificationRaised::TYPE)
        .map(|message| CloudEvent::<NotificationRaised>::from_bytes(message.body.as_bytes()).unwrap().data)
        .filter(|raised| raised.topic == TOPIC)
        .map(|raised| {
            let text = |field: &str| raised.message[field].as_str().unwrap().to_owned();
            (text("instanceId"), text("statusDetails"))
        })
        .collect();
    told.sort();
    told
}

fn pairs(expected: &[(&NodeId, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = expected.iter().map(|(node, details)| (node.to_string(), (*details).to_owned())).collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn what_the_neighbours_of_a_failing_message_stored_is_carried_out() {
    let world = World::new(3).await;
    let [first, broken, last] =
        [world.command("first", 1).await, world.command("broken", 1).await, world.command("last", 1).await];
    let mut tx = world.store.begin().await.unwrap();
    let mut locked = tx.lock_rollouts(&[broken]).await.unwrap();
    // Counters and rows contradict each other: nothing is left to be released.
    locked[0].plan.cursor = 7;
    tx.save_rollout(&locked[0], at(0)).await.unwrap();
    tx.commit().await.unwrap();

    let applied = world.dispatch(&[first, broken, last].map(Input::Started), at(1)).await;
    let delivered: Vec<_> = applied.effects.deliveries.iter().map(|one| one.command_id).collect();
    assert_eq!(delivered, [first, last]);
    assert_eq!(applied.refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1]);
    assert!(applied.refused[0].1.contains(&broken.to_string()), "{:?}", applied.refused);
    assert!(applied.again.is_empty());
}

#[tokio::test]
async fn progress_tells_nothing_that_the_release_did_not() {
    let world = World::new(1).await;
    let command = world.command("a", 1).await;
    let started = world.dispatch(&[Input::Started(command)], at(1)).await;
    assert_eq!(told(&started.effects), pairs(&[(&node(0), "InProgress")]));
    let progress = InvocationProgressed {
        command_id: command,
        node_id: node(0),
        steps_done: 0,
        steps_total: 1,
        message: String::new(),
    };
    let progressed = world.collect(collector::Input::Progressed(progress), at(2)).await;
    assert_eq!(world.state(command, &node(0)).await, State::Running);
    assert_eq!(told(&progressed.effects), []);
}

#[tokio::test]
async fn endings_by_deadline_are_told() {
    let world = World::new(1).await;
    let command = world.command("a", 1).await;
    world.dispatch(&[Input::Started(command)], at(1)).await;
    let deadline = world.store.invocation(command, &node(0)).await.unwrap().unwrap().deadline_at.unwrap();
    let checked = world.dispatch(&[Input::Check(command)], deadline).await;
    assert_eq!(told(&checked.effects), pairs(&[(&node(0), "DeliveryTimedOut")]));
}

#[tokio::test]
async fn endings_by_cancel_are_told() {
    let world = World::new(3).await;
    let command = world.command("a", 3).await;
    let started = world.dispatch(&[Input::Started(command)], at(1)).await;
    let running = started.effects.deliveries[0].node_id.clone();
    let others: Vec<_> = (0..3).map(node).filter(|node| *node != running).collect();
    let cancel = |node_ids| {
        let cause = CancelCause::Requested;
        let request = RolloutCancelRequested { command_id: command, node_ids, cause, reason: String::new() };
        Input::Cancel(Box::new(CloudEvent::new(Uuid::nil(), "/test", at(2), request)))
    };

    let one = world.dispatch(&[cancel(vec![others[0].clone()])], at(2)).await;
    assert_eq!(told(&one.effects), pairs(&[(&others[0], "Cancelled")]));
    let all = world.dispatch(&[cancel(Vec::new())], at(3)).await;
    assert_eq!(told(&all.effects), pairs(&[(&running, "Cancelling"), (&others[1], "Cancelled")]));
}

#[tokio::test]
async fn endings_by_the_error_threshold_are_told() {
    let world = World::new(3).await;
    let command = world.command("a", 3).await;
    let started = world.dispatch(&[Input::Started(command)], at(1)).await;
    let failing = started.effects.deliveries[0].node_id.clone();
    let others: Vec<_> = (0..3).map(node).filter(|node| *node != failing).collect();
    let report = InvocationFinished {
        command_id: command,
        node_id: failing.clone(),
        outcome: Outcome::Failed,
        reason: String::new(),
        started_at: at(1),
        finished_at: at(2),
        steps: Vec::new(),
    };
    let failed = world.collect(collector::Input::Finished(Box::new(report)), at(2)).await;
    let expected = [(&failing, "Failed"), (&others[0], "Terminated"), (&others[1], "Terminated")];
    assert_eq!(told(&failed.effects), pairs(&expected));
}

#[tokio::test]
async fn a_node_that_is_away_and_comes_back_is_told_each_time() {
    let world = World::new(1).await;
    let command = world.command("a", 1).await;
    let mut deliveries = world.dispatch(&[Input::Started(command)], at(1)).await.effects.deliveries;
    for round in 0..2 {
        let returned = dispatcher::returned::apply(&world.store, &deliveries, at(10 * round + 2)).await.unwrap();
        assert_eq!(told(&returned), pairs(&[(&node(0), "Delayed")]));
        let session = format!("b{round}");
        let back = Input::Connected(Box::new(Hello { hello: hello(0, &session), registered: false }));
        let connected = world.dispatch(&[back], at(10 * round + 3)).await;
        assert_eq!(told(&connected.effects), pairs(&[(&node(0), "InProgress")]));
        deliveries = connected.effects.deliveries;
    }
}

/// A hello through a gateway.
fn through_gateway(number: u128, session: &str) -> Input {
    let hello = NodeConnected { address: "patchwave.host.1".to_owned(), ..hello(number, session) };
    Input::Connected(Box::new(Hello { hello, registered: false }))
}

#[tokio::test]
async fn what_a_gateway_gives_back_waits_once_and_frees_one_slot() {
    let world = World::new(0).await;
    world.dispatch(&[through_gateway(0, "0190a"), through_gateway(1, "0190b")], at(0)).await;
    // One at a time.
    let command = world.command("a", 2).await;
    let released = world.dispatch(&[Input::Started(command)], at(1)).await.effects.deliveries;
    let [one] = released.as_slice() else { panic!("{released:?}") };
    assert_eq!((one.address.as_str(), one.frees_slot, one.attempt), ("patchwave.host.1", true, 1));
    let session = if one.node_id == node(0) { "0190a" } else { "0190b" };
    let news = |returned| {
        Input::Disconnected(NodeDisconnected {
            node_id: one.node_id.clone(),
            address: one.address.clone(),
            session: session.to_owned(),
            returned,
        })
    };
    let command_back = ReturnedCommand { command_id: command, attempt: 1 };
    let after = world.dispatch(&[news(vec![command_back.clone()])], at(2)).await.effects;
    assert_eq!(world.state(command, &one.node_id).await, State::Waiting);
    assert_eq!(world.store.node(&one.node_id).await.unwrap().unwrap().address, None);
    // The slot that came back is the other node's.
    let [next] = after.deliveries.as_slice() else { panic!("{after:?}") };
    assert_ne!(next.node_id, one.node_id);
    for _ in 0..2 {
        let again = world.dispatch(&[news(vec![command_back.clone()])], at(3)).await.effects;
        assert_eq!(again.deliveries, []);
    }
    let rollout = world.store.command(command).await.unwrap().unwrap().rollout;
    assert_eq!((rollout.in_flight, rollout.waiting), (1, 1));
}

#[tokio::test]
async fn a_lost_stream_alone_leaves_in_flight_what_its_node_may_have() {
    let world = World::new(0).await;
    world.dispatch(&[through_gateway(0, "0190a")], at(0)).await;
    let command = world.command("a", 1).await;
    world.dispatch(&[Input::Started(command)], at(1)).await;
    let lost = NodeDisconnected {
        node_id: node(0),
        address: "patchwave.host.1".to_owned(),
        session: "0190a".to_owned(),
        returned: Vec::new(),
    };
    world.dispatch(&[Input::Disconnected(lost)], at(2)).await;
    assert_eq!(world.state(command, &node(0)).await, State::Released);
    // Its next hello repeats it, as a delivery that frees nothing.
    let repeated = world.dispatch(&[through_gateway(0, "0190b")], at(3)).await.effects.deliveries;
    assert_eq!(repeated.iter().map(|one| (one.attempt, one.frees_slot)).collect::<Vec<_>>(), [(2, false)]);
    // What is said of the first delivery now is too late.
    let late = NodeDisconnected {
        node_id: node(0),
        address: "patchwave.host.1".to_owned(),
        session: "0190a".to_owned(),
        returned: vec![ReturnedCommand { command_id: command, attempt: 1 }],
    };
    world.dispatch(&[Input::Disconnected(late)], at(4)).await;
    assert_eq!(world.state(command, &node(0)).await, State::Released);
    assert!(world.store.node(&node(0)).await.unwrap().unwrap().address.is_some(), "it has a newer session");
}

#[tokio::test]
async fn a_node_that_comes_back_too_late_to_start_is_not_given_its_command() {
    let world = World::new(1).await;
    let command = world.command("a", 1).await;
    let deliveries = world.dispatch(&[Input::Started(command)], at(1)).await.effects.deliveries;
    dispatcher::returned::apply(&world.store, &deliveries, at(2)).await.unwrap();
    // Reached within 60 s of its release, or not at all.
    let connected =
        world.dispatch(&[Input::Connected(Box::new(Hello { hello: hello(0, "b"), registered: false }))], at(62)).await;
    assert_eq!(connected.effects.deliveries, []);
    assert_eq!(world.state(command, &node(0)).await, State::Ended(Ending::DeliveryTimedOut));
    assert!(world.store.command(command).await.unwrap().unwrap().rollout.is_finished());
}

#[tokio::test]
async fn a_late_hello_of_an_older_connection_does_not_keep_a_command_from_its_node() {
    let world = World::new(1).await;
    world.dispatch(&[Input::Connected(Box::new(Hello { hello: hello(0, "older"), registered: false }))], at(1)).await;
    let command = world.command("a", 1).await;
    let deliveries = world.dispatch(&[Input::Started(command)], at(2)).await.effects.deliveries;
    assert_eq!(deliveries[0].address, hello(0, "older").address);
    let again = dispatcher::returned::apply(&world.store, &deliveries, at(3)).await.unwrap().deliveries;
    assert_eq!(again.iter().map(|one| one.address.as_str()).collect::<Vec<_>>(), [hello(0, "a").address]);
}

#[tokio::test]
async fn a_cutoff_is_told_from_a_wish_by_its_cause_and_not_by_its_words() {
    let world = World::new(1).await;
    for (cause, details) in [(CancelCause::Cutoff, "CutoffReached"), (CancelCause::Requested, "Cancelled")] {
        let command_id = world.command(details, 1).await;
        let request = RolloutCancelRequested { command_id, node_ids: Vec::new(), cause, reason: "cutoff".to_owned() };
        let event = CloudEvent::new(Uuid::nil(), "/test", at(1), request);
        world.dispatch(&[Input::Cancel(Box::new(event))], at(1)).await;
        let command = world.store.command(command_id).await.unwrap().unwrap();
        assert_eq!(command.rollout.status().1, details);
    }
}
