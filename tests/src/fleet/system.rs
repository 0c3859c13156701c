//! The server side: the roles of `patchwave` as one process or as several.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use patchwave_api::access_keys::{NewAccessKey, create_offline};
use patchwave_api::sign::Credentials;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use tempfile::TempDir;

use super::{Api, Program, eventually};
use crate::servers::process::{free_port, temp_dir};
use crate::servers::shared;

/// What the roles stand on.
#[derive(Debug, Clone)]
pub struct Urls {
    /// `embedded` or a virtual host of RabbitMQ.
    pub bus: String,
    /// A database of PostgreSQL, or `None` for the SQLite file in the data directory.
    pub store: Option<String>,
    /// `embedded` or Redis.
    pub topics: String,
}

impl Urls {
    /// A fresh virtual host and a fresh database on the servers that all tests share.
    ///
    /// # Errors
    /// When the test was started without them.
    pub fn shared(name: &str) -> anyhow::Result<Self> {
        let servers = shared()?;
        let store = Some(servers.database(&name.replace('-', "_"))?);
        Ok(Self { bus: servers.vhost(name)?, store, topics: servers.redis_url().to_owned() })
    }

    /// No other program.
    #[must_use]
    pub fn embedded() -> Self {
        Self { bus: "embedded".to_owned(), store: None, topics: "embedded".to_owned() }
    }
}

/// A subcommand of `patchwave` that runs until it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Every role.
    Up,
    /// The scheduler alone.
    Scheduler,
    /// A worker of all queues.
    Worker,
    /// The API alone.
    Api,
    /// A gateway alone.
    Gateway,
}

impl Role {
    const fn subcommand(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Api => "api",
            Self::Gateway => "gateway",
        }
    }
}

/// A running control plane with an API on a free port.
#[derive(Debug)]
pub struct System {
    api: Api,
    urls: Urls,
    programs: Vec<(Role, Program)>,
    // Last, so that it is removed after the programs are gone.
    directory: TempDir,
}

impl System {
    /// Starts `roles`, one process each, and waits until the API is ready.
    ///
    /// # Errors
    /// When a program was not built or does not start.
    pub async fn start(urls: Urls, roles: &[Role]) -> anyhow::Result<Self> {
        Self::start_with(urls, roles, &[]).await
    }

    /// As [`System::start`], with more options for each process.
    ///
    /// # Errors
    /// As [`System::start`].
    pub async fn start_with(urls: Urls, roles: &[Role], options: &[&str]) -> anyhow::Result<Self> {
        let directory = temp_dir("system")?;
        let port = free_port(None)?;
        let data = directory.path().join("data");
        let key = first_key(&urls, &data).await?;
        let mut programs = Vec::new();
        for (number, role) in roles.iter().enumerate() {
            let log = format!("{}-{number}", role.subcommand());
            let mut arguments = vec![
                role.subcommand().to_owned(),
                "--listen".to_owned(),
                format!("127.0.0.1:{port}"),
                "--data-dir".to_owned(),
                data.display().to_string(),
                "--bus".to_owned(),
                urls.bus.clone(),
                "--topics".to_owned(),
                urls.topics.clone(),
            ];
            arguments.extend(urls.store.iter().flat_map(|url| ["--store".to_owned(), url.clone()]));
            arguments.extend(options.iter().map(|option| (*option).to_owned()));
            programs.push((*role, Program::start("patchwave", arguments, directory.path(), &log)?));
        }
        let system = Self { api: Api::new(port, key), urls, programs, directory };
        eventually("the API is ready", async || system.api.is_ready().await.then_some(())).await;
        Ok(system)
    }

    /// A client of its API.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// What it stands on.
    #[must_use]
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Where its programs keep their files and logs; removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The URL of its database.
    #[must_use]
    pub fn store_url(&self) -> String {
        let embedded = || format!("sqlite://{}", self.directory().join("data/patchwave.db").display());
        self.urls.store.clone().unwrap_or_else(embedded)
    }

    /// Starts a gateway of its own beside it, with this certificate and key, on a free port.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub fn gateway(&self, certificate: &Path, key: &Path) -> anyhow::Result<(Program, u16)> {
        let port = free_port(None)?;
        let text = |path: &Path| path.display().to_string();
        let mut arguments = vec!["gateway".to_owned(), "--listen".to_owned(), format!("127.0.0.1:{port}")];
        for (option, value) in [
            ("--data-dir", text(&self.directory().join("gateway"))),
            ("--master-key-file", text(&self.directory().join("data/master.key"))),
            ("--bus", self.urls.bus.clone()),
            ("--topics", self.urls.topics.clone()),
            ("--store", self.store_url()),
            ("--tls-cert", text(certificate)),
            ("--tls-key", text(key)),
        ] {
            arguments.extend([option.to_owned(), value]);
        }
        Ok((Program::start("patchwave", arguments, self.directory(), "gateway")?, port))
    }

    /// Its processes with this role.
    pub fn programs(&mut self, role: Role) -> impl Iterator<Item = &mut Program> {
        self.programs.iter_mut().filter(move |(one, _)| *one == role).map(|(_, program)| program)
    }

    /// Whether every process runs.
    pub fn is_running(&mut self) -> bool {
        self.programs.iter_mut().all(|(_, program)| program.is_running())
    }
}

/// An admin's access key, made before any process is there to ask for one.
async fn first_key(urls: &Urls, data: &Path) -> anyhow::Result<Credentials> {
    std::fs::DirBuilder::new().mode(0o700).create(data)?;
    let store = match &urls.store {
        Some(url) => Store::open(url).await?,
        None => Store::open(&format!("sqlite://{}", data.join("patchwave.db").display())).await?,
    };
    let master_key = MasterKey::load_or_create(&data.join("master.key"))?;
    ensure!(store.is_master_key(&master_key).await?, "the store has another master key");
    let new = NewAccessKey {
        role: patchwave_engine::access::Role::Admin,
        policy: None,
        description: "tests".to_owned(),
        credentials: None,
    };
    let key = create_offline(&store, &master_key, new, "tests", false).await?;
    store.close().await;
    key.context("no access key was made")
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The files are gone in a moment.
            for (_, program) in &self.programs {
                eprintln!("{}", program.log_tail());
            }
        }
    }
}
