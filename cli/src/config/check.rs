//! Which values are allowed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use patchwave_platform::bus::BusError;
use patchwave_platform::bus::amqp::Management;
use reqwest::Url;

use super::Config;
use super::broker_auth;
use super::fault::Fault;
use super::layers::Effective;
use super::nodes::{self, InProcessNodes};
use super::setting::Setting;
use super::url::{EMBEDDED, ServiceUrl};
use crate::logs::{self, LogFormat};

/// What will be started with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Every role in this process.
    All,
    /// The scheduler alone.
    Scheduler,
    /// Workers alone.
    Worker,
    /// The API alone.
    Api,
    /// A gateway for nodes alone.
    Gateway,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::All => "up",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Api => "api",
            Self::Gateway => "gateway",
        }
    }
}

/// Checks every setting; faults are added to `faults`. `None` if there is one here.
pub(super) fn check(effective: &Effective, role: Role, faults: &mut Vec<Fault>) -> Option<Config> {
    let mut keep = |result: Result<String, Fault>| result.map_err(|fault| faults.push(fault)).ok();
    let data_dir = keep(data_dir(effective));
    let in_data_dir = |setting| match &data_dir {
        Some(dir) => effective.value(setting).replace("{data_dir}", &encoded(Path::new(dir))),
        None => effective.value(setting).replace("{data_dir}", "/"),
    };
    let master_key_file = keep(master_key_file(effective, data_dir.as_deref()));
    let bus = keep(url(effective, Setting::Bus, effective.value(Setting::Bus), role));
    let store = keep(url(effective, Setting::Store, &in_data_dir(Setting::Store), role));
    let topics = keep(url(effective, Setting::Topics, effective.value(Setting::Topics), role));
    let artifacts = keep(url(effective, Setting::Artifacts, &in_data_dir(Setting::Artifacts), role));
    let node_bus = node_bus(effective).map_err(|fault| faults.push(fault)).ok();
    let bus_management = bus_management(effective).map_err(|fault| faults.push(fault)).ok();
    let broker_auth = broker_auth::check(effective).map_err(|fault| faults.push(fault)).ok();
    let mut keep = |result: Result<String, Fault>| result.map_err(|fault| faults.push(fault)).ok();
    let log = keep(log(effective));
    let insecurely = flag(effective, Setting::ListenInsecurely).map_err(|fault| faults.push(fault)).ok();
    let tls = tls(effective).map_err(|fault| faults.push(fault)).ok();
    let account_id = account_id(effective).map_err(|fault| faults.push(fault)).ok();
    let reaches_far = insecurely == Some(true) || !matches!(tls, Some(None));
    let listens = |setting| listen(effective, setting, reaches_far && setting == Setting::Listen);
    let health_listen = match effective.value(Setting::HealthListen) {
        "" => Some(None),
        _ => listens(Setting::HealthListen).map(Some).map_err(|fault| faults.push(fault)).ok(),
    };
    let listen = listens(Setting::Listen).map_err(|fault| faults.push(fault)).ok();
    let log_format = log_format(effective).map_err(|fault| faults.push(fault)).ok();
    let nodes = match role {
        Role::All => nodes::check(effective, faults),
        _ => Some(InProcessNodes::default()),
    };
    Some(Config {
        listen: listen?,
        listen_insecurely: insecurely?,
        tls: tls?,
        account_id: account_id?,
        health_listen: health_listen?,
        data_dir: PathBuf::from(data_dir?),
        master_key_file: PathBuf::from(master_key_file?),
        bus: ServiceUrl::new(bus?),
        trusted_bus_users: names(effective.value(Setting::TrustedBusUsers)),
        node_bus: node_bus?,
        bus_management: bus_management?,
        broker_auth: broker_auth?,
        store: ServiceUrl::new(store?),
        topics: ServiceUrl::new(topics?),
        artifacts: ServiceUrl::new(artifacts?),
        nodes: nodes?,
        log: log?,
        log_format: log_format?,
    })
}

fn listen(effective: &Effective, setting: Setting, reaches_far: bool) -> Result<SocketAddr, Fault> {
    let fault = |reason: &str| effective.fault(setting, reason);
    let address: SocketAddr = effective.value(setting).parse().map_err(|_| fault("not an IP address and port"))?;
    if address.ip().to_canonical().is_loopback() || reaches_far {
        return Ok(address);
    }
    Err(fault(match setting {
        Setting::Listen => {
            "other machines can reach it, and nothing would be encrypted; give --tls-cert and --tls-key, a loopback \
             address, or --listen-insecurely"
        }
        _ => "other machines can reach it, and health checks are for this one",
    }))
}

fn flag(effective: &Effective, setting: Setting) -> Result<bool, Fault> {
    effective.value(setting).parse().map_err(|_| effective.fault(setting, "neither true nor false"))
}

fn tls(effective: &Effective) -> Result<Option<(PathBuf, PathBuf)>, Fault> {
    match (effective.value(Setting::TlsCert), effective.value(Setting::TlsKey)) {
        ("", "") => Ok(None),
        ("", _) => Err(effective.fault(Setting::TlsCert, "there is a key and no certificate")),
        (_, "") => Err(effective.fault(Setting::TlsKey, "there is a certificate and no key")),
        (certificate, key) => Ok(Some((PathBuf::from(certificate), PathBuf::from(key)))),
    }
}

