//! What the program can be told, on the command line or in `PATCHWAVE_AGENT_…` variables.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use patchwave_agent::simulate::SimulationOptions;
use patchwave_schemas::NodeId;
use patchwave_schemas::signing::VerificationKey;
use tracing_subscriber::filter::{ParseError, Targets};

/// Runs the commands of a Patchwave control plane on this node.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    /// The broker: `amqp[s]://user:password@host:port/vhost`, or without a user for a registered
    /// node, which logs in as itself. Default: what the server said at registration.
    #[arg(long, env = "PATCHWAVE_AGENT_BUS", hide_env_values = true, value_name = "URL")]
    pub(crate) bus: Option<String>,
    /// The server whose gateway a registered node goes through: `https://host:port`. Default: what
    /// the server said at registration.
    #[arg(long, env = "PATCHWAVE_AGENT_SERVER", value_name = "URL", conflicts_with = "bus")]
    pub(crate) server: Option<String>,
    /// Certificates (PEM) to trust for server and broker, where the system's do not vouch for them.
    /// Default: what was given at registration.
    #[arg(long, env = "PATCHWAVE_AGENT_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Where the agent keeps its id, its journal and its notes.
    #[arg(long, env = "PATCHWAVE_AGENT_STATE_DIR", default_value = "/var/lib/patchwave-agent", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// The node's id, `mi-` and 17 hex digits. Drawn once and kept in the state directory when not given.
    #[arg(long, env = "PATCHWAVE_AGENT_NODE_ID", value_name = "ID")]
    pub(crate) node_id: Option<NodeId>,
    /// A tag to enrol with, for instance `"Patch Group=canary"`; may be repeated.
    #[arg(long = "tag", env = "PATCHWAVE_AGENT_TAGS", value_name = "KEY=VALUE", value_parser = tag, value_delimiter = ',')]
    pub(crate) tags: Vec<(String, String)>,
    /// Patch the system under this directory. Scripts run on this system all the same.
    #[arg(long, env = "PATCHWAVE_AGENT_ROOT", default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// The node's own policy, which narrows what it takes: `accept = "scan"`, `documents = […]`.
    /// Default: /etc/patchwave/agent-policy.toml, where there is one.
    #[arg(long, env = "PATCHWAVE_AGENT_POLICY", value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// A key that commands must be signed with, `sk-…=BASE64`; for nodes that did not register.
    #[arg(long = "verification-key", env = "PATCHWAVE_AGENT_VERIFICATION_KEYS", value_parser = verification_key, value_delimiter = ',', value_name = "ID=KEY")]
    pub(crate) verification_keys: Vec<VerificationKey>,
    /// Take commands that nobody signed, as a node that did not register: whoever reaches the broker
    /// commands this machine.
    #[arg(long, env = "PATCHWAVE_AGENT_TRUST_ANYONE")]
    pub(crate) trust_anyone: bool,
    /// Refuse every command that does anything but scan.
    #[arg(long, env = "PATCHWAVE_AGENT_SCAN_ONLY")]
    pub(crate) scan_only: bool,
    /// Shell command that restarts the node after an installation that needs it; empty for never.
    #[arg(long, env = "PATCHWAVE_AGENT_REBOOT_COMMAND", default_value = "systemctl reboot", value_name = "COMMAND")]
    reboot_command: String,
    /// Longest wait in seconds before the node restarts, so that not all nodes of a command do at once:
    /// each waits its own part of it.
    #[arg(long, env = "PATCHWAVE_AGENT_REBOOT_JITTER_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600), value_name = "SECONDS")]
    pub(crate) reboot_jitter_seconds: u64,
    /// Seconds that running work has to end when the agent is stopped.
    #[arg(long, env = "PATCHWAVE_AGENT_STOP_GRACE_SECONDS", default_value_t = 30, value_name = "SECONDS")]
    pub(crate) stop_grace_seconds: u64,
    /// Longest wait before connecting again; the larger the fleet, the longer.
    #[arg(long, env = "PATCHWAVE_AGENT_RECONNECT_MAX_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub(crate) reconnect_max_seconds: u64,
    /// Reach all nodes of this process over one queue.
    #[arg(long, env = "PATCHWAVE_AGENT_SHARED_QUEUE")]
    pub(crate) shared_queue: bool,
    /// What is logged: a level, or MODULE=LEVEL, several with commas.
    #[arg(long, env = "PATCHWAVE_AGENT_LOG", value_name = "LEVELS", default_value = LEVELS, value_parser = levels)]
    pub(crate) log: Targets,
    /// How log lines look.
    #[arg(long, env = "PATCHWAVE_AGENT_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) simulation: Simulated,
}

