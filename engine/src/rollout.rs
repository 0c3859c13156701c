//! A set of invocations released under a concurrency limit and an error budget: the one mechanism
//! under commands and window tasks.
//!
//! Pure, and of constant size: a rollout counts its invocations and does not list them, so a step
//! costs the same at ten nodes and at a hundred thousand. The store keeps the invocations; whoever
//! applies a step changes both in one transaction, and [`Rollout`]'s counters are then the number
//! of invocations in each [`Place`].

use patchwave_schemas::event::ErrorMode;
use serde::{Deserialize, Serialize};

use crate::invocation::Ending;
use crate::limits::Limit;

pub mod plan;
pub mod waves;

/// Where an invocation that has not ended is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Never released, and in a wave that is not open.
    Held,
    /// Never released.
    Pending,
    /// Released, and holding a slot.
    InFlight,
    /// Its node is not connected; holds no slot.
    Waiting,
    /// Its node came back; wants a slot.
    Ready,
}

/// Why a rollout stopped releasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// More errors than `MaxErrors`.
    Errors,
    /// Somebody asked for it.
    Cancelled,
    /// The window's cutoff came and the task is `CANCEL_TASK`.
    Cutoff,
    /// The gate between two waves did not let it pass.
    Gate,
}

impl Cause {
    /// How invocations end that were never sent.
    const fn ending(self) -> Ending {
        match self {
            Self::Errors | Self::Gate => Ending::Terminated,
            Self::Cancelled | Self::Cutoff => Ending::Cancelled,
        }
    }
}

/// What the rollout is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Stored, not started.
    Planned,
    /// Releasing as limits allow.
    Running,
    /// Releasing nothing more; what is in flight comes to its end.
    Stopping(Cause),
    /// Over.
    Finished(Status),
}

/// How a rollout ended: SSM's `Status` and `StatusDetails` of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every invocation succeeded.
    Success,
    /// The targets resolved to no node.
    NoTargets,
    /// More errors than `MaxErrors`, or no node at all could take it.
    Failed,
    /// Not everything succeeded, within the error budget.
    Incomplete,
    /// More nodes than `MaxErrors` could not be reached in time.
    DeliveryTimedOut,
    /// Cancelled on request.
    Cancelled,
    /// Cancelled by the window's cutoff.
    CutoffReached,
}

impl Status {
    /// SSM's `Status`.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Success | Self::NoTargets => "Success",
            Self::Failed | Self::Incomplete => "Failed",
            Self::DeliveryTimedOut | Self::CutoffReached => "TimedOut",
            Self::Cancelled => "Cancelled",
        }
    }

    /// SSM's `StatusDetails`.
    #[must_use]
    pub const fn details(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::NoTargets => "NoInstancesInTag",
            Self::Failed => "Failed",
            Self::Incomplete => "Incomplete",
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::Cancelled => "Cancelled",
            Self::CutoffReached => "CutoffReached",
        }
    }
}

/// Number of invocations by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the ending of the same name")]
pub struct Tally {
    pub success: u32,
    pub failed: u32,
    pub execution_timed_out: u32,
    pub delivery_timed_out: u32,
    pub cancelled: u32,
    pub terminated: u32,
    pub undeliverable: u32,
}

impl Tally {
    /// The counter of an ending.
    pub fn of(&mut self, ending: Ending) -> &mut u32 {
        match ending {
            Ending::Success => &mut self.success,
            Ending::Failed => &mut self.failed,
            Ending::ExecutionTimedOut => &mut self.execution_timed_out,
            Ending::DeliveryTimedOut => &mut self.delivery_timed_out,
            Ending::Cancelled => &mut self.cancelled,
            Ending::Terminated => &mut self.terminated,
            Ending::Undeliverable => &mut self.undeliverable,
        }
    }

    /// Invocations that ended.
    #[must_use]
    pub const fn ended(&self) -> u32 {
        self.success
            + self.failed
            + self.execution_timed_out
            + self.delivery_timed_out
            + self.cancelled
            + self.terminated
            + self.undeliverable
    }

    /// Invocations that count towards `MaxErrors` (SSM's `ErrorCount`).
    #[must_use]
    pub const fn errors(&self) -> u32 {
        self.failed + self.execution_timed_out
    }
}

/// What a rollout's ceiling is when nobody says.
const fn unlimited() -> u32 {
    u32::MAX
}

