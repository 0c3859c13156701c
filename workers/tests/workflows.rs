//! Executions of state machines under crashes: processes die before, within and after what they do,
//! messages are lost and come twice, and the outcome is always the same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calls::{Call, CallOutcome};
use patchwave_engine::limits::Limit;
use patchwave_platform::bus::{Delivery, Sender};
use patchwave_platform::fan_outs::{NewFanOut, Template, fan_out_id, start_fan_out};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::calls::StoredCall;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::state_machines::StateMachine;
use patchwave_platform::store::workflows::{Kind, Workflow, WorkflowQuery};
use patchwave_platform::store::{Durability, Store};
use patchwave_platform::workflows::{Happening, end_call, failed, start_state_machine, tell};
use patchwave_schemas::event::ErrorMode;
use patchwave_schemas::{Message as _, TaskExecutionId, WindowExecutionId, WorkflowId};
use patchwave_workers::caller::Caller;
use patchwave_workers::dispatcher::Dispatcher;
use patchwave_workers::effects::Effects;
use patchwave_workers::runtime::Handler;
use patchwave_workers::workflows::Workflows;
use serde_json::{Value, json};

/// A small generator: the same seed, the same crashes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Where a process dies that handles a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Crash {
    Never,
    BeforeApplying,
    AfterCommit,
    BeforeAcknowledging,
}

