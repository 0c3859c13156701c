//! The HTTP face: SSM's JSON 1.1 protocol, Patchwave's own operations beside it, live news as
//! server-sent events, and what operations need (`/livez`, `/readyz`, `/metrics`).
//!
//! Handlers are thin: they read the request, check it, and change the store in one transaction;
//! messages go out through the outbox after the commit. No rule lives here. Until requests are
//! authenticated, nothing but this machine is served: [`bind`] and [`serve`] refuse any address
//! that is not loopback.
//!
//! One file per group of operations; `operations` is the register of all of them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use patchwave_platform::bus::Bus;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::store::Store;
use patchwave_platform::topics::Topics;
use patchwave_schemas::registration::NodeTransport;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod activations;
mod baselines;
pub mod broker_auth;
mod commands;
mod dead_letters;
mod documents;
mod executions;
pub mod gateway;
mod health;
mod invocations;
mod metrics;
mod model;
mod nodes;
mod notifications;
mod operations;
mod patch_groups;
mod patch_states;
mod protocol;
mod registration;
mod resource_groups;
mod signing_keys;
mod start;
mod stream;
mod tags;
mod targets;
mod tasks;
mod windows;
mod wire;
mod without_effect;

/// Bytes a request body may have. The largest requests, commands with scripts, are held to 64 KiB
/// by SSM; more only costs memory.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What handlers need; clones share it.
#[derive(Clone)]
pub struct Api {
    store: Store,
    bus: Arc<dyn Bus>,
    topics: Arc<dyn Topics>,
    master_key: Arc<MasterKey>,
    signer: Arc<Signer>,
    /// What nodes that register are told to use.
    node_transport: NodeTransport,
    /// Ends streams, which would otherwise keep a graceful stop waiting for ever.
    stop: CancellationToken,
}

impl Api {
    /// An API on these ports. The master key opens the secrets that the store holds.
    #[must_use]
    pub fn new(store: Store, bus: Arc<dyn Bus>, topics: Arc<dyn Topics>, master_key: Arc<MasterKey>) -> Self {
        let signer = Arc::new(Signer::new(store.clone(), Arc::clone(&master_key)));
        let node_transport = NodeTransport::Gateway;
        Self { store, bus, topics, master_key, signer, node_transport, stop: CancellationToken::new() }
    }

    /// Sends nodes that register to the broker at this URL, `amqp[s]://host:port/vhost` without a
    /// user; without one they use the gateway.
    #[must_use]
    pub fn with_node_bus(mut self, url: Option<String>) -> Self {
        self.node_transport = url.map_or(NodeTransport::Gateway, |url| NodeTransport::Amqp { url });
        self
    }

    /// Opens the secrets that the store holds: for routers that are served beside the API.
    #[must_use]
    pub fn master_key(&self) -> &Arc<MasterKey> {
        &self.master_key
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can be reached from other machines.
    #[error(
        "listen address `{address}` is not loopback; requests are not authenticated yet, so allowed are \
         127.0.0.0/8 and [::1]"
    )]
    NotLoopback {
        /// The address given.
        address: SocketAddr,
    },
    /// The address is taken, or the system refuses it.
    #[error("could not listen on `{address}`")]
    Bind {
        /// The address given.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The listener broke.
    #[error("could not serve requests")]
    Serve {
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Listens on a loopback address; port 0 picks a free one.
///
/// # Errors
/// [`ServeError::NotLoopback`], [`ServeError::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    check_loopback(address)?;
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves until `stop`, then finishes the requests it has.
///
/// # Errors
/// [`ServeError::NotLoopback`] for a listener that other machines can reach,
/// [`ServeError::Serve`].
pub async fn serve(listener: TcpListener, mut api: Api, stop: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(|source| ServeError::Serve { source })?;
    check_loopback(address)?;
    api.stop = stop.clone();
    tracing::info!(listen.address = %address, "api listens");
    axum::serve(listener, router(api))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|source| ServeError::Serve { source })
}

/// Answers `/livez` and `/readyz`, and nothing else, until `stop`: for processes without the API.
///
/// # Errors
/// As [`serve`].
pub async fn serve_health(listener: TcpListener, api: Api, stop: CancellationToken) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(|source| ServeError::Serve { source })?;
    check_loopback(address)?;
    tracing::info!(listen.address = %address, "health checks are answered");
    let routes = health::routes().layer(axum::middleware::from_fn(protocol::refuse_foreign_hosts));
    axum::serve(listener, routes.with_state(api))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|source| ServeError::Serve { source })
}

/// Every route.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/", post(protocol::handle))
        .route("/topics/{name}/events", get(stream::handle))
        .merge(health::routes())
        .merge(registration::routes())
        .route("/metrics", get(metrics::handle))
        .layer(axum::middleware::from_fn(protocol::refuse_foreign_hosts))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

fn check_loopback(address: SocketAddr) -> Result<(), ServeError> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(ServeError::NotLoopback { address }) }
}
