//! Who is believed: what strangers, nodes that were cut off and copied machines say changes nothing
//! and is counted.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::documents::RUN_SHELL_SCRIPT;
use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::bus::{Delivery, Sender};
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::registration::deregister;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::identities::Identity;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{CommandRequested, ErrorMode};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::{InvocationFinished, NodeConnected, Outcome};
use patchwave_schemas::topology::node_queue;
use patchwave_schemas::{CloudEvent, CommandId, NodeId};
use patchwave_workers::collector::Collector;
use patchwave_workers::dispatcher::Dispatcher;
use patchwave_workers::runtime::Handler;
use uuid::Uuid;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn node() -> NodeId {
    NodeId::from_bits(1)
}

struct World {
    store: Store,
    master_key: MasterKey,
    _directory: tempfile::TempDir,
}

impl World {
    /// A control plane with one registered node, whose machine looks like `v1:own`.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        let world = Self { store, master_key: MasterKey::ephemeral().unwrap(), _directory: directory };
        let identity = Identity {
            node_id: node(),
            public_key: "key".to_owned(),
            fingerprint: "v1:own".to_owned(),
            activation_id: Uuid::nil(),
            name: None,
            iam_role: "role".to_owned(),
            registered_at: at(0),
            deregistered_at: None,
        };
        let mut tx = world.store.begin().await.unwrap();
        tx.put_identity(&identity).await.unwrap();
        tx.commit().await.unwrap();
        world
    }

    /// Takes a message as it comes from the bus; `false` when it is buried.
    async fn take<H: Handler>(&self, body: Vec<u8>, sender: Sender) -> bool {
        let delivery = Delivery { tag: 1, body, redelivered: false, death: None, sender };
        let Ok(input) = H::decode(&delivery) else { return false };
        let applied = H::apply(&self.store, &self.master_key, &[input], at(5)).await.unwrap();
        assert!(applied.refused.is_empty() && applied.again.is_empty());
        true
    }

    async fn hello(&self, fingerprint: Option<&str>, sender: Sender) -> bool {
        let node = node();
        let facts = NodeFacts {
            node_id: node.clone(),
            computer_name: "host".to_owned(),
            operating_system: OperatingSystem::Debian,
            platform_name: "Debian GNU/Linux".to_owned(),
            platform_version: "12".to_owned(),
            agent_version: "0.1.0".to_owned(),
            ip_address: None,
            simulated: false,
            tags: BTreeMap::new(),
        };
        let hello = NodeConnected {
            facts,
            address: node_queue(&node, "s"),
            session: "s".to_owned(),
            fingerprint: fingerprint.map(str::to_owned),
            policy: None,
        };
        let event = CloudEvent::new(Uuid::new_v4(), format!("/node/{node}"), at(1), hello);
        self.take::<Dispatcher>(event.to_bytes(), sender).await
    }

    async fn is_connected(&self) -> bool {
        self.store.node(&node()).await.unwrap().is_some_and(|node| node.address.is_some())
    }

    /// A command that was released to the node.
    async fn command(&self) -> CommandId {
        let command_id = CommandId::derived("command");
        let request = CommandRequested {
            document_name: RUN_SHELL_SCRIPT.to_owned(),
            document_version: None,
            instance_ids: vec![node().to_string()],
            targets: Vec::new(),
            parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
            max_concurrency: None,
            max_errors: None,
            error_mode: ErrorMode::Ssm,
            timeout_seconds: None,
            comment: None,
            notification_config: None,
            rollout_plan: None,
            waves: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        launch(&mut tx, Launch { command_id, request, window: None }, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        let started = [patchwave_workers::dispatcher::Input::Started(command_id)];
        Dispatcher::apply(&self.store, &self.master_key, &started, at(1)).await.unwrap();
        command_id
    }

    async fn finished(&self, command_id: CommandId, sender: Sender) -> bool {
        let report = InvocationFinished {
            command_id,
            node_id: node(),
            outcome: Outcome::Success,
            reason: String::new(),
            started_at: at(2),
            finished_at: at(3),
            steps: Vec::new(),
        };
        let event = CloudEvent::new(Uuid::new_v4(), format!("/node/{}", node()), at(3), report);
        self.take::<Collector>(event.to_bytes(), sender).await
    }

    async fn state(&self, command: CommandId) -> State {
        self.store.invocation(command, &node()).await.unwrap().unwrap().state
    }

    async fn refused(&self, reason: Refusal) -> u64 {
        self.store.refused_reports().await.unwrap().into_iter().find(|(one, _)| *one == reason).unwrap().1
    }
}

fn own() -> Sender {
    Sender::Node(node())
}

#[tokio::test]
async fn a_registered_node_is_believed_about_itself_alone() {
    let world = World::new().await;
    for stranger in [Sender::Node(NodeId::from_bits(2)), Sender::Unknown(String::new()), Sender::Unknown("x".into())] {
        assert!(!world.hello(Some("v1:own"), stranger).await);
        assert!(!world.is_connected().await);
    }
    assert!(world.hello(Some("v1:own"), own()).await);
    assert!(world.is_connected().await);
}

#[tokio::test]
async fn a_copied_machine_is_not_the_node() {
    let world = World::new().await;
    // A gateway publishes in the control plane's name.
    for sender in [own(), Sender::ControlPlane] {
        for other in [Some("v1:copy"), None] {
            assert!(world.hello(other, sender.clone()).await);
            assert!(!world.is_connected().await);
        }
    }
    assert_eq!(world.refused(Refusal::OtherFingerprint).await, 4);
}

#[tokio::test]
async fn a_deregistered_node_is_not_believed_whoever_speaks_for_it() {
    let world = World::new().await;
    let mut tx = world.store.begin().await.unwrap();
    let stored = tx.lock_identity(&node()).await.unwrap().unwrap();
    tx.put_identity(&Identity { deregistered_at: Some(at(0)), ..stored }).await.unwrap();
    tx.commit().await.unwrap();
    // Neither itself nor through a program that is trusted to speak for nodes.
    for sender in [own(), Sender::ControlPlane] {
        assert!(world.hello(Some("v1:own"), sender).await);
        assert!(!world.is_connected().await);
    }
    assert_eq!(world.refused(Refusal::NotRegistered).await, 2);
}

#[tokio::test]
async fn results_that_nobody_asked_for_or_that_are_over_change_nothing_and_are_counted() {
    let world = World::new().await;
    world.hello(Some("v1:own"), own()).await;
    let command = world.command().await;
    assert!(world.finished(CommandId::derived("never given"), own()).await);
    assert_eq!(world.refused(Refusal::UnknownInvocation).await, 1);
    assert!(!world.finished(command, Sender::Node(NodeId::from_bits(2))).await, "another node's word");
    assert_eq!(world.state(command).await, State::Released);

    assert!(world.finished(command, own()).await);
    assert_eq!(world.state(command).await, State::Ended(Ending::Success));
    assert!(world.finished(command, own()).await);
    assert_eq!(world.refused(Refusal::Finished).await, 1);
}

#[tokio::test]
async fn what_a_deregistered_node_reports_changes_nothing() {
    let world = World::new().await;
    world.hello(Some("v1:own"), own()).await;
    let command = world.command().await;
    let mut tx = world.store.begin().await.unwrap();
    let messages = deregister(&mut tx, &node(), at(4)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(messages.len(), 1, "its command is called back");
    assert!(world.take::<Dispatcher>(messages[0].body.clone().into_bytes(), Sender::ControlPlane).await);
    assert_eq!(world.state(command).await, State::Ended(Ending::Cancelled), "at once, and not by its deadline");
    let before = world.state(command).await;
    assert!(world.finished(command, own()).await);
    assert_eq!(world.state(command).await, before);
    assert_eq!(world.refused(Refusal::NotRegistered).await, 1);
}