struct World {
    store: Store,
    master_key: MasterKey,
    now: Timestamp,
    wire: VecDeque<OutboxMessage>,
    dice: Dice,
    crashes: bool,
    /// Times that each call was really made.
    made: BTreeMap<String, u32>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(seed: u64, crashes: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
        Self {
            store: Store::open_with(&url, Durability::None).await.unwrap(),
            master_key: MasterKey::ephemeral().unwrap(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            wire: VecDeque::new(),
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            crashes,
            made: BTreeMap::new(),
            _directory: directory,
        }
    }

    async fn define(&self, name: &str, definition: &Value) {
        let machine = StateMachine {
            name: name.to_owned(),
            // A hash in earnest: a definition never changes under its id.
            definition_id: definition.to_string(),
            revision: 1,
            machine_type: "STANDARD".to_owned(),
            role_arn: String::new(),
            created_at: self.now,
            updated_at: self.now,
        };
        let mut tx = self.store.begin().await.unwrap();
        assert!(tx.add_state_machine(&machine, &definition.to_string()).await.unwrap());
        tx.commit().await.unwrap();
    }

    async fn start(&mut self, name: &str, input: &Value) -> WorkflowId {
        let mut tx = self.store.begin().await.unwrap();
        let started = start_state_machine(&mut tx, name, "one", &input.to_string(), None, 0, self.now).await.unwrap();
        tx.commit().await.unwrap();
        self.wire.extend(started.message);
        started.workflow_id
    }

    async fn stored(&self, id: WorkflowId) -> Workflow {
        self.store.workflow(id).await.unwrap().unwrap()
    }

    /// Runs until the execution has ended. Time goes on where nothing else does.
    async fn run(&mut self, id: WorkflowId) -> Workflow {
        for _ in 0..20_000 {
            let workflow = self.stored(id).await;
            if workflow.ended_at.is_some() {
                return workflow;
            }
            match self.wire.pop_front() {
                Some(message) => self.deliver(message).await,
                None => self.let_time_pass().await,
            }
        }
        panic!("the execution has not ended: {:?}", self.stored(id).await);
    }

    async fn deliver(&mut self, message: OutboxMessage) {
        let crash = match self.dice.roll(8) {
            _ if !self.crashes => Crash::Never,
            0 => Crash::BeforeApplying,
            1 => Crash::AfterCommit,
            2 => Crash::BeforeAcknowledging,
            _ => Crash::Never,
        };
        if crash == Crash::BeforeApplying {
            return self.wire.push_back(message);
        }
        // A broker's disk is lost now and then, and with it what was on the way.
        if self.crashes && self.dice.roll(12) == 0 {
            return;
        }
        let effects = self.apply(&message).await;
        if crash == Crash::AfterCommit {
            return self.wire.push_back(message);
        }
        self.carry_out(effects).await;
        if crash == Crash::BeforeAcknowledging {
            self.wire.push_back(message);
        }
    }

    async fn apply(&self, message: &OutboxMessage) -> Effects {
        let delivery = Delivery {
            tag: 1,
            body: message.body.clone().into_bytes(),
            redelivered: false,
            death: None,
            sender: Sender::ControlPlane,
        };
        match message.routing_key.as_str() {
            "workflow.continued" | "timer.workflows" => self.handle::<Workflows>(&delivery).await,
            "call.requested" | "timer.caller" => self.handle::<Caller>(&delivery).await,
            "rollout.started" | "rollout.cancel.requested" | "timer.dispatcher" => {
                self.handle::<Dispatcher>(&delivery).await
            }
            _ => Effects::default(),
        }
    }

    async fn handle<H: Handler>(&self, delivery: &Delivery) -> Effects {
        let input = H::decode(delivery).unwrap();
        let applied = H::apply(&self.store, &self.master_key, &[input], self.now).await.unwrap();
        assert!(applied.refused.is_empty(), "{:?}", applied.refused);
        applied.effects
    }

    async fn carry_out(&mut self, effects: Effects) {
        let ids: Vec<_> = effects.outbox.iter().map(|message| message.message_id).collect();
        let mut tx = self.store.begin().await.unwrap();
        tx.dequeue(&ids).await.unwrap();
        tx.commit().await.unwrap();
        self.wire.extend(effects.outbox);
        for call in effects.calls {
            self.make(call).await;
        }
    }

    /// Makes a call as a caller's process does: it may die before the answer is stored.
    async fn make(&mut self, call: StoredCall) {
        *self.made.entry(call.token.clone()).or_default() += 1;
        if self.crashes && self.dice.roll(4) == 0 {
            return;
        }
        let outcome = match &call.call {
            Call::Function(function) if function.function == "flaky" && call.attempts == 1 && !self.crashes => {
                failed("Busy", "")
            }
            Call::Function(function) => CallOutcome::Succeeded(function.payload.clone()),
            other => panic!("another call: {other:?}"),
        };
        let mut tx = self.store.begin().await.unwrap();
        let told = end_call(&mut tx, &call, outcome, self.now).await.unwrap();
        tx.commit().await.unwrap();
        if !self.crashes || self.dice.roll(3) > 0 {
            self.wire.extend(told);
        }
    }

    /// Timers fire, and what waits too long is said again, as the scheduler does.
    async fn let_time_pass(&mut self) {
        self.now += SignedDuration::from_secs(20);
        self.wire.extend(patchwave_scheduler::tick(&self.store, self.now).await.unwrap());
        let mut tx = self.store.begin().await.unwrap();
        let mut again = tx.claim_outbox(self.now, 100).await.unwrap();
        again.extend(tx.claim_workflows_in_waiting(self.now, 100).await.unwrap());
        again.extend(tx.claim_calls_in_waiting(self.now, 100).await.unwrap());
        let ids: Vec<_> = again.iter().map(|message| message.message_id).collect();
        tx.dequeue(&ids).await.unwrap();
        tx.commit().await.unwrap();
        self.wire.extend(again);
    }
}

fn everything() -> Value {
    json!({ "StartAt": "Shape", "States": {
        "Shape": { "Type": "Pass", "Parameters": { "items.$": "$.items", "id.$": "States.UUID()" }, "Next": "Each" },
        "Each": {
            "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 3, "ResultPath": "$.each", "Next": "Both",
            "ItemProcessor": { "StartAt": "Call", "States": {
                "Call": { "Type": "Task", "Resource": "patchwave:function:echo", "TimeoutSeconds": 3000, "Next": "Rest",
                    "Retry": [{ "ErrorEquals": ["States.ALL"], "IntervalSeconds": 5 }] },
                "Rest": { "Type": "Wait", "Seconds": 30, "End": true },
            } },
        },
        "Both": { "Type": "Parallel", "ResultPath": "$.both", "Next": "Inner", "Branches": [
            { "StartAt": "Command", "States": { "Command": {
                "Type": "Task", "Resource": "patchwave:command.sync", "End": true, "OutputPath": "$.Status",
                "Parameters": { "DocumentName": "AWS-Noop", "Targets": [{ "Key": "tag:none", "Values": ["x"] }] },
            } } },
            { "StartAt": "Fails", "States": {
                "Fails": { "Type": "Task", "Resource": "patchwave:state-machine.sync", "End": true,
                    "Parameters": { "StateMachineArn": "broken" },
                    "Catch": [{ "ErrorEquals": ["States.TaskFailed"], "Next": "Caught" }] },
                "Caught": { "Type": "Pass", "Result": "caught", "End": true },
            } },
        ] },
        "Inner": { "Type": "Task", "Resource": "patchwave:state-machine.sync", "ResultPath": "$.inner", "Next": "Out",
            "Parameters": { "StateMachineArn": "inner", "Input": { "n": 4 } } },
        "Out": { "Type": "Pass", "End": true,
            "Parameters": { "each.$": "$.each", "both.$": "$.both", "inner.$": "$.inner.Output" } },
    } })
}

async fn world_of_everything(seed: u64, crashes: bool) -> (World, WorkflowId) {
    let mut world = World::new(seed, crashes).await;
    world.define("everything", &everything()).await;
    world.define("broken", &json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "E" } } })).await;
    let inner = json!({ "StartAt": "P", "States": { "P": {
        "Type": "Pass", "Parameters": { "n.$": "States.MathAdd($.n, 1)" }, "End": true } } });
    world.define("inner", &inner).await;
    let id = world.start("everything", &json!({ "items": [1, 2, 3, 4, 5, 6, 7] })).await;
    (world, id)
}

