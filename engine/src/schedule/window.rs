//! A maintenance window's schedule: the expression, and what the window says around it.

use std::iter;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::civil::{self, GapPolicy};
use super::cron::Cron;
use super::error::ScheduleError;
use super::expression::{Kind, Schedule};
use super::format::format_execution_time;

/// What a window says about its runs, as yet unchecked.
#[derive(Debug, Clone)]
pub struct WindowScheduleSpec<'a> {
    /// `Schedule`.
    pub schedule: Schedule,
    /// `ScheduleTimezone`, an IANA name; UTC when absent.
    pub timezone: Option<&'a str>,
    /// `ScheduleOffset`: days after the day that the cron expression names, 1 to 6.
    pub offset_days: Option<u8>,
    /// `StartDate`: no run before it. For `rate(…)` also the first run, if later than `base`.
    pub start: Option<Timestamp>,
    /// `EndDate`: no run at it or after it.
    pub end: Option<Timestamp>,
    /// When the window was created, or its `Schedule` or `StartDate` last changed. No run at it or
    /// before it; `rate(…)` counts from it; with an offset, the day the cron expression names must
    /// come after it too.
    pub base: Timestamp,
    /// What happens to local times that the clock leaves out.
    pub gap_policy: GapPolicy,
}

/// When a window runs.
///
/// Made by [`WindowSchedule::new`], so: the zone exists, an offset goes with cron only and is 1 to
/// 6, and `end` is after `start`.
#[derive(Debug, Clone)]
pub struct WindowSchedule {
    schedule: Schedule,
    zone: TimeZone,
    offset_days: u8,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    base: Timestamp,
    gap_policy: GapPolicy,
}

impl WindowSchedule {
    /// Checks `spec` as far as that takes no clock; see [`WindowSchedule::check_new`] for the rest.
    ///
    /// # Errors
    /// [`ScheduleError::UnknownTimeZone`], [`ScheduleError::OffsetOutOfRange`],
    /// [`ScheduleError::OffsetWithoutCron`] or [`ScheduleError::EndNotAfterStart`].
    pub fn new(spec: WindowScheduleSpec<'_>) -> Result<Self, ScheduleError> {
        let WindowScheduleSpec { schedule, timezone, offset_days, start, end, base, gap_policy } = spec;
        let zone = match timezone {
            None => TimeZone::UTC,
            Some(name) => {
                civil::time_zone(name).ok_or_else(|| ScheduleError::UnknownTimeZone { value: name.to_owned() })?
            }
        };
        if let Some(value) = offset_days {
            if !(1..=6).contains(&value) {
                return Err(ScheduleError::OffsetOutOfRange { value });
            }
            if !schedule.is_cron() {
                return Err(ScheduleError::OffsetWithoutCron { value, expression: schedule.to_string() });
            }
        }
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            return Err(ScheduleError::EndNotAfterStart { start, end });
        }
        Ok(Self { schedule, zone, offset_days: offset_days.unwrap_or(0), start, end, base, gap_policy })
    }

    /// Refuses a schedule that would do nothing. For creation and change; a stored window may well
    /// have run out.
    ///
    /// # Errors
    /// [`ScheduleError::EndInPast`] or [`ScheduleError::NoRunLeft`].
    pub fn check_new(&self, now: Timestamp) -> Result<(), ScheduleError> {
        if let Some(end) = self.end
            && end <= now
        {
            return Err(ScheduleError::EndInPast { end, now });
        }
        match self.next_after(now) {
            Some(_) => Ok(()),
            None => Err(ScheduleError::NoRunLeft { expression: self.schedule.to_string(), now }),
        }
    }

    /// The expression.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The zone in which cron fields and `at(…)` are read.
    #[must_use]
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first run strictly after `after`; None if there is none any more.
    ///
    /// The search ends with the year 2199, the last that cron expressions know.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = match self.schedule.kind() {
            Kind::Cron(cron) => self.next_cron(cron, after),
            Kind::Rate(period) => self.next_rate(*period, after),
            Kind::At(at) => self.next_at(*at, after),
        };
        next.filter(|next| self.end.is_none_or(|end| *next < end))
    }

    /// The runs strictly after `after`, in order.
    pub fn runs_after(&self, after: Timestamp) -> impl Iterator<Item = Timestamp> {
        iter::successors(self.next_after(after), |last| self.next_after(*last))
    }

    /// The first `count` runs strictly after `after`.
    #[must_use]
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        self.runs_after(after).take(count).collect()
    }

    /// `NextExecutionTime` and its kin for one of the runs.
    #[must_use]
    pub fn execution_time(&self, run: Timestamp) -> String {
        format_execution_time(run, &self.zone)
    }

    /// Whether `instant` is allowed as a run, `EndDate` aside.
    fn is_run(&self, instant: Timestamp, after: Timestamp) -> bool {
        instant > after && instant > self.base && self.start.is_none_or(|start| instant >= start)
    }

    fn next_cron(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        let offset = i32::from(self.offset_days).days();
        let not_before = after.max(self.base).max(self.start.unwrap_or(Timestamp::MIN));
        let mut from = civil::earliest_civil(not_before, &self.zone).checked_sub(offset).ok()?;
        if self.offset_days > 0 {
            // The named day itself has to come after the window's creation.
            from = from.max(civil::earliest_civil(self.base, &self.zone));
        }

        let mut best: Option<Timestamp> = None;
        let mut named = cron.next(from, true);
        while let Some(civil) = named {
            named = cron.next(civil, false);
            if self.offset_days > 0 && !self.is_after_base(civil) {
                continue;
            }
            let Some(found) =
                civil.checked_add(offset).ok().and_then(|civil| civil::instants(civil, &self.zone, self.gap_policy))
            else {
                continue;
            };
            // First instants never decrease from one civil time to the next, second ones come
            // later than other firsts: done when a first instant reaches the best.
            if best.is_some_and(|best| found.first >= best) {
                break;
            }
            let again = found.again.filter(|_| cron.every_hour());
            let candidate = [Some(found.first), again].into_iter().flatten().find(|t| self.is_run(*t, after));
            best = best.into_iter().chain(candidate).min();
            if best.is_some() && !cron.every_hour() {
                break;
            }
            if best.is_none() && self.end.is_some_and(|end| found.first >= end) {
                break;
            }
        }
        best
    }

    /// Whether the day that the expression names had not passed when the window was made.
    fn is_after_base(&self, named: DateTime) -> bool {
        civil::instants(named, &self.zone, GapPolicy::RunAfter).is_some_and(|found| found.first > self.base)
    }

    fn next_rate(&self, period: SignedDuration, after: Timestamp) -> Option<Timestamp> {
        let first = match self.start {
            Some(start) if start > self.base => start,
            _ => self.base.checked_add(period).ok()?,
        };
        if after < first {
            return Some(first);
        }
        let passed = after.as_nanosecond() - first.as_nanosecond();
        let periods = passed / period.as_nanos() + 1;
        Timestamp::from_nanosecond(first.as_nanosecond() + periods * period.as_nanos()).ok()
    }

    fn next_at(&self, at: DateTime, after: Timestamp) -> Option<Timestamp> {
        let found = civil::instants(at, &self.zone, self.gap_policy)?;
        Some(found.first).filter(|instant| self.is_run(*instant, after))
    }
}
