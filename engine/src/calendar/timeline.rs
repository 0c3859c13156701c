//! From events to open and closed.

use jiff::{SignedDuration, Timestamp};

use super::{Calendar, SEARCH, State};

/// How far a transition is looked for first. Most calendars have one within it; what is further away
/// costs a search of the whole of [`SEARCH`].
const NEAR: SignedDuration = SignedDuration::from_hours(24 * 40);

/// How a calendar stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Open or closed.
    pub state: State,
    /// When that changes; `None` when it does not within [`SEARCH`].
    pub next_transition: Option<Timestamp>,
    /// The event that is in force, by its summary.
    pub event: Option<String>,
}

/// A change of a calendar's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// What it is from then on.
    pub state: State,
    /// The event that begins; `None` when one ends.
    pub event: Option<String>,
}

/// How several calendars stand together: open only if all are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// Open or closed.
    pub state: State,
    /// When that changes; `None` when it does not within [`SEARCH`].
    pub next_transition: Option<Timestamp>,
    /// The calendars that are closed, by position.
    pub closed: Vec<usize>,
}

/// A time during which at least one event is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: Timestamp,
    end: Timestamp,
    /// Position of the event that begins it.
    event: usize,
}

/// The spans that are not over at `from` and start at `to` at the latest, in order, apart from each
/// other.
fn spans(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (event, one) in calendar.events.iter().enumerate() {
        let occurrences = one.occurrences(from, to).filter(|(start, end)| start < end);
        spans.extend(occurrences.map(|(start, end)| Span { start, end, event }));
    }
    spans.sort_unstable();
    spans.dedup_by(|next, before| {
        let joined = next.start <= before.end;
        if joined {
            before.end = before.end.max(next.end);
        }
        joined
    });
    spans
}

/// What holds at `from`, and the changes after it until `to`.
fn timeline(calendar: &Calendar, from: Timestamp, to: Timestamp) -> (Standing, Vec<Transition>) {
    let summary =
        |event: usize| calendar.events.get(event).map(|event| event.summary.clone()).filter(|s| !s.is_empty());
    let mut now = Standing { state: calendar.kind.state(false), next_transition: None, event: None };
    let mut changes = Vec::new();
    for span in spans(calendar, from, to) {
        if span.start <= from {
            now.state = calendar.kind.state(true);
            now.event = summary(span.event);
        } else {
            changes.push(Transition { at: span.start, state: calendar.kind.state(true), event: summary(span.event) });
        }
        // What starts after `to` may prolong what ends after it.
        if span.end <= to {
            changes.push(Transition { at: span.end, state: calendar.kind.state(false), event: None });
        }
    }
    now.next_transition = changes.first().map(|change| change.at);
    (now, changes)
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

pub(super) fn standing(calendar: &Calendar, at: Timestamp) -> Standing {
    let near = timeline(calendar, at, after(at, NEAR)).0;
    if near.next_transition.is_some() { near } else { timeline(calendar, at, after(at, SEARCH)).0 }
}

pub(super) fn transitions(calendar: &Calendar, from: Timestamp, limit: usize) -> Vec<Transition> {
    let mut changes = timeline(calendar, from, after(from, SEARCH)).1;
    changes.truncate(limit);
    changes
}

/// How several calendars stand together at `at`, and when that changes next, within [`SEARCH`].
///
/// No calendars are open and stay so.
#[must_use]
pub fn combined(calendars: &[Calendar], at: Timestamp) -> Combined {
    let near = combined_within(calendars, at, after(at, NEAR));
    if near.next_transition.is_some() { near } else { combined_within(calendars, at, after(at, SEARCH)) }
}

fn combined_within(calendars: &[Calendar], at: Timestamp, to: Timestamp) -> Combined {
    let mut closed = vec![false; calendars.len()];
    let mut changes: Vec<(Timestamp, usize, State)> = Vec::new();
    for (index, calendar) in calendars.iter().enumerate() {
        let (now, coming) = timeline(calendar, at, to);
        if let Some(one) = closed.get_mut(index) {
            *one = now.state == State::Closed;
        }
        changes.extend(coming.into_iter().map(|change| (change.at, index, change.state)));
    }
    changes.sort_unstable_by_key(|(at, index, _)| (*at, *index));
    let state_of = |closed: &[bool]| if closed.contains(&true) { State::Closed } else { State::Open };
    let state = state_of(&closed);
    let closed_now = closed.iter().enumerate().filter(|(_, closed)| **closed).map(|(index, _)| index).collect();
    // Changes of one instant are one: where one calendar closes as another opens, nothing changes.
    let next_transition = changes.chunk_by(|(one, ..), (other, ..)| one == other).find_map(|same| {
        for (_, index, state) in same {
            if let Some(one) = closed.get_mut(*index) {
                *one = *state == State::Closed;
            }
        }
        same.first().map(|(at, ..)| *at).filter(|_| state_of(&closed) != state)
    });
    Combined { state, next_transition, closed: closed_now }
}
