//! Executions held in memory: every state and error, with crashes around each step.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::super::{ROOT, child_prefix, root};
use super::*;
use crate::calls::Call;

/// What a test world answers: by function name and try.
type Answers<'a> = &'a dyn Fn(&Call, u32) -> CallOutcome;

/// An execution held in memory. Every frame is written out and read again around each step, as if its
/// process had died, and every event is delivered twice.
struct World<'a> {
    machine: Machine,
    input: Value,
    frames: BTreeMap<String, (Frame, Option<Value>)>,
    events: VecDeque<(String, Event)>,
    now: Timestamp,
    history: Vec<Value>,
    outcome: Option<Result<Value, Failure>>,
    answers: Answers<'a>,
    cancelled: usize,
    calls: Vec<Call>,
    /// Bytes of the largest frame that was ever stored.
    largest: usize,
    /// Frames that were stored at one time.
    most: usize,
    /// Whether frames are written out and events repeated: not where ten thousand of them would take a
    /// minute.
    crashes: bool,
    steps: usize,
}

impl<'a> World<'a> {
    fn new(definition: &Value, input: Value, answers: Answers<'a>) -> Self {
        let machine = Machine::parse(&definition.to_string()).unwrap_or_else(|faults| panic!("{faults:?}"));
        let now = "2026-03-14T00:00:00Z".parse().unwrap();
        let frames = BTreeMap::from([(ROOT.to_owned(), (root(input.clone(), now), None))]);
        let events = VecDeque::from([(ROOT.to_owned(), Event::Start)]);
        Self {
            machine,
            input,
            frames,
            events,
            now,
            history: Vec::new(),
            outcome: None,
            answers,
            cancelled: 0,
            calls: Vec::new(),
            largest: 0,
            most: 0,
            crashes: true,
            steps: 0,
        }
    }

    fn run(mut self) -> Self {
        let mut steps = 0;
        while let Some((id, event)) = self.events.pop_front() {
            steps += 1;
            assert!(steps < 200_000, "the execution does not end");
            self.deliver(&id, event.clone());
            if !self.crashes {
                continue;
            }
            let before = self.frames.get(&id).map(|(frame, _)| frame.clone());
            let repeated = self.deliver(&id, event.clone());
            // A frame may only be started while it is new, and so on: nothing happens twice.
            assert!(repeated, "{event:?} was applied twice to {id}");
            assert_eq!(before, self.frames.get(&id).map(|(frame, _)| frame.clone()));
        }
        self
    }

    /// Applies an event; returns whether nothing followed.
    fn deliver(&mut self, id: &str, event: Event) -> bool {
        let Some((frame, _)) = self.frames.get(id) else { return true };
        let mut frame = frame.clone();
        self.steps += 1;
        if self.crashes || self.steps.is_multiple_of(97) {
            let written = serde_json::to_string(&frame).unwrap();
            self.largest = self.largest.max(written.len());
            frame = serde_json::from_str(&written).unwrap();
        }
        let event: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
        let input = self.input.clone();
        let cx = Context {
            now: self.now,
            execution_id: "e-1",
            execution_name: "one",
            started_at: "2026-03-14T00:00:00Z".parse().unwrap(),
            input: &input,
            role_arn: "",
            state_machine_id: "m-1",
            state_machine_name: "machine",
        };
        let Step { frame, effects } = step(&self.machine, frame, event, &cx);
        self.frames.entry(id.to_owned()).and_modify(|(known, _)| known.clone_from(&frame));
        let quiet = effects.is_empty();
        for effect in effects {
            self.carry_out(&frame, effect);
        }
        self.most = self.most.max(self.frames.len());
        quiet
    }

