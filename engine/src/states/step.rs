//! The transitions: one frame, one event, and what follows.

use std::borrow::Cow;
use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::data::{Scope, Template, failure, place_result, through, within_limit};
use super::frame::{Children, Context, Effect, Event, Frame, Phase, Step};
use super::machine::{Count, Flow, Kind, Machine, ResultPath, SECONDS_MAX, State, Until, Word};
use super::{MAP_CONCURRENCY_MAX, TRANSITIONS_MAX, VISITS_MAX, history, intrinsics};
use crate::calls::{CallOutcome, Failure};

/// Applies an event to a frame. An event that is late, or was applied before, changes nothing.
#[must_use]
pub fn step(machine: &Machine, frame: Frame, event: Event, cx: &Context<'_>) -> Step {
    let mut run = Run { machine, cx, frame, effects: Vec::new(), transitions: 0 };
    run.apply(event);
    Step { frame: run.frame, effects: run.effects }
}

/// What a state came to: the next one is entered, or the frame waits or is over.
enum Course {
    /// Its result, before `ResultSelector` where it has one.
    Result(Value),
    /// Its output, with the next state named: a Choice's.
    Chosen { next: Option<String>, output: Value },
    /// The frame waits for an event.
    Suspended,
    /// The state failed.
    Failed(Failure),
}

struct Run<'a> {
    machine: &'a Machine,
    cx: &'a Context<'a>,
    frame: Frame,
    effects: Vec<Effect>,
    transitions: u32,
}

impl<'a> Run<'a> {
    fn apply(&mut self, event: Event) {
        let is_now = |frame: &Frame, visit, attempt| frame.visit == visit && frame.attempt == attempt;
        let Some(flow) = self.machine.flow(&self.frame.way) else {
            // Only a stored frame of another definition has such a way.
            return self.end(Err(failure("States.Runtime", "the definition has no such branch")));
        };
        match (self.frame.phase.clone(), event) {
            (Phase::New, Event::Start) => {
                if self.frame.parent.is_none() {
                    self.effects.push(history::execution_started(self.cx.input, self.cx.role_arn));
                }
                let input = self.frame.input.clone();
                self.run(flow, &flow.start_at, input);
            }
            (Phase::Passing, Event::Due { visit, attempt }) if is_now(&self.frame, visit, attempt) => {
                let (name, input) = (self.frame.state.clone(), self.frame.input.clone());
                self.run(flow, &name, input);
            }
            (Phase::Waiting { .. }, Event::Due { visit, attempt }) if is_now(&self.frame, visit, attempt) => {
                let input = self.effective_input(flow);
                self.go_on(flow, input.map_or_else(Course::Failed, Course::Result));
            }
            (Phase::Pausing { .. }, Event::Due { visit, attempt }) if is_now(&self.frame, visit, attempt) => {
                let course = self.attempt(flow);
                self.go_on(flow, course);
            }
            (Phase::Calling { .. }, Event::CallEnded { visit, attempt, outcome })
                if is_now(&self.frame, visit, attempt) =>
            {
                let course = self.answered(flow, outcome);
                self.go_on(flow, course);
            }
            (Phase::Calling { heartbeat_seconds: Some(seconds) }, Event::Heartbeat { visit, attempt })
                if is_now(&self.frame, visit, attempt) =>
            {
                self.effects.push(Effect::HeartbeatBy { visit, attempt, at: self.after(seconds) });
            }
            (Phase::Calling { .. }, Event::TimedOut { visit, attempt, heartbeat })
                if is_now(&self.frame, visit, attempt) =>
            {
                self.effects.push(Effect::Cancel { visit, attempt });
                let (error, what) = if heartbeat {
                    ("States.HeartbeatTimeout", "no sign of life came within HeartbeatSeconds")
                } else {
                    ("States.Timeout", "the task did not end within TimeoutSeconds")
                };
                let course = self.answered(flow, CallOutcome::Failed(failure(error, what)));
                self.go_on(flow, course);
            }
            (Phase::Children(children), Event::ChildEnded { visit, index, failure })
                if self.frame.visit == visit && children.running.contains(&index) =>
            {
                let course = self.child_ended(flow, children, index, failure);
                self.go_on(flow, course);
            }
            (Phase::Collecting, Event::Collected { visit, outputs }) if self.frame.visit == visit => {
                if let Some(state) = flow.states.get(&self.frame.state) {
                    self.effects.push(history::children_ended(&state.kind, true));
                }
                self.effects.push(Effect::Forget { visit });
                self.go_on(flow, Course::Result(Value::Array(outputs)));
            }
            // Late, or applied before.
            _ => {}
        }
    }

