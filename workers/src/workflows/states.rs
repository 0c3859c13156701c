//! Carrying an execution of a state machine on: the engine steps its frames, this moves the rows.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_engine::calls::{CallOutcome, Failure};
use patchwave_engine::states::{Context, Effect, Event, Frame, Machine, ROOT, child_prefix, root, step};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::calls::{OwnerKind, StoredCall};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::workflows::{StoredEvent, StoredFrame, Workflow};
use patchwave_platform::store::{Tx, from_json, to_json};
use patchwave_platform::workflows::{Happening, answer, execution_arn, failed, state_machine_arn, tell};
use patchwave_schemas::event::Timer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::calls::{Placing, place, withdraw};
use super::machines::machine;
use crate::HandlerError;

/// Steps that one transaction takes; what is left is told to the execution again.
const STEPS_MAX: usize = 2_000;
/// Ended frames and history events that are held before they are written.
const HELD_MAX: usize = 200;
/// What the timer of the whole execution is about.
const EXECUTION_TIMEOUT: &str = "execution";

/// What the engine knows a call by.
#[derive(Serialize, Deserialize)]
struct About {
    frame: String,
    visit: u64,
    attempt: u32,
    /// The call of a task that waits for its token: its success ends nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    made: bool,
}

/// Applies what happened to an execution. The caller holds its row, and stores it afterwards.
pub(super) async fn advance(
    tx: &mut Tx,
    master_key: &MasterKey,
    workflow: &mut Workflow,
    happenings: Vec<Happening>,
    now: Timestamp,
) -> Result<Vec<OutboxMessage>, HandlerError> {
    let text = tx.workflow_definition(&workflow.definition_id).await?;
    let text = text.ok_or_else(|| HandlerError::Contradiction("an execution's definition is gone".to_owned()))?;
    let machine = machine(&workflow.definition_id, &text)
        .map_err(|fault| HandlerError::Contradiction(format!("a stored definition cannot be read: {fault}")))?;
    let input: Value = from_json("workflows.input", &workflow.input)?;
    let record: Value = from_json("workflows.record", &workflow.record)?;
    let names = Names {
        execution: execution_arn("000000000000", &workflow.definition_name, &workflow.name),
        machine: state_machine_arn("000000000000", &workflow.definition_name),
        role: record["roleArn"].as_str().unwrap_or_default().to_owned(),
    };
    let mut run = Run {
        tx,
        master_key,
        workflow,
        machine,
        input,
        names,
        now,
        frames: HashMap::new(),
        dirty: HashSet::new(),
        ended: Vec::new(),
        history: Vec::new(),
        queue: VecDeque::new(),
        outbox: Vec::new(),
    };
    for happening in happenings {
        run.take(happening).await?;
    }
    run.steps().await?;
    run.write().await?;
    let outbox = run.outbox;
    Ok(outbox)
}

/// Names that the context object has.
struct Names {
    execution: String,
    machine: String,
    role: String,
}

struct Run<'a> {
    tx: &'a mut Tx,
    master_key: &'a MasterKey,
    workflow: &'a mut Workflow,
    machine: Arc<Machine>,
    input: Value,
    names: Names,
    now: Timestamp,
    /// Frames that were read or changed in this transaction.
    frames: HashMap<String, Frame>,
    dirty: HashSet<String>,
    ended: Vec<StoredFrame>,
    history: Vec<StoredEvent>,
    queue: VecDeque<(String, Event)>,
    outbox: Vec<OutboxMessage>,
}

