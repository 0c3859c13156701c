//! No more nodes are in an installation that may restart them than the fleet allows, over all rollouts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::launch::launch_patch;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::command::{PatchOperation, RebootOption};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::patch_now::PatchRequested;
use patchwave_schemas::report::{InvocationFinished, NodeConnected, Outcome};
use patchwave_schemas::topology::node_queue;
use patchwave_schemas::{CommandId, NodeId};
use patchwave_workers::dispatcher::{Dispatcher, Input};
use patchwave_workers::runtime::Handler;
use patchwave_workers::{collector, effects::Effects};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

struct World {
    store: Store,
    master_key: MasterKey,
    _directory: tempfile::TempDir,
}

impl World {
    /// Twenty connected nodes.
    async fn new(limit: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        store.ensure_predefined_baselines(at(0)).await.unwrap();
        let hellos: Vec<_> = (0..20).map(hello).collect();
        let mut tx = store.begin().await.unwrap();
        tx.nodes_connected(&hellos, at(0)).await.unwrap();
        tx.set_reboot_limit(limit).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.reboot_limit().await.unwrap(), limit);
        Self { store, master_key: MasterKey::ephemeral().unwrap(), _directory: directory }
    }

    /// An installation on all nodes with ten of them at work at once.
    async fn install(&self, cause: &str, reboot_option: RebootOption) -> CommandId {
        let command_id = CommandId::derived(cause);
        let asked = PatchRequested {
            operation: PatchOperation::Install,
            all_nodes: true,
            reboot_option: Some(reboot_option),
            max_concurrency: Some("10".to_owned()),
            max_errors: Some("20".to_owned()),
            timeout_seconds: Some(60),
            ..PatchRequested::default()
        };
        let mut tx = self.store.begin().await.unwrap();
        launch_patch(&mut tx, command_id, &asked, None, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        command_id
    }

    async fn dispatch(&self, input: Input, now: Timestamp) -> Effects {
        Dispatcher::apply(&self.store, &self.master_key, &[input], now).await.unwrap().effects
    }

    async fn succeed(&self, command_id: CommandId, node_id: NodeId, now: Timestamp) -> Effects {
        let report = InvocationFinished {
            command_id,
            node_id,
            outcome: Outcome::Success,
            reason: String::new(),
            started_at: now,
            finished_at: now,
            steps: Vec::new(),
        };
        let input = collector::Input::Finished(Box::new(report));
        collector::Collector::apply(&self.store, &self.master_key, &[input], now).await.unwrap().effects
    }

    async fn in_flight(&self, command: CommandId) -> u32 {
        self.store.command(command).await.unwrap().unwrap().rollout.in_flight
    }
}

fn hello(number: u128) -> NodeConnected {
    let node_id = NodeId::from_bits(number);
    let facts = NodeFacts {
        node_id: node_id.clone(),
        computer_name: format!("host-{number}"),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        ip_address: None,
        simulated: true,
        tags: BTreeMap::new(),
    };
    let address = node_queue(&node_id, "a");
    NodeConnected { facts, address, session: "a".to_owned(), fingerprint: None, policy: None }
}

#[tokio::test]
async fn rollouts_share_the_slots_and_take_what_others_give_back() {
    let world = World::new(3).await;
    let first = world.install("first", RebootOption::RebootIfNeeded).await;
    let second = world.install("second", RebootOption::RebootIfNeeded).await;
    let mut at_work = world.dispatch(Input::Started(first), at(1)).await.deliveries;
    assert_eq!(at_work.len(), 3, "the limit, and not the ten of the command");
    assert_eq!(world.dispatch(Input::Started(second), at(1)).await.deliveries, []);
    for round in 0..40 {
        let Some(one) = at_work.pop() else { break };
        let now = at(10 + round);
        at_work.extend(world.succeed(one.command_id, one.node_id, now).await.deliveries);
        for command in [second, first] {
            at_work.extend(world.dispatch(Input::Check(command), now).await.deliveries);
        }
        let taken = world.in_flight(first).await + world.in_flight(second).await;
        assert!(taken <= 3, "{taken} at once");
    }
    for command in [first, second] {
        let rollout = world.store.command(command).await.unwrap().unwrap().rollout;
        assert!(rollout.is_finished(), "{rollout:?}");
    }
}

#[tokio::test]
async fn node_that_never_comes_back_frees_its_slot_at_its_deadline() {
    let world = World::new(1).await;
    let first = world.install("first", RebootOption::RebootIfNeeded).await;
    let second = world.install("second", RebootOption::RebootIfNeeded).await;
    let lost = world.dispatch(Input::Started(first), at(1)).await.deliveries;
    assert_eq!(lost.len(), 1);
    world.dispatch(Input::Started(second), at(1)).await;
    let deadline = world.store.invocation(first, &lost[0].node_id).await.unwrap().unwrap().deadline_at.unwrap();
    world.dispatch(Input::Check(first), deadline).await;
    assert_eq!(world.in_flight(first).await + world.in_flight(second).await, 1);
    let rollout = world.store.command(first).await.unwrap().unwrap().rollout;
    assert_eq!(rollout.ended.delivery_timed_out, 1);
}

#[tokio::test]
async fn what_cannot_restart_a_node_and_fleets_without_a_limit_are_not_held_back() {
    let world = World::new(1).await;
    let harmless = world.install("harmless", RebootOption::NoReboot).await;
    assert_eq!(world.dispatch(Input::Started(harmless), at(1)).await.deliveries.len(), 10);
    let world = World::new(0).await;
    let free = world.install("free", RebootOption::RebootIfNeeded).await;
    assert_eq!(world.dispatch(Input::Started(free), at(1)).await.deliveries.len(), 10);
}
