//! Starting the server roles in this process.
//!
//! One place that knows which adapter a URL means. The roles themselves know only ports.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use patchwave_api::gateway::{Gateway, STREAMS_MAX};
use patchwave_api::{Api, ServeError, Serving, Tls};
use patchwave_platform::artifacts::Artifacts;
use patchwave_platform::bus::Bus;
use patchwave_platform::bus::amqp::{AmqpBus, Management};
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::functions::Functions;
use patchwave_platform::operations::CallMaker;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::store::Store;
use patchwave_platform::telemetry::error_chain;
use patchwave_platform::topics::Topics;
use patchwave_platform::topics::embedded::EmbeddedTopics;
use patchwave_platform::topics::redis::RedisTopics;
use patchwave_schemas::topology::WorkQueue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::Config;
use crate::failure::Failure;
use crate::node_ways::{self, Questions};
use crate::{first_key, in_process};

/// Tries to reach a database that is still starting: about a minute in all.
const OPEN_TRIES: usize = 15;
/// Time for work of nodes in this process to end. Service managers and containers give 30 s in all.
const NODES_STOP_GRACE: Duration = Duration::from_secs(20);
/// Where this machine as a node keeps its state, below the data directory.
const NODE_STATE: &str = "agent";
/// Time for the bus to say goodbye at the end.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// The adapters that a configuration names, opened.
pub struct Platform {
    /// The truth.
    pub store: Store,
    /// Work, commands and events.
    pub bus: Arc<dyn Bus>,
    /// The same bus, when it is in this process: in-process agents connect to it.
    pub embedded: Option<Arc<EmbeddedBus>>,
    /// Live news.
    pub topics: Arc<dyn Topics>,
    /// Opens what is sealed in the store.
    pub master_key: Arc<MasterKey>,
    /// Where nodes that register are sent.
    pub node_bus: Option<String>,
    /// Signs what nodes are told.
    pub signer: Arc<Signer>,
    artifacts: Artifacts,
    account_id: String,
    /// Held while this process owns the data directory.
    _lock: Option<File>,
}

impl Platform {
    /// Opens what the configuration names. A broker or topic server that is away is waited for
    /// later, by whoever uses it; a database is waited for here.
    ///
    /// # Errors
    /// When the data directory is another process's, or the database cannot be opened.
    pub async fn open(config: &Config, role: &str) -> anyhow::Result<Self> {
        let local = config.bus.is_embedded() || config.store.as_str().starts_with("sqlite:");
        let lock = if local { Some(take_directory(&config.data_dir)?) } else { None };
        let artifacts = Artifacts::open(config.artifacts.as_str())
            .with_context(|| format!("could not open {}", config.artifacts))?;
        let store = open_store(config).await?;
        let master_key = Arc::new(open_master_key(&config.master_key_file, &store).await?);
        store
            .ensure_predefined_baselines(Timestamp::now())
            .await
            .context("could not store the predefined baselines")?;
        let (bus, embedded): (Arc<dyn Bus>, _) = if config.bus.is_embedded() {
            let bus = Arc::new(EmbeddedBus::open(Some(&bus_file(config))).await?);
            (Arc::clone(&bus) as Arc<dyn Bus>, Some(bus))
        } else {
            let bus = AmqpBus::connect(config.bus.as_str(), role).await?;
            let management = config.bus_management.as_ref().map(|url| Management::new(url.as_str())).transpose()?;
            if management.is_none() && config.node_bus.is_some() {
                warn!(
                    "no bus_management: a node that is cut off stays connected, unheard, until its connection is lost"
                );
            }
            (Arc::new(bus.trusting(config.trusted_bus_users.clone()).managed_by(management)), None)
        };
        let topics: Arc<dyn Topics> = if config.topics.is_embedded() {
            Arc::new(EmbeddedTopics::new())
        } else {
            Arc::new(RedisTopics::connect(config.topics.as_str()).await?)
        };
        for warning in bus.warnings().await {
            warn!("{warning}");
        }
        let signer = Arc::new(Signer::new(store.clone(), Arc::clone(&master_key)));
        Ok(Self {
            store,
            bus,
            embedded,
            topics,
            master_key,
            node_bus: config.node_bus.clone(),
            signer,
            artifacts,
            account_id: config.account_id.clone(),
            _lock: lock,
        })
    }

