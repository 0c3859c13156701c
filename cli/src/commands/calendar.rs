//! `calendar`: when changes are allowed. A calendar is made with `document create`, from an `.ics` file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use jiff::Timestamp;
use patchwave_engine::calendar::{CALENDAR_BYTES_MAX, Calendar, Fault};
use serde_json::{Value, json};

use super::Context;
use super::request::Request;
use crate::failure::Failure;
use crate::output::Output;
use crate::table;
use crate::times::parse_instant;

/// Change calendars.
#[derive(Debug, Subcommand)]
pub enum CalendarCommand {
    /// Say whether calendars allow changes: OPEN only if all of them are
    State {
        /// Names of the calendars
        #[arg(required = true)]
        names: Vec<String>,
        /// At this instant [default: now]
        #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
        at: Option<Timestamp>,
    },
    /// List when a calendar opens and closes
    Show {
        /// Name of the calendar
        name: String,
        /// How many transitions
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        count: u16,
        /// Only transitions after this instant [default: now]
        #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
        after: Option<Timestamp>,
    },
    /// Check an `.ics` file, without any server
    Validate {
        /// The file
        file: PathBuf,
    },
}

pub(super) async fn run(command: CalendarCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        CalendarCommand::State { names, at } => {
            let request =
                Request::new().set("CalendarNames", names).maybe("AtTime", at.map(|at| at.to_string())).done();
            let answer = cx.client.ssm("GetCalendarState", &request).await?;
            Ok(cx.output.either(&answer, || table::details(&answer))?)
        }
        CalendarCommand::Show { name, count, after } => show(&name, count, after, cx).await,
        CalendarCommand::Validate { file } => validate(&file, cx.output),
    }
}

async fn show(name: &str, count: u16, after: Option<Timestamp>, cx: &Context) -> anyhow::Result<()> {
    let answer = cx.client.ssm("GetDocument", &json!({ "Name": name })).await?;
    let is_calendar = answer["DocumentType"] == "ChangeCalendar";
    let text = answer["Content"].as_str().filter(|_| is_calendar);
    let text = text.ok_or_else(|| Failure::failed(format!("document `{name}` is no change calendar")))?;
    let calendar = Calendar::parse(text).map_err(|faults| refused(name, &faults))?;
    let after = after.unwrap_or_else(Timestamp::now);
    let standing = calendar.state(after);
    let transitions: Vec<Value> = calendar
        .transitions(after, usize::from(count))
        .into_iter()
        .map(|one| json!({ "At": one.at.to_string(), "State": one.state.name(), "Event": one.event }))
        .collect();
    let shown = json!({ "Name": name, "CalendarType": calendar.kind().name(), "State": standing.state.name(),
        "AtTime": after.to_string(), "Event": standing.event, "Transitions": transitions });
    let columns = [
        table::member("AT", "At"),
        table::ago("", "At"),
        table::member("STATE", "State"),
        table::member("EVENT", "Event"),
    ];
    if !cx.output.is_json() {
        let state = standing.state.name();
        let during = standing.event.map(|event| format!(" ({event})")).unwrap_or_default();
        cx.output.note(&format!("{name} is {state}{during}; {} where no event is", calendar.kind().name()));
    }
    Ok(cx.output.either(&shown, || table::rows(&columns, &transitions))?)
}

/// Checks a file.
pub(super) fn validate(path: &Path, output: Output) -> anyhow::Result<()> {
    let unreadable = || format!("could not read the calendar `{}`", path.display());
    let file = std::fs::File::open(path).with_context(unreadable)?;
    let mut text = String::new();
    // One byte more than is allowed is enough to be refused.
    file.take(CALENDAR_BYTES_MAX as u64 + 1).read_to_string(&mut text).with_context(unreadable)?;
    let calendar = Calendar::parse(&text).map_err(|faults| refused(&path.display().to_string(), &faults))?;
    let shown = json!({
        "CalendarType": calendar.kind().name(),
        "Description": calendar.description(),
        "Events": calendar.events(),
        "EventsWithoutEffect": calendar.events_without_effect(),
    });
    Ok(output.either(&shown, || table::details(&shown))?)
}

fn refused(name: &str, faults: &[Fault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("  {fault}")).collect();
    Failure::failed(format!("`{name}` is no change calendar that is understood\n{}", lines.join("\n")))
}
