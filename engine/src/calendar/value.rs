//! Values: dates, times and durations as RFC 5545 writes them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::YEARS;
use super::fault::{Fault, quoted};
use super::lines::Line;
use super::zones::Zones;

/// A date, or a time of a day in a zone.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Moment {
    /// A whole day, wherever the calendar is.
    Day(Date),
    /// A time in a zone.
    Time(DateTime, TimeZone),
}

impl Moment {
    /// The civil time; midnight of a whole day.
    pub(super) fn civil(&self) -> DateTime {
        match self {
            Self::Day(date) => date.to_datetime(Time::midnight()),
            Self::Time(civil, _) => *civil,
        }
    }
}

/// The instant of a civil time, by RFC 5545: in a gap of the clock with the offset from before it, in
/// an overlap the first. `None` outside of what timestamps can hold.
pub(super) fn instant(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(civil).compatible().ok()
}

/// Reads the moments of a property: one, or several behind commas.
pub(super) fn moments(line: &Line, zones: &Zones) -> Result<Vec<Moment>, Fault> {
    let kind = line.parameter("VALUE").unwrap_or("");
    if kind.eq_ignore_ascii_case("PERIOD") {
        return Err(line.fault("has VALUE=PERIOD, which is not understood; allowed are DATE and DATE-TIME"));
    }
    line.value.split(',').map(|text| moment(line, text.trim(), zones)).collect()
}

/// Reads the one moment of a property.
pub(super) fn one_moment(line: &Line, zones: &Zones) -> Result<Moment, Fault> {
    moment(line, line.value.trim(), zones)
}

fn moment(line: &Line, text: &str, zones: &Zones) -> Result<Moment, Fault> {
    let refused = || {
        let problem = format!(
            "is {}; expected a date such as `20261224`, or a time such as `20261224T180000Z`, in the years {} to {}",
            quoted(text),
            YEARS.start(),
            YEARS.end()
        );
        line.fault(problem)
    };
    if let Some(date) = date(text) {
        return Ok(Moment::Day(date));
    }
    let (civil, is_utc) = date_time(text).ok_or_else(refused)?;
    if is_utc {
        return Ok(Moment::Time(civil, TimeZone::UTC));
    }
    let zone = match line.parameter("TZID") {
        Some(name) => zones.named(name).map_err(|problem| line.fault(problem))?,
        None => zones.of_calendar().ok_or_else(|| {
            let problem = format!(
                "is {}, a time without a zone; end it with Z, or give a TZID or the calendar's X-WR-TIMEZONE",
                quoted(text)
            );
            line.fault(problem)
        })?,
    };
    Ok(Moment::Time(civil, zone))
}

/// `20261224`.
pub(super) fn date(text: &str) -> Option<Date> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year = text.get(..4)?.parse().ok().filter(|year| YEARS.contains(year))?;
    Date::new(year, text.get(4..6)?.parse().ok()?, text.get(6..)?.parse().ok()?).ok()
}

/// `20261224T180000` or, in UTC, `20261224T180000Z`.
pub(super) fn date_time(text: &str) -> Option<(DateTime, bool)> {
    let (day, time) = text.split_once(['T', 't'])?;
    let (time, is_utc) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, true),
        None => (time, false),
    };
    if time.len() != 6 || !time.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| time.get(range)?.parse::<i8>().ok();
    // A leap second is the end of its minute.
    let time = Time::new(part(0..2)?, part(2..4)?, part(4..6)?.min(59), 0).ok()?;
    Some((date(day)?.to_datetime(time), is_utc))
}

/// How long an event lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// Days of the local clock, which may have 23 or 25 hours.
    pub(super) days: i32,
    /// Elapsed time besides.
    pub(super) time: SignedDuration,
}

/// Days of the longest duration that is read: all the years there are.
const DAYS_MAX: i64 = 84_000;

impl Length {
    pub(super) const fn days(days: i32) -> Self {
        Self { days, time: SignedDuration::ZERO }
    }

    pub(super) const fn exact(time: SignedDuration) -> Self {
        Self { days: 0, time }
    }

    /// No shorter than it can be in any zone.
    pub(super) fn at_most_days(self) -> i64 {
        i64::from(self.days) + self.time.as_hours() / 24 + 2
    }
}

/// `P1W`, `P2DT6H`, `PT90M`; no signs: an event does not end before it starts.
pub(super) fn duration(text: &str) -> Option<Length> {
    let rest = text.strip_prefix('+').unwrap_or(text).strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    if rest.is_empty() || rest.ends_with('T') {
        return None;
    }
    let days = parts(days, &[('W', 7), ('D', 1)])?;
    let seconds = parts(time, &[('H', 3_600), ('M', 60), ('S', 1)])?;
    if days > DAYS_MAX || seconds > DAYS_MAX * 86_400 {
        return None;
    }
    Some(Length { days: i32::try_from(days).ok()?, time: SignedDuration::from_secs(seconds) })
}

/// The sum of numbers that are each followed by a unit, the units in their order and each once.
fn parts(text: &str, units: &[(char, i64)]) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0_i64);
    for (unit, worth) in units {
        let Some((number, after)) = rest.split_once(*unit) else { continue };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(*worth)?)?;
        rest = after;
    }
    rest.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_days_and_elapsed_time() {
        for (text, days, seconds) in
            [("P1W", 7, 0), ("P2DT6H", 2, 21_600), ("PT90M", 0, 5_400), ("P1DT1H1M1S", 1, 3_661), ("PT0S", 0, 0)]
        {
            let expected = Length { days, time: SignedDuration::from_secs(seconds) };
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for text in ["", "P", "PT", "1D", "P1", "-P1D", "P1H", "PT1D", "P1DT", "PT1M1H", "P99999999999999999999D"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn dates_that_do_not_exist_are_none() {
        for text in ["20260229", "2026022", "202602١", "19691231", "22000101", "2026-02-01", "20261301", "20260100"] {
            assert_eq!(date(text), None, "{text}");
        }
        for text in ["20260201T2500", "20260201T250000Z", "20260201", "20260201T000000ZZ", "20260201T000000+0100"] {
            assert_eq!(date_time(text), None, "{text}");
        }
    }
}
