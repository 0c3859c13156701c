//! `schedule next`: when an expression fires, without any server.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use patchwave_engine::schedule::{GapPolicy, Schedule, ScheduleError, WindowSchedule, WindowScheduleSpec};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;
use crate::times::parse_instant;

/// Schedule expressions.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Print when an expression fires next, one UTC instant a line
    Next(NextArgs),
}

/// Arguments of `schedule next`.
#[derive(Debug, Args)]
pub struct NextArgs {
    /// `cron(…)`, `rate(…)` or `at(…)`, such as `cron(0 3 ? * TUE#2 *)`
    #[arg(value_name = "EXPR")]
    expression: String,
    /// Zone in which cron fields and at(…) are read, such as `Europe/Berlin` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Days after the day that a cron expression names, 1 to 6
    #[arg(long, value_name = "DAYS")]
    offset: Option<u8>,
    /// The window's StartDate: no run before it
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    start: Option<Timestamp>,
    /// The window's EndDate: no run at it or after it
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    end: Option<Timestamp>,
    /// Print runs after this instant [default: now]
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    after: Option<Timestamp>,
    /// When the window was created: rate(…) counts from here unless --start is later [default: the
    /// earlier of --after and --start]
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    created: Option<Timestamp>,
    /// How many runs to print
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    count: u16,
}

pub(super) fn run(command: ScheduleCommand, output: Output) -> anyhow::Result<()> {
    let ScheduleCommand::Next(args) = command;
    // Whole seconds, as every schedule has: rate(…) counts from here.
    let now = Timestamp::now();
    let after = args.after.unwrap_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now));
    let schedule = Schedule::parse(&args.expression).map_err(refuse)?;
    let window = WindowSchedule::new(WindowScheduleSpec {
        schedule,
        timezone: args.timezone.as_deref(),
        offset_days: args.offset,
        start: args.start,
        end: args.end,
        base: args.created.unwrap_or_else(|| args.start.map_or(after, |start| start.min(after))),
        gap_policy: GapPolicy::default(),
    })
    .map_err(refuse)?;
    let runs: Vec<String> = window.runs_after(after).take(usize::from(args.count)).map(|run| run.to_string()).collect();
    if runs.is_empty() {
        output.note(&format!("`{}` has no run after {after}", args.expression));
    }
    if output.is_json() {
        return Ok(output.json(&runs.iter().map(|run| json!(run)).collect::<Value>())?);
    }
    for run in runs {
        output.line(&run)?;
    }
    Ok(())
}

/// The error with the place in the expression pointed at.
fn refuse(error: ScheduleError) -> Failure {
    let mut message = error.to_string();
    if let ScheduleError::Syntax(syntax) = &error {
        let before = syntax.expression.get(..syntax.position).unwrap_or(&syntax.expression);
        message.push_str(&format!("\n  {}\n  {}^", syntax.expression, " ".repeat(before.chars().count())));
    }
    let failure = Failure::usage(message);
    let is_cron = |expression: &str| expression.trim_start().starts_with("cron(");
    if !matches!(&error, ScheduleError::Syntax(syntax) if is_cron(&syntax.expression)) {
        return failure;
    }
    failure.with_hint("fields are: [second] minute hour day-of-month month day-of-week year; 1 = Sunday")
}
