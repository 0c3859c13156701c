//! The server roles, and `config`, which shows what they would be started with.

use std::path::PathBuf;

use clap::{ArgMatches, Args};
use patchwave_schemas::topology::WorkQueue;
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::args::GlobalArgs;
use crate::config::{
    Config, ConfigArgs, ConfigError, DEFAULTS, Effective, HealthArgs, NodeArgs, Role, Setting, Sources, given, redact,
};
use crate::output::Output;
use crate::{logs, roles};

/// Options of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

/// Options of `scheduler`.
#[derive(Debug, Args)]
pub struct SchedulerArgs {
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Options of `worker`.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Read these queues only: resolver, dispatcher, collector, inventory, notifier, dead-letters
    #[arg(long, value_name = "QUEUE,…", value_delimiter = ',', value_parser = parse_queue)]
    only: Vec<WorkQueue>,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Options of `api`.
#[derive(Debug, Args)]
pub struct ApiArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Options of `gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Options of `config`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Print the reference file, with every setting's meaning and default, instead
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    health: HealthArgs,
    #[command(flatten)]
    nodes: NodeArgs,
}

fn parse_queue(name: &str) -> Result<WorkQueue, String> {
    WorkQueue::ALL.into_iter().find(|queue| queue.role() == name).ok_or_else(|| {
        let known: Vec<&str> = WorkQueue::ALL.iter().map(|queue| queue.role()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

pub(super) async fn up(_: UpArgs, global: &GlobalArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = start(global, matches, Role::All)?;
    Box::pin(roles::up(&config, shutdown_on_signal()?)).await
}

pub(super) async fn scheduler(_: SchedulerArgs, global: &GlobalArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = start(global, matches, Role::Scheduler)?;
    Box::pin(roles::scheduler(&config, shutdown_on_signal()?)).await
}

pub(super) async fn worker(args: WorkerArgs, global: &GlobalArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = start(global, matches, Role::Worker)?;
    Box::pin(roles::worker(&config, &args.only, shutdown_on_signal()?)).await
}

pub(super) async fn api(_: ApiArgs, global: &GlobalArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = start(global, matches, Role::Api)?;
    Box::pin(roles::api(&config, shutdown_on_signal()?)).await
}

pub(super) async fn gateway(_: GatewayArgs, global: &GlobalArgs, matches: &ArgMatches) -> anyhow::Result<()> {
    let config = start(global, matches, Role::Gateway)?;
    Box::pin(roles::gateway(&config, shutdown_on_signal()?)).await
}

/// Prints every setting with its origin; then fails if they are not valid.
pub(super) fn show(args: ShowArgs, global: &GlobalArgs, matches: &ArgMatches, output: Output) -> anyhow::Result<()> {
    if args.reference {
        return Ok(output.line(DEFAULTS.trim_end())?);
    }
    let sources = sources(global, matches)?;
    let (effective, _) = Effective::gather(&sources);
    let config = Config::load(&sources, Role::All);
    // What is valid is shown as it will be used, what is not as it was given.
    let value = |setting: Setting| match (&config, setting) {
        (Ok(config), Setting::DataDir) => config.data_dir.display().to_string(),
        (Ok(config), Setting::MasterKeyFile) => config.master_key_file.display().to_string(),
        (Ok(config), Setting::Store) => config.store.to_string(),
        (Ok(config), Setting::Artifacts) => config.artifacts.to_string(),
        _ => redact(effective.value(setting)),
    };
    if output.is_json() {
        let mut settings = Map::new();
        for setting in Setting::ALL {
            let value = json!({"value": value(setting), "origin": effective.origin(setting).to_string()});
            settings.insert(setting.key().to_owned(), value);
        }
        output.json(&settings)?;
    } else {
        let toml = |setting: Setting| match value(setting).parse() {
            Ok(number) if setting.is_number() => toml::Value::Integer(number),
            _ => toml::Value::String(value(setting)),
        };
        let line = |setting: Setting| format!("{} = {}", setting.key(), toml(setting));
        let width = Setting::ALL.into_iter().map(|setting| line(setting).chars().count()).max().unwrap_or(0);
        for setting in Setting::ALL {
            output.line(&format!("{:width$}  # {}", line(setting), effective.origin(setting)))?;
        }
    }
    config?;
    Ok(())
}

/// Where the server's data directory is, as far as an operator's command can tell: by the variable,
/// the configuration file, or the default.
pub(super) fn data_dir(global: &GlobalArgs, matches: &ArgMatches) -> PathBuf {
    let variable = std::env::var_os(Setting::DataDir.variable()).filter(|value| !value.is_empty());
    let configured = || {
        let sources = sources(global, matches).unwrap_or_default();
        PathBuf::from(Effective::gather(&sources).0.value(Setting::DataDir))
    };
    variable.map_or_else(configured, PathBuf::from)
}

/// Checked settings of a server, for what is done in its place.
pub(super) fn load(global: &GlobalArgs, matches: &ArgMatches) -> Result<Config, ConfigError> {
    Config::load(&sources(global, matches)?, Role::All)
}

/// Loads the configuration and starts logging.
fn start(global: &GlobalArgs, matches: &ArgMatches, role: Role) -> anyhow::Result<Config> {
    let config = Config::load(&sources(global, matches)?, role)?;
    logs::init(&config.log, config.log_format)?;
    Ok(config)
}

fn sources(global: &GlobalArgs, matches: &ArgMatches) -> Result<Sources, ConfigError> {
    let mut sources = Sources { given: given(matches), file: None };
    if let Some(filter) = logs::verbosity(global.verbose)
        && !sources.given.iter().any(|(setting, _, _)| *setting == Setting::Log)
    {
        sources.given.push((Setting::Log, crate::config::Origin::Flag("-v"), filter.to_owned()));
    }
    let named = global.config.clone().filter(|path| !path.is_empty()).map(PathBuf::from);
    sources.read_file(named).map_err(|fault| ConfigError { faults: vec![fault] })?;
    Ok(sources)
}

/// A token that SIGINT and SIGTERM cancel: roles finish their batch and leave. A second signal ends
/// the process at once.
fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal = name, "stopping: finishing what is in hand");
        cancel.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("second signal: leaving at once; unfinished work will be delivered again");
        leave_at_once();
    });
    Ok(token)
}

/// Ends the process without waiting for anything.
#[expect(clippy::exit, reason = "asked for twice; everything in hand is safe in the store or comes again")]
fn leave_at_once() {
    std::process::exit(i32::from(crate::failure::EXIT_FAILED));
}
