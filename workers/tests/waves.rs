//! A rollout in waves, from the launch to its end: what is released when, and what is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::documents::RUN_SHELL_SCRIPT;
use patchwave_engine::invocation::{Ending, State};
use patchwave_engine::rollout::waves::Stage;
use patchwave_platform::launch::{Launch, launch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::commands::Command;
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{
    ApprovalSignal, ApprovalSignalled, CancelCause, CommandRequested, ErrorMode, RolloutCancelRequested,
};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::notification::NotificationRaised;
use patchwave_schemas::report::{InvocationFinished, NodeConnected, Outcome};
use patchwave_schemas::topology::node_queue;
use patchwave_schemas::waves::{GatePlan, RolloutPlan, WavePlan};
use patchwave_schemas::{CloudEvent, CommandId, Message, NodeId};
use patchwave_workers::effects::Effects;
use patchwave_workers::runtime::Handler;
use patchwave_workers::{collector, dispatcher, resolver};
use uuid::Uuid;

use dispatcher::{Dispatcher, Input};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

struct World {
    store: Store,
    master_key: MasterKey,
    command: CommandId,
    _directory: tempfile::TempDir,
}

impl World {
    /// Ten connected nodes, and a command in waves of 2, 3 and 5 with this gate after the first.
    async fn new(bake_seconds: u32, gate: GatePlan) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        let store = Store::open_with(&url, Durability::None).await.unwrap();
        let hellos: Vec<_> = (0..10).map(hello).collect();
        let size = |size: &str| WavePlan { size: Some(size.to_owned()), ..WavePlan::default() };
        let waves = vec![WavePlan { bake_seconds, gate: Some(gate), ..size("2") }, size("3"), WavePlan::default()];
        let request = CommandRequested {
            document_name: RUN_SHELL_SCRIPT.to_owned(),
            document_version: None,
            instance_ids: hellos.iter().map(|hello| hello.facts.node_id.to_string()).collect(),
            targets: Vec::new(),
            parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
            max_concurrency: Some("10".to_owned()),
            max_errors: Some("10".to_owned()),
            error_mode: ErrorMode::Ssm,
            timeout_seconds: Some(60),
            comment: None,
            notification_config: None,
            rollout_plan: None,
            waves: Some(RolloutPlan { tag_key: None, waves }),
        };
        let command = CommandId::derived("in waves");
        let mut tx = store.begin().await.unwrap();
        tx.nodes_connected(&hellos, at(0)).await.unwrap();
        launch(&mut tx, Launch { command_id: command, request, window: None }, at(0)).await.unwrap();
        tx.commit().await.unwrap();
        Self { store, master_key: MasterKey::ephemeral().unwrap(), command, _directory: directory }
    }

    async fn dispatch(&self, input: Input, now: Timestamp) -> Effects {
        Dispatcher::apply(&self.store, &self.master_key, &[input], now).await.unwrap().effects
    }

    async fn start(&self) -> Vec<NodeId> {
        released(&self.dispatch(Input::Started(self.command), at(1)).await)
    }

    async fn check(&self, now: Timestamp) -> Effects {
        self.dispatch(Input::Check(self.command), now).await
    }

    async fn end(&self, nodes: &[NodeId], outcome: Outcome, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        for node_id in nodes {
            let report = InvocationFinished {
                command_id: self.command,
                node_id: node_id.clone(),
                outcome,
                reason: String::new(),
                started_at: now,
                finished_at: now,
                steps: Vec::new(),
            };
            let input = collector::Input::Finished(Box::new(report));
            let applied = collector::Collector::apply(&self.store, &self.master_key, &[input], now).await.unwrap();
            effects.merge(applied.effects);
        }
        effects
    }

    async fn answer(&self, id: u128, signal: ApprovalSignal, now: Timestamp) -> Effects {
        let data = ApprovalSignalled { execution_id: self.command.to_string(), signal, comment: None };
        let event = resolver::Input::Approval(CloudEvent::new(Uuid::from_u128(id), "/people/alice", now, data));
        let applied = resolver::Resolver::apply(&self.store, &self.master_key, &[event], now).await.unwrap();
        assert_eq!(applied.refused, []);
        applied.effects
    }

    async fn stored(&self) -> Command {
        self.store.command(self.command).await.unwrap().unwrap()
    }

    async fn stage(&self) -> Stage {
        self.stored().await.waves.unwrap().stage
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

fn released(effects: &Effects) -> Vec<NodeId> {
    effects.deliveries.iter().map(|one| one.node_id.clone()).collect()
}

/// The notes of notifications.
fn notes(effects: &Effects) -> Vec<String> {
    let raised = effects.outbox.iter().filter(|message| message.message_type == NotificationRaised::TYPE);
    raised
        .map(|message| CloudEvent::<NotificationRaised>::from_bytes(message.body.as_bytes()).unwrap().data)
        .filter_map(|raised| raised.message["note"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn next_wave_follows_when_the_bake_time_is_over() {
    let world = World::new(100, GatePlan { min_success_percent: Some(50), ..GatePlan::default() }).await;
    let first = world.start().await;
    assert_eq!(first.len(), 2);
    world.end(&first[..1], Outcome::Failed, at(5)).await;
    let over = world.end(&first[1..], Outcome::Success, at(10)).await;
    assert_eq!((released(&over), notes(&over)), (Vec::new(), vec!["WAVE_BAKING".to_owned()]));
    assert_eq!(world.stage().await, Stage::Baking { until: at(110) });
    assert_eq!(released(&world.check(at(100)).await), []);
    // It is looked at when it is due, not up to a look later.
    let due = next_look(&world).await;
    assert_eq!(due, Some(at(110)));
    let second = released(&world.check(at(110)).await);
    assert_eq!(second.len(), 3);
    let third = released(&world.end(&second, Outcome::Success, at(120)).await);
    assert_eq!(third.len(), 5, "without a gate the next wave follows at once");
    world.end(&third, Outcome::Success, at(130)).await;
    let stored = world.stored().await;
    assert!(stored.rollout.is_finished());
    assert_eq!((stored.rollout.ended.success, stored.rollout.ended.failed), (9, 1));
}

async fn next_look(world: &World) -> Option<Timestamp> {
    world.store.next_timer_at().await.unwrap()
}

#[tokio::test]
async fn gate_that_is_missed_ends_the_rest_as_terminated() {
    let world = World::new(100, GatePlan { max_failed: Some(0), ..GatePlan::default() }).await;
    let first = world.start().await;
    world.end(&first[..1], Outcome::Failed, at(5)).await;
    let over = world.end(&first[1..], Outcome::Success, at(10)).await;
    assert_eq!(released(&over), []);
    assert_eq!(notes(&over), ["GATE_STOPPED"]);
    let stored = world.stored().await;
    assert_eq!(stored.rollout.status(), ("Failed", "Failed"));
    assert_eq!(stored.waves.unwrap().stopped(), Some("1 nodes of wave 1 failed; its gate allows 0"));
    let all = world.store.invocations_of(world.command, "", 100).await.unwrap();
    let terminated = all.iter().filter(|one| one.state == State::Ended(Ending::Terminated)).count();
    assert_eq!(terminated, 8);
    assert_eq!(released(&world.check(at(500)).await), []);
}

#[tokio::test]
async fn approval_is_asked_for_once_and_taken_once() {
    let world = World::new(0, GatePlan { approval_within_seconds: Some(300), ..GatePlan::default() }).await;
    let first = world.start().await;
    let early = world.answer(1, ApprovalSignal::Approve, at(2)).await;
    assert_eq!(released(&early), [], "nothing waits for it yet");
    let over = world.end(&first, Outcome::Success, at(10)).await;
    assert_eq!(notes(&over), ["APPROVAL_AWAITED"]);
    assert_eq!(notes(&world.check(at(200)).await), Vec::<String>::new());
    assert_eq!(world.stage().await, Stage::AwaitingApproval { until: at(310) });
    let second = released(&world.answer(2, ApprovalSignal::Approve, at(300)).await);
    assert_eq!(second.len(), 3);
    assert_eq!(released(&world.answer(2, ApprovalSignal::Approve, at(301)).await), []);
}

#[tokio::test]
async fn approval_that_does_not_come_or_is_refused_stops() {
    for rejected in [false, true] {
        let world = World::new(0, GatePlan { approval_within_seconds: Some(300), ..GatePlan::default() }).await;
        let first = world.start().await;
        world.end(&first, Outcome::Success, at(10)).await;
        let (stopped, reason) = if rejected {
            let stopped = world.answer(1, ApprovalSignal::Reject, at(20)).await;
            (stopped, "/people/alice rejected what follows wave 1")
        } else {
            (world.check(at(310)).await, "nobody approved what follows wave 1 in time")
        };
        assert!(notes(&stopped).contains(&"GATE_STOPPED".to_owned()), "{stopped:?}");
        let stored = world.stored().await;
        assert_eq!(stored.waves.unwrap().stopped(), Some(reason));
        assert!(stored.rollout.is_finished());
    }
}

#[tokio::test]
async fn what_is_held_back_can_be_cancelled_by_itself() {
    let world = World::new(0, GatePlan::default()).await;
    let first = world.start().await;
    let all = world.store.invocations_of(world.command, "", 100).await.unwrap();
    let held: Vec<_> = all.into_iter().filter(|one| one.state == State::Pending).map(|one| one.node_id).collect();
    assert_eq!(held.len(), 8);
    let node_ids = held[..7].to_vec();
    let cause = CancelCause::Requested;
    let request = RolloutCancelRequested { command_id: world.command, node_ids, cause, reason: String::new() };
    let event = CloudEvent::new(Uuid::nil(), "/test", at(2), request);
    world.dispatch(Input::Cancel(Box::new(event)), at(2)).await;
    let stored = world.stored().await;
    assert_eq!((stored.rollout.held, stored.rollout.ended.cancelled), (1, 7));
    // The gates of waves of which nothing is left are not waited for.
    let mut left = released(&world.end(&first, Outcome::Success, at(10)).await);
    assert_eq!(left, held[7..]);
    let more = world.end(&left, Outcome::Success, at(20)).await;
    left.extend(released(&more));
    assert!(world.stored().await.rollout.is_finished(), "{left:?}");
}

#[tokio::test]
async fn timers_of_a_stopped_rollout_are_gone() {
    let world = World::new(0, GatePlan { approval_within_seconds: Some(300), ..GatePlan::default() }).await;
    let first = world.start().await;
    world.end(&first, Outcome::Success, at(10)).await;
    world.answer(1, ApprovalSignal::Reject, at(20)).await;
    assert_eq!(next_look(&world).await, None);
}