/// What the program does instead of being a node.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Register this machine as a node, with an activation of the control plane
    Register(Register),
    /// Scan or patch this machine by a baseline, without a control plane; exits 1 when a patch failed
    RunBaseline(RunBaseline),
}

/// What is done to this machine, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct RunBaseline {
    /// Scan reports; Install installs what is approved and missing, then reports
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) operation: Operation,
    /// The baseline as JSON, as `aws ssm get-patch-baseline` prints it, or a list with one for each
    /// operating system. Default: the predefined baseline of this machine's system
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// SSM's InstallOverrideList (YAML or JSON): what to install in place of what the baseline
    /// approves. Scans ignore it, and the report stays the baseline's
    #[arg(long, value_name = "FILE")]
    pub(crate) install_override_list: Option<PathBuf>,
    /// Patch the system under this directory
    #[arg(long, env = "PATCHWAVE_AGENT_ROOT", default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where the agent keeps its notes on when it first saw a version
    #[arg(long, env = "PATCHWAVE_AGENT_STATE_DIR", default_value = "/var/lib/patchwave-agent", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// How the result is shown
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

/// SSM's operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Operation {
    Scan,
    Install,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What a machine registers with.
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// The control plane's API: `https://host:port`
    #[arg(long, env = "PATCHWAVE_AGENT_SERVER", value_name = "URL")]
    pub(crate) server: String,
    /// Certificates (PEM) to trust for it, where the system's do not vouch for it
    #[arg(long, env = "PATCHWAVE_AGENT_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Id of the activation
    #[arg(long, value_name = "ID")]
    pub(crate) activation_id: String,
    /// Code of the activation; other users of this machine may see it among the processes
    #[arg(
        long,
        env = "PATCHWAVE_AGENT_ACTIVATION_CODE",
        hide_env_values = true,
        value_name = "CODE",
        // One in 64 begins with a hyphen.
        allow_hyphen_values = true
    )]
    pub(crate) activation_code: Option<String>,
    /// File with the code of the activation; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "activation_code", required_unless_present = "activation_code")]
    pub(crate) activation_code_file: Option<PathBuf>,
    /// Keep the id of the node that registered here before, on a machine that has changed
    #[arg(long)]
    pub(crate) rebind: bool,
    /// Where the agent keeps its credentials
    #[arg(long, env = "PATCHWAVE_AGENT_STATE_DIR", default_value = "/var/lib/patchwave-agent", value_name = "DIR")]
    pub(crate) state_dir: PathBuf,
    /// The system that is registered
    #[arg(long, env = "PATCHWAVE_AGENT_ROOT", default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
}

impl Register {
    /// The activation's code, from wherever it is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn code(&self) -> anyhow::Result<String> {
        let text = match (&self.activation_code, &self.activation_code_file) {
            (Some(code), _) => code.clone(),
            (None, Some(path)) if path.as_os_str() == "-" => {
                std::io::read_to_string(std::io::stdin()).context("standard input")?
            }
            (None, Some(path)) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            (None, None) => String::new(),
        };
        Ok(text.trim().to_owned())
    }
}

/// What is logged when nothing is said.
const LEVELS: &str = "info,lapin=off";

