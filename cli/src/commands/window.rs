//! `window`: maintenance windows.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::Value;

use super::pairs::{Pair, parse_pair, tags};
use super::request::Request;
use super::window_target::{self, WindowTargetCommand};
use super::window_task::{self, WindowTaskCommand};
use super::{Context, watch};
use crate::table;
use crate::times::parse_instant;

/// How often, and how far apart, a new execution is looked for: two seconds in all.
const TAKEN_UP_LOOKS: u32 = 20;
const TAKEN_UP_LOOK_AFTER: Duration = Duration::from_millis(100);

/// Maintenance windows, their targets and tasks.
#[derive(Debug, Subcommand)]
pub enum WindowCommand {
    /// Create a window; prints its id
    Create(CreateArgs),
    /// List the windows
    List {
        /// Only windows with this name
        #[arg(long)]
        name: Option<String>,
        /// Only windows that are enabled
        #[arg(long)]
        enabled: bool,
    },
    /// Show a window
    Show {
        /// Id of the window
        window: String,
    },
    /// Change a window; what is not given stays as it is
    Update(UpdateArgs),
    /// Delete windows with their targets and tasks; their executions stay readable
    Delete {
        /// Ids of the windows
        #[arg(required = true)]
        windows: Vec<String>,
    },
    /// Let a window run again on its schedule
    Enable {
        /// Id of the window
        window: String,
    },
    /// Stop future runs of a window; a run in progress goes on
    Disable {
        /// Id of the window
        window: String,
    },
    /// Run a window now; prints the id of the execution
    Start {
        /// Id of the window
        window: String,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
        /// Follow the execution until it ends
        #[arg(long)]
        watch: bool,
    },
    /// List the next runs, of one window or of all
    Schedule {
        /// Id of the window [default: all windows]
        window: Option<String>,
        /// How many runs
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        count: u16,
        /// Only runs after this instant
        #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
        after: Option<Timestamp>,
        /// Only runs before this instant
        #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
        before: Option<Timestamp>,
    },
    /// What a window works on
    #[command(subcommand)]
    Target(WindowTargetCommand),
    /// What a window does
    #[command(subcommand)]
    Task(WindowTaskCommand),
}

/// Arguments of `window create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name: 3 to 128 letters, digits, `_`, `-` and `.`
    name: String,
    /// When it runs: `cron(…)`, `rate(…)` or `at(…)`; try it with `patchwave schedule next`
    #[arg(long, value_name = "EXPR")]
    schedule: String,
    /// Hours a run lasts, 1 to 24
    #[arg(long, value_name = "HOURS")]
    duration: u8,
    /// Hours before the end from which no new task starts; less than the duration
    #[arg(long, value_name = "HOURS")]
    cutoff: u8,
    /// Let tasks name nodes that are not registered as targets of the window
    #[arg(long)]
    allow_unassociated_targets: bool,
    /// Tag of the window itself; repeatable
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
    tags: Vec<Pair>,
    /// Makes a repetition of this call return the same window
    #[arg(long, value_name = "TOKEN")]
    client_token: Option<String>,
    #[command(flatten)]
    options: OptionArgs,
}

/// Arguments of `window update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the window
    window: String,
    /// Name
    #[arg(long)]
    name: Option<String>,
    /// When it runs
    #[arg(long, value_name = "EXPR")]
    schedule: Option<String>,
    /// Hours a run lasts, 1 to 24
    #[arg(long, value_name = "HOURS")]
    duration: Option<u8>,
    /// Hours before the end from which no new task starts
    #[arg(long, value_name = "HOURS")]
    cutoff: Option<u8>,
    /// Whether tasks may name nodes that are not registered as targets
    #[arg(long, value_name = "true|false")]
    allow_unassociated_targets: Option<bool>,
    /// Replace the window: what is not given becomes absent
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    options: OptionArgs,
}

