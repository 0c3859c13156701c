//! An event, and when it occurs.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};

use super::recurrence;
use super::rule::{Rule, Until};
use super::value::{Length, instant};

/// Something that opens or closes its calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `SUMMARY`, shortened; may be empty.
    pub(super) summary: String,
    /// The first start, in [`Event::zone`].
    pub(super) start: DateTime,
    pub(super) zone: TimeZone,
    pub(super) length: Length,
    /// Without `COUNT`.
    pub(super) rule: Option<Rule>,
    /// Further starts, in [`Event::zone`].
    pub(super) also: Vec<DateTime>,
    /// Starts that do not happen.
    pub(super) except: BTreeSet<Timestamp>,
    /// Days on which none does.
    pub(super) except_days: BTreeSet<Date>,
}

impl Event {
    /// Whether it may occur more than once.
    pub(super) fn recurs(&self) -> bool {
        self.rule.is_some() || !self.also.is_empty()
    }

    /// The occurrences that are not over at `from` and start at `to` at the latest, as start and end,
    /// in no order.
    pub(super) fn occurrences(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let starts = match &self.rule {
            None => vec![self.start],
            Some(rule) => {
                // A day more at both ends: the zone may be that far away.
                let back = Span::new().try_days(self.length.at_most_days().saturating_add(1)).ok();
                let first = back.and_then(|back| self.day_of(from).checked_sub(back).ok()).unwrap_or(Date::MIN);
                let last = self.day_of(to).checked_add(1.day()).unwrap_or(Date::MAX);
                recurrence::starts(rule, self.start, first, last).collect()
            }
        };
        starts
            .into_iter()
            .chain(self.also.iter().copied())
            .filter_map(|civil| self.occurrence(civil))
            .filter(move |(start, end)| *start <= to && *end > from)
    }

    fn day_of(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    /// The occurrence that starts at `civil`, unless it is excepted or past the rule's end.
    fn occurrence(&self, civil: DateTime) -> Option<(Timestamp, Timestamp)> {
        let start = instant(civil, &self.zone)?;
        if self.except.contains(&start) || self.except_days.contains(&civil.date()) {
            return None;
        }
        let past = match self.rule.as_ref().and_then(|rule| rule.until) {
            None => false,
            Some(Until::Instant(until)) => start > until,
            Some(Until::Civil(until)) => civil > until,
        };
        if past && civil != self.start && !self.also.contains(&civil) {
            return None;
        }
        let end = if self.length.days == 0 {
            start
        } else {
            instant(civil.checked_add(self.length.days.days()).ok()?, &self.zone)?
        };
        Some((start, end.checked_add(self.length.time).ok()?))
    }
}
