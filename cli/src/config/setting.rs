//! The register of settings: the only place where their names are spelled.

/// A setting of the server roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// Where the API listens.
    Listen,
    /// Whether plain HTTP may be served to other machines.
    ListenInsecurely,
    /// Certificate chain of the API.
    TlsCert,
    /// Its private key.
    TlsKey,
    /// Where a scheduler or worker answers health checks.
    HealthListen,
    /// Directory for what is kept on this machine.
    DataDir,
    /// The master key's file.
    MasterKeyFile,
    /// The account that ARNs name.
    AccountId,
    /// The message bus.
    Bus,
    /// Users of the broker that may speak for any node.
    TrustedBusUsers,
    /// The broker as nodes reach it.
    NodeBus,
    /// The broker's management API, for closing nodes' connections.
    BusManagement,
    /// Where the broker asks about nodes.
    BrokerAuthListen,
    /// The file with the secret that it asks with.
    BrokerAuthSecretFile,
    /// The database.
    Store,
    /// Live notifications.
    Topics,
    /// Large files.
    Artifacts,
    /// Whether this machine is a node of `up`, and what it takes.
    LocalNode,
    /// That node's id.
    LocalNodeId,
    /// Its tags.
    LocalNodeTags,
    /// Number of simulated nodes in `up`.
    Simulate,
    /// What decides how they differ.
    SimulateSeed,
    /// Their patch groups.
    SimulatePatchGroups,
    /// Filter for log lines.
    Log,
    /// Form of log lines.
    LogFormat,
}

impl Setting {
    /// Every setting, in the order of the reference file.
    pub const ALL: [Self; 25] = [
        Self::Listen,
        Self::ListenInsecurely,
        Self::TlsCert,
        Self::TlsKey,
        Self::HealthListen,
        Self::DataDir,
        Self::MasterKeyFile,
        Self::AccountId,
        Self::Bus,
        Self::TrustedBusUsers,
        Self::NodeBus,
        Self::BusManagement,
        Self::BrokerAuthListen,
        Self::BrokerAuthSecretFile,
        Self::Store,
        Self::Topics,
        Self::Artifacts,
        Self::LocalNode,
        Self::LocalNodeId,
        Self::LocalNodeTags,
        Self::Simulate,
        Self::SimulateSeed,
        Self::SimulatePatchGroups,
        Self::Log,
        Self::LogFormat,
    ];

