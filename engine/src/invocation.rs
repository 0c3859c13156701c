//! One document on one node: where it stands, and what each event makes of it.
//!
//! Pure. An invocation only moves forward, and that is what makes every delivery safe to repeat:
//! an event that comes late or twice is told apart from one that cannot happen, and changes
//! nothing. How many may be in flight is not decided here but in [`crate::rollout`].

use std::fmt;
use std::str::FromStr;

use crate::rollout::Place;

/// How an invocation ended. SSM's `StatusDetails` of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Every step succeeded or was skipped.
    Success,
    /// Some step failed. Counts as an error.
    Failed,
    /// A step exceeded its own timeout, or a node that had started was not heard of again until
    /// its deadline. Counts as an error.
    ExecutionTimedOut,
    /// The node was not reached, or did not answer, before the deadline. No error (SSM).
    DeliveryTimedOut,
    /// Stopped, or never started, because of a cancellation.
    Cancelled,
    /// Never sent, because the error threshold was crossed.
    Terminated,
    /// The node refused it: late or not allowed there. No error (SSM).
    Undeliverable,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 7] = [
        Self::Success,
        Self::Failed,
        Self::ExecutionTimedOut,
        Self::DeliveryTimedOut,
        Self::Cancelled,
        Self::Terminated,
        Self::Undeliverable,
    ];

    /// SSM's `StatusDetails`.
    #[must_use]
    pub const fn details(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failed => "Failed",
            Self::ExecutionTimedOut => "ExecutionTimedOut",
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::Cancelled => "Cancelled",
            Self::Terminated => "Terminated",
            Self::Undeliverable => "Undeliverable",
        }
    }

    /// SSM's `Status` of an invocation that ended so.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failed | Self::Undeliverable => "Failed",
            Self::ExecutionTimedOut | Self::DeliveryTimedOut => "TimedOut",
            Self::Cancelled | Self::Terminated => "Cancelled",
        }
    }

    /// Whether it counts towards `MaxErrors` (SSM).
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Failed | Self::ExecutionTimedOut)
    }
}

/// Where an invocation stands.
///
/// ```text
/// Pending ──release──▶ Released ──progress──▶ Running ─┐
///                       │   ▲                          ├─report, deadline──▶ Ended
///            returned ──▼   └──release── Ready         │
///                   Waiting ──node connects──▶ ┘       │
///            cancel: in flight ──▶ Cancelling ─────────┘   (not in flight: Ended at once)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Stored, never released.
    Pending,
    /// Handed to the bus, or about to be; holds a slot. A crash in between is repaired by
    /// handing it over again.
    Released,
    /// The bus returned it: the node is not connected. Holds no slot.
    Waiting,
    /// The node came back; wants a slot.
    Ready,
    /// The node said that it is at work; holds a slot.
    Running,
    /// The node was told to stop and has not answered; holds its slot.
    Cancelling,
    /// Over.
    Ended(Ending),
}

/// What happens to an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A slot was given to it.
    Release,
    /// The bus returned its first delivery. Later deliveries that come back change nothing: an
    /// earlier one may have arrived, so the slot stays taken until the deadline.
    Returned,
    /// Its node connected.
    Connected,
    /// Its node reported progress.
    Progressed,
    /// Its node reported its end.
    Reported(Ending),
    /// Its deadline passed.
    DeadlinePassed,
    /// It is to be stopped.
    Cancel,
    /// Its node may not speak any more, so there is nothing to wait for.
    CutOff,
    /// The rollout stopped before it was sent, with the ending that the stop's cause gives.
    Stop(Ending),
}

/// What an event made of an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It stands elsewhere now.
    To(State),
    /// The event came late or twice; nothing changes.
    Unchanged,
    /// It had ended without its node's word, which has come now: keep the output, flag it as late.
    LateReport,
}

/// An event that cannot happen to an invocation in this state; nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to an invocation that is {state}")]
pub struct IllegalEvent {
    /// Where it stands.
    pub state: State,
    /// What was said to have happened.
    pub event: Event,
}

impl State {
    /// Which of the rollout's counters holds it; `None` once it has ended.
    #[must_use]
    pub const fn place(self) -> Option<Place> {
        match self {
            Self::Pending => Some(Place::Pending),
            Self::Released | Self::Running | Self::Cancelling => Some(Place::InFlight),
            Self::Waiting => Some(Place::Waiting),
            Self::Ready => Some(Place::Ready),
            Self::Ended(_) => None,
        }
    }