    /// Enters states, one after the other, until one waits for somebody.
    fn run(&mut self, flow: &'a Flow, name: &str, input: Value) {
        let mut name = name.to_owned();
        let mut input = input;
        loop {
            if self.transitions >= TRANSITIONS_MAX {
                self.frame.state = name;
                self.frame.input = input;
                self.frame.phase = Phase::Passing;
                let (visit, attempt) = (self.frame.visit, self.frame.attempt);
                self.effects.push(Effect::WakeAt { visit, attempt, at: self.cx.now });
                return;
            }
            self.transitions += 1;
            if self.frame.visit >= VISITS_MAX {
                let cause = format!("the execution has entered {VISITS_MAX} states; more are not allowed");
                return self.end(Err(failure("States.Runtime", cause)));
            }
            let Some(state) = flow.states.get(&name) else {
                return self.end(Err(failure("States.Runtime", format!("there is no state `{name}`"))));
            };
            self.frame.visit += 1;
            self.frame.state = name;
            self.frame.input = input;
            self.frame.retries = vec![0; state.retry.len()];
            self.frame.attempt = 0;
            self.frame.entered_at = self.cx.now;
            self.effects.push(history::entered(&state.kind, &self.frame.state, &self.frame.input));
            let course = self.attempt(flow);
            match self.settle(flow, course) {
                Some((next, output)) => (name, input) = (next, output),
                None => return,
            }
        }
    }

    /// What an event led to, and all that follows in this step.
    fn go_on(&mut self, flow: &'a Flow, course: Course) {
        if let Some((next, output)) = self.settle(flow, course) {
            self.run(flow, &next, output);
        }
    }

    /// Tries the state that the frame is in, once more.
    fn attempt(&mut self, flow: &'a Flow) -> Course {
        self.frame.attempt = self.frame.attempt.saturating_add(1);
        let Some(state) = flow.states.get(&self.frame.state) else {
            return Course::Failed(failure("States.Runtime", format!("there is no state `{}`", self.frame.state)));
        };
        self.enter(state).unwrap_or_else(Course::Failed)
    }