    fn for_workers(&self) -> patchwave_workers::Context {
        patchwave_workers::Context {
            store: self.store.clone(),
            bus: Arc::clone(&self.bus),
            topics: Arc::clone(&self.topics),
            master_key: Arc::clone(&self.master_key),
            signer: Some(Arc::clone(&self.signer)),
            calls: Some(self.calls()),
        }
    }

    /// Whoever makes the calls of executions: operations of our own, by way of the API's handlers, and
    /// functions and endpoints.
    fn calls(&self) -> patchwave_workers::caller::Calls {
        let mut makers: Vec<Arc<dyn CallMaker>> = vec![Arc::new(self.for_api())];
        match Functions::new(self.store.clone()) {
            Ok(functions) => makers.push(Arc::new(functions)),
            Err(error) => warn!(error = %error_chain(&error), "no function and no endpoint can be called"),
        }
        patchwave_workers::caller::Calls::new(makers)
    }

    fn for_scheduler(&self) -> patchwave_scheduler::Context {
        patchwave_scheduler::Context {
            store: self.store.clone(),
            bus: Arc::clone(&self.bus),
            topics: Arc::clone(&self.topics),
        }
    }

    fn for_api(&self) -> Api {
        Api::new(self.store.clone(), Arc::clone(&self.bus), Arc::clone(&self.topics), Arc::clone(&self.master_key))
            .with_node_bus(self.node_bus.clone())
            .with_artifacts(self.artifacts.clone())
            .with_account_id(&self.account_id)
    }

    /// Runs every role until `shutdown` is cancelled, serving the API on `listener`.
    ///
    /// # Errors
    /// When the API gives up.
    pub async fn run_all(
        &self,
        listener: TcpListener,
        serving: Serving,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let gateway = node_ways::gateway(self);
        let serving = with_gateway(serving, &gateway);
        let scheduler = patchwave_scheduler::run(self.for_scheduler(), shutdown.clone());
        let workers = patchwave_workers::run(self.for_workers(), &[], shutdown.clone());
        let api = async {
            let api = self.for_api().beside(gateway.clone());
            let served = patchwave_api::serve(listener, api, serving, shutdown.clone()).await;
            // Without its API the process is of no use: the others stop with it.
            shutdown.cancel();
            served
        };
        let ((), (), (), served) = tokio::join!(scheduler, workers, gateway.run(shutdown.clone()), api);
        served.context("the api gave up")
    }

    /// Answers health checks on `listener`, if there is one, until `shutdown` is cancelled.
    async fn answer_health(&self, listener: Option<TcpListener>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Some(listener) = listener else { return Ok(()) };
        let served = patchwave_api::serve_health(listener, self.for_api(), shutdown.clone()).await;
        // Unseen by its supervisor the process would be killed; it leaves in order instead.
        shutdown.cancel();
        served.context("health checks could not be answered")
    }

    /// Says goodbye to the bus and the database.
    pub async fn close(self) {
        if tokio::time::timeout(CLOSE_WITHIN, self.bus.close()).await.is_err() {
            warn!("the bus did not close in time");
        }
        self.store.close().await;
    }
}

