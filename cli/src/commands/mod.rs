//! What each command does: one file for each noun.
//!
//! A command turns its arguments into one or a few calls of the API and shows the answer. Data goes
//! to standard output through [`Output`]; ids of what was made are data, sentences are not.

use clap::{ArgMatches, CommandFactory as _};

use crate::args::{Cli, Command, DEFAULT_ENDPOINT, GlobalArgs};
use crate::client::Client;
use crate::credentials;
use crate::failure::Failure;
use crate::logs::{self, LogFormat};
use crate::output::Output;

pub mod access_key;
pub mod activation;
pub mod audit;
pub mod baseline;
mod baseline_preview;
pub mod calendar;
pub mod command;
pub mod compliance;
mod compliance_export;
mod compliance_history;
pub mod cve;
pub mod dead_letters;
pub mod document;
pub mod execution;
pub mod explain;
pub mod function;
pub mod group;
pub mod health;
pub mod inventory;
pub mod listen;
pub mod node;
pub mod notification;
pub mod patch_group;
pub mod patch_now;
pub mod reboot_limit;
pub mod rollout_plan;
pub mod schedule;
pub mod server;
pub mod signing_key;
pub mod state_machine;
pub mod watch;
pub mod window;
pub mod window_target;
pub mod window_task;

mod pairs;
mod request;
mod targets;

/// What commands of the operator work with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The API.
    pub client: Client,
    /// Where data goes.
    pub output: Output,
}

/// Runs what the command line asks for. `matches` are the ones that `cli` was made from.
///
/// # Errors
/// Whatever stopped it; [`crate::failure::report`] knows how to show it.
pub async fn run(cli: Cli, matches: &ArgMatches) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    let output = Output::new(global.output);
    match command {
        Command::Up(args) => return server::up(args, &global, matches).await,
        Command::Scheduler(args) => return server::scheduler(args, &global, matches).await,
        Command::Worker(args) => return server::worker(args, &global, matches).await,
        Command::Api(args) => return server::api(args, &global, matches).await,
        Command::Gateway(args) => return server::gateway(args, &global, matches).await,
        Command::Config(args) => return server::show(args, &global, matches, output),
        _ => start_logs(&global)?,
    }
    match command {
        Command::Demo(options) => return Box::pin(crate::demo::run(options)).await,
        Command::Schedule(command) => return schedule::run(command, output),
        Command::StateMachine(command) => return state_machine::run(command, output).await,
        Command::Calendar(calendar::CalendarCommand::Validate { file }) => return calendar::validate(&file, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "patchwave", &mut script);
            return Ok(output.line(String::from_utf8_lossy(&script).trim_end())?);
        }
        _ => {}
    }
    // An empty variable counts as not set, as for the roles.
    let endpoint = if global.endpoint.is_empty() { DEFAULT_ENDPOINT } else { &global.endpoint };
    if let Command::AccessKey(access_key::AccessKeyCommand::Create(args)) = &command
        && args.offline
    {
        return access_key::create_offline(args, &global, matches, output).await;
    }
    let credentials = credentials::find(&credentials::Places::of_this_user(server::data_dir(&global, matches)))?;
    let ca_cert = global.ca_cert.as_deref().filter(|path| !path.as_os_str().is_empty());
    let cx = Context { client: Client::new(endpoint, credentials, ca_cert)?, output };
    match command {
        Command::Health(args) => health::run(args, &cx).await,
        Command::AccessKey(command) => access_key::run(command, &cx).await,
        Command::Audit(command) => audit::run(command, &cx).await,
        Command::Window(command) => window::run(command, &cx).await,
        Command::Execution(command) => execution::run(command, &cx).await,
        Command::Baseline(command) => baseline::run(command, &cx).await,
        Command::RebootLimit(args) => reboot_limit::run(args, &cx).await,
        Command::RolloutPlan(command) => rollout_plan::run(command, &cx).await,
        Command::Calendar(command) => calendar::run(command, &cx).await,
        Command::PatchNow(args) => patch_now::run(*args, &cx).await,
        Command::PatchGroup(command) => patch_group::run(command, &cx).await,
        Command::Command(command) => command::run(command, &cx).await,
        Command::Node(command) => node::run(command, &cx).await,
        Command::Explain(command) => explain::run(command, &cx).await,
        Command::Cve(command) => cve::run(command, &cx).await,
        Command::Compliance(args) => compliance::run(args, &cx).await,
        Command::Activation(command) => activation::run(command, &cx).await,
        Command::SigningKey(command) => signing_key::run(command, &cx).await,
        Command::Group(command) => group::run(command, &cx).await,
        Command::Document(command) => document::run(command, &cx).await,
        Command::Function(command) => function::run(command, &cx).await,
        Command::Inventory(command) => inventory::run(command, &cx).await,
        Command::DeadLetters(command) => dead_letters::run(command, &cx).await,
        Command::Notification(command) => notification::run(command, &cx).await,
        Command::Listen(args) => listen::run(args, &cx).await,
        Command::Watch(args) => watch::run(args, &cx).await,
        Command::Up(_)
        | Command::Scheduler(_)
        | Command::Worker(_)
        | Command::Api(_)
        | Command::Gateway(_)
        | Command::Config(_)
        | Command::Demo(_)
        | Command::Schedule(_)
        | Command::StateMachine(_)
        | Command::Completions { .. } => Ok(()),
    }
}

/// Logs of the operator's commands: warnings, unless more is asked for.
fn start_logs(global: &GlobalArgs) -> anyhow::Result<()> {
    let filter = global.log.as_deref().filter(|filter| !filter.is_empty());
    let filter = filter.or(logs::verbosity(global.verbose)).unwrap_or("warn");
    if !logs::is_filter(filter) {
        return Err(Failure::usage(format!(
            "--log `{filter}` is not allowed; expected a filter such as `info` or `warn,patchwave=debug`"
        ))
        .into());
    }
    let format = match global.log_format.as_deref().filter(|format| !format.is_empty()) {
        None => LogFormat::default(),
        Some(format) => format.parse().map_err(|_| {
            Failure::usage(format!("--log-format `{format}` is not allowed; expected `pretty` or `json`"))
        })?,
    };
    logs::init(filter, format)?;
    Ok(())
}