fn expected() -> Value {
    json!({ "each": [1, 2, 3, 4, 5, 6, 7], "both": ["Success", "caught"], "inner": { "n": 5 } })
}

#[tokio::test]
async fn an_execution_comes_to_its_output_and_leaves_nothing_behind() {
    let (mut world, id) = world_of_everything(1, false).await;
    let ended = world.run(id).await;
    assert_eq!(ended.status, "SUCCEEDED", "{ended:?}");
    assert_eq!(serde_json::from_str::<Value>(&ended.output.unwrap()).unwrap(), expected());
    let history = world.store.workflow_history(id, None, false, 1_000).await.unwrap();
    assert_eq!(history.len(), usize::try_from(ended.history_events).unwrap());
    let mut tx = world.store.begin().await.unwrap();
    assert!(tx.open_workflow_frames(id, 10).await.unwrap().is_empty());
    // Each item was called for once.
    assert_eq!(world.made.values().copied().collect::<Vec<_>>(), [1; 7]);
}

#[tokio::test]
async fn crashes_at_any_step_change_no_outcome() {
    let mut made = 0;
    for seed in 0..60 {
        let (mut world, id) = world_of_everything(seed, true).await;
        let ended = world.run(id).await;
        assert_eq!(ended.status, "SUCCEEDED", "seed {seed}: {ended:?}");
        assert_eq!(serde_json::from_str::<Value>(&ended.output.unwrap()).unwrap(), expected(), "seed {seed}");
        // A finished step is not repeated: its history has each iteration once.
        let history = world.store.workflow_history(id, None, false, 1_000).await.unwrap();
        let count = |wanted: &str| {
            let types = history.iter().map(|one| serde_json::from_str::<Value>(&one.event).unwrap());
            types.filter(|event| event["type"] == wanted).count()
        };
        assert_eq!((count("MapIterationStarted"), count("MapIterationSucceeded")), (7, 7), "seed {seed}");
        assert_eq!((count("ExecutionStarted"), count("ExecutionSucceeded")), (1, 1), "seed {seed}");
        made += world.made.values().sum::<u32>();
    }
    // Callers did die: what they had asked for was asked again, under the same tokens.
    assert!(made > 60 * 7, "{made}");
}

#[tokio::test]
async fn stopping_withdraws_what_was_asked_for_and_nothing_goes_on() {
    let mut world = World::new(3, false).await;
    let waiting =
        json!({ "StartAt": "T", "States": { "T": { "Type": "Task", "Resource": "patchwave:token", "End": true } } });
    world.define("waiting", &waiting).await;
    let outer = json!({ "StartAt": "I", "States": { "I": { "Type": "Task", "Resource": "patchwave:state-machine.sync",
        "Parameters": { "StateMachineArn": "waiting", "Name": "inner" }, "End": true } } });
    world.define("outer", &outer).await;
    let id = world.start("outer", &json!({})).await;
    while let Some(message) = world.wire.pop_front() {
        world.deliver(message).await;
    }
    let inner = patchwave_platform::workflows::execution_id("waiting", "inner");
    assert_eq!(world.stored(inner).await.status, "RUNNING");
    let stop = Happening::Stop { how: "Enough".to_owned(), cause: "asked to".to_owned() };
    let mut tx = world.store.begin().await.unwrap();
    let told = tell(&mut tx, id, "stop", &stop, world.now).await.unwrap();
    tx.commit().await.unwrap();
    world.wire.push_back(told);
    let ended = world.run(id).await;
    assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("ABORTED", Some("Enough")));
    let inner = world.run(inner).await;
    assert_eq!(inner.status, "ABORTED", "what it had started is stopped too");
}