/// Runs every role, and the nodes that are to be in this process, until `shutdown` is cancelled.
///
/// # Errors
/// When a role or a node cannot start or gives up.
pub async fn up(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let serving = serving(config)?;
    let listener = patchwave_api::bind(config.listen, &serving).await?;
    let platform = Platform::open(config, "patchwave").await?;
    first_key::ensure(config, &platform.store, &platform.master_key).await?;
    let asked = node_ways::questions(config, &serving).await?;
    let nodes = in_process::nodes(&config.nodes, &config.data_dir.join(NODE_STATE))?;
    info!(api = %config.listen, bus = %config.bus, store = %config.store, topics = %config.topics, "up");
    let agents = async {
        let Some(bus) = platform.embedded.clone().filter(|_| !nodes.is_empty()) else { return Ok(()) };
        let ran = in_process::run(nodes, bus, NODES_STOP_GRACE, shutdown.clone()).await;
        // Nodes that were asked for and are not there are no small thing: the roles stop with them.
        shutdown.cancel();
        ran
    };
    let (ran, nodes_ran, answered) = tokio::join!(
        platform.run_all(listener, serving, shutdown.clone()),
        agents,
        answer_broker(asked, &platform, shutdown.clone())
    );
    platform.close().await;
    ran.and(nodes_ran).and(answered)
}

/// Runs the scheduler until `shutdown` is cancelled.
///
/// # Errors
/// When it cannot start or gives up.
pub async fn scheduler(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = bind_health(config).await?;
    let platform = Platform::open(config, "patchwave-scheduler").await?;
    let role = until_it_ends(patchwave_scheduler::run(platform.for_scheduler(), shutdown.clone()), &shutdown);
    let ((), served) = tokio::join!(role, platform.answer_health(health, shutdown.clone()));
    platform.close().await;
    served
}

/// Runs a worker that reads the queues `only` (all of them when empty) until `shutdown` is
/// cancelled.
///
/// # Errors
/// When it cannot start or gives up.
pub async fn worker(config: &Config, only: &[WorkQueue], shutdown: CancellationToken) -> anyhow::Result<()> {
    let health = bind_health(config).await?;
    let platform = Platform::open(config, "patchwave-worker").await?;
    let role = until_it_ends(patchwave_workers::run(platform.for_workers(), only, shutdown.clone()), &shutdown);
    let ((), served) = tokio::join!(role, platform.answer_health(health, shutdown.clone()));
    platform.close().await;
    served
}

/// Runs a role, and stops the process's other parts with it: one that answers health checks without
/// doing its work would never be started again.
async fn until_it_ends(role: impl Future<Output = ()>, shutdown: &CancellationToken) {
    role.await;
    shutdown.cancel();
}

/// Serves the API until `shutdown` is cancelled.
///
/// # Errors
/// When it cannot start or gives up.
pub async fn api(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let serving = serving(config)?;
    let listener = patchwave_api::bind(config.listen, &serving).await?;
    let platform = Platform::open(config, "patchwave-api").await?;
    first_key::ensure(config, &platform.store, &platform.master_key).await?;
    info!(api = %config.listen, "serving");
    let asked = node_ways::questions(config, &serving).await?;
    let api = async {
        let served = patchwave_api::serve(listener, platform.for_api(), serving, shutdown.clone()).await;
        shutdown.cancel();
        served.context("the api gave up")
    };
    let (served, answered) = tokio::join!(api, answer_broker(asked, &platform, shutdown.clone()));
    platform.close().await;
    served.and(answered)
}

/// Serves nodes over HTTPS until `shutdown` is cancelled: those that are registered and those that
/// register, with health checks beside them.
///
/// # Errors
/// When it cannot start or gives up.
pub async fn gateway(config: &Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let serving = serving(config)?;
    let listener = patchwave_api::bind(config.listen, &serving).await?;
    let platform = Platform::open(config, "patchwave-gateway").await?;
    let gateway = node_ways::gateway(&platform);
    let serving = with_gateway(serving, &gateway);
    info!(gateway = %config.listen, "serving nodes");
    let api = platform.for_api().beside(gateway.clone());
    let routes = patchwave_api::health_router(api.clone())
        .merge(patchwave_api::registration_router(api))
        .merge(serving.beside.clone());
    let serve = async {
        let served = patchwave_api::serve_routes(listener, routes, serving, shutdown.clone()).await;
        shutdown.cancel();
        served.context("the gateway gave up")
    };
    let (served, ()) = tokio::join!(serve, gateway.run(shutdown.clone()));
    platform.close().await;
    served
}

