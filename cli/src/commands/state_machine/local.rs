//! An execution in this process's memory. The rules are the engine's; nothing is stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use jiff::Timestamp;
use patchwave_engine::calls::{Call, CallOutcome, Failure};
use patchwave_engine::states::{Context, Effect, Event, Frame, Machine, ROOT, child_prefix, root, step};
use serde_json::{Value, json};

use super::mocks::Mocks;

/// Events that are waited for: when, their number, which frame, what.
type Due = Reverse<(Timestamp, u64, String, u64, u32)>;

/// A run of a machine.
pub(super) struct Execution<'a> {
    machine: &'a Machine,
    name: String,
    input: Value,
    mocks: Mocks,
    skip_waits: bool,
    started_at: Timestamp,
    now: Timestamp,
    frames: BTreeMap<String, (Frame, Option<Value>)>,
    queue: VecDeque<(String, Event)>,
    due: BinaryHeap<Due>,
    numbered: u64,
    calls: BTreeMap<String, usize>,
    history: Vec<Value>,
    outcome: Option<Result<Value, Failure>>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(machine: &'a Machine, name: &str, input: Value, mocks: Mocks, skip_waits: bool) -> Self {
        let now = Timestamp::now();
        Self {
            machine,
            name: name.to_owned(),
            mocks,
            skip_waits,
            started_at: now,
            now,
            frames: BTreeMap::from([(ROOT.to_owned(), (root(input.clone(), now), None))]),
            queue: VecDeque::from([(ROOT.to_owned(), Event::Start)]),
            due: BinaryHeap::new(),
            numbered: 0,
            calls: BTreeMap::new(),
            history: Vec::new(),
            outcome: None,
            input,
        }
    }

    /// Runs to the end. Bounded by what the engine bounds, and by the machine's own timeout.
    pub(super) async fn run(&mut self) -> Result<Value, Failure> {
        let seconds = self.machine.timeout_seconds.and_then(|seconds| i64::try_from(seconds).ok());
        let ends_at = seconds.and_then(|seconds| self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).ok());
        loop {
            if let Some(outcome) = self.outcome.take() {
                return outcome;
            }
            if ends_at.is_some_and(|at| self.now >= at) {
                let cause = "the execution did not end within TimeoutSeconds".to_owned();
                return Err(Failure { error: "States.Timeout".to_owned(), cause });
            }
            if let Some((id, event)) = self.queue.pop_front() {
                self.deliver(&id, event);
                continue;
            }
            let Some(Reverse((at, _, id, visit, attempt))) = self.due.pop() else {
                let cause = "it waits for somebody who does not exist here: see --mock".to_owned();
                return Err(Failure { error: "States.Runtime".to_owned(), cause });
            };
            self.wait_until(ends_at.map_or(at, |end| at.min(end))).await;
            self.queue.push_back((id, Event::Due { visit, attempt }));
        }
    }

    /// What happened, in the shape of GetExecutionHistory.
    pub(super) fn into_history(self) -> Vec<Value> {
        self.history
    }

    async fn wait_until(&mut self, at: Timestamp) {
        if self.skip_waits {
            self.now = self.now.max(at);
            return;
        }
        let wait = std::time::Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(wait).await;
        self.now = Timestamp::now().max(at);
    }

    fn deliver(&mut self, id: &str, event: Event) {
        let Some((frame, _)) = self.frames.get(id) else { return };
        if !self.skip_waits {
            self.now = Timestamp::now().max(self.now);
        }
        let cx = Context {
            now: self.now,
            execution_id: &format!("arn:aws:states:local:000000000000:execution:{}:local", self.name),
            execution_name: "local",
            started_at: self.started_at,
            input: &self.input,
            role_arn: "",
            state_machine_id: &format!("arn:aws:states:local:000000000000:stateMachine:{}", self.name),
            state_machine_name: &self.name,
        };
        let stepped = step(self.machine, frame.clone(), event, &cx);
        let frame = stepped.frame;
        self.frames.entry(frame.id.clone()).and_modify(|(known, _)| known.clone_from(&frame));
        for effect in stepped.effects {
            self.carry_out(&frame, effect);
        }
    }

    fn carry_out(&mut self, frame: &Frame, effect: Effect) {
        let id = frame.id.clone();
        match effect {
            Effect::History(mut event) => {
                event["id"] = json!(self.history.len() + 1);
                event["timestamp"] = json!(self.now);
                self.history.push(event);
            }
            Effect::Call { visit, attempt, call, .. } => {
                let outcome = self.answer(&frame.state, &call);
                self.queue.push_back((id, Event::CallEnded { visit, attempt, outcome }));
            }
            Effect::WakeAt { visit, attempt, at } => {
                self.numbered += 1;
                self.due.push(Reverse((at, self.numbered, id, visit, attempt)));
            }
            Effect::Spawn(children) => {
                for child in children {
                    self.queue.push_back((child.id.clone(), Event::Start));
                    self.frames.insert(child.id.clone(), (child, None));
                }
            }
            Effect::StopChildren { visit } | Effect::Forget { visit } => {
                let prefix = child_prefix(&id, visit);
                self.frames.retain(|child, _| !child.starts_with(&prefix));
            }
            Effect::Collect { visit } => {
                let prefix = child_prefix(&id, visit);
                let of_it = |child: &Frame| child.parent.as_ref() == Some(&id) && child.id.starts_with(&prefix);
                let mut outputs: Vec<_> = self
                    .frames
                    .values()
                    .filter(|(child, _)| of_it(child))
                    .map(|(child, output)| (child.index, output.clone().unwrap_or_default()))
                    .collect();
                outputs.sort_by_key(|(index, _)| *index);
                let outputs = outputs.into_iter().map(|(_, output)| output).collect();
                self.queue.push_back((id, Event::Collected { visit, outputs }));
            }
            Effect::Ended(outcome) => match &frame.parent {
                None => self.outcome = Some(outcome),
                Some(parent) => {
                    let event = frame.child_ended(outcome.as_ref().err().cloned());
                    self.queue.push_back((parent.clone(), event));
                    self.frames.insert(id, (frame.clone(), outcome.ok()));
                }
            },
            // Calls are answered at once: none has a deadline to meet.
            Effect::HeartbeatBy { .. } | Effect::Cancel { .. } => {}
        }
    }

    fn answer(&mut self, state: &str, call: &Call) -> CallOutcome {
        let calls = self.calls.entry(state.to_owned()).or_default();
        let answer = self.mocks.answer(state, *calls);
        *calls += 1;
        answer.unwrap_or_else(|| {
            let what = match call {
                Call::Function(function) => format!("function `{}`", function.function),
                Call::Command { .. } => "a command".to_owned(),
                Call::Automation { .. } => "an automation".to_owned(),
                Call::StateMachine { state_machine, .. } => format!("state machine `{state_machine}`"),
                Call::Http(_) => "an endpoint".to_owned(),
                Call::Script(_) => "a script".to_owned(),
                Call::Api { operation, .. } => format!("operation {operation}"),
                Call::Token => "somebody who has its token".to_owned(),
            };
            let cause =
                format!("state `{state}` calls {what}, which a local run does not reach; answer it with --mock");
            CallOutcome::Failed(Failure { error: "States.Runtime".to_owned(), cause })
        })
    }
}