/// A rollout: its limits, and how many of its invocations are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Invocations in all.
    pub targets: u32,
    /// Invocations that may be in flight at once, at least 1.
    pub concurrency: u32,
    /// Invocations that the fleet's limits leave to this rollout at the moment. Not stored: whoever
    /// lets something happen to a rollout says it before.
    #[serde(skip, default = "unlimited")]
    pub ceiling: u32,
    /// Errors that are allowed; one more stops the rollout.
    pub errors_allowed: u32,
    /// How errors are bounded.
    pub error_mode: ErrorMode,
    /// What it is doing.
    pub phase: Phase,
    /// Invocations in [`Place::Held`].
    #[serde(default)]
    pub held: u32,
    /// Invocations in [`Place::Pending`].
    pub pending: u32,
    /// Invocations in [`Place::InFlight`].
    pub in_flight: u32,
    /// Invocations in [`Place::Waiting`].
    pub waiting: u32,
    /// Invocations in [`Place::Ready`].
    pub ready: u32,
    /// Invocations that ended in flight without their node's word. Each may have failed unseen, so
    /// [`ErrorMode::Strict`] counts them against its bound.
    pub unheard: u32,
    /// How the others ended.
    pub ended: Tally,
}

/// What happens to a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its invocations are stored.
    Start,
    /// Invocations moved between places, or ended.
    Moved(Vec<Move>),
    /// Stop releasing, and cancel what is in flight.
    Stop(Cause),
}

/// So many invocations that left a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Where they were counted.
    pub from: Place,
    /// Where they are counted now, or how they ended.
    pub to: Arrival,
    /// How many.
    pub count: u32,
}

/// Where a [`Move`] leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// To another place.
    Place(Place),
    /// To an ending, on the node's own word.
    Ended(Ending),
    /// To an ending that a deadline decided.
    Unheard(Ending),
}

/// What is to be done, in order, by whoever applied the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Release so many invocations: first those that are ready, then pending ones in order.
    /// They are already counted in flight.
    Release {
        /// From [`Place::Ready`].
        ready: u32,
        /// From [`Place::Pending`].
        pending: u32,
    },
    /// End every invocation that is held, pending, waiting or ready. They are already counted so.
    EndUnreleased(Ending),
    /// Tell the nodes of invocations in flight to stop.
    CancelInFlight,
    /// The rollout stopped releasing; tell whoever wants to know.
    Stopped(Cause),
    /// It is over.
    Finished(Status),
}

/// An event that contradicts the counters; nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{event:?} contradicts a rollout that is {phase:?} with {pending} pending, {in_flight} in flight, {waiting} waiting, {ready} ready"
)]
#[expect(missing_docs, reason = "the message says all there is")]
pub struct IllegalEvent {
    pub event: Event,
    pub phase: Phase,
    pub pending: u32,
    pub in_flight: u32,
    pub waiting: u32,
    pub ready: u32,
}

impl Rollout {
    /// Plans a rollout over `targets` invocations.
    #[must_use]
    pub fn plan(targets: u32, max_concurrency: Limit, max_errors: Limit, error_mode: ErrorMode) -> Self {
        Self {
            targets,
            concurrency: max_concurrency.concurrency_of(targets),
            ceiling: u32::MAX,
            errors_allowed: max_errors.errors_of(targets),
            error_mode,
            phase: Phase::Planned,
            held: 0,
            pending: targets,
            in_flight: 0,
            waiting: 0,
            ready: 0,
            unheard: 0,
            ended: Tally::default(),
        }
    }

    /// Holds back so many of the pending invocations, the last ones in order, until their wave comes.
    #[must_use]
    pub fn holding(mut self, count: u32) -> Self {
        let held = count.min(self.pending);
        self.pending -= held;
        self.held += held;
        self
    }