    fn enter(&mut self, state: &'a State) -> Result<Course, Failure> {
        let frame = self.frame.clone();
        let object = || self.cx.object(&frame);
        let draws = Cell::new(self.cx.seed(&frame));
        let raw = Scope::new(&frame.input, &frame.variables, &object, &draws);
        let input = through(state.input_path.as_deref(), &raw)?;
        let scope = raw.of(&input);
        // A Map's `Parameters` are those of its items; everybody else's are the state's.
        let is_map = matches!(state.kind, Kind::Map { .. });
        let fill = |template: &Option<Template>| template.as_ref().filter(|_| !is_map).map(|one| one.fill(&scope));
        let arguments = fill(&state.parameters).transpose()?;
        match &state.kind {
            Kind::Pass { result } => {
                let result = result.clone().or(arguments).unwrap_or_else(|| input.into_owned());
                Ok(Course::Result(result))
            }
            Kind::Succeed => {
                let output = through(state.output_path.as_deref(), &scope)?.into_owned();
                Ok(Course::Chosen { next: None, output })
            }
            Kind::Fail { error, cause } => {
                let (error, cause) = (word(error, &scope)?, word(cause, &scope)?);
                Ok(Course::Failed(Failure { error: error.unwrap_or_default(), cause: cause.unwrap_or_default() }))
            }
            Kind::Choice { rules, default } => {
                let mut found = None;
                for choice in rules {
                    if choice.rule.holds(&scope)? {
                        found = Some(choice);
                        break;
                    }
                }
                let next = match (found, default) {
                    (Some(choice), _) => &choice.next,
                    (None, Some(default)) => default,
                    (None, None) => {
                        let cause = format!("no rule of `{}` holds, and it has no `Default`", frame.state);
                        return Ok(Course::Failed(failure("States.NoChoiceMatched", cause)));
                    }
                };
                let assign = found.map_or(&state.assign, |choice| &choice.assign);
                let assigned = assigned(assign.as_ref(), &scope)?;
                let output = through(state.output_path.as_deref(), &scope)?.into_owned();
                self.frame.variables.extend(assigned);
                Ok(Course::Chosen { next: Some(next.clone()), output })
            }
            Kind::Wait(until) => {
                let until = self.until(until, &scope)?;
                self.frame.phase = Phase::Waiting { until };
                let (visit, attempt) = (self.frame.visit, self.frame.attempt);
                self.effects.push(Effect::WakeAt { visit, attempt, at: until });
                Ok(Course::Suspended)
            }
            Kind::Task { resource, timeout, heartbeat } => {
                let arguments = arguments.unwrap_or_else(|| input.clone().into_owned());
                within_limit(&arguments)?;
                let timeout = timeout.as_ref().map(|one| seconds(one, &scope)).transpose()?;
                let heartbeat = heartbeat.as_ref().map(|one| seconds(one, &scope)).transpose()?;
                self.effects.push(history::task_scheduled(resource, &arguments, timeout, heartbeat));
                let call = resource.call(arguments)?;
                self.frame.phase = Phase::Calling { heartbeat_seconds: heartbeat };
                let effect = Effect::Call {
                    visit: self.frame.visit,
                    attempt: self.frame.attempt,
                    call,
                    by_token: resource.waits_for_token(),
                    timeout_at: timeout.map(|seconds| self.after(seconds)),
                    heartbeat_at: heartbeat.map(|seconds| self.after(seconds)),
                };
                self.effects.push(effect);
                Ok(Course::Suspended)
            }
            Kind::Parallel { branches } => {
                let input = arguments.unwrap_or_else(|| input.into_owned());
                let total = branches.len() as u64;
                self.effects.push(history::children_started(&state.kind, total));
                let children =
                    (0..branches.len()).map(|branch| self.frame.child(branch as u64, branch, input.clone(), None));
                let spawned: Vec<_> = children.collect();
                self.frame.phase =
                    Phase::Children(Children { total, begun: total, running: (0..total).collect(), at_once: total });
                self.effects.push(Effect::Spawn(spawned));
                Ok(Course::Suspended)
            }
            Kind::Map { concurrency, .. } => {
                let items = Self::items(state, &scope)?;
                let total = items.len() as u64;
                self.effects.push(history::children_started(&state.kind, total));
                if total == 0 {
                    self.effects.push(history::children_ended(&state.kind, true));
                    return Ok(Course::Result(json!([])));
                }
                let asked = concurrency.as_ref().map(|one| seconds(one, &scope)).transpose()?.unwrap_or(0);
                let at_once = if asked == 0 { MAP_CONCURRENCY_MAX } else { asked.min(MAP_CONCURRENCY_MAX) };
                let children = Children { total, begun: 0, running: Vec::new(), at_once };
                self.spawn_items(state, children, &items, &scope)?;
                Ok(Course::Suspended)
            }
        }
    }

