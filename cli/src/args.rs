//! The command line: global options, and one noun for each file under `commands`.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::{
    access_key, activation, audit, baseline, calendar, command, compliance, cve, dead_letters, document, execution,
    explain, function, group, health, inventory, listen, node, notification, patch_group, patch_now, reboot_limit,
    rollout_plan, schedule, server, signing_key, state_machine, watch, window,
};
use crate::demo::DemoOptions;
use crate::failure::EXIT_CODES_HELP;
use crate::output::Format;

/// Where `patchwave up` listens unless it is told otherwise.
pub(crate) const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:8080";

const UP_HELP: &str = "\
Examples:
  patchwave up                      everything embedded, no broker, no database server
  patchwave up --local-node=scan    with this machine as a node that is only scanned
  patchwave up --simulate 20 --simulate-patch-groups canary=1,production=3";

const PATCH_NOW_HELP: &str = "\
Examples:
  patchwave patch-now --all
  patchwave patch-now --operation Install --target tag:Env=prod --reboot NoReboot";

const COMPLETIONS_HELP: &str = "\
Examples:
  patchwave completions bash > ~/.local/share/bash-completion/completions/patchwave
  patchwave completions fish > ~/.config/fish/completions/patchwave.fish";

/// Patch a fleet: maintenance windows, rate control and compliance, on message queues.
#[derive(Debug, Parser)]
#[command(
    name = "patchwave",
    version,
    max_term_width = 110,
    after_help = EXIT_CODES_HELP,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Where the API is; for `health`, also where a role answers by --health-listen
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "PATCHWAVE_ENDPOINT",
        hide_env_values = true,
        default_value = DEFAULT_ENDPOINT
    )]
    pub endpoint: String,
    /// Certificates (PEM) that an https endpoint's must come from [default: those of this machine]
    #[arg(long, global = true, value_name = "FILE", env = "PATCHWAVE_CA_CERT", hide_env_values = true)]
    pub ca_cert: Option<std::path::PathBuf>,
    /// How data is written to standard output: `table` for people, `json` as the API has it
    #[arg(
        long,
        global = true,
        value_enum,
        env = "PATCHWAVE_OUTPUT",
        hide_env_values = true,
        default_value_t,
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// Configuration of the server roles (TOML) [default: ./patchwave.toml if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "PATCHWAVE_CONFIG", hide_env_values = true)]
    pub config: Option<String>,
    /// Form of log lines on standard error: `pretty` or `json` [default: pretty]
    #[arg(long, global = true, value_name = "FORMAT", env = "PATCHWAVE_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<String>,
    /// Which log lines are written, such as `info` or `warn,patchwave=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "PATCHWAVE_LOG", hide_env_values = true)]
    pub log: Option<String>,
    /// More log lines; twice for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start every server role in this process
    #[command(after_help = UP_HELP)]
    Up(server::UpArgs),
    /// Start the scheduler alone
    #[command(mut_arg("listen", |arg| arg.hide(true)))]
    Scheduler(server::SchedulerArgs),
    /// Start workers alone
    #[command(mut_arg("listen", |arg| arg.hide(true)))]
    Worker(server::WorkerArgs),
    /// Start the API alone
    Api(server::ApiArgs),
    /// Start a gateway alone, through which nodes are reached over HTTPS
    Gateway(server::GatewayArgs),
    /// Print the configuration in force and where each value comes from
    Config(server::ShowArgs),
    /// Ask the server at --endpoint whether it is ready; fails if not
    Health(health::HealthArgs),
    /// See the whole system at work, in one process, with simulated nodes
    Demo(DemoOptions),

    /// Maintenance windows, their targets and tasks
    #[command(subcommand)]
    Window(window::WindowCommand),
    /// Executions of maintenance windows
    #[command(subcommand)]
    Execution(execution::ExecutionCommand),
    /// Patch baselines: which patches are approved
    #[command(subcommand)]
    Baseline(baseline::BaselineCommand),
    /// Scan or patch nodes now, with limits by the size of the fleet
    #[command(after_help = PATCH_NOW_HELP)]
    PatchNow(Box<patch_now::PatchNowArgs>),
    /// How many nodes may restart at once, over all rollouts
    RebootLimit(reboot_limit::RebootLimitArgs),
    /// Rollout plans: waves, bake times and gates, by name
    #[command(subcommand)]
    RolloutPlan(rollout_plan::RolloutPlanCommand),
    /// Change calendars: when changes are allowed
    #[command(subcommand)]
    Calendar(calendar::CalendarCommand),
    /// Patch groups and the baselines registered for them
    #[command(subcommand)]
    PatchGroup(patch_group::PatchGroupCommand),
    /// Commands: documents run on nodes, now
    #[command(subcommand)]
    Command(command::CommandCommand),
    /// Managed nodes, their tags and patches
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Why something is as it is: a patch on a node
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Vulnerabilities: on which nodes one is open, and what is open on a node
    #[command(subcommand)]
    Cve(cve::CveCommand),
    /// Compliance of the fleet, by patch group
    Compliance(compliance::ComplianceArgs),
    /// Activations: which machines may become nodes
    #[command(subcommand)]
    Activation(activation::ActivationCommand),
    /// Keys that sign what nodes are told
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// Resource groups: named tag queries
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Documents that commands and tasks can run
    #[command(subcommand)]
    Document(document::DocumentCommand),
    /// Functions that state machines and windows' tasks may call
    #[command(subcommand)]
    Function(function::FunctionCommand),
    /// State machines of the Amazon States Language: check and run a definition here
    #[command(subcommand)]
    StateMachine(state_machine::StateMachineCommand),
    /// Access keys: who may call the API
    #[command(subcommand)]
    AccessKey(access_key::AccessKeyCommand),
    /// The audit log: who did what, and whether the log is whole
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What is known about nodes, beyond patches
    #[command(subcommand)]
    Inventory(inventory::InventoryCommand),
    /// Messages that could not be processed
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Notifications that were published
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Print the notifications of a topic as they are published
    Listen(listen::ListenArgs),
    /// Follow an execution or a command until it ends
    Watch(watch::WatchArgs),
    /// Schedule expressions
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },
}
