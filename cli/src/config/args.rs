//! The options of the server roles.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::layers::Origin;
use super::setting::Setting;

/// Options of the server roles. All are text here: they are checked together with the other
/// sources, so that every fault is reported at once.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Where the API listens; other than loopback with a certificate only [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", env = "PATCHWAVE_LISTEN", hide_env_values = true)]
    pub listen: Option<String>,
    /// Serve plain HTTP to other machines: whoever is on the way reads everything
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        env = "PATCHWAVE_LISTEN_INSECURELY",
        hide_env_values = true
    )]
    pub listen_insecurely: Option<String>,
    /// Certificate chain of the API, PEM; read again when it changes [default: none, plain HTTP]
    #[arg(long, value_name = "FILE", env = "PATCHWAVE_TLS_CERT", hide_env_values = true)]
    pub tls_cert: Option<String>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", env = "PATCHWAVE_TLS_KEY", hide_env_values = true)]
    pub tls_key: Option<String>,
    /// Account id in ARNs, 12 digits [default: 000000000000]
    #[arg(long, value_name = "ID", env = "PATCHWAVE_ACCOUNT_ID", hide_env_values = true)]
    pub account_id: Option<String>,
    /// Directory for what is kept on this machine [default: ./patchwave-data]
    #[arg(long, value_name = "DIR", env = "PATCHWAVE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<String>,
    /// File with the key that seals secrets in the store; made if there is none [default: master.key
    /// in the data directory]
    #[arg(long, value_name = "FILE", env = "PATCHWAVE_MASTER_KEY_FILE", hide_env_values = true)]
    pub master_key_file: Option<String>,
    /// Message bus: `embedded` or amqp[s]://user:password@host:port/vhost [default: embedded]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_BUS", hide_env_values = true)]
    pub bus: Option<String>,
    /// Users of the broker that may speak for any node besides its own, several with commas [default: none]
    #[arg(long, value_name = "USERS", env = "PATCHWAVE_TRUSTED_BUS_USERS", hide_env_values = true)]
    pub trusted_bus_users: Option<String>,
    /// The broker as nodes reach it, amqps://host:port/vhost without a user [default: nodes use the gateway]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_NODE_BUS", hide_env_values = true)]
    pub node_bus: Option<String>,
    /// RabbitMQ's management API, http[s]://user:password@host:port with a user that may close connections,
    /// for the roles scheduler and api [default: connections of deregistered nodes stay open, unheard]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_BUS_MANAGEMENT", hide_env_values = true)]
    pub bus_management: Option<String>,
    /// Where RabbitMQ asks whether a node may log in and what it may do, for the role that serves the API
    /// [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "PATCHWAVE_BROKER_AUTH_LISTEN", hide_env_values = true)]
    pub broker_auth_listen: Option<String>,
    /// File with the secret in the path that RabbitMQ asks at
    #[arg(long, value_name = "FILE", env = "PATCHWAVE_BROKER_AUTH_SECRET_FILE", hide_env_values = true)]
    pub broker_auth_secret_file: Option<String>,
    /// Database: sqlite://path or postgres://user:password@host:port/database [default: in the data directory]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_STORE", hide_env_values = true)]
    pub store: Option<String>,
    /// Live notifications: `embedded` or redis[s]://host:port/db [default: embedded]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_TOPICS", hide_env_values = true)]
    pub topics: Option<String>,
    /// Large files: file:///absolute/path [default: in the data directory]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_ARTIFACTS", hide_env_values = true)]
    pub artifacts: Option<String>,
}

/// Options of the nodes inside the process of `up`; text for the same reason.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Nodes in this process (embedded bus only)")]
pub struct NodeArgs {
    /// Make this machine a node: `scan` takes scans alone, `install` takes every command of whoever
    /// reaches the API, `off` is none; it never restarts the machine [default: off; `scan` without
    /// a value]
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        default_missing_value = "scan",
        env = "PATCHWAVE_LOCAL_NODE",
        hide_env_values = true
    )]
    pub local_node: Option<String>,
    /// Its id, `mi-` and 17 hex digits [default: drawn once, and kept in the data directory]
    #[arg(long, value_name = "ID", env = "PATCHWAVE_LOCAL_NODE_ID", hide_env_values = true)]
    pub local_node_id: Option<String>,
    /// A tag of it, such as `Patch Group=canary`; repeatable, or several with commas
    #[arg(
        long = "local-node-tag",
        value_name = "KEY=VALUE",
        env = "PATCHWAVE_LOCAL_NODE_TAGS",
        hide_env_values = true
    )]
    pub local_node_tags: Vec<String>,
    /// Add so many simulated nodes, 0 to 10000 [default: 0]
    #[arg(long, value_name = "COUNT", env = "PATCHWAVE_SIMULATE", hide_env_values = true)]
    pub simulate: Option<String>,
    /// Decides everything that differs between simulated nodes [default: 1]
    #[arg(long, value_name = "SEED", env = "PATCHWAVE_SIMULATE_SEED", hide_env_values = true)]
    pub simulate_seed: Option<String>,
    /// Patch groups of simulated nodes with weights, such as `canary=1,production=3`
    #[arg(long, value_name = "NAME=WEIGHT,…", env = "PATCHWAVE_SIMULATE_PATCH_GROUPS", hide_env_values = true)]
    pub simulate_patch_groups: Option<String>,
}

/// Option of the roles that have no listener otherwise.
#[derive(Debug, Clone, Default, Args)]
pub struct HealthArgs {
    /// Answer /livez and /readyz here, for `patchwave health`; loopback addresses only [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT", env = "PATCHWAVE_HEALTH_LISTEN", hide_env_values = true)]
    pub health_listen: Option<String>,
}

/// The settings that were given as options or variables.
///
/// `matches` are the whole command line's; options may stand at any level of subcommands. An empty
/// variable counts as not set: compose files and service managers pass such.
pub(crate) fn given(matches: &ArgMatches) -> Vec<(Setting, Origin, String)> {
    let mut found: Vec<(Setting, Origin, String)> = Vec::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        for setting in Setting::ALL {
            let Ok(Some(values)) = matches.try_get_many::<String>(setting.key()) else { continue };
            let value = values.map(String::as_str).collect::<Vec<_>>().join(",");
            let origin = match matches.value_source(setting.key()) {
                Some(ValueSource::CommandLine) => Origin::Flag(setting.flag()),
                Some(ValueSource::EnvVariable) if !value.is_empty() => Origin::Variable(setting.variable()),
                _ => continue,
            };
            found.retain(|(other, _, _)| *other != setting);
            found.push((setting, origin, value));
        }
        level = matches.subcommand().map(|(_, matches)| matches);
    }
    found
}