    fn carry_out(&mut self, frame: &Frame, effect: Effect) {
        let id = frame.id.clone();
        match effect {
            Effect::History(event) => self.history.push(event),
            Effect::Call { visit, attempt, call, by_token, timeout_at, .. } => {
                let outcome = (self.answers)(&call, attempt);
                self.calls.push(call);
                let silent = matches!(&outcome, CallOutcome::Failed(failed) if failed.error == "silence");
                let event = match (silent, timeout_at) {
                    (true, Some(at)) => {
                        self.now = at;
                        Event::TimedOut { visit, attempt, heartbeat: false }
                    }
                    (true, None) => return,
                    (false, _) => {
                        assert!(!by_token || matches!(outcome, CallOutcome::Succeeded(_)));
                        Event::CallEnded { visit, attempt, outcome }
                    }
                };
                self.events.push_back((id, event));
            }
            Effect::HeartbeatBy { .. } => {}
            Effect::Cancel { .. } => self.cancelled += 1,
            Effect::WakeAt { visit, attempt, at } => {
                self.now = self.now.max(at);
                self.events.push_back((id, Event::Due { visit, attempt }));
            }
            Effect::Spawn(children) => {
                for child in children {
                    self.events.push_back((child.id.clone(), Event::Start));
                    self.frames.insert(child.id.clone(), (child, None));
                }
            }
            Effect::StopChildren { visit } | Effect::Forget { visit } => {
                let prefix = child_prefix(&id, visit);
                self.frames.retain(|child, _| !child.starts_with(&prefix));
            }
            Effect::Collect { visit } => {
                let prefix = child_prefix(&id, visit);
                let mut outputs: Vec<_> = self
                    .frames
                    .values()
                    .filter(|(child, _)| child.parent.as_deref() == Some(id.as_str()) && child.id.starts_with(&prefix))
                    .map(|(child, output)| (child.index, output.clone().unwrap()))
                    .collect();
                outputs.sort_by_key(|(index, _)| *index);
                let outputs = outputs.into_iter().map(|(_, output)| output).collect();
                self.events.push_back((id, Event::Collected { visit, outputs }));
            }
            Effect::Ended(outcome) => match &frame.parent {
                None => self.outcome = Some(outcome),
                Some(parent) => {
                    let event = frame.child_ended(outcome.as_ref().err().cloned());
                    self.events.push_back((parent.clone(), event));
                    self.frames.insert(id, (frame.clone(), outcome.ok()));
                }
            },
        }
    }

    fn types(&self) -> Vec<&str> {
        self.history.iter().filter_map(|event| event["type"].as_str()).collect()
    }
}

fn echo(call: &Call, _: u32) -> CallOutcome {
    match call {
        Call::Function(function) => CallOutcome::Succeeded(function.payload.clone()),
        other => CallOutcome::Succeeded(serde_json::to_value(other).unwrap()),
    }
}

fn run(definition: &Value, input: Value) -> Result<Value, Failure> {
    World::new(definition, input, &echo).run().outcome.unwrap()
}

fn machine(states: Value) -> Value {
    let start = states.as_object().unwrap().keys().next().unwrap().clone();
    json!({ "StartAt": start, "States": states })
}

fn task(extra: Value) -> Value {
    let mut state = json!({ "Type": "Task", "Resource": "patchwave:function:f", "End": true });
    state.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    state
}

fn failing(error: &str) -> impl Fn(&Call, u32) -> CallOutcome {
    let error = error.to_owned();
    move |_, _| CallOutcome::Failed(failure(&error, "because"))
}

#[test]
fn pass_puts_its_result_where_result_path_says() {
    for (state, expected) in [
        (json!({}), json!({ "a": 1 })),
        (json!({ "Result": 5 }), json!(5)),
        (json!({ "Result": 5, "ResultPath": "$.b.c" }), json!({ "a": 1, "b": { "c": 5 } })),
        (json!({ "Result": 5, "ResultPath": null }), json!({ "a": 1 })),
        (
            json!({ "Parameters": { "x.$": "$.a", "y": [{ "z.$": "$$.State.Name" }] } }),
            json!({ "x": 1, "y": [{ "z": "P" }] }),
        ),
        (json!({ "InputPath": "$.a" }), json!(1)),
        (json!({ "InputPath": null }), json!({})),
        (json!({ "OutputPath": "$.a" }), json!(1)),
        (json!({ "OutputPath": null }), json!({})),
        (json!({ "Parameters": { "s.$": "States.Format('{}!', $.a)" } }), json!({ "s": "1!" })),
    ] {
        let mut full = json!({ "Type": "Pass", "End": true });
        full.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        assert_eq!(run(&machine(json!({ "P": full })), json!({ "a": 1 })), Ok(expected), "{state}");
    }
}

