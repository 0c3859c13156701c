//! The register of settings: the only place where their names are spelled.

/// A setting of the server roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// Where the API listens.
    Listen,
    /// Directory for what is kept on this machine.
    DataDir,
    /// The message bus.
    Bus,
    /// The database.
    Store,
    /// Live notifications.
    Topics,
    /// Large files.
    Artifacts,
    /// Filter for log lines.
    Log,
    /// Form of log lines.
    LogFormat,
}

impl Setting {
    /// Every setting, in the order of the reference file.
    pub const ALL: [Self; 8] = [
        Self::Listen,
        Self::DataDir,
        Self::Bus,
        Self::Store,
        Self::Topics,
        Self::Artifacts,
        Self::Log,
        Self::LogFormat,
    ];

    /// Key in the file, and the option's id on the command line.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::DataDir => "data_dir",
            Self::Bus => "bus",
            Self::Store => "store",
            Self::Topics => "topics",
            Self::Artifacts => "artifacts",
            Self::Log => "log",
            Self::LogFormat => "log_format",
        }
    }

    /// Option on the command line.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Listen => "--listen",
            Self::DataDir => "--data-dir",
            Self::Bus => "--bus",
            Self::Store => "--store",
            Self::Topics => "--topics",
            Self::Artifacts => "--artifacts",
            Self::Log => "--log",
            Self::LogFormat => "--log-format",
        }
    }

    /// Variable in the environment.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Listen => "PATCHWAVE_LISTEN",
            Self::DataDir => "PATCHWAVE_DATA_DIR",
            Self::Bus => "PATCHWAVE_BUS",
            Self::Store => "PATCHWAVE_STORE",
            Self::Topics => "PATCHWAVE_TOPICS",
            Self::Artifacts => "PATCHWAVE_ARTIFACTS",
            Self::Log => "PATCHWAVE_LOG",
            Self::LogFormat => "PATCHWAVE_LOG_FORMAT",
        }
    }

    /// What is allowed, for messages.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Listen => "a loopback address and port such as `127.0.0.1:8080` or `[::1]:8080`",
            Self::DataDir => "a directory",
            Self::Bus => "`embedded` or `amqp[s]://user:password@host:port/vhost`",
            Self::Store => "`sqlite://path` or `postgres://user:password@host:port/database`",
            Self::Topics => "`embedded` or `redis[s]://host:port/db`",
            Self::Artifacts => "`file:///absolute/path`",
            Self::Log => "a filter such as `info` or `warn,patchwave=debug`",
            Self::LogFormat => "`pretty` or `json`",
        }
    }

    /// The setting with that key.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.key() == key)
    }
}
