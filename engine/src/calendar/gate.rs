//! Whether calendars let something start.
//!
//! What cannot be read counts as closed: a freeze that was meant must not be lost to a calendar that
//! was deleted or broken.

use jiff::Timestamp;

use super::{Calendar, State, combined};

/// Names that a reason gives; it has 250 characters.
const NAMED_MAX: usize = 3;
/// Characters of a name in a reason.
const NAME_CHARS_MAX: usize = 48;

/// What calendars say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Start.
    Open,
    /// Do not.
    Closed {
        /// A sentence without full stop that names the calendar, and when it opens.
        reason: String,
        /// When all are open, as far as they say; `None` when one cannot be read, or they do not open
        /// within [`SEARCH`](super::SEARCH).
        until: Option<Timestamp>,
    },
}

/// Judges calendars, each with the name it is known by; `Err` says why one could not be read.
///
/// No calendars let everything start.
#[must_use]
pub fn gate(calendars: &[(String, Result<Calendar, String>)], at: Timestamp) -> Gate {
    let short = |name: &str| name.chars().take(NAME_CHARS_MAX).collect::<String>();
    if let Some((name, Err(problem))) = calendars.iter().find(|(_, calendar)| calendar.is_err()) {
        return Gate::Closed {
            reason: format!("Change calendar {} {problem}; counts as CLOSED", short(name)),
            until: None,
        };
    }
    let read: Vec<Calendar> = calendars.iter().filter_map(|(_, calendar)| calendar.as_ref().ok().cloned()).collect();
    let found = combined(&read, at);
    if found.state == State::Open {
        return Gate::Open;
    }
    let mut names: Vec<String> =
        found.closed.iter().filter_map(|index| calendars.get(*index)).map(|(name, _)| short(name)).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    names.truncate(NAMED_MAX);
    let mut who = match names.as_slice() {
        [one] => format!("Change calendar {one} is"),
        several => format!("Change calendars {} are", several.join(", ")),
    };
    if more > 0 {
        who = who.replace(" are", &format!(" and {more} more are"));
    }
    let reason = match found.next_transition {
        Some(until) => format!("{who} CLOSED until {until}"),
        None => format!("{who} CLOSED, with no end within two years"),
    };
    Gate::Closed { reason, until: found.next_transition }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(kind: &str, events: &str) -> Result<Calendar, String> {
        let text = format!("BEGIN:VCALENDAR\nX-CALENDAR-TYPE:{kind}\n{events}END:VCALENDAR");
        Ok(Calendar::parse(&text).unwrap())
    }

    fn judged(calendars: Vec<(&str, Result<Calendar, String>)>) -> Gate {
        let calendars: Vec<_> = calendars.into_iter().map(|(name, read)| (name.to_owned(), read)).collect();
        gate(&calendars, "2026-12-24T13:00Z".parse().unwrap())
    }

    fn closed(gate: Gate) -> (String, Option<Timestamp>) {
        match gate {
            Gate::Closed { reason, until } => (reason, until),
            Gate::Open => panic!("it is open"),
        }
    }

    #[test]
    fn a_reason_names_the_calendar_and_when_it_opens() {
        let event = "BEGIN:VEVENT\nDTSTART:20261224T120000Z\nDTEND:20261224T180000Z\nEND:VEVENT\n";
        assert_eq!(judged(Vec::new()), Gate::Open);
        assert_eq!(judged(vec![("a", calendar("DEFAULT_OPEN", ""))]), Gate::Open);
        let until = Some("2026-12-24T18:00Z".parse().unwrap());
        let found = judged(vec![("a", calendar("DEFAULT_OPEN", "")), ("xmas", calendar("DEFAULT_OPEN", event))]);
        assert_eq!(closed(found), ("Change calendar xmas is CLOSED until 2026-12-24T18:00:00Z".to_owned(), until));
        let never = || calendar("DEFAULT_CLOSED", "");
        let (reason, until) = closed(judged(["a", "b", "c", "d", "e"].map(|name| (name, never())).into()));
        assert_eq!(reason, "Change calendars a, b, c and 2 more are CLOSED, with no end within two years");
        assert_eq!(until, None);
    }

    #[test]
    fn what_cannot_be_read_is_closed_even_beside_open_ones() {
        let found = judged(vec![("a", calendar("DEFAULT_OPEN", "")), ("gone", Err("does not exist".to_owned()))]);
        assert_eq!(closed(found), ("Change calendar gone does not exist; counts as CLOSED".to_owned(), None));
    }
}