impl Run<'_> {
    /// Turns what happened into events of frames.
    async fn take(&mut self, happening: Happening) -> Result<(), HandlerError> {
        match happening {
            Happening::Start => {
                self.put(root(self.input.clone(), self.now));
                self.queue.push_back((ROOT.to_owned(), Event::Start));
                if let Some(seconds) = self.machine.timeout_seconds {
                    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                    let at = self.now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
                    self.tx.set_timer(&self.timer(EXECUTION_TIMEOUT.to_owned()), at).await?;
                }
            }
            Happening::CallEnded { about, outcome } => {
                let About { frame, visit, attempt, made } = from_json("calls.about", &about)?;
                if made && matches!(outcome, CallOutcome::Succeeded(_)) {
                    return Ok(());
                }
                self.queue.push_back((frame, Event::CallEnded { visit, attempt, outcome }));
            }
            Happening::Heartbeat { about } => {
                let About { frame, visit, attempt, .. } = from_json("calls.about", &about)?;
                self.queue.push_back((frame, Event::Heartbeat { visit, attempt }));
            }
            Happening::Engine { frame, event } => {
                let event = serde_json::from_value(event)
                    .map_err(|error| HandlerError::Contradiction(format!("a stored event cannot be read: {error}")))?;
                self.queue.push_back((frame, event));
            }
            Happening::Timer { about } if about == EXECUTION_TIMEOUT => {
                let failure = Failure {
                    error: "States.Timeout".to_owned(),
                    cause: "the execution did not end within TimeoutSeconds".to_owned(),
                };
                self.stop("TIMED_OUT", "ExecutionTimedOut", failure).await?;
            }
            Happening::Timer { about } => {
                if let Some((frame, event)) = event_of(&about) {
                    self.queue.push_back((frame, event));
                }
            }
            Happening::Stop { how, cause } => {
                self.stop("ABORTED", "ExecutionAborted", Failure { error: how, cause }).await?;
            }
            // Signals are an automation's.
            Happening::Signal { .. } => {}
        }
        Ok(())
    }

    async fn steps(&mut self) -> Result<(), HandlerError> {
        let mut steps = 0;
        while let Some((id, event)) = self.queue.pop_front() {
            if self.workflow.ended_at.is_some() {
                self.queue.clear();
                break;
            }
            if steps == STEPS_MAX {
                self.queue.push_front((id, event));
                return self.leave_the_rest().await;
            }
            steps += 1;
            let Some(frame) = self.frame(&id).await? else { continue };
            let call = match &event {
                Event::CallEnded { visit, attempt, .. } => Some((*visit, *attempt)),
                _ => None,
            };
            if let Some((visit, attempt)) = call {
                self.clear_deadlines(&id, visit, attempt).await?;
            }
            let machine = Arc::clone(&self.machine);
            let stepped = {
                let cx = Context {
                    now: self.now,
                    execution_id: &self.names.execution,
                    execution_name: &self.workflow.name,
                    started_at: self.workflow.started_at,
                    input: &self.input,
                    role_arn: &self.names.role,
                    state_machine_id: &self.names.machine,
                    state_machine_name: &self.workflow.definition_name,
                };
                step(&machine, frame, event, &cx)
            };
            let frame = stepped.frame;
            self.put(frame.clone());
            for effect in stepped.effects {
                self.carry_out(&frame, effect).await?;
            }
            if self.ended.len() >= HELD_MAX || self.history.len() >= HELD_MAX {
                self.write().await?;
            }
        }
        Ok(())
    }

    /// Events that this transaction has no room for wait in the inbox.
    async fn leave_the_rest(&mut self) -> Result<(), HandlerError> {
        for (number, (frame, event)) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            let event = serde_json::to_value(&event)
                .map_err(|error| HandlerError::Contradiction(format!("an event cannot be stored: {error}")))?;
            let key = format!("rest/{}/{number:06}", self.workflow.history_events);
            let happening = Happening::Engine { frame, event };
            let message = tell(self.tx, self.workflow.workflow_id, &key, &happening, self.now).await?;
            if number == 0 {
                self.outbox.push(message);
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, frame: &Frame, effect: Effect) -> Result<(), HandlerError> {
        let id = &frame.id;
        match effect {
            Effect::History(event) => {
                self.workflow.history_events += 1;
                let event_id = self.workflow.history_events;
                self.history.push(StoredEvent { event_id, at: self.now, event: to_json(&event) });
            }
            Effect::Call { visit, attempt, call, by_token, timeout_at, heartbeat_at } => {
                let about = About { frame: id.clone(), visit, attempt, made: false };
                let made = About { frame: id.clone(), visit, attempt, made: by_token };
                let placing = Placing {
                    workflow: self.workflow,
                    token: self.token(id, visit, attempt),
                    about: to_json(if by_token && call != patchwave_engine::calls::Call::Token {
                        &made
                    } else {
                        &about
                    }),
                    call,
                    by_token,
                    deadline_at: timeout_at,
                };
                let placed = place(self.tx, self.master_key, placing, self.now).await?;
                self.outbox.extend(placed.messages);
                for (at, word) in [(timeout_at, "timeout"), (heartbeat_at, "beat")] {
                    if let Some(at) = at {
                        self.tx.set_timer(&self.timer(about_of(word, visit, attempt, id)), at).await?;
                    }
                }
                if let Some(outcome) = placed.outcome {
                    self.queue.push_back((id.clone(), Event::CallEnded { visit, attempt, outcome }));
                }
            }
            Effect::HeartbeatBy { visit, attempt, at } => {
                self.tx.set_timer(&self.timer(about_of("beat", visit, attempt, id)), at).await?;
            }
            Effect::Cancel { visit, attempt } => {
                self.clear_deadlines(id, visit, attempt).await?;
                let token = self.token(id, visit, attempt);
                for token in [format!("{token}/made"), token] {
                    if let Some(call) = self.tx.call(&token).await? {
                        self.withdraw(&call, "the task did not end in time").await?;
                    }
                }
            }
            Effect::WakeAt { visit, attempt, at } => {
                if at <= self.now {
                    self.queue.push_back((id.clone(), Event::Due { visit, attempt }));
                } else {
                    self.tx.set_timer(&self.timer(about_of("due", visit, attempt, id)), at).await?;
                }
            }
            Effect::Spawn(children) => {
                for child in children {
                    self.queue.push_back((child.id.clone(), Event::Start));
                    self.put(child);
                }
            }
            Effect::StopChildren { visit } => {
                let prefix = child_prefix(id, visit);
                self.withdraw_below(Some(&prefix), "another branch failed").await?;
                self.forget(&prefix).await?;
            }
            Effect::Forget { visit } => self.forget(&child_prefix(id, visit)).await?,
            Effect::Collect { visit } => {
                self.write().await?;
                let prefix = child_prefix(id, visit);
                let rows = self.tx.workflow_outputs(self.workflow.workflow_id, id, &prefix).await?;
                let read = |(_, text): &(i64, String)| from_json("workflow_frames.output", text);
                let outputs = rows.iter().map(read).collect::<Result<_, _>>()?;
                self.queue.push_back((id.clone(), Event::Collected { visit, outputs }));
            }
            Effect::Ended(outcome) => self.ended(frame, outcome).await?,
        }
        Ok(())
    }

    /// A frame is over: its parent is told, or the execution ends.
    async fn ended(&mut self, frame: &Frame, outcome: Result<Value, Failure>) -> Result<(), HandlerError> {
        let Some(parent) = &frame.parent else {
            return match outcome {
                Ok(output) => self.finish("SUCCEEDED", Some(output), None).await,
                Err(failure) => self.finish("FAILED", None, Some(failure)).await,
            };
        };
        self.queue.push_back((parent.clone(), frame.child_ended(outcome.as_ref().err().cloned())));
        self.frames.remove(&frame.id);
        self.dirty.remove(&frame.id);
        let mut stored = stored(frame);
        stored.ended = 1;
        stored.output = outcome.ok().map(|output| output.to_string());
        self.ended.push(stored);
        Ok(())
    }

    /// Ends the execution from outside: nothing of it goes on.
    async fn stop(&mut self, status: &str, event: &str, failure: Failure) -> Result<(), HandlerError> {
        if self.workflow.ended_at.is_some() {
            return Ok(());
        }
        let member = format!("{}{}EventDetails", event[..1].to_ascii_lowercase(), &event[1..]);
        let mut history = json!({ "type": event });
        history[member] = json!({ "error": failure.error, "cause": failure.cause });
        self.workflow.history_events += 1;
        let event_id = self.workflow.history_events;
        self.history.push(StoredEvent { event_id, at: self.now, event: to_json(&history) });
        self.finish(status, None, Some(failure)).await
    }

    async fn finish(
        &mut self,
        status: &str,
        output: Option<Value>,
        failure: Option<Failure>,
    ) -> Result<(), HandlerError> {
        self.withdraw_below(None, "the execution has ended").await?;
        self.tx.clear_timer(&self.timer(EXECUTION_TIMEOUT.to_owned())).await?;
        self.workflow.status = status.to_owned();
        self.workflow.ended_at = Some(self.now);
        self.workflow.output = output.as_ref().map(Value::to_string);
        self.workflow.error = failure.as_ref().map(|failure| failure.error.clone());
        self.workflow.cause = failure.as_ref().map(|failure| failure.cause.clone());
        let outcome = match (output, failure) {
            (Some(output), _) => CallOutcome::Succeeded(json!({
                "ExecutionArn": self.names.execution,
                "Status": status,
                "Output": output,
            })),
            (None, failure) => {
                let failure = failure.unwrap_or(Failure { error: String::new(), cause: String::new() });
                let cause = json!({
                    "ExecutionArn": self.names.execution,
                    "Status": status,
                    "Error": failure.error,
                    "Cause": failure.cause,
                });
                failed("States.TaskFailed", cause.to_string())
            }
        };
        let told = answer(self.tx, &self.workflow.workflow_id.to_string(), &outcome, self.now).await?;
        self.outbox.extend(told);
        // What the execution was and did is in its row and its history.
        self.frames.clear();
        self.dirty.clear();
        self.ended.clear();
        self.tx.forget_workflow_frames(self.workflow.workflow_id, ROOT).await?;
        self.tx.forget_calls(OwnerKind::Workflow, &self.workflow.workflow_id.to_string()).await?;
        Ok(())
    }

    /// Withdraws the calls of frames whose ids begin so; all calls without a prefix.
    async fn withdraw_below(&mut self, prefix: Option<&str>, reason: &str) -> Result<(), HandlerError> {
        let open = self.tx.open_calls(OwnerKind::Workflow, &self.workflow.workflow_id.to_string()).await?;
        for call in open {
            let about: About = from_json("calls.about", &call.about)?;
            if prefix.is_none_or(|prefix| about.frame.starts_with(prefix)) {
                self.clear_deadlines(&about.frame, about.visit, about.attempt).await?;
                self.withdraw(&call, reason).await?;
            }
        }
        Ok(())
    }

    async fn withdraw(&mut self, call: &StoredCall, reason: &str) -> Result<(), HandlerError> {
        let messages = withdraw(self.tx, call, reason, self.now).await?;
        self.outbox.extend(messages);
        Ok(())
    }

    /// Forgets frames whose ids begin so.
    async fn forget(&mut self, prefix: &str) -> Result<(), HandlerError> {
        self.frames.retain(|id, _| !id.starts_with(prefix));
        self.dirty.retain(|id| !id.starts_with(prefix));
        self.ended.retain(|frame| !frame.frame_id.starts_with(prefix));
        self.queue.retain(|(id, _)| !id.starts_with(prefix));
        Ok(self.tx.forget_workflow_frames(self.workflow.workflow_id, prefix).await?)
    }

    async fn frame(&mut self, id: &str) -> Result<Option<Frame>, HandlerError> {
        if let Some(frame) = self.frames.get(id) {
            return Ok(Some(frame.clone()));
        }
        let Some(row) = self.tx.workflow_frame(self.workflow.workflow_id, id).await?.filter(|row| row.ended == 0)
        else {
            return Ok(None);
        };
        let frame: Frame = from_json("workflow_frames.frame", &row.frame)?;
        self.frames.insert(id.to_owned(), frame.clone());
        Ok(Some(frame))
    }

    fn put(&mut self, frame: Frame) {
        self.dirty.insert(frame.id.clone());
        self.frames.insert(frame.id.clone(), frame);
    }

    /// Writes what this transaction has changed so far.
    async fn write(&mut self) -> Result<(), HandlerError> {
        let id = self.workflow.workflow_id;
        self.tx.add_workflow_history(id, &std::mem::take(&mut self.history)).await?;
        let mut rows = std::mem::take(&mut self.ended);
        let mut dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
        dirty.sort();
        rows.extend(dirty.iter().filter_map(|id| self.frames.get(id)).map(stored));
        Ok(self.tx.put_workflow_frames(id, &rows).await?)
    }

    async fn clear_deadlines(&mut self, id: &str, visit: u64, attempt: u32) -> Result<(), HandlerError> {
        for word in ["timeout", "beat"] {
            self.tx.clear_timer(&self.timer(about_of(word, visit, attempt, id))).await?;
        }
        Ok(())
    }

    fn timer(&self, about: String) -> Timer {
        Timer::Workflow { workflow_id: self.workflow.workflow_id, about }
    }

    fn token(&self, id: &str, visit: u64, attempt: u32) -> String {
        let cx = Context {
            now: self.now,
            execution_id: &self.names.execution,
            execution_name: "",
            started_at: self.now,
            input: &Value::Null,
            role_arn: "",
            state_machine_id: "",
            state_machine_name: "",
        };
        cx.token(id, visit, attempt)
    }
}

fn stored(frame: &Frame) -> StoredFrame {
    StoredFrame {
        frame_id: frame.id.clone(),
        parent_id: frame.parent.clone().unwrap_or_default(),
        ordinal: i64::try_from(frame.index).unwrap_or(i64::MAX),
        ended: 0,
        frame: to_json(frame),
        output: None,
    }
}

/// What a timer is about, as text: the frame comes last, since it holds slashes.
fn about_of(word: &str, visit: u64, attempt: u32, frame: &str) -> String {
    format!("{word}/{visit}/{attempt}/{frame}")
}

/// The event of a timer that has come.
fn event_of(about: &str) -> Option<(String, Event)> {
    let mut parts = about.splitn(4, '/');
    let word = parts.next()?;
    let (visit, attempt) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let frame = parts.next()?.to_owned();
    let event = match word {
        "due" => Event::Due { visit, attempt },
        "timeout" => Event::TimedOut { visit, attempt, heartbeat: false },
        "beat" => Event::TimedOut { visit, attempt, heartbeat: true },
        _ => return None,
    };
    Some((frame, event))
}