#[tokio::test]
async fn an_execution_that_takes_longer_than_it_may_times_out() {
    let mut world = World::new(4, false).await;
    let slow = json!({ "StartAt": "W", "TimeoutSeconds": 60,
        "States": { "W": { "Type": "Wait", "Seconds": 3600, "End": true } } });
    world.define("slow", &slow).await;
    let id = world.start("slow", &json!({})).await;
    let ended = world.run(id).await;
    assert_eq!((ended.status.as_str(), ended.error.as_deref()), ("TIMED_OUT", Some("States.Timeout")));
}

#[tokio::test]
async fn an_execution_that_starts_itself_ends() {
    let mut world = World::new(5, false).await;
    let own = json!({ "StartAt": "S", "States": { "S": { "Type": "Task", "Resource": "patchwave:state-machine.sync",
        "Parameters": { "StateMachineArn": "own" }, "End": true } } });
    world.define("own", &own).await;
    let id = world.start("own", &json!({})).await;
    let ended = world.run(id).await;
    assert_eq!(ended.status, "FAILED");
    assert!(ended.cause.unwrap().contains("20 deep"));
}

#[tokio::test]
async fn a_map_larger_than_one_transaction_goes_on_in_the_next() {
    let mut world = World::new(6, false).await;
    let wide = json!({ "StartAt": "M", "States": { "M": { "Type": "Map", "End": true, "ResultPath": null,
        "ItemProcessor": { "StartAt": "A", "States": { "A": { "Type": "Pass", "End": true } } } } } });
    world.define("wide", &wide).await;
    let items: Value = (0..1_500).collect::<Vec<_>>().into();
    let id = world.start("wide", &items).await;
    let ended = world.run(id).await;
    assert_eq!(ended.status, "SUCCEEDED");
    assert_eq!(serde_json::from_str::<Value>(&ended.output.unwrap()).unwrap(), items);
}

#[tokio::test]
async fn a_message_for_another_queue_or_of_no_execution_is_refused_with_its_reason() {
    let world = World::new(7, false).await;
    let stray = patchwave_schemas::event::WorkflowContinued { workflow_id: WorkflowId::derived("nobody") };
    assert_eq!(
        patchwave_schemas::topology::routing_key(patchwave_schemas::event::WorkflowContinued::TYPE),
        "workflow.continued"
    );
    let message = OutboxMessage::event(uuid::Uuid::nil(), "/test", world.now, stray);
    let delivery = Delivery {
        tag: 1,
        body: message.body.into_bytes(),
        redelivered: false,
        death: None,
        sender: Sender::ControlPlane,
    };
    let input = Workflows::decode(&delivery).unwrap();
    let applied = Workflows::apply(&world.store, &world.master_key, &[input], world.now).await.unwrap();
    assert!(applied.refused[0].1.contains("is not stored"), "{:?}", applied.refused);
    assert!(Caller::decode(&delivery).is_err());
}

/// A task over so many targets that starts an execution for each.
async fn fan_out(world: &mut World, machine: &str, targets: usize, concurrency: &str, errors: &str) -> WorkflowId {
    let task_execution_id = TaskExecutionId::derived(&format!("{machine}/{targets}"));
    let new = NewFanOut {
        window_execution_id: WindowExecutionId::derived("window"),
        task_execution_id,
        targets: Some((0..targets).map(|number| format!("mi-{number}")).collect()),
        template: Template::StateMachine {
            state_machine: machine.to_owned(),
            input: Some(r#"{"node": "{{TARGET_ID}}", "window": "{{ WINDOW_ID }}"}"#.to_owned()),
            name: None,
        },
        names: BTreeMap::from([("WINDOW_ID".to_owned(), "mw-1".to_owned())]),
        concurrency: Limit::concurrency(concurrency).unwrap(),
        errors: Limit::errors(errors).unwrap(),
        error_mode: ErrorMode::Ssm,
    };
    let mut tx = world.store.begin().await.unwrap();
    let message = start_fan_out(&mut tx, new, world.now).await.unwrap();
    tx.commit().await.unwrap();
    world.wire.extend(message);
    fan_out_id(task_execution_id)
}

async fn executions(world: &World) -> Vec<Workflow> {
    let query = WorkflowQuery { limit: 100, ..WorkflowQuery::default() };
    world.store.workflows(Kind::StateMachine, &query).await.unwrap()
}

fn slow() -> Value {
    json!({ "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": 30, "End": true } } })
}

