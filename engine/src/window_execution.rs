//! One firing of a maintenance window: which task starts when, and how the firing ends.
//!
//! Pure. Tasks of equal priority start together; the next priority follows when all of them have
//! ended, whatever the outcome (SSM). At the cutoff nothing new starts; what runs goes on or is
//! cancelled as its task says. Whether the window may fire at all is decided before, by
//! `schedule::admission` and the store's knowledge of an earlier firing that is still open.
//!
//! Nothing starts while a change calendar of the window is closed, neither the firing nor a later
//! priority of one that runs: what a calendar protects does not care when the window began. What runs
//! is left alone. The state of the calendars comes with each step as its [`Gate`].

use serde::{Deserialize, Serialize};

use crate::rollout::Status as RolloutStatus;

/// How a task or a whole firing ended. SSM's terminal statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Ending {
    /// Everything succeeded.
    Success,
    /// It was cancelled on request.
    Cancelled,
    /// The cutoff came first.
    TimedOut,
    /// Something failed.
    Failed,
}

impl Ending {
    /// SSM's `Status`.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Success => "SUCCESS",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Failed => "FAILED",
        }
    }

    /// A firing is as bad as its worst task: FAILED > TIMED_OUT > CANCELLED > SUCCESS.
    const fn severity(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Cancelled => 1,
            Self::TimedOut => 2,
            Self::Failed => 3,
        }
    }
}

impl From<RolloutStatus> for Ending {
    fn from(status: RolloutStatus) -> Self {
        match status {
            RolloutStatus::Success | RolloutStatus::NoTargets => Self::Success,
            RolloutStatus::Failed | RolloutStatus::Incomplete => Self::Failed,
            RolloutStatus::DeliveryTimedOut | RolloutStatus::CutoffReached => Self::TimedOut,
            RolloutStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Where a task of the firing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Its priority's turn has not come.
    Pending,
    /// Its rollout runs.
    InProgress,
    /// Over.
    Ended(Ending),
}

/// A task of the firing, as the rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// 0 is first.
    pub priority: u32,
    /// Whether it is cancelled at the cutoff (`CANCEL_TASK`) or goes on (`CONTINUE_TASK`).
    pub cancel_at_cutoff: bool,
    /// Where it stands.
    pub state: TaskState,
}

/// What the firing is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Stored, not started.
    Planned,
    /// Starting tasks as their turn comes.
    Running,
    /// The cutoff has passed: nothing new starts.
    Closing,
    /// Cancelled: nothing new starts, what runs comes to its end (SSM).
    Cancelling,
    /// Over.
    Finished(Ending),
}

/// One firing of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowExecution {
    /// What it is doing.
    pub phase: Phase,
    /// Its tasks; effects name them by position.
    pub tasks: Vec<Task>,
    /// Whether something would have started, and waits for a change calendar.
    #[serde(default)]
    pub waits: bool,
}

/// What happens to a firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It begins; or, of one that waits for a change calendar, it may go on.
    Start,
    /// A task's rollout ended.
    TaskEnded {
        /// Position of the task.
        task: usize,
        /// How.
        ending: Ending,
    },
    /// Start + duration − cutoff has come.
    Cutoff,
    /// Start + duration has come.
    End,
    /// Somebody asked for it to be cancelled.
    Cancel,
}

/// Whether tasks may start at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// A change calendar is closed, and they wait for it to open until the cutoff.
    Wait,
    /// A change calendar is closed, and what would start now is given up.
    GiveUp,
}

/// What is to be done, in order, by whoever applied the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start the rollout of a task.
    StartTask(usize),
    /// Stop the rollout of a task: the cutoff came.
    StopTask(usize),
    /// A task ended that never started.
    TaskSkipped {
        /// Position of the task.
        task: usize,
        /// How it counts.
        ending: Ending,
        /// SSM's `StatusDetails`.
        details: &'static str,
    },
    /// A task's turn came while a change calendar was closed, and it is given up: it counts as
    /// cancelled.
    TaskGivenUp(usize),
    /// Tasks wait for a change calendar: step again with [`Event::Start`] when it may have opened.
    Wait,
    /// The window's duration is over and tasks still run (`CONTINUE_TASK`): tell the operator.
    Overrun,
    /// It is over.
    Finished {
        /// How.
        ending: Ending,
        /// SSM's `StatusDetails`.
        details: &'static str,
    },
}

