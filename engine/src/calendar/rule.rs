//! Recurrence rules as they are written: `FREQ=MONTHLY;BYDAY=2TU`.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};

use super::fault::quoted;
use super::value::{date, date_time};

/// How often a rule starts over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// The last moment that an occurrence may start at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Instant(Timestamp),
    /// In the event's own zone.
    Civil(DateTime),
}

/// A rule that has been understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) frequency: Frequency,
    /// From 1.
    pub(super) interval: i64,
    pub(super) until: Option<Until>,
    /// Occurrences in all, the first included. Turned into an [`Until`] when the calendar is read.
    pub(super) count: Option<u32>,
    pub(super) by_month: Vec<i8>,
    /// From the end when negative.
    pub(super) by_month_day: Vec<i8>,
    /// Weekdays; with a number, the n-th of the month or year, from its end when negative.
    pub(super) by_day: Vec<(Option<i16>, Weekday)>,
    pub(super) by_set_pos: Vec<i32>,
    pub(super) week_start: Weekday,
}

/// Periods between two of a rule at most.
const INTERVAL_MAX: i64 = 1_000;
/// Occurrences that a rule may count.
const COUNT_MAX: u32 = 10_000;
/// Values in one part of a rule.
const VALUES_MAX: usize = 62;

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with the property's name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut frequency = None;
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            until: None,
            count: None,
            by_month: Vec::new(),
            by_month_day: Vec::new(),
            by_day: Vec::new(),
            by_set_pos: Vec::new(),
            week_start: Weekday::Monday,
        };
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("holds {}, no NAME=VALUE", quoted(part)))?;
            let refused = |allowed: &str| format!("has {name}={}; allowed is {allowed}", quoted(value));
            match name.to_ascii_uppercase().as_str() {
                "FREQ" => frequency = Some(frequency_of(value)?),
                "INTERVAL" => {
                    let interval = value.parse().ok().filter(|interval| (1..=INTERVAL_MAX).contains(interval));
                    rule.interval = interval.ok_or_else(|| refused("1 to 1000"))?;
                }
                "COUNT" => {
                    let count = value.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
                    rule.count = Some(count.ok_or_else(|| refused("1 to 10000"))?);
                }
                "UNTIL" => rule.until = Some(until(value).ok_or_else(|| refused("a date or a time"))?),
                "BYMONTH" => {
                    rule.by_month =
                        numbers(value, |month| (1..=12).contains(&month)).ok_or_else(|| refused("1 to 12"))?;
                }
                "BYMONTHDAY" => {
                    rule.by_month_day = numbers(value, |day| day != 0 && (-31..=31).contains(&day))
                        .ok_or_else(|| refused("1 to 31 or -1 to -31"))?;
                }
                "BYSETPOS" => {
                    rule.by_set_pos = numbers(value, |position| position != 0 && (-366..=366).contains(&position))
                        .ok_or_else(|| refused("1 to 366 or -1 to -366"))?;
                }
                "BYDAY" => rule.by_day = weekdays(value).ok_or_else(|| refused("weekdays such as MO, 2TU or -1FR"))?,
                "WKST" => rule.week_start = weekday(value).ok_or_else(|| refused("a weekday such as MO"))?,
                "BYSECOND" | "BYMINUTE" | "BYHOUR" => {
                    return Err(format!("has {name}, which is not understood; DTSTART says the time of day"));
                }
                other => {
                    return Err(format!(
                        "has {}, which is not understood; allowed are FREQ, INTERVAL, COUNT, UNTIL, BYMONTH, \
                         BYMONTHDAY, BYDAY, BYSETPOS and WKST",
                        quoted(other)
                    ));
                }
            }
        }
        rule.frequency = frequency.ok_or("has no FREQ; allowed are DAILY, WEEKLY, MONTHLY and YEARLY")?;
        rule.check()
    }

    fn check(self) -> Result<Self, String> {
        if self.count.is_some() && self.until.is_some() {
            return Err("has COUNT and UNTIL; allowed is one of them".to_owned());
        }
        let numbered = self.by_day.iter().any(|(nth, _)| nth.is_some());
        if numbered && matches!(self.frequency, Frequency::Daily | Frequency::Weekly) {
            return Err("has a number in BYDAY, which goes with FREQ=MONTHLY and FREQ=YEARLY alone".to_owned());
        }
        if self.frequency == Frequency::Weekly && !self.by_month_day.is_empty() {
            return Err("has BYMONTHDAY, which does not go with FREQ=WEEKLY".to_owned());
        }
        if !self.by_set_pos.is_empty()
            && self.by_day.is_empty()
            && self.by_month_day.is_empty()
            && self.by_month.is_empty()
        {
            return Err("has BYSETPOS, which chooses from what another BY part names, and there is none".to_owned());
        }
        Ok(self)
    }
}

fn frequency_of(text: &str) -> Result<Frequency, String> {
    match text.to_ascii_uppercase().as_str() {
        "DAILY" => Ok(Frequency::Daily),
        "WEEKLY" => Ok(Frequency::Weekly),
        "MONTHLY" => Ok(Frequency::Monthly),
        "YEARLY" => Ok(Frequency::Yearly),
        _ => Err(format!("has FREQ={}; allowed are DAILY, WEEKLY, MONTHLY and YEARLY", quoted(text))),
    }
}

fn until(text: &str) -> Option<Until> {
    if let Some(date) = date(text) {
        // The day is in it.
        return Some(Until::Civil(date.to_datetime(Time::MAX)));
    }
    let (civil, is_utc) = date_time(text)?;
    if !is_utc {
        return Some(Until::Civil(civil));
    }
    Some(Until::Instant(jiff::tz::Offset::UTC.to_timestamp(civil).ok()?))
}

/// Numbers behind commas that are all allowed.
fn numbers<T: std::str::FromStr + Copy>(text: &str, allowed: impl Fn(T) -> bool) -> Option<Vec<T>> {
    let numbers: Vec<T> = text
        .split(',')
        .take(VALUES_MAX + 1)
        .map(|one| one.trim().parse().ok().filter(|number| allowed(*number)))
        .collect::<Option<_>>()?;
    (numbers.len() <= VALUES_MAX).then_some(numbers)
}

fn weekdays(text: &str) -> Option<Vec<(Option<i16>, Weekday)>> {
    let one = |text: &str| {
        let at = text.len().checked_sub(2)?;
        let (number, day) = text.split_at_checked(at)?;
        let nth = match number {
            "" => None,
            number => Some(number.parse().ok().filter(|nth| *nth != 0 && (-53..=53).contains(nth))?),
        };
        Some((nth, weekday(day)?))
    };
    let days: Vec<_> = text.split(',').take(VALUES_MAX + 1).map(|text| one(text.trim())).collect::<Option<_>>()?;
    (days.len() <= VALUES_MAX).then_some(days)
}

fn weekday(text: &str) -> Option<Weekday> {
    Some(match text.to_ascii_uppercase().as_str() {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}
