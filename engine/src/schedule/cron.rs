//! `cron(…)`: its fields, and the walk through the calendar in civil time.
//!
//! No zone is known here. `croner` does the walking; it is handed plain numbers in its own
//! notation, and dates without a zone, so that neither its dialect nor its daylight saving rules
//! come into play.

use std::collections::BTreeSet;

use croner::parser::{CronParser, Seconds, Year};
use jiff::ToSpan as _;
use jiff::civil::{DateTime, date};

use super::error::{ScheduleError, SyntaxError};
use super::expression::{MIN_INTERVAL, Source, Span};
use super::field::{self, Content, Special};

/// How many matching days are looked at for two that touch at midnight. Four years and more of the
/// densest calendar, which covers every pattern that is not made to evade it.
const DAYS_CHECKED_FOR_DENSITY: usize = 1_500;

/// A cron expression: a set of civil times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    calendar: croner::Cron,
    every_hour: bool,
}

impl Cron {
    /// Reads the fields between the parentheses.
    pub(super) fn parse(source: Source<'_>, inner: Span<'_>) -> Result<Self, ScheduleError> {
        let words: Vec<Span<'_>> = inner.words().collect();
        let (second, [minute, hour, day_of_month, month, day_of_week, year]) = match *words.as_slice() {
            [second, a, b, c, d, e, f] => (Some(second), [a, b, c, d, e, f]),
            [a, b, c, d, e, f] => (None, [a, b, c, d, e, f]),
            _ => {
                let position = words.get(7).map_or(inner.end(), |extra| extra.position);
                let expected = "6 (minute hour day-of-month month day-of-week year) or 7 (second first)";
                return Err(source.error(position, format!("{} fields", words.len()), expected).into());
            }
        };

        // The year first: old Quartz forms (seconds first, no year) are best told by their last field.
        let years = field::YEAR.values(source, year)?;
        let seconds = second.map_or_else(|| Ok(BTreeSet::from([0])), |span| field::SECONDS.values(source, span))?;
        let minutes = field::MINUTES.values(source, minute)?;
        let hours = field::HOURS.values(source, hour)?;
        let months = field::MONTH.values(source, month)?;
        let (days, days_of_week) = parse_days(source, day_of_month, day_of_week)?;

        let times = Times { hours: &hours, minutes: &minutes, seconds: &seconds };
        if let Some(seconds) = times.too_close() {
            return Err(ScheduleError::TooDense { expression: source.expression.to_owned(), seconds });
        }

        let date_part = format!("{days} {} {days_of_week} {}", list(&months), list(&years));
        let cron =
            Self { calendar: calendar(&format!("{} {date_part}", times.pattern())), every_hour: hour.text == "*" };
        if cron.next(date(1970, 1, 1).at(0, 0, 0, 0), true).is_none() {
            return Err(ScheduleError::NeverFires { expression: source.expression.to_owned() });
        }
        if let Some(seconds) = times.too_close_over_midnight()
            && has_adjacent_days(&calendar(&format!("0 0 0 {date_part}")))
        {
            return Err(ScheduleError::TooDense { expression: source.expression.to_owned(), seconds });
        }
        Ok(cron)
    }

    /// Whether the hour field is `*`: such a schedule follows the clock's hours even when one of
    /// them comes twice.
    pub(super) fn every_hour(&self) -> bool {
        self.every_hour
    }

    /// The first civil time after `from`, or at it if `inclusive`. None after the last year.
    ///
    /// `from` counts in whole seconds: a fraction is ignored.
    pub(super) fn next(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        // The only error without a zone is the end of the search: past the last year of the field.
        self.calendar.find_next_occurrence(&from, inclusive).ok()
    }
}

