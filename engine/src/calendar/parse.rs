//! From properties to a calendar.
//!
//! Components that say nothing about when changes are allowed (to-dos, alarms, journals) are passed
//! over; SSM's own empty calendars hold a to-do. Unknown properties are too.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::event::Event;
use super::fault::{Fault, quoted};
use super::lines::{Line, unfold};
use super::rule::{Rule, Until};
use super::value::{Length, Moment, duration, instant, moments, one_moment};
use super::zones::Zones;
use super::{CALENDAR_BYTES_MAX, Calendar, EVENTS_MAX, FAULTS_MAX, Kind, RECURRING_MAX, YEARS, recurrence};

/// Components within each other. An alarm in an event in a calendar is three.
const DEPTH_MAX: usize = 4;
/// Characters of a summary that are kept.
const SUMMARY_CHARS_MAX: usize = 100;
/// Days of a recurring event at most: each longer one would overlap itself for years.
const RECURRING_DAYS_MAX: i64 = 368;
/// Days looked at to find the last one that a `COUNT` counts, over all events of a calendar.
const COUNTED_MAX: u32 = 1_000_000;

/// An event as it was written.
#[derive(Default)]
struct Component {
    line: usize,
    properties: Vec<Line>,
}

impl Component {
    fn get(&self, name: &str) -> Option<&Line> {
        self.properties.iter().find(|line| line.name == name)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Line> {
        self.properties.iter().filter(move |line| line.name == name)
    }
}

pub(super) fn parse(text: &str) -> Result<Calendar, Vec<Fault>> {
    if text.len() > CALENDAR_BYTES_MAX {
        let problem = format!("the calendar is {} bytes long; at most {CALENDAR_BYTES_MAX} are allowed", text.len());
        return Err(vec![Fault::new(1, problem)]);
    }
    let mut faults = Vec::new();
    let (header, zones, events) = components(text, &mut faults);
    let zones = settled(&header, zones, &mut faults);
    let kind = kind(&header, &mut faults);
    let calendar = read_events(&events, &zones, &mut faults);
    faults.sort_by_key(|fault| fault.line);
    faults.truncate(FAULTS_MAX);
    match (kind, faults.is_empty()) {
        (Some(kind), true) => Ok(Calendar {
            kind,
            description: header.get("X-WR-CALDESC").map(Line::text),
            events: calendar.0,
            without_effect: calendar.1,
        }),
        _ => Err(faults),
    }
}

/// Cuts a text into the calendar's own properties, its zones and its events.
fn components(text: &str, faults: &mut Vec<Fault>) -> (Component, Vec<Component>, Vec<Component>) {
    let (mut header, mut zones, mut events) = (Component { line: 1, ..Component::default() }, Vec::new(), Vec::new());
    let mut open: Vec<String> = Vec::new();
    let mut calendars = 0;
    for line in unfold(text) {
        let line = match line {
            Ok(line) => line,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        match line.name.as_str() {
            "BEGIN" => {
                let name = line.value.trim().to_ascii_uppercase();
                if open.len() == DEPTH_MAX {
                    faults.push(line.fault(format!("is more than {DEPTH_MAX} deep")));
                    break;
                }
                match (open.len(), name.as_str()) {
                    (0, "VCALENDAR") => calendars += 1,
                    (0, _) => faults.push(line.fault(format!("is {}; expected VCALENDAR", quoted(&name)))),
                    (1, "VEVENT") => events.push(Component { line: line.number, ..Component::default() }),
                    (1, "VTIMEZONE") => zones.push(Component { line: line.number, ..Component::default() }),
                    _ => {}
                }
                open.push(name);
            }
            "END" => {
                let name = line.value.trim().to_ascii_uppercase();
                if open.pop().as_ref() != Some(&name) {
                    faults.push(line.fault(format!("is {}, which was not begun last", quoted(&name))));
                    break;
                }
            }
            _ => match (open.len(), open.last().map(String::as_str)) {
                (0, _) => faults.push(line.fault("stands outside of BEGIN:VCALENDAR and END:VCALENDAR")),
                (1, _) => header.properties.push(line),
                (2, Some("VEVENT")) => events.last_mut().into_iter().for_each(|one| one.properties.push(line.clone())),
                (2, Some("VTIMEZONE")) => {
                    zones.last_mut().into_iter().for_each(|one| one.properties.push(line.clone()))
                }
                _ => {}
            },
        }
        if faults.len() > FAULTS_MAX {
            break;
        }
    }
    if calendars != 1 {
        faults.push(Fault::new(1, format!("there are {calendars} VCALENDAR components; expected one")));
    } else if faults.is_empty()
        && let Some(name) = open.last()
    {
        faults.push(Fault::new(text.lines().count(), format!("{} has no END", quoted(name))));
    }
    (header, zones, events)
}

fn settled(header: &Component, described: Vec<Component>, faults: &mut Vec<Fault>) -> Zones {
    let mut zones = Zones::default();
    for zone in &described {
        if let Some(tzid) = zone.get("TZID") {
            zones.describe(&tzid.value, zone.get("X-LIC-LOCATION").map(|line| line.value.as_str()));
        }
    }
    let own = header.get("X-WR-TIMEZONE");
    if let Err(problem) = zones.settle(own.map(|line| line.value.as_str())) {
        faults.extend(own.map(|line| line.fault(problem)));
    }
    zones
}

fn kind(header: &Component, faults: &mut Vec<Fault>) -> Option<Kind> {
    let allowed = "allowed are DEFAULT_OPEN (closed during events) and DEFAULT_CLOSED (open during events)";
    let Some(line) = header.get("X-CALENDAR-TYPE") else {
        faults.push(Fault::new(1, format!("the calendar has no X-CALENDAR-TYPE; {allowed}")));
        return None;
    };
    match line.value.trim().to_ascii_uppercase().as_str() {
        "DEFAULT_OPEN" => Some(Kind::DefaultOpen),
        "DEFAULT_CLOSED" => Some(Kind::DefaultClosed),
        other => {
            faults.push(line.fault(format!("is {}; {allowed}", quoted(other))));
            None
        }
    }
}

/// The events with an effect, and how many have none.
fn read_events(components: &[Component], zones: &Zones, faults: &mut Vec<Fault>) -> (Vec<Event>, usize) {
    if let Some(one) = components.get(EVENTS_MAX) {
        faults.push(Fault::new(one.line, format!("the calendar has more than {EVENTS_MAX} events")));
        return (Vec::new(), 0);
    }
    // A single occurrence that was changed stands in for the one that its series has.
    let mut moved: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
    let (mut events, mut without_effect, mut recurring, mut counted) = (Vec::new(), 0, 0, 0);
    for component in components {
        let Some(line) = component.get("RECURRENCE-ID") else { continue };
        let uid = component.get("UID").map_or("", |line| line.value.as_str());
        match one_moment(line, zones) {
            _ if line.parameter("RANGE").is_some() => faults.push(line.fault("has a RANGE, which is not understood")),
            Ok(moment) => moved.entry(uid).or_default().push(moment),
            Err(fault) => faults.push(fault),
        }
    }
    for component in components {
        if faults.len() > FAULTS_MAX {
            break;
        }
        if has_no_effect(component) {
            without_effect += 1;
            continue;
        }
        let uid = component.get("UID").map_or("", |line| line.value.as_str());
        let moved = moved.get(uid).filter(|_| component.get("RECURRENCE-ID").is_none());
        match event(component, moved.map_or(&[], Vec::as_slice), zones, &mut counted) {
            Ok(event) => {
                recurring += usize::from(event.recurs());
                if recurring > RECURRING_MAX {
                    let problem = format!("the calendar has more than {RECURRING_MAX} events that recur");
                    faults.push(Fault::new(component.line, problem));
                    break;
                }
                events.push(event);
            }
            Err(fault) => faults.push(fault),
        }
    }
    (events, without_effect)
}

/// Whether an event is cancelled, or advisory: said by the category `ADVISORY`, by
/// `X-EVENT-TYPE:ADVISORY`, or by a summary that begins with `[ADVISORY]`.
fn has_no_effect(component: &Component) -> bool {
    let is =
        |name: &str, value: &str| component.get(name).is_some_and(|line| line.value.trim().eq_ignore_ascii_case(value));
    let advises = |category: &str| category.trim().eq_ignore_ascii_case("ADVISORY");
    let summary = component.get("SUMMARY").map(Line::text).unwrap_or_default();
    is("STATUS", "CANCELLED")
        || is("X-EVENT-TYPE", "ADVISORY")
        || component.all("CATEGORIES").any(|line| line.value.split(',').any(advises))
        || summary.trim_start().get(..10).is_some_and(|start| start.eq_ignore_ascii_case("[ADVISORY]"))
}

fn event(component: &Component, moved: &[Moment], zones: &Zones, counted: &mut u32) -> Result<Event, Fault> {
    let missing = |name: &str| Fault::new(component.line, format!("the event has no {name}"));
    let start_line = component.get("DTSTART").ok_or_else(|| missing("DTSTART"))?;
    let start = one_moment(start_line, zones)?;
    let zone = match &start {
        Moment::Time(_, zone) => zone.clone(),
        Moment::Day(_) => zones.of_calendar().ok_or_else(|| {
            start_line.fault("is a whole day, and the calendar has no zone; give it an X-WR-TIMEZONE")
        })?,
    };
    let summary = component.get("SUMMARY").map(Line::text).unwrap_or_default();
    let mut event = Event {
        summary: summary.trim().chars().take(SUMMARY_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect(),
        start: start.civil(),
        length: length(component, &start, &zone, zones)?,
        zone,
        rule: None,
        also: Vec::new(),
        except: moved.iter().filter_map(instant_of).collect(),
        except_days: moved.iter().filter_map(day_of).collect(),
    };
    for line in component.all("EXDATE") {
        for moment in moments(line, zones)? {
            event.except.extend(instant_of(&moment));
            event.except_days.extend(day_of(&moment));
        }
    }
    for line in component.all("RDATE") {
        for moment in moments(line, zones)? {
            event.also.push(in_zone(&moment, &event.zone).ok_or_else(|| line.fault("is out of range"))?);
        }
    }
    if let Some(line) = component.get("EXRULE") {
        return Err(line.fault("is not understood; name what is left out with EXDATE"));
    }
    let mut rules = component.all("RRULE");
    if let Some(line) = rules.next() {
        let rule = Rule::parse(&line.value).map_err(|problem| line.fault(problem))?;
        event.rule = Some(until_counted(rule, event.start, counted).map_err(|problem| line.fault(problem))?);
    }
    if let Some(second) = rules.next() {
        return Err(second.fault("stands there twice; one rule is allowed, and RDATE for more"));
    }
    if event.recurs() && event.length.at_most_days() > RECURRING_DAYS_MAX {
        return Err(start_line.fault("begins an event that recurs and lasts more than a year"));
    }
    Ok(event)
}

fn instant_of(moment: &Moment) -> Option<jiff::Timestamp> {
    match moment {
        Moment::Day(_) => None,
        Moment::Time(civil, zone) => instant(*civil, zone),
    }
}

fn day_of(moment: &Moment) -> Option<Date> {
    match moment {
        Moment::Day(date) => Some(*date),
        Moment::Time(..) => None,
    }
}

fn in_zone(moment: &Moment, zone: &TimeZone) -> Option<DateTime> {
    match moment {
        Moment::Day(_) => Some(moment.civil()),
        Moment::Time(civil, own) => Some(zone.to_datetime(instant(*civil, own)?)),
    }
}

/// What `DTEND` or `DURATION` says; of neither, a whole day or nothing.
///
/// As the standard has it, `DTEND` means elapsed time in every occurrence and `DURATION` days of the
/// local clock; whole days are always those.
fn length(component: &Component, start: &Moment, zone: &TimeZone, zones: &Zones) -> Result<Length, Fault> {
    let (end, lasts) = (component.get("DTEND"), component.get("DURATION"));
    match (end, lasts) {
        (Some(end), Some(_)) => Err(end.fault("and DURATION are both given; allowed is one of them")),
        (None, None) if matches!(start, Moment::Day(_)) => Ok(Length::days(1)),
        (None, None) => Ok(Length::days(0)),
        (None, Some(line)) => duration(line.value.trim()).ok_or_else(|| {
            line.fault(format!("is {}; expected a duration such as `PT2H` or `P1D`", quoted(&line.value)))
        }),
        (Some(line), None) => {
            let end = one_moment(line, zones)?;
            let before = || line.fault(format!("is {}, which is before DTSTART", quoted(&line.value)));
            match (start, &end) {
                (Moment::Day(start), Moment::Day(end)) => {
                    let days = i32::try_from(end.duration_since(*start).as_hours() / 24).unwrap_or(i32::MAX);
                    // Some programs write a day that ends as it begins.
                    if days < 0 { Err(before()) } else { Ok(Length::days(days.max(1))) }
                }
                (Moment::Time(start, _), Moment::Time(end, end_zone)) => {
                    let (Some(start), Some(end)) = (instant(*start, zone), instant(*end, end_zone)) else {
                        return Err(line.fault("is out of range"));
                    };
                    let time = end.duration_since(start);
                    if time.is_negative() { Err(before()) } else { Ok(Length::exact(time)) }
                }
                _ => Err(line.fault("and DTSTART must both be dates, or both be times")),
            }
        }
    }
}

/// The same rule with an end in place of a count. `counted` is what all events have cost so far.
fn until_counted(mut rule: Rule, start: DateTime, counted: &mut u32) -> Result<Rule, String> {
    let Some(count) = rule.count.take() else { return Ok(rule) };
    let Ok(last_day) = Date::new(*YEARS.end(), 12, 31) else { return Ok(rule) };
    let mut last = start;
    // Year by year: a rule that names no day at all is seen to do so at a bounded cost.
    let mut found = 0;
    let mut from = start.date();
    while from <= last_day && found < count {
        let year_end = from.last_of_year();
        *counted += 366;
        if *counted > COUNTED_MAX {
            return Err("has a COUNT that takes too long to count to; give an UNTIL".to_owned());
        }
        for one in recurrence::starts(&rule, start, from, year_end).take((count - found) as usize) {
            last = one;
            found += 1;
        }
        match year_end.tomorrow() {
            Ok(next) => from = next,
            Err(_) => break,
        }
    }
    rule.until = Some(Until::Civil(last));
    Ok(rule)
}
