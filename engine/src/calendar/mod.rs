//! Change calendars: when changes are allowed.
//!
//! A calendar is a text in iCalendar 2.0 (RFC 5545) whose header says `X-CALENDAR-TYPE`:
//!
//! ```text
//! DEFAULT_OPEN     changes are allowed, except during events
//! DEFAULT_CLOSED   changes are forbidden, except during events
//! ```
//!
//! [`Calendar::parse`] reads one, [`Calendar::state`] says how it stands at an instant,
//! [`combined`] how several do together. Events that are advisory or cancelled change nothing.
//!
//! Guaranteed: the answer depends on the arguments alone, zones come from the IANA data that is
//! compiled in, and every loop is bounded by the constants below, whatever the text says.
//!
//! Reading and recurrence are our own. Of the crates that do either, `rrule` 0.14 and `calcard` 0.3
//! bring `chrono` and a second copy of the IANA data (`chrono-tz`) beside `jiff`'s, so that two
//! parts of one program could disagree about a clock change; `rrule` reads rules and not calendars,
//! `icalendar` 0.17 reads calendars and hands recurrence to `rrule`, and `ical` 0.11 is no longer
//! maintained and does neither values nor recurrence. What calendars of changes need of the standard
//! is small, and refused by name where it is not understood.

use jiff::{SignedDuration, Timestamp};

mod event;
mod fault;
mod gate;
mod lines;
mod parse;
mod recurrence;
mod rule;
mod timeline;
mod value;
mod zones;

pub use self::fault::Fault;
pub use self::gate::{Gate, gate};
pub use self::timeline::{Combined, Standing, Transition, combined};

use self::event::Event;

/// Bytes of a calendar (SSM's limit for a document).
pub const CALENDAR_BYTES_MAX: usize = crate::documents::DOCUMENT_BYTES_MAX;
/// Events of one calendar. More than fit into its bytes if they say anything.
const EVENTS_MAX: usize = 1_000;
/// Events of one calendar that recur: each may have an occurrence on every day of the search.
const RECURRING_MAX: usize = 200;
/// How far the next transition is looked for. A calendar that says nothing for two years says
/// nothing that a window could wait for.
pub const SEARCH: SignedDuration = SignedDuration::from_hours(24 * 731);
/// Faults that are told at a time.
const FAULTS_MAX: usize = 20;
/// The years that events may be in.
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// What a calendar says where no event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Open, and closed during events.
    DefaultOpen,
    /// Closed, and open during events.
    DefaultClosed,
}

impl Kind {
    /// As `X-CALENDAR-TYPE` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DefaultOpen => "DEFAULT_OPEN",
            Self::DefaultClosed => "DEFAULT_CLOSED",
        }
    }

    const fn state(self, in_event: bool) -> State {
        match (self, in_event) {
            (Self::DefaultOpen, false) | (Self::DefaultClosed, true) => State::Open,
            (Self::DefaultOpen, true) | (Self::DefaultClosed, false) => State::Closed,
        }
    }
}

/// Whether changes are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// They are.
    Open,
    /// They are not.
    Closed,
}

impl State {
    /// SSM's `State`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Closed => "CLOSED",
        }
    }
}

/// A calendar that has been understood.
///
/// Made by [`Calendar::parse`], so: at most 1,000 events, 200 of them recurring, none of those longer
/// than a year, and all between 1970 and 2199.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    kind: Kind,
    /// `X-WR-CALDESC`.
    description: Option<String>,
    events: Vec<Event>,
    /// Events that were read and change nothing: advisory or cancelled ones.
    without_effect: usize,
}

impl Calendar {
    /// Reads a calendar.
    ///
    /// # Errors
    /// Every [`Fault`] with its line, the first twenty of them.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        parse::parse(text)
    }

    /// What it says where no event is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// For people; absent unless the calendar has one.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Events that open or close it; a recurring one counts once.
    #[must_use]
    pub const fn events(&self) -> usize {
        self.events.len()
    }

    /// Events that change nothing: advisory or cancelled.
    #[must_use]
    pub const fn events_without_effect(&self) -> usize {
        self.without_effect
    }
}

impl Calendar {
    /// How the calendar stands at `at`, and when that changes next, within [`SEARCH`].
    ///
    /// An event is in force from its start until just before its end.
    #[must_use]
    pub fn state(&self, at: Timestamp) -> Standing {
        timeline::standing(self, at)
    }

    /// The first `limit` transitions after `from`, within [`SEARCH`].
    #[must_use]
    pub fn transitions(&self, from: Timestamp, limit: usize) -> Vec<Transition> {
        timeline::transitions(self, from, limit)
    }
}

#[cfg(test)]
mod recurrence_tests;
#[cfg(test)]
mod tests;