#[test]
fn a_task_calls_with_its_parameters_and_shapes_the_answer() {
    let state = task(json!({
        "Parameters": { "n.$": "$.a" },
        "ResultSelector": { "doubled.$": "States.MathAdd($.n, $.n)" },
        "ResultPath": "$.r",
        "OutputPath": "$.r",
    }));
    assert_eq!(run(&machine(json!({ "T": state })), json!({ "a": 2 })), Ok(json!({ "doubled": 4 })));
}

#[test]
fn choice_takes_the_first_rule_that_holds_or_the_default_or_fails() {
    let states = json!({
        "C": { "Type": "Choice", "Choices": [
            { "Variable": "$.n", "NumericGreaterThan": 5, "Next": "Big" },
            { "Variable": "$.n", "NumericGreaterThan": 1, "Next": "Small" },
        ] },
        "Big": { "Type": "Pass", "Result": "big", "End": true },
        "Small": { "Type": "Pass", "Result": "small", "End": true },
        "D": { "Type": "Succeed" },
    });
    let mut with_default = json!({ "StartAt": "C", "States": states });
    with_default["States"]["C"]["Default"] = json!("D");
    assert_eq!(run(&with_default, json!({ "n": 9 })), Ok(json!("big")));
    assert_eq!(run(&with_default, json!({ "n": 2 })), Ok(json!("small")));
    assert_eq!(run(&with_default, json!({ "n": 0 })), Ok(json!({ "n": 0 })));
    let mut without = with_default;
    without["States"].as_object_mut().unwrap().remove("D");
    without["States"]["C"].as_object_mut().unwrap().remove("Default");
    assert_eq!(run(&without, json!({ "n": 0 })).unwrap_err().error, "States.NoChoiceMatched");
}

#[test]
fn wait_waits_for_seconds_and_instants_from_the_text_or_the_input() {
    for (state, input, until) in [
        (json!({ "Seconds": 90 }), json!({}), "2026-03-14T00:01:30Z"),
        (json!({ "SecondsPath": "$.s" }), json!({ "s": 30 }), "2026-03-14T00:00:30Z"),
        (json!({ "Timestamp": "2026-03-14T08:00:00Z" }), json!({}), "2026-03-14T08:00:00Z"),
        (json!({ "TimestampPath": "$.t" }), json!({ "t": "2026-03-15T00:00:00Z" }), "2026-03-15T00:00:00Z"),
        // What is past is not waited for.
        (json!({ "Timestamp": "2020-01-01T00:00:00Z" }), json!({}), "2026-03-14T00:00:00Z"),
    ] {
        let mut full = json!({ "Type": "Wait", "End": true });
        full.as_object_mut().unwrap().extend(state.as_object().unwrap().clone());
        let world = World::new(&machine(json!({ "W": full })), input.clone(), &echo).run();
        assert_eq!(world.outcome, Some(Ok(input)));
        assert_eq!(world.now, until.parse().unwrap(), "{state}");
    }
    let bad = machine(json!({ "W": { "Type": "Wait", "SecondsPath": "$.s", "End": true } }));
    assert_eq!(run(&bad, json!({ "s": "long" })).unwrap_err().error, "States.Runtime");
}

#[test]
fn fail_ends_with_its_error_and_cause_from_the_text_or_the_input() {
    let fixed = machine(json!({ "F": { "Type": "Fail", "Error": "E", "Cause": "C" } }));
    assert_eq!(run(&fixed, json!({})), Err(failure("E", "C")));
    let by_path =
        machine(json!({ "F": { "Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}!', $.e)" } }));
    assert_eq!(run(&by_path, json!({ "e": "X" })), Err(failure("X", "X!")));
}

#[test]
fn parallel_gives_each_branch_the_input_and_lists_their_outputs() {
    let states = json!({ "P": { "Type": "Parallel", "End": true, "Branches": [
        { "StartAt": "A", "States": { "A": { "Type": "Pass", "Result": 1, "End": true } } },
        { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 5, "Next": "B2" }, "B2": task(json!({})) } },
    ] } });
    assert_eq!(run(&machine(states), json!({ "x": 7 })), Ok(json!([1, { "x": 7 }])));
}

