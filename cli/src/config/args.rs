//! The options of the server roles.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::layers::Origin;
use super::setting::Setting;

/// Options of the server roles. All are text here: they are checked together with the other
/// sources, so that every fault is reported at once.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Where the API listens; loopback addresses only [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", env = "PATCHWAVE_LISTEN", hide_env_values = true)]
    pub listen: Option<String>,
    /// Directory for what is kept on this machine [default: ./patchwave-data]
    #[arg(long, value_name = "DIR", env = "PATCHWAVE_DATA_DIR", hide_env_values = true)]
    pub data_dir: Option<String>,
    /// Message bus: `embedded` or amqp[s]://user:password@host:port/vhost [default: embedded]
    #[arg(long, value_name = "URL", env = "PATCHWAVE_BUS", hide_env_values = true)]
    pub bus: Option<String>,
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

/// The settings that were given as options or variables.
///
/// `matches` are the whole command line's; options may stand at any level of subcommands. An empty
/// variable counts as not set: compose files and service managers pass such.
pub(crate) fn given(matches: &ArgMatches) -> Vec<(Setting, Origin, String)> {
    let mut found: Vec<(Setting, Origin, String)> = Vec::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        for setting in Setting::ALL {
            let Ok(Some(value)) = matches.try_get_one::<String>(setting.key()) else { continue };
            let origin = match matches.value_source(setting.key()) {
                Some(ValueSource::CommandLine) => Origin::Flag(setting.flag()),
                Some(ValueSource::EnvVariable) if !value.is_empty() => Origin::Variable(setting.variable()),
                _ => continue,
            };
            found.retain(|(other, _, _)| *other != setting);
            found.push((setting, origin, value.clone()));
        }
        level = matches.subcommand().map(|(_, matches)| matches);
    }
    found
}