/// An event about a task that is not running; nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("task {task} of {tasks} cannot end now")]
pub struct IllegalEvent {
    /// The position that was named.
    pub task: usize,
    /// Tasks there are.
    pub tasks: usize,
}

impl WindowExecution {
    /// Plans a firing of the given tasks: `(priority, cancel at cutoff)`.
    #[must_use]
    pub fn plan(tasks: impl IntoIterator<Item = (u32, bool)>) -> Self {
        let tasks = tasks
            .into_iter()
            .map(|(priority, cancel_at_cutoff)| Task { priority, cancel_at_cutoff, state: TaskState::Pending })
            .collect();
        Self { phase: Phase::Planned, tasks, waits: false }
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// SSM's `Status`.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self.phase {
            Phase::Planned => "PENDING",
            Phase::Running | Phase::Closing => "IN_PROGRESS",
            Phase::Cancelling => "CANCELLING",
            Phase::Finished(ending) => ending.status(),
        }
    }

    /// Returns the next state and the effects to carry out, in order.
    ///
    /// Repeated and late events are no-ops: a second start, a second word of a task's end, anything
    /// after the firing is over.
    ///
    /// # Errors
    /// [`IllegalEvent`] when a task is said to have ended that does not exist or never started.
    pub fn step(&self, event: Event, gate: Gate) -> Result<(Self, Vec<Effect>), IllegalEvent> {
        let mut next = self.clone();
        let mut effects = Vec::new();
        if event == Event::Start {
            next.waits = false;
        }
        match (event, self.phase) {
            (Event::TaskEnded { task, ending }, _) => {
                let illegal = IllegalEvent { task, tasks: self.tasks.len() };
                match next.tasks.get_mut(task) {
                    None => return Err(illegal),
                    Some(known) => match known.state {
                        TaskState::InProgress => known.state = TaskState::Ended(ending),
                        TaskState::Ended(_) => return Ok((next, effects)),
                        TaskState::Pending => return Err(illegal),
                    },
                }
            }
            (Event::Start, Phase::Planned) if gate == Gate::Wait => next.wait(&mut effects),
            (Event::Start, Phase::Planned) => next.phase = Phase::Running,
            // It may go on: see below.
            (Event::Start, Phase::Running) => {}
            (Event::Cutoff, Phase::Planned | Phase::Running) => {
                next.phase = Phase::Closing;
                next.skip_pending(Ending::TimedOut, "cutoff reached", &mut effects);
                next.stop_running(&mut effects);
            }
            // A cancelled firing still honours the cutoff of what runs.
            (Event::Cutoff, Phase::Cancelling) => next.stop_running(&mut effects),
            (Event::Cancel, Phase::Planned | Phase::Running | Phase::Closing) => {
                next.phase = Phase::Cancelling;
                next.skip_pending(Ending::Cancelled, "cancelled", &mut effects);
            }
            (Event::End, Phase::Running | Phase::Closing | Phase::Cancelling) => {
                if next.tasks.iter().any(|task| task.state == TaskState::InProgress) {
                    effects.push(Effect::Overrun);
                }
            }
            (Event::Start | Event::Cutoff | Event::Cancel | Event::End, _) => return Ok((next, effects)),
        }
        if next.phase == Phase::Running {
            next.start_due(gate, &mut effects);
        }
        next.finish(&mut effects);
        Ok((next, effects))
    }

    /// Starts the tasks of the first priority that still has any, if none of an earlier one runs.
    fn start_due(&mut self, gate: Gate, effects: &mut Vec<Effect>) {
        if self.tasks.iter().any(|task| task.state == TaskState::InProgress) {
            return;
        }
        let due = self.tasks.iter().filter(|task| task.state == TaskState::Pending).map(|task| task.priority).min();
        match gate {
            Gate::Open => {}
            Gate::Wait => {
                if due.is_some() {
                    self.wait(effects);
                }
                return;
            }
            // Later priorities too: they are for after this one.
            Gate::GiveUp => {
                for (index, task) in self.tasks.iter_mut().enumerate() {
                    if task.state == TaskState::Pending {
                        task.state = TaskState::Ended(Ending::Cancelled);
                        effects.push(Effect::TaskGivenUp(index));
                    }
                }
                return;
            }
        }
        for (index, task) in self.tasks.iter_mut().enumerate() {
            if task.state == TaskState::Pending && Some(task.priority) == due {
                task.state = TaskState::InProgress;
                effects.push(Effect::StartTask(index));
            }
        }
    }

    fn wait(&mut self, effects: &mut Vec<Effect>) {
        self.waits = true;
        effects.push(Effect::Wait);
    }

    fn skip_pending(&mut self, ending: Ending, details: &'static str, effects: &mut Vec<Effect>) {
        for (index, task) in self.tasks.iter_mut().enumerate() {
            if task.state == TaskState::Pending {
                task.state = TaskState::Ended(ending);
                effects.push(Effect::TaskSkipped { task: index, ending, details });
            }
        }
    }

    fn stop_running(&self, effects: &mut Vec<Effect>) {
        for (index, task) in self.tasks.iter().enumerate() {
            if task.state == TaskState::InProgress && task.cancel_at_cutoff {
                effects.push(Effect::StopTask(index));
            }
        }
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Planned | Phase::Finished(_)) {
            return;
        }
        let mut worst = Ending::Success;
        for task in &self.tasks {
            let TaskState::Ended(ending) = task.state else { return };
            if ending.severity() > worst.severity() {
                worst = ending;
            }
        }
        let (ending, details) = match (self.phase, worst) {
            (Phase::Cancelling, Ending::Success | Ending::Cancelled) => (Ending::Cancelled, "cancelled"),
            _ if self.tasks.is_empty() => (Ending::Success, "No tasks to execute."),
            (_, Ending::Success) => (Ending::Success, ""),
            (_, Ending::Failed) => (Ending::Failed, "One or more tasks in the orchestration failed."),
            (_, Ending::TimedOut) => (Ending::TimedOut, "One or more tasks did not complete before the cutoff."),
            (_, Ending::Cancelled) => (Ending::Cancelled, "One or more tasks were cancelled."),
        };
        self.phase = Phase::Finished(ending);
        effects.push(Effect::Finished { ending, details });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(execution: &WindowExecution, event: Event, effects: &[Effect]) -> WindowExecution {
        let (next, found) = execution.step(event, Gate::Open).expect("a legal event");
        assert_eq!(found, effects, "{execution:?} × {event:?}");
        next
    }

    fn ended(task: usize, ending: Ending) -> Event {
        Event::TaskEnded { task, ending }
    }

    #[test]
    fn equal_priorities_start_together_and_the_next_follows_whatever_the_outcome() {
        let plan = WindowExecution::plan([(5, false), (1, false), (1, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(1), Effect::StartTask(2)]);
        let running = check(&running, ended(1, Ending::Failed), &[]);
        let running = check(&running, ended(2, Ending::Success), &[Effect::StartTask(0)]);
        check(
            &running,
            ended(0, Ending::Success),
            &[Effect::Finished { ending: Ending::Failed, details: "One or more tasks in the orchestration failed." }],
        );
    }

    #[test]
    fn a_window_without_tasks_succeeds_and_says_so() {
        check(
            &WindowExecution::plan([]),
            Event::Start,
            &[Effect::Finished { ending: Ending::Success, details: "No tasks to execute." }],
        );
    }

    #[test]
    fn at_the_cutoff_nothing_new_starts_and_cancel_task_is_stopped() {
        let plan = WindowExecution::plan([(0, true), (0, false), (1, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(0), Effect::StartTask(1)]);
        let skipped = Effect::TaskSkipped { task: 2, ending: Ending::TimedOut, details: "cutoff reached" };
        let closing = check(&running, Event::Cutoff, &[skipped, Effect::StopTask(0)]);
        let closing = check(&closing, Event::Cutoff, &[]);
        let closing = check(&closing, ended(0, Ending::TimedOut), &[]);
        // CONTINUE_TASK may outlive the window; the operator hears of it.
        let closing = check(&closing, Event::End, &[Effect::Overrun]);
        let finished = check(
            &closing,
            ended(1, Ending::Success),
            &[Effect::Finished {
                ending: Ending::TimedOut,
                details: "One or more tasks did not complete before the cutoff.",
            }],
        );
        for event in [Event::Start, Event::Cutoff, Event::End, Event::Cancel, ended(1, Ending::Failed)] {
            assert_eq!(check(&finished, event, &[]), finished);
        }
    }

    #[test]
    fn cancelling_lets_running_tasks_finish() {
        let plan = WindowExecution::plan([(0, false), (1, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(0)]);
        let skipped = Effect::TaskSkipped { task: 1, ending: Ending::Cancelled, details: "cancelled" };
        let cancelling = check(&running, Event::Cancel, &[skipped]);
        assert_eq!(cancelling.status(), "CANCELLING");
        let cancelling = check(&cancelling, Event::Cancel, &[]);
        let finished = Effect::Finished { ending: Ending::Cancelled, details: "cancelled" };
        check(&cancelling, ended(0, Ending::Success), &[finished]);
    }

    #[test]
    fn a_task_that_never_started_cannot_end() {
        let plan = WindowExecution::plan([(0, false), (1, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(0)]);
        assert!(running.step(ended(1, Ending::Success), Gate::Open).is_err());
        assert!(running.step(ended(2, Ending::Success), Gate::Open).is_err());
    }

    /// Every phase × event: which pairs change anything.
    #[test]
    fn every_pair_of_phase_and_event_is_handled() {
        let planned = WindowExecution::plan([(0, true), (1, false)]);
        let running = planned.step(Event::Start, Gate::Open).expect("legal").0;
        let closing = running.step(Event::Cutoff, Gate::Open).expect("legal").0;
        let cancelling = running.step(Event::Cancel, Gate::Open).expect("legal").0;
        let finished = closing.step(ended(0, Ending::TimedOut), Gate::Open).expect("legal").0;
        let events = [Event::Start, ended(0, Ending::Success), Event::Cutoff, Event::End, Event::Cancel];
        let table = [
            (&planned, [true, false, true, false, true]),
            (&running, [false, true, true, false, true]),
            (&closing, [false, true, false, false, true]),
            (&cancelling, [false, true, false, false, false]),
            (&finished, [false, false, false, false, false]),
        ];
        for (state, row) in table {
            for (event, changes) in events.into_iter().zip(row) {
                let changed = state.step(event, Gate::Open).is_ok_and(|(next, _)| next != *state);
                assert_eq!(changed, changes, "{:?} × {event:?}", state.phase);
            }
        }
    }

    #[test]
    fn a_firing_waits_for_its_calendars_and_starts_when_they_open() {
        let plan = WindowExecution::plan([(0, false), (1, false)]);
        let (waiting, effects) = plan.step(Event::Start, Gate::Wait).expect("legal");
        assert_eq!((waiting.status(), effects.as_slice()), ("PENDING", [Effect::Wait].as_slice()));
        assert_eq!(waiting.step(Event::Start, Gate::Wait).expect("legal"), (waiting.clone(), vec![Effect::Wait]));
        let running = check(&waiting, Event::Start, &[Effect::StartTask(0)]);
        // The second priority's turn comes while they are closed again.
        let (held, effects) = running.step(ended(0, Ending::Success), Gate::Wait).expect("legal");
        assert_eq!((held.status(), effects.as_slice()), ("IN_PROGRESS", [Effect::Wait].as_slice()));
        check(&held, Event::Start, &[Effect::StartTask(1)]);
        // A task that runs needs no opening, and nothing waits behind it yet.
        assert_eq!(running.step(Event::Start, Gate::Wait).expect("legal"), (running.clone(), Vec::new()));
        // At the cutoff the waiting ends.
        let skipped = |task| Effect::TaskSkipped { task, ending: Ending::TimedOut, details: "cutoff reached" };
        let (missed, effects) = waiting.step(Event::Cutoff, Gate::Wait).expect("legal");
        assert_eq!((missed.status(), &effects[..2]), ("TIMED_OUT", [skipped(0), skipped(1)].as_slice()));
    }

    #[test]
    fn a_task_whose_turn_comes_while_a_calendar_is_closed_is_given_up_with_all_behind_it() {
        let plan = WindowExecution::plan([(0, false), (1, false), (2, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(0)]);
        let (finished, effects) = running.step(ended(0, Ending::Success), Gate::GiveUp).expect("legal");
        assert_eq!(finished.status(), "CANCELLED");
        let told = Effect::Finished { ending: Ending::Cancelled, details: "One or more tasks were cancelled." };
        assert_eq!(effects, [Effect::TaskGivenUp(1), Effect::TaskGivenUp(2), told]);
        // One that has nothing left to start ends as it would anyway.
        let plan = WindowExecution::plan([(0, false)]);
        let running = check(&plan, Event::Start, &[Effect::StartTask(0)]);
        let (finished, _) = running.step(ended(0, Ending::Success), Gate::GiveUp).expect("legal");
        assert_eq!(finished.status(), "SUCCESS");
    }
}