#[test]
fn a_branch_that_fails_stops_the_others_and_can_be_caught() {
    let states = json!({
        "P": { "Type": "Parallel", "Next": "End", "Branches": [
            { "StartAt": "A", "States": { "A": { "Type": "Fail", "Error": "E", "Cause": "C" } } },
            { "StartAt": "B", "States": { "B": { "Type": "Wait", "Seconds": 5, "End": true } } },
        ], "Catch": [{ "ErrorEquals": ["E"], "ResultPath": "$.error", "Next": "Caught" }] },
        "Caught": { "Type": "Succeed" },
        "End": { "Type": "Succeed" },
    });
    let definition = json!({ "StartAt": "P", "States": states });
    let world = World::new(&definition, json!({ "x": 1 }), &echo).run();
    assert_eq!(world.outcome, Some(Ok(json!({ "x": 1, "error": { "Error": "E", "Cause": "C" } }))));
    assert_eq!(world.frames.len(), 1, "the other branch is gone");
}

#[test]
fn map_runs_each_item_with_its_selector_and_keeps_their_order() {
    let states = json!({ "M": { "Type": "Map", "ItemsPath": "$.items", "End": true, "MaxConcurrency": 2,
        "ItemSelector": { "i.$": "$$.Map.Item.Index", "v.$": "$$.Map.Item.Value", "all.$": "$.k" },
        "ItemProcessor": { "StartAt": "T", "States": { "T": task(json!({})) } } } });
    let output = run(&machine(states), json!({ "items": ["a", "b", "c"], "k": 9 })).unwrap();
    assert_eq!(
        output,
        json!([
            { "i": 0, "v": "a", "all": 9 }, { "i": 1, "v": "b", "all": 9 }, { "i": 2, "v": "c", "all": 9 },
        ])
    );
    let empty = machine(json!({ "M": { "Type": "Map", "End": true,
        "Iterator": { "StartAt": "T", "States": { "T": task(json!({})) } } } }));
    assert_eq!(run(&empty, json!([])), Ok(json!([])));
    assert_eq!(run(&empty, json!({})).unwrap_err().error, "States.Runtime");
}

#[test]
fn map_of_ten_thousand_items_holds_no_more_than_its_items_and_those_that_run() {
    let states = json!({ "M": { "Type": "Map", "End": true, "ResultPath": null,
        "ItemProcessor": { "StartAt": "A", "States": {
            "A": { "Type": "Pass", "Next": "B" },
            "B": { "Type": "Pass", "Result": 1, "End": true } } } } });
    let input: Value = (0..10_000).collect::<Vec<_>>().into();
    let bytes = input.to_string().len();
    let mut world = World::new(&machine(states), input.clone(), &echo);
    world.crashes = false;
    let world = world.run();
    assert_eq!(world.outcome, Some(Ok(input)));
    assert!(world.largest < bytes + 4_096, "the largest frame had {} bytes, its input {bytes}", world.largest);
    assert!(world.history.len() > 60_000, "{}", world.history.len());
}

#[test]
fn retry_tries_again_as_often_as_it_says_and_then_catch_has_its_turn() {
    let state = json!({
        "T": { "Type": "Task", "Resource": "patchwave:function:f", "End": true,
            "Retry": [{ "ErrorEquals": ["E"], "IntervalSeconds": 10, "MaxAttempts": 2, "BackoffRate": 3 }],
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "C" }] },
        "C": { "Type": "Pass", "End": true },
    });
    let definition = json!({ "StartAt": "T", "States": state });
    let answers = failing("E");
    let world = World::new(&definition, json!({}), &answers).run();
    assert_eq!(world.calls.len(), 3);
    assert_eq!(world.now, "2026-03-14T00:00:40Z".parse().unwrap(), "10 s and 30 s");
    assert_eq!(world.outcome, Some(Ok(json!({ "Error": "E", "Cause": "because" }))));
    let second_works = |_: &Call, attempt: u32| match attempt {
        1 => CallOutcome::Failed(failure("E", "")),
        _ => CallOutcome::Succeeded(json!("ok")),
    };
    let world = World::new(&definition, json!({}), &second_works).run();
    assert_eq!(world.outcome, Some(Ok(json!("ok"))));
    assert_eq!(world.calls.len(), 2);
}