    /// Whether everything that was released has ended and the rest is held back.
    #[must_use]
    pub fn is_between_waves(&self) -> bool {
        let open = self.pending + self.in_flight + self.waiting + self.ready;
        self.phase == Phase::Running && self.held > 0 && open == 0
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished(_))
    }

    /// SSM's `Status` and `StatusDetails` of the command.
    #[must_use]
    pub const fn status(&self) -> (&'static str, &'static str) {
        match self.phase {
            Phase::Planned => ("Pending", "Pending"),
            Phase::Running | Phase::Stopping(Cause::Errors | Cause::Gate) => ("InProgress", "InProgress"),
            Phase::Stopping(Cause::Cancelled | Cause::Cutoff) => ("Cancelling", "Cancelling"),
            Phase::Finished(status) => (status.status(), status.details()),
        }
    }

    /// Returns the next state and the effects to carry out, in order.
    ///
    /// Late events are no errors: a start that comes twice, a stop of what has stopped, are no-ops.
    ///
    /// # Errors
    /// [`IllegalEvent`] if more invocations leave a place than are in it. That is a bug of the
    /// caller; nothing changes.
    pub fn step(&self, event: &Event) -> Result<(Self, Vec<Effect>), IllegalEvent> {
        let mut next = *self;
        let mut effects = Vec::new();
        match (event, self.phase) {
            (Event::Start, Phase::Planned) => next.phase = Phase::Running,
            (Event::Moved(moves), _) => {
                for one in moves {
                    next.apply(*one).ok_or_else(|| self.refuse(event))?;
                }
                if next.phase == Phase::Running && next.ended.errors() > next.errors_allowed {
                    next.stop(Cause::Errors, &mut effects);
                }
                // What returns while stopping is not released again.
                if let Phase::Stopping(cause) = next.phase {
                    next.end_unreleased(cause.ending(), &mut effects);
                }
            }
            (Event::Stop(cause), Phase::Planned | Phase::Running) => {
                next.stop(*cause, &mut effects);
                if next.in_flight > 0 {
                    effects.push(Effect::CancelInFlight);
                }
            }
            // It failed already and stays failed; what is in flight can still be called back.
            (Event::Stop(_), Phase::Stopping(Cause::Errors | Cause::Gate)) => effects.push(Effect::CancelInFlight),
            (Event::Start | Event::Stop(_), _) => return Ok((next, effects)),
        }
        if next.phase == Phase::Running {
            next.release(&mut effects);
        }
        next.finish(&mut effects);
        Ok((next, effects))
    }

    /// Slots that may be filled now.
    fn free_slots(&self) -> u32 {
        let slots = self.concurrency.min(self.ceiling).saturating_sub(self.in_flight);
        match self.error_mode {
            ErrorMode::Ssm => slots,
            // Whatever is in flight or unheard may fail: with one more released, failures stay
            // within `errors_allowed + 1` even if all of it does.
            ErrorMode::Strict => {
                let at_risk = self.ended.errors().saturating_add(self.in_flight).saturating_add(self.unheard);
                slots.min(self.errors_allowed.saturating_add(1).saturating_sub(at_risk))
            }
        }
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        let free = self.free_slots();
        let ready = self.ready.min(free);
        let pending = self.pending.min(free - ready);
        if ready + pending > 0 {
            self.ready -= ready;
            self.pending -= pending;
            self.in_flight += ready + pending;
            effects.push(Effect::Release { ready, pending });
        }
        // A strict rollout whose budget is taken by nodes that were never heard of again can
        // release nothing more, ever: it stops as if they had failed.
        // One to which the fleet leaves nothing waits, as others end.
        let exhausted = self.in_flight == 0 && self.pending + self.ready > 0 && self.ceiling > 0;
        if exhausted {
            self.stop(Cause::Errors, effects);
        }
    }

    fn stop(&mut self, cause: Cause, effects: &mut Vec<Effect>) {
        self.phase = Phase::Stopping(cause);
        effects.push(Effect::Stopped(cause));
        self.end_unreleased(cause.ending(), effects);
    }

    fn end_unreleased(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        let unreleased = self.held + self.pending + self.waiting + self.ready;
        if unreleased > 0 {
            (self.held, self.pending, self.waiting, self.ready) = (0, 0, 0, 0);
            *self.ended.of(ending) += unreleased;
            effects.push(Effect::EndUnreleased(ending));
        }
    }

    fn finish(&mut self, effects: &mut Vec<Effect>) {
        let open = self.held + self.pending + self.in_flight + self.waiting + self.ready;
        if open == 0 && matches!(self.phase, Phase::Running | Phase::Stopping(_)) {
            let status = self.verdict();
            self.phase = Phase::Finished(status);
            effects.push(Effect::Finished(status));
        }
    }

    /// The status of a rollout whose every invocation has ended (SSM's aggregation).
    fn verdict(&self) -> Status {
        let ended = &self.ended;
        match self.phase {
            Phase::Stopping(Cause::Cancelled) => Status::Cancelled,
            Phase::Stopping(Cause::Cutoff) => Status::CutoffReached,
            Phase::Stopping(Cause::Errors | Cause::Gate) => Status::Failed,
            _ if self.targets == 0 => Status::NoTargets,
            _ if ended.success == self.targets => Status::Success,
            _ if ended.errors() > self.errors_allowed || ended.undeliverable == self.targets => Status::Failed,
            _ if ended.cancelled == self.targets => Status::Cancelled,
            _ if ended.delivery_timed_out > self.errors_allowed => Status::DeliveryTimedOut,
            _ => Status::Incomplete,
        }
    }

    fn apply(&mut self, one: Move) -> Option<()> {
        let from = self.place(one.from);
        *from = from.checked_sub(one.count)?;
        match one.to {
            Arrival::Place(place) => *self.place(place) += one.count,
            Arrival::Ended(ending) => *self.ended.of(ending) += one.count,
            Arrival::Unheard(ending) => {
                *self.ended.of(ending) += one.count;
                // Those that never held a slot were never delivered; errors are counted already.
                if one.from == Place::InFlight && !ending.is_error() {
                    self.unheard += one.count;
                }
            }
        }
        Some(())
    }

    fn place(&mut self, place: Place) -> &mut u32 {
        match place {
            Place::Held => &mut self.held,
            Place::Pending => &mut self.pending,
            Place::InFlight => &mut self.in_flight,
            Place::Waiting => &mut self.waiting,
            Place::Ready => &mut self.ready,
        }
    }

    fn refuse(&self, event: &Event) -> IllegalEvent {
        IllegalEvent {
            event: event.clone(),
            phase: self.phase,
            pending: self.pending,
            in_flight: self.in_flight,
            waiting: self.waiting,
            ready: self.ready,
        }
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