/// Room for the gateway's nodes beside whatever else is served.
fn with_gateway(serving: Serving, gateway: &Gateway) -> Serving {
    let beside = serving.beside.clone().merge(gateway.router());
    Serving { beside, connections_max: Some(2 * STREAMS_MAX), ..serving }
}

/// Answers the broker's questions about nodes, if it was told where to ask.
async fn answer_broker(
    asked: Option<Questions>,
    platform: &Platform,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let Some(asked) = asked else { return Ok(()) };
    let answered = asked.answer(platform, shutdown.clone()).await;
    // No node could log in any more, and nobody would see why.
    shutdown.cancel();
    answered
}

async fn bind_health(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    match config.health_listen {
        Some(address) => Ok(Some(patchwave_api::bind(address, &Serving::default()).await?)),
        None => Ok(None),
    }
}

/// How the API is served, its certificate read.
fn serving(config: &Config) -> Result<Serving, ServeError> {
    let tls = config.tls.as_ref().map(|(certificate, key)| Tls::open(certificate, key)).transpose()?;
    Ok(Serving { tls: tls.map(Arc::new), insecurely: config.listen_insecurely, ..Serving::default() })
}

pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let open = || async { Store::open(config.store.as_str()).await };
    open.retry(
        ExponentialBuilder::default().with_max_delay(Duration::from_secs(5)).with_max_times(OPEN_TRIES).with_jitter(),
    )
    .when(|error| error.class() == patchwave_platform::Class::Transient)
    .notify(|error, pause| {
        let reason = error_chain(error);
        warn!(reason, pause_ms = pause.as_millis(), "the store is away; trying again");
    })
    .await
    .with_context(|| format!("could not open the store {}", config.store))
}

/// Reads the master key, which must be the one that the store's secrets are sealed with. The first
/// start makes it, with its directory.
pub(crate) async fn open_master_key(path: &Path, store: &Store) -> anyhow::Result<MasterKey> {
    let hint = "every process of one control plane needs the same file: copy it, or name it with --master-key-file";
    let master_key = if store.has_master_key().await? {
        // A new one would open nothing.
        MasterKey::load(path).map_err(|error| Failure::failed(error_chain(&error)).with_hint(hint))?
    } else {
        if let Some(directory) = path.parent() {
            make_directory(directory)?;
        }
        MasterKey::load_or_create(path).context("without its master key the control plane cannot start")?
    };
    if store.is_master_key(&master_key).await? {
        return Ok(master_key);
    }
    let message = format!("the master key in {} is not the one of this store", path.display());
    Err(Failure::failed(message).with_hint(hint).into())
}

/// The embedded bus lives in the store's SQLite file, or in one of its own beside PostgreSQL.
fn bus_file(config: &Config) -> PathBuf {
    match config.store.as_str().strip_prefix("sqlite://") {
        Some(path) => PathBuf::from(path.split('?').next().unwrap_or(path)),
        None => config.data_dir.join("bus.db"),
    }
}

/// Makes the directory and takes it for this process: embedded adapters have one owner.
fn take_directory(directory: &Path) -> anyhow::Result<File> {
    make_directory(directory)?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let message = format!("the data directory {} is in use by another patchwave process", directory.display());
            Err(Failure::failed(message).with_hint("stop that one, or choose another with --data-dir").into())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("could not lock {}", path.display()))
        }
    }
}

/// Makes a directory for this user alone: the database and the journal hold what commands were given
/// and what they printed.
fn make_directory(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("could not create the directory {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_that_ends_by_itself_ends_its_health_checks() {
        let shutdown = CancellationToken::new();
        tokio::join!(until_it_ends(async {}, &shutdown), shutdown.cancelled());
    }
}