#[test]
fn a_task_that_does_not_end_in_time_is_cancelled_and_fails_with_a_timeout() {
    let state = task(json!({ "TimeoutSeconds": 60 }));
    let answers = failing("silence");
    let world = World::new(&machine(json!({ "T": state })), json!({}), &answers).run();
    assert_eq!(world.outcome.clone().unwrap().unwrap_err().error, "States.Timeout");
    assert_eq!(world.cancelled, 1);
    assert!(world.types().contains(&"TaskTimedOut"));
}

#[test]
fn a_sign_of_life_moves_the_heartbeat_and_a_missing_one_is_its_own_error() {
    let definition = machine(json!({ "T": task(json!({ "HeartbeatSeconds": 5 })) }));
    let answers = failing("silence");
    let mut world = World::new(&definition, json!({}), &answers).run();
    let frame = world.frames[ROOT].0.clone();
    let (visit, attempt) = (frame.visit, frame.attempt);
    assert!(!world.deliver(ROOT, Event::Heartbeat { visit, attempt }));
    assert!(world.deliver(ROOT, Event::Heartbeat { visit, attempt: attempt + 1 }), "of another try");
    world.deliver(ROOT, Event::TimedOut { visit, attempt, heartbeat: true });
    assert_eq!(world.outcome.unwrap().unwrap_err().error, "States.HeartbeatTimeout");
}

#[test]
fn variables_are_assigned_together_and_seen_by_inner_states_that_cannot_change_them() {
    let states = json!({
        "A": { "Type": "Pass", "Assign": { "x": 1, "y.$": "$.n" }, "Next": "B" },
        "B": { "Type": "Pass", "Assign": { "x.$": "$y", "y.$": "$x" }, "Next": "P" },
        "P": { "Type": "Parallel", "Next": "Z", "Branches": [
            { "StartAt": "I", "States": { "I": { "Type": "Pass", "Parameters": { "v.$": "$x" }, "Assign": { "x": 99 }, "End": true } } },
        ] },
        "Z": { "Type": "Pass", "Parameters": { "x.$": "$x", "y.$": "$y", "inner.$": "$[0].v" }, "End": true },
    });
    let definition = json!({ "StartAt": "A", "States": states });
    assert_eq!(run(&definition, json!({ "n": 5 })), Ok(json!({ "x": 5, "y": 1, "inner": 5 })));
}

#[test]
fn the_context_object_names_execution_state_machine_state_and_task() {
    let state = json!({ "P": { "Type": "Pass", "End": true, "Parameters": {
        "id.$": "$$.Execution.Id", "name.$": "$$.Execution.Name", "input.$": "$$.Execution.Input.k",
        "start.$": "$$.Execution.StartTime", "machine.$": "$$.StateMachine.Name", "retries.$": "$$.State.RetryCount",
    } } });
    assert_eq!(
        run(&machine(state), json!({ "k": 3 })),
        Ok(json!({
            "id": "e-1", "name": "one", "input": 3, "start": "2026-03-14T00:00:00Z", "machine": "machine", "retries": 0,
        }))
    );
}

#[test]
fn a_task_that_waits_for_its_token_is_told_the_token_it_waits_for() {
    let state = json!({ "T": { "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken", "End": true,
        "Parameters": { "FunctionName": "f", "Payload": { "token.$": "$$.Task.Token" } } } });
    let world = World::new(&machine(state), json!({}), &echo).run();
    let Call::Function(function) = &world.calls[0] else { panic!("another call") };
    let token = function.payload["token"].as_str().unwrap().to_owned();
    let input = json!({});
    let cx = Context {
        now: world.now,
        execution_id: "e-1",
        execution_name: "",
        started_at: world.now,
        input: &input,
        role_arn: "",
        state_machine_id: "",
        state_machine_name: "",
    };
    assert_eq!(token, cx.token(ROOT, 1, 1));
    assert_ne!(token, cx.token(ROOT, 1, 2));
}