    /// The items of a Map; the same whenever it is asked for in one visit.
    fn items<'v>(state: &State, scope: &Scope<'v>) -> Result<Cow<'v, [Value]>, Failure> {
        let Kind::Map { items_path, .. } = &state.kind else { return Ok(Cow::Borrowed(&[])) };
        match through(Some(items_path.as_deref().unwrap_or("$")), scope)? {
            Cow::Borrowed(Value::Array(items)) => Ok(Cow::Borrowed(items)),
            Cow::Owned(Value::Array(items)) => Ok(Cow::Owned(items)),
            other => {
                let found: String = other.to_string().chars().take(40).collect();
                Err(failure("States.Runtime", format!("the items of a Map are a list, and not `{found}`")))
            }
        }
    }

    /// Begins as many iterations as may run.
    fn spawn_items(
        &mut self,
        state: &State,
        mut children: Children,
        items: &[Value],
        scope: &Scope<'_>,
    ) -> Result<(), Failure> {
        let Kind::Map { selector, .. } = &state.kind else { return Ok(()) };
        // `Parameters` is `ItemSelector`'s older name.
        let selector = selector.as_ref().or(state.parameters.as_ref());
        let running = children.running.len() as u64;
        let room = children.at_once.saturating_sub(running).min(children.total - children.begun);
        let mut spawned = Vec::new();
        for index in children.begun..children.begun + room {
            let item = usize::try_from(index).ok().and_then(|index| items.get(index)).cloned().unwrap_or_default();
            let child = self.frame.child(index, 0, Value::Null, Some(item.clone()));
            let input = match selector {
                None => item,
                Some(selector) => {
                    let object = || self.cx.object(&child);
                    let draws = Cell::new(self.cx.seed(&child));
                    selector.fill(&Scope::new(scope.value, &child.variables, &object, &draws))?
                }
            };
            self.effects.push(history::iteration("Started", &self.frame.state, index));
            spawned.push(Frame { input, ..child });
        }
        children.running.extend(children.begun..children.begun + room);
        children.begun += room;
        self.frame.phase = Phase::Children(children);
        if !spawned.is_empty() {
            self.effects.push(Effect::Spawn(spawned));
        }
        Ok(())
    }

    fn child_ended(&mut self, flow: &'a Flow, mut children: Children, index: u64, failed: Option<Failure>) -> Course {
        let Some(state) = flow.states.get(&self.frame.state) else { return Course::Suspended };
        let is_map = matches!(state.kind, Kind::Map { .. });
        let visit = self.frame.visit;
        if is_map {
            let word = if failed.is_some() { "Failed" } else { "Succeeded" };
            self.effects.push(history::iteration(word, &self.frame.state, index));
        }
        if let Some(failed) = failed {
            self.effects.push(Effect::StopChildren { visit });
            self.effects.push(history::children_ended(&state.kind, false));
            return Course::Failed(failed);
        }
        children.running.retain(|running| *running != index);
        if children.running.is_empty() && children.begun == children.total {
            self.frame.phase = Phase::Collecting;
            self.effects.push(Effect::Collect { visit });
            return Course::Suspended;
        }
        let all_begun = children.begun == children.total;
        self.frame.phase = Phase::Children(children.clone());
        if !is_map || all_begun {
            return Course::Suspended;
        }
        // Its items may be long: they are looked at and not copied.
        let input = std::mem::take(&mut self.frame.input);
        let frame = self.frame.clone();
        let cx = self.cx;
        let object = || cx.object(&frame);
        let draws = Cell::new(cx.seed(&frame));
        let raw = Scope::new(&input, &frame.variables, &object, &draws);
        let spawned = through(state.input_path.as_deref(), &raw).and_then(|input| {
            let scope = raw.of(&input);
            let items = Self::items(state, &scope)?;
            self.spawn_items(state, children, &items, &scope)
        });
        self.frame.input = input;
        match spawned {
            Ok(()) => Course::Suspended,
            Err(failed) => {
                self.effects.push(Effect::StopChildren { visit });
                Course::Failed(failed)
            }
        }
    }

    /// A call's answer, or its failure.
    fn answered(&mut self, flow: &'a Flow, outcome: CallOutcome) -> Course {
        let Some(Kind::Task { resource, .. }) = flow.states.get(&self.frame.state).map(|state| &state.kind) else {
            return Course::Suspended;
        };
        match outcome {
            CallOutcome::Succeeded(answer) => {
                let output = resource.output(answer);
                self.effects.push(history::task_ended(resource, Ok(&output)));
                Course::Result(output)
            }
            CallOutcome::Failed(failed) => {
                self.effects.push(history::task_ended(resource, Err(&failed)));
                Course::Failed(failed)
            }
        }
    }

    fn effective_input(&self, flow: &Flow) -> Result<Value, Failure> {
        let path = flow.states.get(&self.frame.state).and_then(|state| state.input_path.as_deref());
        let object = || self.cx.object(&self.frame);
        let draws = Cell::new(0);
        through(path, &Scope::new(&self.frame.input, &self.frame.variables, &object, &draws)).map(Cow::into_owned)
    }

    /// Takes a course: the next state and its input where there is one to enter at once.
    fn settle(&mut self, flow: &'a Flow, course: Course) -> Option<(String, Value)> {
        let state = flow.states.get(&self.frame.state)?;
        let course = match course {
            Course::Result(result) => match self.output(state, result) {
                Ok(output) => Course::Chosen { next: state.next.clone(), output },
                Err(failed) => Course::Failed(failed),
            },
            other => other,
        };
        match course {
            Course::Suspended | Course::Result(_) => None,
            Course::Failed(failed) => self.failed(state, failed),
            Course::Chosen { next, output } => {
                if let Err(failed) = within_limit(&output) {
                    return self.failed(state, failed);
                }
                self.effects.push(history::exited(&state.kind, &self.frame.state, &output));
                match next {
                    Some(next) => Some((next, output)),
                    None => {
                        self.end(Ok(output));
                        None
                    }
                }
            }
        }
    }

    /// `ResultSelector`, `Assign`, `ResultPath` and `OutputPath`, in this order.
    fn output(&mut self, state: &State, result: Value) -> Result<Value, Failure> {
        let frame = self.frame.clone();
        let object = || self.cx.object(&frame);
        let draws = Cell::new(self.cx.seed(&frame) ^ 1);
        let scope = Scope::new(&result, &frame.variables, &object, &draws);
        let selected = match &state.result_selector {
            Some(selector) => selector.fill(&scope)?,
            None => result.clone(),
        };
        within_limit(&selected)?;
        let assigned = assigned(state.assign.as_ref(), &scope.of(&selected))?;
        // A Wait has no result: its output is its input.
        let placed = match &state.kind {
            Kind::Wait(_) => selected,
            _ => place_result(frame.input.clone(), &state.result_path, selected)?,
        };
        let output = through(state.output_path.as_deref(), &scope.of(&placed))?.into_owned();
        self.frame.variables.extend(assigned);
        Ok(output)
    }

    /// A state failed: it is tried again, caught, or ends the frame.
    fn failed(&mut self, state: &'a State, failed: Failure) -> Option<(String, Value)> {
        for (index, retrier) in state.retry.iter().enumerate() {
            if !retrier.is_for(&failed) {
                continue;
            }
            let earlier = self.frame.retries.get(index).copied().unwrap_or(u32::MAX);
            if u64::from(earlier) >= retrier.max_attempts {
                break;
            }
            if let Some(count) = self.frame.retries.get_mut(index) {
                *count += 1;
            }
            #[expect(clippy::cast_precision_loss, reason = "a chance needs no more digits")]
            let chance = (super::data::splitmix(self.cx.seed(&self.frame)) >> 11) as f64 / (1_u64 << 53) as f64;
            let until = self.cx.now.checked_add(retrier.delay(earlier, chance)).unwrap_or(Timestamp::MAX);
            self.frame.phase = Phase::Pausing { until };
            let (visit, attempt) = (self.frame.visit, self.frame.attempt);
            self.effects.push(Effect::WakeAt { visit, attempt, at: until });
            return None;
        }
        let Some(catcher) = state.catch.iter().find(|catcher| catcher.is_for(&failed)) else {
            self.end(Err(failed));
            return None;
        };
        let error = json!({ "Error": failed.error, "Cause": failed.cause });
        match self.caught(&catcher.result_path, catcher.assign.as_ref(), error) {
            Ok(output) => {
                self.effects.push(history::exited(&state.kind, &self.frame.state, &output));
                Some((catcher.next.clone(), output))
            }
            Err(failed) => {
                self.end(Err(failed));
                None
            }
        }
    }

    fn caught(&mut self, path: &ResultPath, assign: Option<&Template>, error: Value) -> Result<Value, Failure> {
        let object = || self.cx.object(&self.frame);
        let draws = Cell::new(self.cx.seed(&self.frame) ^ 2);
        let assigned = assigned(assign, &Scope::new(&error, &self.frame.variables, &object, &draws))?;
        let output = place_result(self.frame.input.clone(), path, error)?;
        within_limit(&output)?;
        self.frame.variables.extend(assigned);
        Ok(output)
    }

    fn end(&mut self, outcome: Result<Value, Failure>) {
        self.frame.phase = Phase::Ended;
        // What it held is held by nobody's need any more.
        self.frame.input = Value::Null;
        self.frame.variables = Map::new();
        self.frame.item = None;
        if self.frame.parent.is_none() {
            self.effects.push(history::execution_ended(&outcome));
        }
        self.effects.push(Effect::Ended(outcome));
    }

    fn until(&self, until: &Until, scope: &Scope<'_>) -> Result<Timestamp, Failure> {
        Ok(match until {
            Until::Seconds(count) => self.after(seconds(count, scope)?),
            Until::Instant(at) => *at,
            Until::InstantPath(path) => {
                let value = scope.select(path).map_err(|failed| failure("States.Runtime", failed.cause))?;
                let instant = value.as_str().and_then(|text| text.parse().ok());
                instant.ok_or_else(|| failure("States.Runtime", format!("`{path}` holds no instant")))?
            }
        })
    }

    fn after(&self, seconds: u64) -> Timestamp {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.cx.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
    }
}

