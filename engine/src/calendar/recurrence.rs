//! The days that a rule names, period by period.
//!
//! A period is a day, week, month or year of the rule's frequency; the n-th is reached by arithmetic,
//! so that a rule of 1970 costs no more today than one of last week. Each period names at most 366
//! days.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{Span, ToSpan as _};

use super::rule::{Frequency, Rule};

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Days from 1 January 1970.
fn day_number(date: Date) -> i64 {
    date.duration_since(EPOCH).as_hours() / 24
}

/// The number of the period that a date is in, counted from some fixed one.
fn period_of(rule: &Rule, date: Date) -> i64 {
    match rule.frequency {
        Frequency::Daily => day_number(date),
        Frequency::Weekly => day_number(week_of(date, rule.week_start)).div_euclid(7),
        Frequency::Monthly => i64::from(date.year()) * 12 + i64::from(date.month()) - 1,
        Frequency::Yearly => i64::from(date.year()),
    }
}

/// The first day of a date's week.
fn week_of(date: Date, start: Weekday) -> Date {
    date.checked_sub(i32::from(date.weekday().since(start)).days()).unwrap_or(date)
}

/// The starts that a rule names from the day `from` to the day `to`, in order, none before `start`;
/// without `COUNT` and `UNTIL`. `start` itself is the first, whether or not the rule names it.
pub(super) fn starts<'a>(
    rule: &'a Rule,
    start: DateTime,
    from: Date,
    to: Date,
) -> impl Iterator<Item = DateTime> + use<'a> {
    let first = period_of(rule, start.date());
    let from = from.max(start.date());
    let skipped = (period_of(rule, from) - first).div_euclid(rule.interval).max(0);
    let last = (period_of(rule, to) - first).div_euclid(rule.interval);
    let rest = (skipped..=last).flat_map(move |number| days(rule, start.date(), number * rule.interval));
    let own = (from == start.date() && start.date() <= to).then_some(start.date());
    own.into_iter()
        .chain(rest.filter(move |day| (from..=to).contains(day) && *day != start.date()))
        .map(move |day| day.to_datetime(start.time()))
}

/// The days of the period that is `offset` periods after that of `start`, in order.
fn days(rule: &Rule, start: Date, offset: i64) -> Vec<Date> {
    let Some(mut days) = candidates(rule, start, offset) else { return Vec::new() };
    days.sort_unstable();
    days.dedup();
    if rule.by_set_pos.is_empty() {
        return days;
    }
    let at = |position: i32| {
        let position = i64::from(position);
        let index = if position > 0 { position - 1 } else { i64::try_from(days.len()).ok()? + position };
        days.get(usize::try_from(index).ok()?).copied()
    };
    let mut chosen: Vec<Date> = rule.by_set_pos.iter().filter_map(|position| at(*position)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn candidates(rule: &Rule, start: Date, offset: i64) -> Option<Vec<Date>> {
    let in_month = |day: &Date| rule.by_month.is_empty() || rule.by_month.contains(&day.month());
    let on_weekday = |day: &Date| rule.by_day.is_empty() || rule.by_day.iter().any(|(_, one)| *one == day.weekday());
    match rule.frequency {
        Frequency::Daily => {
            let day = start.checked_add(Span::new().try_days(offset).ok()?).ok()?;
            let fits = in_month(&day) && on_weekday(&day) && is_month_day(rule, day);
            Some(if fits { vec![day] } else { Vec::new() })
        }
        Frequency::Weekly => {
            let week = week_of(start, rule.week_start).checked_add(Span::new().try_weeks(offset).ok()?).ok()?;
            let days = (0..7_i32).filter_map(|day| week.checked_add(day.days()).ok());
            let named =
                |day: &Date| if rule.by_day.is_empty() { day.weekday() == start.weekday() } else { on_weekday(day) };
            Some(days.filter(|day| named(day) && in_month(day)).collect())
        }
        Frequency::Monthly => {
            let month = i64::from(start.year()) * 12 + i64::from(start.month()) - 1 + offset;
            let first =
                Date::new(i16::try_from(month.div_euclid(12)).ok()?, (month.rem_euclid(12) + 1) as i8, 1).ok()?;
            Some(if in_month(&first) { days_of_month(rule, start, first) } else { Vec::new() })
        }
        Frequency::Yearly => {
            let year = i16::try_from(i64::from(start.year()) + offset).ok()?;
            Some(days_of_year(rule, start, year))
        }
    }
}

fn days_of_year(rule: &Rule, start: Date, year: i16) -> Vec<Date> {
    let firsts = |months: Vec<i8>| months.into_iter().filter_map(move |month| Date::new(year, month, 1).ok());
    let months = if !rule.by_month.is_empty() {
        rule.by_month.clone()
    } else if !rule.by_month_day.is_empty() {
        (1..=12).collect()
    } else if !rule.by_day.is_empty() {
        // Weekdays of the whole year; a number counts in it.
        let (Ok(first), Ok(last)) = (Date::new(year, 1, 1), Date::new(year, 12, 31)) else { return Vec::new() };
        return rule.by_day.iter().flat_map(|one| weekdays_between(*one, first, last)).collect();
    } else {
        vec![start.month()]
    };
    firsts(months).flat_map(|first| days_of_month(rule, start, first)).collect()
}

/// The days that the rule names in the month that begins with `first`.
fn days_of_month(rule: &Rule, start: Date, first: Date) -> Vec<Date> {
    if !rule.by_day.is_empty() {
        let last = first.last_of_month();
        let days = rule.by_day.iter().flat_map(|one| weekdays_between(*one, first, last));
        return days.filter(|day| is_month_day(rule, *day)).collect();
    }
    if rule.by_month_day.is_empty() {
        // 31 January recurs in the months that have a 31st.
        return first.with().day(start.day()).build().into_iter().collect();
    }
    let length = first.days_in_month();
    let day = |number: i8| if number > 0 { Some(number) } else { length.checked_add(number)?.checked_add(1) };
    let numbers = rule.by_month_day.iter().filter_map(|number| day(*number));
    numbers.filter_map(|number| first.with().day(number).build().ok()).collect()
}

fn is_month_day(rule: &Rule, day: Date) -> bool {
    let from_end = day.day() - day.days_in_month() - 1;
    rule.by_month_day.is_empty() || rule.by_month_day.iter().any(|number| *number == day.day() || *number == from_end)
}

/// The weekdays of one kind from `first` to `last`: all of them, or the n-th.
fn weekdays_between((nth, weekday): (Option<i16>, Weekday), first: Date, last: Date) -> Vec<Date> {
    let to_first = i32::from(weekday.since(first.weekday()));
    let all: Vec<Date> = (0..54_i32)
        .filter_map(|week| first.checked_add((to_first + 7 * week).days()).ok())
        .take_while(|day| *day <= last)
        .collect();
    let Some(nth) = nth else { return all };
    let count = all.len() as i64;
    let index = if nth > 0 { i64::from(nth) - 1 } else { count + i64::from(nth) };
    usize::try_from(index).ok().and_then(|index| all.get(index)).copied().into_iter().collect()
}