#[test]
fn errors_have_the_names_that_are_documented() {
    let long = "x".repeat(300_000);
    for (state, input, error) in [
        (json!({ "Type": "Pass", "InputPath": "$.none", "End": true }), json!({}), "States.Runtime"),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "$.none" }, "End": true }),
            json!({}),
            "States.ParameterPathFailure",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "$none" }, "End": true }),
            json!({}),
            "States.ParameterPathFailure",
        ),
        (
            json!({ "Type": "Pass", "Result": 1, "ResultPath": "$.a.b", "End": true }),
            json!({ "a": 1 }),
            "States.ResultPathMatchFailure",
        ),
        (
            json!({ "Type": "Pass", "Parameters": { "a.$": "States.MathAdd($.a, 1)" }, "End": true }),
            json!({ "a": "x" }),
            "States.IntrinsicFailure",
        ),
        (json!({ "Type": "Pass", "Result": long, "End": true }), json!({}), "States.DataLimitExceeded"),
    ] {
        assert_eq!(run(&machine(json!({ "S": state })), input).unwrap_err().error, error, "{error}");
    }
}

#[test]
fn what_ends_an_execution_whatever_catches_all_errors_is_not_caught() {
    let states = json!({
        "T": { "Type": "Task", "Resource": "patchwave:command", "End": true,
            "Catch": [{ "ErrorEquals": ["States.ALL"], "Next": "C" }] },
        "C": { "Type": "Pass", "End": true },
    });
    let definition = json!({ "StartAt": "T", "States": states });
    assert_eq!(run(&definition, json!([])).unwrap_err().error, "States.Runtime");
}

#[test]
fn a_loop_without_end_is_ended() {
    let states = json!({
        "A": { "Type": "Pass", "Next": "C" },
        "C": { "Type": "Choice", "Choices": [{ "Variable": "$.stop", "IsPresent": true, "Next": "Z" }], "Default": "A" },
        "Z": { "Type": "Succeed" },
    });
    let failed = run(&json!({ "StartAt": "A", "States": states }), json!({})).unwrap_err();
    assert_eq!(failed.error, "States.Runtime");
    assert!(failed.cause.contains("25000"), "{}", failed.cause);
}

#[test]
fn text_that_doubles_in_a_loop_is_ended_at_the_limit() {
    let states = json!({
        "A": { "Type": "Pass", "Parameters": { "t.$": "States.Format('{}{}', $.t, $.t)" }, "Next": "C" },
        "C": { "Type": "Choice", "Choices": [{ "Variable": "$.t", "IsNull": true, "Next": "Z" }], "Default": "A" },
        "Z": { "Type": "Succeed" },
    });
    let failed = run(&json!({ "StartAt": "A", "States": states }), json!({ "t": "xx" })).unwrap_err();
    assert!(matches!(failed.error.as_str(), "States.IntrinsicFailure" | "States.DataLimitExceeded"), "{failed:?}");
}

#[test]
fn the_history_tells_what_happened_in_step_functions_words() {
    let states = json!({
        "T": { "Type": "Task", "Resource": "patchwave:function:f", "Next": "S" },
        "S": { "Type": "Succeed" },
    });
    let world = World::new(&json!({ "StartAt": "T", "States": states }), json!({ "a": 1 }), &echo).run();
    assert_eq!(
        world.types(),
        [
            "ExecutionStarted",
            "TaskStateEntered",
            "TaskScheduled",
            "TaskSucceeded",
            "TaskStateExited",
            "SucceedStateEntered",
            "SucceedStateExited",
            "ExecutionSucceeded",
        ]
    );
    assert_eq!(world.history[1]["stateEnteredEventDetails"], json!({ "name": "T", "input": "{\"a\":1}" }));
}