/// An empty variable says nothing, as if it were not there.
fn levels(text: &str) -> Result<Targets, ParseError> {
    if text.trim().is_empty() { LEVELS.parse() } else { text.parse() }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Options that only matter with `--simulate`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulation")]
pub(crate) struct Simulated {
    /// Be this many simulated nodes, and not this machine.
    #[arg(long, env = "PATCHWAVE_AGENT_SIMULATE", value_name = "COUNT")]
    pub(crate) simulate: Option<usize>,
    /// Decides everything that differs between simulated nodes.
    #[arg(long, env = "PATCHWAVE_AGENT_SEED", default_value_t = 1, requires = "simulate")]
    seed: u64,
    /// Index of the first node, for several processes with one seed.
    #[arg(long, env = "PATCHWAVE_AGENT_FIRST_ID", default_value_t = 0, requires = "simulate", value_name = "INDEX")]
    first_id: u64,
    /// Share of commands that fail, 0 to 1.
    #[arg(long, env = "PATCHWAVE_AGENT_FAILURE_RATE", default_value_t = 0.0, value_parser = share, requires = "simulate", value_name = "SHARE")]
    failure_rate: f64,
    /// Share of nodes that do not connect, 0 to 1.
    #[arg(long, env = "PATCHWAVE_AGENT_OFFLINE_SHARE", default_value_t = 0.0, value_parser = share, requires = "simulate", value_name = "SHARE")]
    offline_share: f64,
    /// Milliseconds a step takes: `0`, `250` or `100..2000`.
    #[arg(long, env = "PATCHWAVE_AGENT_DURATION_MS", default_value = "0", value_parser = duration_ms, requires = "simulate", value_name = "LEAST..MOST")]
    duration_ms: RangeInclusive<u64>,
    /// Patch groups with their weights, for instance `canary=1,staging=3,production=6`.
    #[arg(long, env = "PATCHWAVE_AGENT_PATCH_GROUPS", value_parser = weight, value_delimiter = ',', requires = "simulate", value_name = "NAME=WEIGHT")]
    patch_groups: Vec<(String, u32)>,
    /// Make the installation of this package fail.
    #[arg(long, env = "PATCHWAVE_AGENT_BAD_PATCH", requires = "simulate", value_name = "PACKAGE")]
    pub(crate) bad_patch: Option<String>,
}

impl Options {
    /// What restarts the node, if anything may. Never for another root than this system's.
    pub(crate) fn reboot_command(&self) -> Option<String> {
        let is_this_system = self.root == std::path::Path::new("/") && self.simulation.simulate.is_none();
        (is_this_system && !self.reboot_command.is_empty()).then(|| self.reboot_command.clone())
    }
}

impl Simulated {
    pub(crate) fn to_options(&self, tags: &[(String, String)]) -> SimulationOptions {
        let (least, most) = (*self.duration_ms.start(), *self.duration_ms.end());
        SimulationOptions {
            count: self.simulate.unwrap_or_default(),
            seed: self.seed,
            failure_rate: self.failure_rate,
            offline_share: self.offline_share,
            duration: Duration::from_millis(least)..=Duration::from_millis(most),
            patch_groups: self.patch_groups.clone(),
            tags: tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            first_id: self.first_id,
            ..SimulationOptions::default()
        }
    }
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, for instance \"Patch Group=canary\"".to_owned()),
    }
}

fn verification_key(text: &str) -> Result<VerificationKey, String> {
    match text.split_once('=') {
        Some((key_id, public_key)) if !key_id.is_empty() => Ok(VerificationKey {
            key_id: key_id.to_owned(),
            public_key: public_key.to_owned(),
            endorsed_by: None,
            endorsement: None,
            valid: true,
        }),
        _ => Err("expected ID=KEY, as `patchwave signing-key list --output json` shows them".to_owned()),
    }
}

fn weight(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    match weight.parse::<u32>() {
        Ok(weight) if weight > 0 && !name.is_empty() => Ok((name.to_owned(), weight)),
        _ => Err("expected NAME=WEIGHT with a whole weight above 0, for instance canary=1".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

fn duration_ms(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least), Ok(most)) if least <= most => Ok(least..=most),
        _ => Err("expected milliseconds as N or LEAST..MOST".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn wrong_values_are_refused_with_what_is_allowed() {
        for (option, value, allowed) in [
            ("--tag", "group", "KEY=VALUE"),
            ("--failure-rate", "1.5", "from 0 to 1"),
            ("--duration-ms", "9..1", "LEAST..MOST"),
            ("--patch-groups", "canary=0", "above 0"),
            ("--node-id", "mi-1", "17 hex digits"),
        ] {
            let line = ["patchwave-agent", "--bus", "amqp://localhost", "--simulate", "3", option, value];
            let error = Options::try_parse_from(line).expect_err(option).to_string();
            assert!(error.contains(value) && error.contains(allowed), "{error}");
        }
    }
}