/// What a window may have.
#[derive(Debug, Args)]
struct OptionArgs {
    /// Description
    #[arg(long)]
    description: Option<String>,
    /// Zone in which the schedule is read, such as `Europe/Berlin` [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// Days to wait after the day that a cron schedule names, 1 to 6
    #[arg(long, value_name = "DAYS")]
    offset: Option<u8>,
    /// No run before this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    start: Option<Timestamp>,
    /// No run at or after this instant
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    end: Option<Timestamp>,
    /// Change calendar that must be open for anything to start; repeatable, and an empty name takes
    /// them away
    #[arg(long = "calendar", value_name = "NAME")]
    calendars: Vec<String>,
    /// What becomes of a run while a calendar is closed [default: skip]
    #[arg(long, value_enum)]
    calendar_policy: Option<CalendarPolicy>,
}

/// What becomes of a run while a change calendar is closed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum CalendarPolicy {
    /// It is given up and recorded as cancelled
    Skip,
    /// It waits, at most until its cutoff
    Delay,
}

impl OptionArgs {
    fn add_to(self, request: Request) -> Request {
        let named = !self.calendars.is_empty();
        let calendars: Vec<String> = self.calendars.into_iter().filter(|name| !name.is_empty()).collect();
        request
            .maybe("CalendarNames", named.then_some(calendars))
            .maybe(
                "CalendarPolicy",
                self.calendar_policy.map(|policy| match policy {
                    CalendarPolicy::Skip => "Skip",
                    CalendarPolicy::Delay => "Delay",
                }),
            )
            .maybe("Description", self.description)
            .maybe("ScheduleTimezone", self.timezone)
            .maybe("ScheduleOffset", self.offset)
            .maybe("StartDate", self.start.map(|instant| instant.to_string()))
            .maybe("EndDate", self.end.map(|instant| instant.to_string()))
    }
}

pub(super) async fn run(command: WindowCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        WindowCommand::Create(args) => create(args, cx).await,
        WindowCommand::List { name, enabled } => list(name, enabled, cx).await,
        WindowCommand::Show { window } => {
            let answer = cx.client.ssm("GetMaintenanceWindow", &id(&window)).await?;
            Ok(cx.output.either(&answer, || table::details(&answer))?)
        }
        WindowCommand::Update(args) => update(args, cx).await,
        WindowCommand::Delete { windows } => {
            for window in windows {
                let answer = cx.client.ssm("DeleteMaintenanceWindow", &id(&window)).await?;
                cx.output.either(&answer, || table::text(&answer["WindowId"]))?;
            }
            Ok(())
        }
        WindowCommand::Enable { window } => set_enabled(&window, true, cx).await,
        WindowCommand::Disable { window } => set_enabled(&window, false, cx).await,
        WindowCommand::Start { window, reason, watch } => start(&window, reason, watch, cx).await,
        WindowCommand::Schedule { window, count, after, before } => schedule(window, count, after, before, cx).await,
        WindowCommand::Target(command) => window_target::run(command, cx).await,
        WindowCommand::Task(command) => window_task::run(command, cx).await,
    }
}

/// `{"WindowId": …}`.
pub(super) fn id(window: &str) -> Value {
    Request::new().set("WindowId", window).done()
}

async fn create(args: CreateArgs, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new()
        .set("Name", args.name)
        .set("Schedule", args.schedule)
        .set("Duration", args.duration)
        .set("Cutoff", args.cutoff)
        .set("AllowUnassociatedTargets", args.allow_unassociated_targets)
        .maybe("ClientToken", args.client_token)
        .unless_empty("Tags", tags(&args.tags));
    let answer = cx.client.ssm("CreateMaintenanceWindow", &args.options.add_to(request).done()).await?;
    Ok(cx.output.either(&answer, || table::text(&answer["WindowId"]))?)
}

