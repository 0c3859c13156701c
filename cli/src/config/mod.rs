//! Configuration of the server roles: flag, then environment, then file, then default.
//!
//! `config.default.toml`, compiled in, is the reference. [`Config`] holds values that have been
//! checked; a start with an unknown key or a wrong value stops, and every fault is reported at
//! once. Passwords are never printed: see [`ServiceUrl`].
//!
//! A new setting needs an entry in `setting`, a line in `config.default.toml`, an option in
//! `args`, and its check in `check` or `nodes`.

mod args;
mod broker_auth;
mod check;
mod fault;
mod layers;
mod nodes;
mod setting;
mod url;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub(crate) use self::args::given;
pub use self::args::{ConfigArgs, HealthArgs, NodeArgs};
pub use self::broker_auth::BrokerAuthSettings;
pub use self::check::Role;
pub use self::fault::{ConfigError, Fault};
pub use self::layers::{Effective, Origin, Sources};
pub use self::nodes::{InProcessNodes, LocalNode};
pub use self::setting::Setting;
pub use self::url::ServiceUrl;
pub(crate) use self::url::redact;
use crate::logs::LogFormat;

/// The reference file: every setting with its meaning and default.
pub const DEFAULTS: &str = include_str!("config.default.toml");

/// The file that is read when none is named, if it exists.
pub const FILE: &str = "patchwave.toml";

/// Checked configuration of the server roles.
///
/// Made by [`Config::load`], so: `health_listen` is a loopback address, and `listen` is one unless there is a
/// certificate or leave to do without; `data_dir` is absolute, and the
/// URLs have a scheme that this program knows and, over the network, a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Whether plain HTTP may be served to other machines.
    pub listen_insecurely: bool,
    /// The files of certificate chain and private key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The account that ARNs name.
    pub account_id: String,
    /// Where a scheduler or worker of its own answers health checks, if anywhere.
    pub health_listen: Option<SocketAddr>,
    /// Directory for what is kept on this machine. Need not exist yet.
    pub data_dir: PathBuf,
    /// The master key's file, absolute. Need not exist yet.
    pub master_key_file: PathBuf,
    /// `embedded` or `amqp[s]://…`.
    pub bus: ServiceUrl,
    /// Users of the broker that may speak for any node, besides the bus's own.
    pub trusted_bus_users: Vec<String>,
    /// `amqp[s]://…` without a user; nodes use the gateway when absent.
    pub node_bus: Option<String>,
    /// The broker's management API; `http[s]://user:password@…`, if nodes' connections are to be closed.
    pub bus_management: Option<ServiceUrl>,
    /// Where the broker asks about nodes, if anywhere.
    pub broker_auth: Option<BrokerAuthSettings>,
    /// `sqlite://…` or `postgres://…`.
    pub store: ServiceUrl,
    /// `embedded` or `redis[s]://…`.
    pub topics: ServiceUrl,
    /// `file:///…`.
    pub artifacts: ServiceUrl,
    /// Nodes inside the process; none for any role but [`Role::All`].
    pub nodes: InProcessNodes,
    /// Filter for log lines.
    pub log: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

impl Config {
    /// Takes every setting from the first source that has it and checks them all for `role`.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that was found.
    pub fn load(sources: &Sources, role: Role) -> Result<Self, ConfigError> {
        let (effective, mut faults) = Effective::gather(sources);
        let config = check::check(&effective, role, &mut faults);
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigError { faults }),
        }
    }

    /// The embedded default below `directory`, whatever options, variables and files say.
    #[must_use]
    pub fn embedded_in(directory: &Path, listen: SocketAddr) -> Self {
        let embedded = || ServiceUrl::new(url::EMBEDDED.to_owned());
        Self {
            listen,
            listen_insecurely: false,
            tls: None,
            account_id: patchwave_api::DEFAULT_ACCOUNT_ID.to_owned(),
            health_listen: None,
            data_dir: directory.to_owned(),
            master_key_file: directory.join("master.key"),
            bus: embedded(),
            trusted_bus_users: Vec::new(),
            node_bus: None,
            bus_management: None,
            broker_auth: None,
            store: ServiceUrl::new(format!("sqlite://{}", directory.join("patchwave.db").display())),
            topics: embedded(),
            artifacts: ServiceUrl::new(format!("file://{}", directory.join("artifacts").display())),
            nodes: InProcessNodes::default(),
            log: "warn".to_owned(),
            log_format: LogFormat::default(),
        }
    }
}

#[cfg(test)]
mod tests;