    /// Key in the file, and the option's id on the command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::ListenInsecurely => "listen_insecurely",
            Self::TlsCert => "tls_cert",
            Self::TlsKey => "tls_key",
            Self::HealthListen => "health_listen",
            Self::DataDir => "data_dir",
            Self::MasterKeyFile => "master_key_file",
            Self::AccountId => "account_id",
            Self::Bus => "bus",
            Self::TrustedBusUsers => "trusted_bus_users",
            Self::NodeBus => "node_bus",
            Self::BusManagement => "bus_management",
            Self::BrokerAuthListen => "broker_auth_listen",
            Self::BrokerAuthSecretFile => "broker_auth_secret_file",
            Self::Store => "store",
            Self::Topics => "topics",
            Self::Artifacts => "artifacts",
            Self::LocalNode => "local_node",
            Self::LocalNodeId => "local_node_id",
            Self::LocalNodeTags => "local_node_tags",
            Self::Simulate => "simulate",
            Self::SimulateSeed => "simulate_seed",
            Self::SimulatePatchGroups => "simulate_patch_groups",
            Self::Log => "log",
            Self::LogFormat => "log_format",
        }
    }

    /// Option on the command line.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Listen => "--listen",
            Self::ListenInsecurely => "--listen-insecurely",
            Self::TlsCert => "--tls-cert",
            Self::TlsKey => "--tls-key",
            Self::HealthListen => "--health-listen",
            Self::DataDir => "--data-dir",
            Self::MasterKeyFile => "--master-key-file",
            Self::AccountId => "--account-id",
            Self::Bus => "--bus",
            Self::TrustedBusUsers => "--trusted-bus-users",
            Self::NodeBus => "--node-bus",
            Self::BusManagement => "--bus-management",
            Self::BrokerAuthListen => "--broker-auth-listen",
            Self::BrokerAuthSecretFile => "--broker-auth-secret-file",
            Self::Store => "--store",
            Self::Topics => "--topics",
            Self::Artifacts => "--artifacts",
            Self::LocalNode => "--local-node",
            Self::LocalNodeId => "--local-node-id",
            Self::LocalNodeTags => "--local-node-tag",
            Self::Simulate => "--simulate",
            Self::SimulateSeed => "--simulate-seed",
            Self::SimulatePatchGroups => "--simulate-patch-groups",
            Self::Log => "--log",
            Self::LogFormat => "--log-format",
        }
    }

    /// Variable in the environment.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Listen => "PATCHWAVE_LISTEN",
            Self::ListenInsecurely => "PATCHWAVE_LISTEN_INSECURELY",
            Self::TlsCert => "PATCHWAVE_TLS_CERT",
            Self::TlsKey => "PATCHWAVE_TLS_KEY",
            Self::HealthListen => "PATCHWAVE_HEALTH_LISTEN",
            Self::DataDir => "PATCHWAVE_DATA_DIR",
            Self::MasterKeyFile => "PATCHWAVE_MASTER_KEY_FILE",
            Self::AccountId => "PATCHWAVE_ACCOUNT_ID",
            Self::Bus => "PATCHWAVE_BUS",
            Self::TrustedBusUsers => "PATCHWAVE_TRUSTED_BUS_USERS",
            Self::NodeBus => "PATCHWAVE_NODE_BUS",
            Self::BusManagement => "PATCHWAVE_BUS_MANAGEMENT",
            Self::BrokerAuthListen => "PATCHWAVE_BROKER_AUTH_LISTEN",
            Self::BrokerAuthSecretFile => "PATCHWAVE_BROKER_AUTH_SECRET_FILE",
            Self::Store => "PATCHWAVE_STORE",
            Self::Topics => "PATCHWAVE_TOPICS",
            Self::Artifacts => "PATCHWAVE_ARTIFACTS",
            Self::LocalNode => "PATCHWAVE_LOCAL_NODE",
            Self::LocalNodeId => "PATCHWAVE_LOCAL_NODE_ID",
            Self::LocalNodeTags => "PATCHWAVE_LOCAL_NODE_TAGS",
            Self::Simulate => "PATCHWAVE_SIMULATE",
            Self::SimulateSeed => "PATCHWAVE_SIMULATE_SEED",
            Self::SimulatePatchGroups => "PATCHWAVE_SIMULATE_PATCH_GROUPS",
            Self::Log => "PATCHWAVE_LOG",
            Self::LogFormat => "PATCHWAVE_LOG_FORMAT",
        }
    }

    /// What is allowed, for messages.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Listen => "an address and port such as `127.0.0.1:8080`",
            Self::HealthListen => "a loopback address and port such as `127.0.0.1:8080` or `[::1]:8080`",
            Self::ListenInsecurely => "`true` or `false`",
            Self::TlsCert => "a file with certificates in PEM form, the own one first",
            Self::TlsKey => "a file with a private key in PEM form",
            Self::DataDir => "a directory",
            Self::MasterKeyFile => "a file, readable by its owner alone",
            Self::AccountId => "12 digits",
            Self::Bus => "`embedded` or `amqp[s]://user:password@host:port/vhost`",
            Self::TrustedBusUsers => "names of users of the broker, several with commas",
            Self::NodeBus => {
                "`amqps://host:port/vhost` without a user (`amqp://` on this machine), or nothing for the gateway"
            }
            Self::BusManagement => "`http[s]://user:password@host:port`, or nothing",
            Self::BrokerAuthListen => "an address and port such as `127.0.0.1:8082`, or nothing",
            Self::BrokerAuthSecretFile => "a file with a secret of at least 32 of a-z A-Z 0-9 - _",
            Self::Store => "`sqlite://path` or `postgres://user:password@host:port/database`",
            Self::Topics => "`embedded` or `redis[s]://host:port/db`",
            Self::Artifacts => "`file:///absolute/path`",
            Self::LocalNode => "`off`, `scan` or `install`",
            Self::LocalNodeId => "`mi-` and 17 hex digits",
            Self::LocalNodeTags => "`KEY=VALUE`, several with commas, such as `Patch Group=canary`",
            Self::Simulate => "a number of nodes, 0 to 10000",
            Self::SimulateSeed => "a whole number, 0 or more",
            Self::SimulatePatchGroups => "names with weights of 1 to 1000, such as `canary=1,production=3`",
            Self::Log => "a filter such as `info` or `warn,patchwave=debug`",
            Self::LogFormat => "`pretty` or `json`",
        }
    }

    /// Whether it is a number, and may stand in the file as one.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Simulate | Self::SimulateSeed)
    }

    /// The setting with that key.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.key() == key)
    }
}