    /// SSM's `Status`.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Waiting | Self::Ready => "Delayed",
            Self::Released | Self::Running => "InProgress",
            Self::Cancelling => "Cancelling",
            Self::Ended(ending) => ending.status(),
        }
    }

    /// Every state.
    pub fn all() -> impl Iterator<Item = Self> {
        let open = [Self::Pending, Self::Released, Self::Waiting, Self::Ready, Self::Running, Self::Cancelling];
        open.into_iter().chain(Ending::ALL.map(Self::Ended))
    }

    /// Whether a list that is narrowed to this `Status` or `StatusDetails` (SSM) shows it.
    #[must_use]
    pub fn is_shown_as(self, status: &str) -> bool {
        self.status() == status || self.details() == status
    }

    /// SSM's `StatusDetails`.
    #[must_use]
    pub const fn details(self) -> &'static str {
        match self {
            Self::Ended(ending) => ending.details(),
            open => open.status(),
        }
    }

    /// Returns what `event` makes of an invocation in this state.
    ///
    /// # Errors
    /// [`IllegalEvent`] if the event cannot happen in this state.
    pub const fn step(self, event: Event) -> Result<Step, IllegalEvent> {
        use {Ending as E, Event as V, State as S};
        let to = match (self, event) {
            (S::Pending | S::Ready, V::Release) => S::Released,
            (S::Released, V::Returned) => S::Waiting,
            (S::Waiting, V::Connected) => S::Ready,

            (S::Released, V::Progressed) => S::Running,
            // It was returned once and reached its node by a repeated delivery.
            (S::Waiting | S::Ready, V::Progressed) => return Ok(Step::Unchanged),
            (S::Released | S::Waiting | S::Ready | S::Running | S::Cancelling, V::Reported(ending)) => S::Ended(ending),

            (S::Released | S::Waiting | S::Ready, V::DeadlinePassed) => S::Ended(E::DeliveryTimedOut),
            (S::Running, V::DeadlinePassed) => S::Ended(E::ExecutionTimedOut),
            (S::Cancelling, V::DeadlinePassed) => S::Ended(E::Cancelled),

            (S::Pending | S::Waiting | S::Ready, V::Cancel) => S::Ended(E::Cancelled),
            (S::Released | S::Running, V::Cancel) => S::Cancelling,
            (S::Pending | S::Waiting | S::Ready, V::Stop(ending)) => S::Ended(ending),
            (S::Pending | S::Released | S::Waiting | S::Ready | S::Running | S::Cancelling, V::CutOff) => {
                S::Ended(E::Cancelled)
            }

            // The node's word comes after the deadline decided. The decision stands.
            (S::Ended(E::DeliveryTimedOut | E::ExecutionTimedOut | E::Cancelled), V::Reported(_)) => {
                return Ok(Step::LateReport);
            }

            // Late or repeated: redelivered messages, timers that were already answered, races
            // between a returning node and a repeated delivery.
            (
                S::Ended(_),
                V::Reported(_) | V::Progressed | V::DeadlinePassed | V::Cancel | V::CutOff | V::Returned | V::Connected,
            )
            | (S::Released | S::Running | S::Cancelling, V::Connected)
            | (S::Running | S::Cancelling, V::Progressed)
            | (S::Waiting | S::Ready | S::Running | S::Cancelling, V::Returned)
            | (S::Ready, V::Connected)
            | (S::Cancelling, V::Cancel)
            | (S::Pending, V::Connected | V::DeadlinePassed) => return Ok(Step::Unchanged),

            // A node speaks of what it was never given, or a rollout contradicts itself.
            (S::Pending, V::Returned | V::Progressed | V::Reported(_))
            | (S::Released | S::Waiting | S::Running | S::Cancelling | S::Ended(_), V::Release)
            | (S::Released | S::Running | S::Cancelling | S::Ended(_), V::Stop(_)) => {
                return Err(IllegalEvent { state: self, event });
            }
        };
        Ok(Step::To(to))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Released => "released",
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Ended(ending) => ending.details(),
        })
    }
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the state of an invocation")]
pub struct UnknownState(pub String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::all().find(|state| state.to_string() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use {Ending as E, Event as V, State as S};

    const OPEN: [State; 6] = [S::Pending, S::Released, S::Waiting, S::Ready, S::Running, S::Cancelling];

    fn states() -> impl Iterator<Item = State> {
        OPEN.into_iter().chain(E::ALL.map(S::Ended))
    }

    fn events() -> Vec<Event> {
        let mut events =
            vec![V::Release, V::Returned, V::Connected, V::Progressed, V::DeadlinePassed, V::Cancel, V::CutOff];
        events.extend(E::ALL.map(V::Reported));
        events.extend(E::ALL.map(V::Stop));
        events
    }

    /// The whole table, one letter for each pair: where it goes, `.` unchanged, `L` late, `!` illegal.
    #[test]
    fn every_pair_of_state_and_event_does_what_the_table_says() {
        let columns = [
            V::Release,
            V::Returned,
            V::Connected,
            V::Progressed,
            V::Reported(E::Failed),
            V::DeadlinePassed,
            V::Cancel,
            V::CutOff,
            V::Stop(E::Terminated),
        ];
        let table = [
            (S::Pending, ["released", "!", ".", "!", "!", ".", "Cancelled", "Cancelled", "Terminated"]),
            (
                S::Released,
                ["!", "waiting", ".", "running", "Failed", "DeliveryTimedOut", "cancelling", "Cancelled", "!"],
            ),
            (
                S::Waiting,
                ["!", ".", "ready", ".", "Failed", "DeliveryTimedOut", "Cancelled", "Cancelled", "Terminated"],
            ),
            (
                S::Ready,
                ["released", ".", ".", ".", "Failed", "DeliveryTimedOut", "Cancelled", "Cancelled", "Terminated"],
            ),
            (S::Running, ["!", ".", ".", ".", "Failed", "ExecutionTimedOut", "cancelling", "Cancelled", "!"]),
            (S::Cancelling, ["!", ".", ".", ".", "Failed", "Cancelled", ".", "Cancelled", "!"]),
            (S::Ended(E::Success), ["!", ".", ".", ".", ".", ".", ".", ".", "!"]),
            (S::Ended(E::Failed), ["!", ".", ".", ".", ".", ".", ".", ".", "!"]),
            (S::Ended(E::ExecutionTimedOut), ["!", ".", ".", ".", "L", ".", ".", ".", "!"]),
            (S::Ended(E::DeliveryTimedOut), ["!", ".", ".", ".", "L", ".", ".", ".", "!"]),
            (S::Ended(E::Cancelled), ["!", ".", ".", ".", "L", ".", ".", ".", "!"]),
            (S::Ended(E::Terminated), ["!", ".", ".", ".", ".", ".", ".", ".", "!"]),
            (S::Ended(E::Undeliverable), ["!", ".", ".", ".", ".", ".", ".", ".", "!"]),
        ];
        assert_eq!(table.len(), states().count());
        for (state, row) in table {
            for (event, expected) in columns.into_iter().zip(row) {
                let found = match state.step(event) {
                    Ok(Step::To(to)) => to.to_string(),
                    Ok(Step::Unchanged) => ".".to_owned(),
                    Ok(Step::LateReport) => "L".to_owned(),
                    Err(_) => "!".to_owned(),
                };
                assert_eq!(found, expected, "{state} × {event:?}");
            }
        }
    }

    #[test]
    fn nothing_leaves_an_ending() {
        for ending in E::ALL {
            for event in events() {
                assert!(!matches!(S::Ended(ending).step(event), Ok(Step::To(_))), "{ending:?} × {event:?}");
            }
        }
    }

    #[test]
    fn every_open_state_but_pending_ends_at_its_deadline() {
        for state in OPEN.into_iter().filter(|state| *state != S::Pending) {
            assert!(matches!(state.step(V::DeadlinePassed), Ok(Step::To(S::Ended(_)))), "{state}");
            assert_eq!(state.step(V::CutOff), Ok(Step::To(S::Ended(E::Cancelled))), "{state}");
        }
    }

    #[test]
    fn state_names_are_distinct_and_read_back() {
        for state in states() {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert!("".parse::<State>().is_err());
    }
}