#[tokio::test]
async fn a_task_runs_one_execution_for_each_target_and_no_more_at_a_time_than_it_may() {
    let mut world = World::new(11, false).await;
    world.define("slow", &slow()).await;
    let id = fan_out(&mut world, "slow", 7, "3", "0").await;
    let mut most = 0;
    while world.stored(id).await.ended_at.is_none() {
        match world.wire.pop_front() {
            Some(message) => world.deliver(message).await,
            None => world.let_time_pass().await,
        }
        let running = executions(&world).await.iter().filter(|one| one.ended_at.is_none()).count();
        most = most.max(running);
    }
    assert_eq!((world.stored(id).await.status.as_str(), most), ("Success", 3));
    let mut inputs: Vec<_> = executions(&world).await.into_iter().map(|one| one.input).collect();
    inputs.sort();
    assert_eq!(inputs.len(), 7);
    assert_eq!(serde_json::from_str::<Value>(&inputs[0]).unwrap(), json!({ "node": "mi-0", "window": "mw-1" }));
}

#[tokio::test]
async fn a_task_stops_when_more_executions_failed_than_it_allows() {
    let mut world = World::new(12, false).await;
    world.define("broken", &json!({ "StartAt": "F", "States": { "F": { "Type": "Fail", "Error": "E" } } })).await;
    let id = fan_out(&mut world, "broken", 9, "1", "1").await;
    let ended = world.run(id).await;
    assert_eq!((ended.status.as_str(), executions(&world).await.len()), ("Failed", 2));
}

#[tokio::test]
async fn the_cutoff_starts_nothing_more_and_lets_what_runs_end() {
    let mut world = World::new(13, false).await;
    world.define("slow", &slow()).await;
    let id = fan_out(&mut world, "slow", 9, "2", "0").await;
    while let Some(message) = world.wire.pop_front() {
        world.deliver(message).await;
    }
    let stop = Happening::Stop { how: "Cutoff".to_owned(), cause: String::new() };
    let mut tx = world.store.begin().await.unwrap();
    let told = tell(&mut tx, id, "cutoff", &stop, world.now).await.unwrap();
    tx.commit().await.unwrap();
    world.wire.push_back(told);
    let ended = world.run(id).await;
    assert_eq!((ended.status.as_str(), ended.cause.as_deref()), ("TimedOut", Some("CutoffReached")));
    let all = executions(&world).await;
    assert!(all.len() == 2 && all.iter().all(|one| one.status == "SUCCEEDED"), "{all:?}");
}

#[tokio::test]
async fn crashes_start_no_execution_of_a_task_twice_and_lose_none() {
    for seed in 100..130 {
        let mut world = World::new(seed, true).await;
        world.define("slow", &slow()).await;
        let id = fan_out(&mut world, "slow", 5, "2", "0").await;
        let ended = world.run(id).await;
        assert_eq!(ended.status, "Success", "seed {seed}: {ended:?}");
        assert_eq!(executions(&world).await.len(), 5, "seed {seed}");
    }
}

#[tokio::test]
async fn an_input_that_is_no_json_fails_its_invocations_and_a_task_without_targets_runs_once() {
    let mut world = World::new(14, false).await;
    world.define("slow", &slow()).await;
    for (input, status, count) in [(Some("{".to_owned()), "Failed", 0), (None, "Success", 1)] {
        let task_execution_id = TaskExecutionId::derived(status);
        let new = NewFanOut {
            window_execution_id: WindowExecutionId::derived("window"),
            task_execution_id,
            targets: None,
            template: Template::StateMachine { state_machine: "slow".to_owned(), input, name: None },
            names: BTreeMap::new(),
            concurrency: Limit::concurrency("50").unwrap(),
            errors: Limit::errors("0").unwrap(),
            error_mode: ErrorMode::Ssm,
        };
        let mut tx = world.store.begin().await.unwrap();
        let message = start_fan_out(&mut tx, new.clone(), world.now).await.unwrap();
        assert_eq!(start_fan_out(&mut tx, new, world.now).await.unwrap(), None, "it is started once");
        tx.commit().await.unwrap();
        world.wire.extend(message);
        let ended = world.run(fan_out_id(task_execution_id)).await;
        assert_eq!((ended.status.as_str(), executions(&world).await.len()), (status, count));
    }
}