fn account_id(effective: &Effective) -> Result<String, Fault> {
    let id = effective.value(Setting::AccountId);
    if id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(id.to_owned());
    }
    Err(effective.fault(Setting::AccountId, "not an account id"))
}

fn data_dir(effective: &Effective) -> Result<String, Fault> {
    let fault = |reason: String| effective.fault(Setting::DataDir, reason);
    let path = std::path::absolute(effective.value(Setting::DataDir))
        .map_err(|error| fault(format!("not a usable path ({error})")))?;
    if path.exists() && !path.is_dir() {
        return Err(fault("exists and is not a directory".to_owned()));
    }
    // It came as text, and the working directory is the only addition.
    path.into_os_string().into_string().map_err(|_| fault("the path is not UTF-8".to_owned()))
}

fn master_key_file(effective: &Effective, data_dir: Option<&str>) -> Result<String, Fault> {
    let fault = |reason: String| effective.fault(Setting::MasterKeyFile, reason);
    let named = effective.value(Setting::MasterKeyFile).replace("{data_dir}", data_dir.unwrap_or("/"));
    let path = std::path::absolute(&named).map_err(|error| fault(format!("not a usable path ({error})")))?;
    if path.is_dir() {
        return Err(fault("is a directory".to_owned()));
    }
    path.into_os_string().into_string().map_err(|_| fault("the path is not UTF-8".to_owned()))
}

/// Names with commas between them.
fn names(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The broker as nodes reach it: each logs in as itself, so it names no user.
fn node_bus(effective: &Effective) -> Result<Option<String>, Fault> {
    let value = effective.value(Setting::NodeBus);
    if value.is_empty() {
        return Ok(None);
    }
    let fault = |reason: &str| effective.fault(Setting::NodeBus, reason);
    let url = Url::parse(value).map_err(|_| fault("not a URL"))?;
    match (url.scheme(), url.host_str()) {
        ("amqp" | "amqps", Some(host)) if !host.is_empty() => {}
        _ => return Err(fault("not a broker's URL")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("names a user"));
    }
    // Agents refuse it, too: what they log in with would be good for some minutes in any other hands.
    if url.scheme() == "amqp" && !url.host_str().is_some_and(is_this_machine) {
        return Err(fault("without TLS anybody on the way could be a node"));
    }
    Ok(Some(value.to_owned()))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The broker's management API, with who asks it.
fn bus_management(effective: &Effective) -> Result<Option<ServiceUrl>, Fault> {
    let value = effective.value(Setting::BusManagement);
    if value.is_empty() {
        return Ok(None);
    }
    match Management::new(value) {
        Ok(_) => Ok(Some(ServiceUrl::new(value.to_owned()))),
        Err(BusError::Management { reason, .. }) => Err(effective.fault(Setting::BusManagement, reason)),
        Err(error) => Err(effective.fault(Setting::BusManagement, error.to_string())),
    }
}

fn log(effective: &Effective) -> Result<String, Fault> {
    let filter = effective.value(Setting::Log);
    if logs::is_filter(filter) { Ok(filter.to_owned()) } else { Err(effective.fault(Setting::Log, "not a log filter")) }
}

fn log_format(effective: &Effective) -> Result<LogFormat, Fault> {
    let value = effective.value(Setting::LogFormat);
    value.parse().map_err(|_| effective.fault(Setting::LogFormat, "not a form of log lines"))
}

/// Checks the scheme, what must follow it, and whether `role` can work with it.
fn url(effective: &Effective, setting: Setting, value: &str, role: Role) -> Result<String, Fault> {
    let fault = |reason: String| effective.fault(setting, reason);
    let is_bus_or_topics = matches!(setting, Setting::Bus | Setting::Topics);
    if value == EMBEDDED && is_bus_or_topics {
        if role != Role::All {
            let reason = format!(
                "`embedded` lives inside one process and `{}` is a process of its own; start everything with \
                 `patchwave up`, or name a server that all processes share",
                role.name()
            );
            return Err(fault(reason));
        }
        return Ok(value.to_owned());
    }
    let Some((scheme, rest)) = value.split_once("://") else {
        return Err(fault("no scheme".to_owned()));
    };
    let needs_host = match (setting, scheme) {
        (Setting::Bus, "amqp" | "amqps")
        | (Setting::Store, "postgres" | "postgresql")
        | (Setting::Topics, "redis" | "rediss") => true,
        (Setting::Store, "sqlite") | (Setting::Artifacts, "file") => false,
        _ => return Err(fault(format!("scheme `{scheme}` is not known"))),
    };
    if needs_host {
        let parsed = Url::parse(value).map_err(|error| fault(format!("not a URL ({error})")))?;
        if parsed.host_str().is_none_or(str::is_empty) {
            return Err(fault("no host".to_owned()));
        }
    } else if rest.is_empty() {
        return Err(fault("no path".to_owned()));
    } else if setting == Setting::Artifacts && !rest.starts_with('/') {
        return Err(fault("the path is not absolute".to_owned()));
    }
    Ok(value.to_owned())
}

/// A path as it stands in a URL.
fn encoded(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.chars()
        .map(|c| match c {
            '%' => "%25".to_owned(),
            '?' => "%3F".to_owned(),
            '#' => "%23".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