#[test]
fn faults_are_all_found_with_line_and_column() {
    let text = r#"{
  "StartAt": "Gone",
  "States": {
    "A": { "Type": "Pass", "Next": "Nowhere" },
    "B": { "Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "End": true, "Secs": 1 },
    "C": { "Type": "Wait", "Seconds": -1, "End": true },
    "D": { "Type": "Choice", "Choices": [{ "Variable": "$.x", "StringEquals": 1, "Next": "A" }] },
    "E": { "Type": "Map", "End": true, "ItemProcessor": { "ProcessorConfig": { "Mode": "DISTRIBUTED" },
      "StartAt": "F", "States": { "F": { "Type": "Pass" } } } },
    "G": { "Type": "Pass", "QueryLanguage": "JSONata", "End": true }
  }
}"#;
    let faults = Machine::parse(text).unwrap_err();
    let found: Vec<_> = faults.iter().map(|fault| (fault.line, fault.path.as_str())).collect();
    for expected in [
        (2, "/StartAt"),
        (4, "/States/A/Next"),
        (5, "/States/B/Resource"),
        (5, "/States/B/Secs"),
        (6, "/States/C/Seconds"),
        (7, "/States/D/Choices/0/StringEquals"),
        (8, "/States/E/ItemProcessor/ProcessorConfig/Mode"),
        (9, "/States/E/ItemProcessor/States/F"),
        (10, "/States/G/QueryLanguage"),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    assert!(faults.iter().any(|fault| fault.code == "MISSING_TRANSITION_TARGET"));
    assert!(faults.iter().all(|fault| fault.column > 1));
}

#[test]
fn hostile_definitions_are_refused() {
    assert_eq!(Machine::parse("{").unwrap_err()[0].code, "INVALID_JSON_DESCRIPTION");
    assert!(Machine::parse(&"[".repeat(100_000)).is_err());
    assert!(Machine::parse(&format!("\"{}\"", "x".repeat(2_000_000))).unwrap_err()[0].problem.contains("1048576"));
    let mut inner = json!({ "StartAt": "Z", "States": { "Z": { "Type": "Succeed" } } });
    for depth in 0..20 {
        inner = json!({ "StartAt": format!("P{depth}"), "States": { (format!("P{depth}")): { "Type": "Parallel", "End": true, "Branches": [inner] } } });
    }
    assert!(Machine::parse(&inner.to_string()).is_ok());
    for depth in 20..40 {
        inner = json!({ "StartAt": format!("P{depth}"), "States": { (format!("P{depth}")): { "Type": "Parallel", "End": true, "Branches": [inner] } } });
    }
    // Deeper than states, or than JSON, may be.
    assert!(Machine::parse(&inner.to_string()).is_err());
}

/// Small machines of all kinds of states, some of them wrong.
fn any_machine() -> impl Strategy<Value = Value> {
    let state = prop_oneof![
        Just(json!({ "Type": "Pass", "Next": "A" })),
        Just(json!({ "Type": "Pass", "Parameters": { "x.$": "$.x" }, "ResultPath": "$.y", "Next": "B" })),
        Just(
            json!({ "Type": "Task", "Resource": "patchwave:function:f", "Next": "C", "Retry": [{ "ErrorEquals": ["States.ALL"] }] })
        ),
        Just(
            json!({ "Type": "Choice", "Choices": [{ "Variable": "$.x", "IsPresent": true, "Next": "A" }], "Default": "Z" })
        ),
        Just(json!({ "Type": "Wait", "SecondsPath": "$.x", "Next": "Z" })),
        Just(
            json!({ "Type": "Map", "ItemsPath": "$.x", "Next": "Z", "Iterator": { "StartAt": "I", "States": { "I": { "Type": "Pass", "End": true } } } })
        ),
        Just(json!({ "Type": "Fail", "ErrorPath": "$.x" })),
        Just(json!({ "Type": "Pass", "End": 7 })),
    ];
    (state.clone(), state.clone(), state).prop_map(
        |(a, b, c)| json!({ "StartAt": "A", "States": { "A": a, "B": b, "C": c, "Z": { "Type": "Succeed" } } }),
    )
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z$.]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[xyz]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn machines_and_inputs_of_all_kinds_end_and_nothing_panics(definition in any_machine(), input in any_json()) {
        if Machine::parse(&definition.to_string()).is_ok() {
            let world = World::new(&definition, input, &echo).run();
            prop_assert!(world.outcome.is_some());
        }
    }

    #[test]
    fn texts_of_all_kinds_are_read_without_a_panic(text in "\\PC{0,60}", functions in "States\\.[A-Z][a-z]{2,9}\\(['$.a{},1 ()]{0,20}") {
        let _ = Machine::parse(&text);
        let _ = crate::states::intrinsics::check(&text);
        let _ = crate::states::intrinsics::check(&functions);
        let _ = crate::json_path::check(&text);
    }
}