async fn list(name: Option<String>, enabled: bool, cx: &Context) -> anyhow::Result<()> {
    let mut filters = Vec::new();
    filters.extend(name.map(|name| ("Name".to_owned(), vec![name])));
    filters.extend(enabled.then(|| ("Enabled".to_owned(), vec!["true".to_owned()])));
    let request = Request::new().unless_empty("Filters", super::pairs::key_values(filters)).done();
    let answer = cx.client.ssm_all("DescribeMaintenanceWindows", &request, "WindowIdentities", None).await?;
    let columns = [
        table::member("ID", "WindowId"),
        table::member("NAME", "Name"),
        table::member("SCHEDULE", "Schedule"),
        table::member("ZONE", "ScheduleTimezone"),
        table::computed("LASTS", |row| format!("{} h", table::text(&row["Duration"]))),
        table::computed("NO NEW TASK IN LAST", |row| format!("{} h", table::text(&row["Cutoff"]))),
        table::member("ENABLED", "Enabled"),
        table::ago("NEXT RUN", "NextExecutionTime"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "WindowIdentities")))?)
}

async fn update(args: UpdateArgs, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new()
        .set("WindowId", args.window)
        .maybe("Name", args.name)
        .maybe("Schedule", args.schedule)
        .maybe("Duration", args.duration)
        .maybe("Cutoff", args.cutoff)
        .maybe("AllowUnassociatedTargets", args.allow_unassociated_targets)
        .flag("Replace", args.replace);
    let answer = cx.client.ssm("UpdateMaintenanceWindow", &args.options.add_to(request).done()).await?;
    Ok(cx.output.either(&answer, || table::details(&answer))?)
}

async fn set_enabled(window: &str, enabled: bool, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new().set("WindowId", window).set("Enabled", enabled).done();
    let answer = cx.client.ssm("UpdateMaintenanceWindow", &request).await?;
    Ok(cx.output.either(&answer, || table::details(&answer))?)
}

async fn start(window: &str, reason: Option<String>, follow: bool, cx: &Context) -> anyhow::Result<()> {
    let request = Request::new().set("WindowId", window).maybe("Reason", reason).done();
    let answer = cx.client.patchwave("StartMaintenanceWindow", &request).await?;
    let execution = table::text(&answer["WindowExecutionId"]);
    if !follow {
        wait_until_it_exists(&execution, cx).await;
        return Ok(cx.output.either(&answer, || execution)?);
    }
    cx.output.note(&format!("execution {execution}"));
    watch::follow_to_success(&execution, cx).await
}

/// Waits a moment for a worker to take the execution up, so that the next command of a script finds
/// it. If none does, the execution is stored all the same, and the id is right.
async fn wait_until_it_exists(execution: &str, cx: &Context) {
    for _ in 0..TAKEN_UP_LOOKS {
        let request = Request::new().set("WindowExecutionId", execution).done();
        match cx.client.ssm("GetMaintenanceWindowExecution", &request).await {
            Err(error) if error.code() == Some("DoesNotExistException") => {
                tokio::time::sleep(TAKEN_UP_LOOK_AFTER).await;
            }
            _ => return,
        }
    }
    cx.output.note("no worker has taken the execution up yet");
}

async fn schedule(
    window: Option<String>,
    count: u16,
    after: Option<Timestamp>,
    before: Option<Timestamp>,
    cx: &Context,
) -> anyhow::Result<()> {
    let mut filters = Vec::new();
    filters.extend(after.map(|instant| ("ScheduledAfter".to_owned(), vec![instant.to_string()])));
    filters.extend(before.map(|instant| ("ScheduledBefore".to_owned(), vec![instant.to_string()])));
    let request =
        Request::new().maybe("WindowId", window).unless_empty("Filters", super::pairs::key_values(filters)).done();
    let list = "ScheduledWindowExecutions";
    let limit = Some(usize::from(count));
    let answer = cx.client.ssm_all("DescribeMaintenanceWindowSchedule", &request, list, limit).await?;
    let columns = [
        table::member("WINDOW", "WindowId"),
        table::member("NAME", "Name"),
        table::member("RUN", "ExecutionTime"),
        table::ago("", "ExecutionTime"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

/// The elements of a list in an answer; none if it is absent.
pub(super) fn elements<'a>(answer: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    answer[list].as_array().into_iter().flatten()
}