/// Reads the two day fields, one of which is `?`, into croner's notation.
fn parse_days(source: Source<'_>, of_month: Span<'_>, of_week: Span<'_>) -> Result<(String, String), SyntaxError> {
    let expected = "`?` in exactly one of day-of-month and day-of-week";
    match (of_month.text, of_week.text) {
        ("?", "?") => Err(source.error(of_week.position, "both day fields are `?`".to_owned(), expected)),
        ("?", _) => {
            let content = field::DAY_OF_WEEK.days_of_week(source, of_week)?;
            Ok(("*".to_owned(), days(&content, 1)))
        }
        (_, "?") => {
            let content = field::DAY_OF_MONTH.days_of_month(source, of_month)?;
            Ok((days(&content, 0), "*".to_owned()))
        }
        _ => {
            // A value that is wrong in itself is the better news.
            field::DAY_OF_MONTH.days_of_month(source, of_month)?;
            field::DAY_OF_WEEK.days_of_week(source, of_week)?;
            Err(source.error(of_week.position, "both day fields are set".to_owned(), expected))
        }
    }
}

/// A day field in croner's notation, whose days of the week are `shift` below SSM's.
fn days(content: &Content, shift: u16) -> String {
    let values = content.values.iter().map(|value| value - shift).collect();
    let specials = content.specials.iter().map(|special| match *special {
        Special::LastDay => "L".to_owned(),
        Special::LastWeekday => "LW".to_owned(),
        Special::NearestWeekday(day) => format!("{day}W"),
        Special::LastOf(day) => format!("{}L", day - shift),
        Special::Nth(day, ordinal) => format!("{}#{ordinal}", day - shift),
    });
    ranges(&values).into_iter().chain(specials).collect::<Vec<_>>().join(",")
}

/// Values in croner's notation. Never `*`, as croner's years go on to 5000.
fn list(values: &BTreeSet<u16>) -> String {
    ranges(values).join(",")
}

/// Runs of neighbouring values as `a-b`.
fn ranges(values: &BTreeSet<u16>) -> Vec<String> {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for &value in values {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == value => *last = value,
            _ => runs.push((value, value)),
        }
    }
    runs.iter().map(|(first, last)| format!("{first}-{last}")).collect()
}

fn calendar(pattern: &str) -> croner::Cron {
    CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .build()
        .parse(pattern)
        .expect("the pattern is made of numbers that were checked against their ranges")
}

/// Whether two of the days that match follow each other.
fn has_adjacent_days(midnights: &croner::Cron) -> bool {
    let mut last: Option<DateTime> = None;
    for day in midnights
        .clone()
        .iter_from(date(1970, 1, 1).at(0, 0, 0, 0), croner::Direction::Forward)
        .take(DAYS_CHECKED_FOR_DENSITY)
    {
        if last.and_then(|last| last.checked_add(1.day()).ok()) == Some(day) {
            return true;
        }
        last = Some(day);
    }
    false
}

/// The times of day of an expression.
struct Times<'a> {
    hours: &'a BTreeSet<u16>,
    minutes: &'a BTreeSet<u16>,
    seconds: &'a BTreeSet<u16>,
}

impl Times<'_> {
    fn pattern(&self) -> String {
        let seconds = list(self.seconds);
        let minutes = list(self.minutes);
        format!("{seconds} {minutes} {}", list(self.hours))
    }

    /// Seconds since midnight, ascending.
    fn of_day(&self) -> impl Iterator<Item = u32> {
        self.hours.iter().flat_map(move |hour| {
            self.minutes.iter().flat_map(move |minute| {
                self.seconds
                    .iter()
                    .map(move |second| u32::from(*hour) * 3_600 + u32::from(*minute) * 60 + u32::from(*second))
            })
        })
    }

    /// The first distance within a day that is below the least interval, in seconds.
    fn too_close(&self) -> Option<u32> {
        self.of_day().zip(self.of_day().skip(1)).map(|(a, b)| b - a).find(|gap| is_too_close(*gap))
    }

    /// The distance from a day's last time to the next day's first, if below the least interval.
    fn too_close_over_midnight(&self) -> Option<u32> {
        let first = self.of_day().next()?;
        let last = self.of_day().last()?;
        Some(86_400 - last + first).filter(|gap| is_too_close(*gap))
    }
}

fn is_too_close(seconds: u32) -> bool {
    i64::from(seconds) < MIN_INTERVAL.as_secs()
}