/// A number of seconds, or of anything else.
fn seconds(count: &Count, scope: &Scope<'_>) -> Result<u64, Failure> {
    match count {
        Count::Fixed(seconds) => Ok(*seconds),
        Count::Path(path) => {
            let value = scope.select(path).map_err(|failed| failure("States.Runtime", failed.cause))?;
            let found = value.as_u64().filter(|seconds| *seconds <= SECONDS_MAX);
            found
                .ok_or_else(|| failure("States.Runtime", format!("`{path}` holds no whole number up to {SECONDS_MAX}")))
        }
    }
}

fn word(word: &Word, scope: &Scope<'_>) -> Result<Option<String>, Failure> {
    let value = match word {
        Word::Absent => return Ok(None),
        Word::Fixed(text) => return Ok(Some(text.clone())),
        Word::Path(text) if text.starts_with("States.") => {
            intrinsics::parse(text).map_err(|problem| failure("States.Runtime", problem))?.call(scope)?
        }
        Word::Path(path) => scope.select(path)?,
    };
    Ok(Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

/// What `Assign` gives its variables; all of it sees the values from before.
fn assigned(template: Option<&Template>, scope: &Scope<'_>) -> Result<Map<String, Value>, Failure> {
    match template.map(|template| template.fill(scope)).transpose()? {
        Some(Value::Object(members)) => Ok(members),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
