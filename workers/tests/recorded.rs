//! What workers do on somebody's behalf is in the audit log, once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::bus::{Death, Delivery, Sender};
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::audit::AuditQuery;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{
    CancelCause, CommandRequested, ErrorMode, NodeRemoved, NodeUpserted, RolloutCancelRequested,
};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::{CloudEvent, CommandId, Message, NodeId};
use patchwave_workers::dead::DeadLetters;
use patchwave_workers::dispatcher::Dispatcher;
use patchwave_workers::inventory::Inventory;
use patchwave_workers::runtime::Handler;
use uuid::Uuid;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn facts(tags: &[(&str, &str)]) -> NodeFacts {
    NodeFacts {
        node_id: NodeId::from_bits(1),
        computer_name: "host".to_owned(),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        ip_address: None,
        simulated: false,
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn command(parameters: &[&str]) -> CommandRequested {
    CommandRequested {
        document_name: "AWS-RunShellScript".to_owned(),
        document_version: None,
        instance_ids: vec![NodeId::from_bits(1).to_string()],
        targets: Vec::new(),
        parameters: BTreeMap::from([("commands".to_owned(), parameters.iter().map(|one| (*one).to_owned()).collect())]),
        max_concurrency: None,
        max_errors: None,
        error_mode: ErrorMode::Ssm,
        timeout_seconds: None,
        comment: None,
        notification_config: None,
        rollout_plan: None,
        waves: None,
    }
}

struct World {
    store: Store,
    master_key: MasterKey,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        Self { store, master_key: MasterKey::ephemeral().unwrap(), _directory: directory }
    }

    /// Takes an event as it comes from the bus, twice as a redelivery would bring it.
    async fn take<H: Handler, T: Message>(&self, data: T, death: Option<Death>) {
        let body = CloudEvent::new(Uuid::nil(), "/crm", at(0), data).to_bytes();
        for redelivered in [false, true] {
            let sender = Sender::ControlPlane;
            let delivery = Delivery { tag: 1, body: body.clone(), redelivered, death: death.clone(), sender };
            let input = H::decode(&delivery).unwrap_or_else(|error| panic!("{error}"));
            H::apply(&self.store, &self.master_key, &[input], at(5)).await.unwrap();
        }
    }

    /// The log, oldest first: source, action, subject, outcome; all by the same event's source.
    async fn log(&self) -> Vec<(String, String, String, String)> {
        let mut entries = self.store.audit_entries(&AuditQuery::default(), None, 100).await.unwrap();
        entries.reverse();
        let of = |entry: patchwave_platform::audit::Recorded| {
            assert_eq!(entry.actor, "event /crm");
            assert!(!entry.detail.contains("hunter2"), "{}", entry.detail);
            (entry.source, entry.action, entry.subject, entry.outcome)
        };
        entries.into_iter().map(of).collect()
    }
}

fn entry(source: &str, action: &str, subject: impl ToString, outcome: &str) -> (String, String, String, String) {
    (source.to_owned(), action.to_owned(), subject.to_string(), outcome.to_owned())
}

#[tokio::test]
async fn tags_that_an_event_changes_and_nodes_that_it_removes_are_recorded() {
    let world = World::new().await;
    let upsert = async |tags: &[(&str, &str)]| {
        world.take::<Inventory, _>(NodeUpserted { facts: facts(tags) }, None).await;
    };
    upsert(&[("Site", "Bonn")]).await;
    upsert(&[("Site", "Bonn")]).await;
    upsert(&[("Site", "Berlin")]).await;
    let node = NodeId::from_bits(1);
    world.take::<Inventory, _>(NodeRemoved { node_id: node.clone() }, None).await;
    let put = entry("inventory", "PutNode", &node, "succeeded");
    assert_eq!(world.log().await, [put.clone(), put, entry("inventory", "RemoveNode", &node, "succeeded")]);
    let newest = world.store.audit_entries(&AuditQuery::default(), Some(3), 1).await.unwrap().remove(0);
    assert_eq!(newest.detail, r#"{"Before":{"Site":"Bonn"},"Tags":{"Site":"Berlin"}}"#);
}

#[tokio::test]
async fn a_cancellation_from_the_bus_is_recorded_when_it_stops_something() {
    let world = World::new().await;
    let mut tx = world.store.begin().await.unwrap();
    tx.put_node(&facts(&[]), at(0)).await.unwrap();
    let command_id = CommandId::derived("command");
    launch(&mut tx, Launch { command_id, request: command(&["true"]), window: None }, at(0)).await.unwrap();
    tx.commit().await.unwrap();
    let cancel = |command_id| RolloutCancelRequested {
        command_id,
        node_ids: Vec::new(),
        cause: CancelCause::Requested,
        reason: "enough".to_owned(),
    };
    world.take::<Dispatcher, _>(cancel(CommandId::derived("another")), None).await;
    world.take::<Dispatcher, _>(cancel(command_id), None).await;
    assert_eq!(world.log().await, [entry("dispatcher", "CancelCommand", command_id, "succeeded")]);
}

#[tokio::test]
async fn requests_from_the_bus_that_are_refused_are_recorded_and_letters_of_nodes_are_not() {
    let world = World::new().await;
    let death = |queue: &str| {
        Some(Death {
            queue: queue.to_owned(),
            reason: "`hunter2` is not allowed".to_owned(),
            sender: Sender::ControlPlane,
        })
    };
    // A node may send what it likes to the queues of reports, under any name.
    world.take::<DeadLetters, _>(command(&["hunter2"]), death("patchwave.collector")).await;
    world.take::<DeadLetters, _>(NodeUpserted { facts: facts(&[]) }, death("patchwave.inventory")).await;
    assert_eq!(world.log().await, []);
    world.take::<DeadLetters, _>(command(&["hunter2"]), death("patchwave.resolver")).await;
    let letters = world.store.dead_letters(None, 10).await.unwrap();
    let letter = letters.iter().find(|letter| letter.queue == "patchwave.resolver").unwrap();
    // Each time that it is buried: it may have been replayed.
    let refused = entry("dead", "SendCommand", letter.dead_letter_id, "failed");
    assert_eq!(world.log().await, [refused.clone(), refused]);
}
