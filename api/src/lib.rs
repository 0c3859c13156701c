//! The HTTP face: SSM's JSON 1.1 protocol, Patchwave's own operations beside it, live news as
//! server-sent events, and what operations need (`/livez`, `/readyz`, `/metrics`).
//!
//! Handlers are thin: they read the request, check it, and change the store in one transaction;
//! messages go out through the outbox after the commit. No rule lives here. Every request but those
//! for health is signed by an access key (`auth`), and every change is recorded (`audited`).
//!
//! One file per group of operations; `operations` is the register of all of them.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use patchwave_platform::artifacts::Artifacts;
use patchwave_platform::bus::Bus;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::store::Store;
use patchwave_platform::topics::Topics;
use patchwave_schemas::NodeId;
use patchwave_schemas::registration::NodeTransport;
use tokio_util::sync::CancellationToken;

pub mod access_keys;
mod activations;
mod approvals;
mod audit_log;
mod audited;
mod auth;
mod baseline_preview;
mod baselines;
mod body;
pub mod broker_auth;
mod calendars;
mod call_maker;
mod commands;
mod compliance;
mod compliance_report;
mod cves;
mod dead_letters;
mod documents;
mod executions;
mod explain;
mod functions;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
mod group_compliance;
mod health;
mod inventory;
mod invocations;
mod metrics;
mod model;
mod node_properties;
mod nodes;
mod notifications;
mod operations;
mod patch_groups;
mod patch_now;
mod patch_states;
mod patches;
mod policy;
mod protocol;
mod registration;
mod resource_groups;
mod rollout_plans;
mod serve;
mod settings;
mod shares;
pub mod sign;
mod signing_keys;
mod start;
mod state_executions;
mod state_machines;
mod stream;
mod tags;
mod targets;
mod task_tokens;
mod tasks;
mod tls;
mod windows;
mod wire;
mod without_effect;

pub use serve::{ServeError, Serving, bind, health_router, serve, serve_health, serve_routes};
pub use tls::{Tls, TlsError, use_ring};

/// Bytes a request body may have. The largest requests, commands with scripts, are held to 64 KiB
/// by SSM; more only costs memory.
const BODY_BYTES_MAX: usize = 1 << 20;

/// The account that ARNs name when none is configured.
pub const DEFAULT_ACCOUNT_ID: &str = "000000000000";

/// What handlers need; clones share it.
#[derive(Clone)]
pub struct Api {
    store: Store,
    bus: Arc<dyn Bus>,
    topics: Arc<dyn Topics>,
    /// Where reports are kept, if anywhere.
    artifacts: Option<Artifacts>,
    master_key: Arc<MasterKey>,
    signer: Arc<Signer>,
    /// What nodes that register are told to use.
    node_transport: NodeTransport,
    /// For ARNs.
    account_id: Arc<str>,
    gate: Arc<auth::Gate>,
    /// The gateway of this process, if it has one.
    gateway: Option<gateway::Gateway>,
    /// Whether it is served over TLS.
    encrypted: bool,
    /// Ends streams, which would otherwise keep a graceful stop waiting for ever.
    stop: CancellationToken,
}

impl Api {
    /// An API on these ports. The master key opens the secrets that the store holds.
    #[must_use]
    pub fn new(store: Store, bus: Arc<dyn Bus>, topics: Arc<dyn Topics>, master_key: Arc<MasterKey>) -> Self {
        let signer = Arc::new(Signer::new(store.clone(), Arc::clone(&master_key)));
        Self {
            store,
            bus,
            topics,
            artifacts: None,
            master_key,
            signer,
            node_transport: NodeTransport::Gateway,
            account_id: DEFAULT_ACCOUNT_ID.into(),
            gate: Arc::default(),
            gateway: None,
            encrypted: false,
            stop: CancellationToken::new(),
        }
    }

    /// Sends nodes that register to the broker at this URL, `amqp[s]://host:port/vhost` without a
    /// user; without one they use the gateway.
    #[must_use]
    pub fn with_node_bus(mut self, url: Option<String>) -> Self {
        self.node_transport = url.map_or(NodeTransport::Gateway, |url| NodeTransport::Amqp { url });
        self
    }

    /// Keeps reports there that it is asked to store; without one it refuses to.
    #[must_use]
    pub fn with_artifacts(self, artifacts: Artifacts) -> Self {
        Self { artifacts: Some(artifacts), ..self }
    }

    /// Beside this gateway: a node that is cut off here has its stream ended at once.
    #[must_use]
    pub fn beside(self, gateway: gateway::Gateway) -> Self {
        Self { gateway: Some(gateway), ..self }
    }

    /// Ends a node's stream in this process. Other processes see for themselves.
    fn cut_off(&self, node: &NodeId) {
        if let Some(gateway) = &self.gateway {
            gateway.cut_off(node);
        }
    }

    /// With another account id, 12 digits, in the ARNs that it gives out.
    #[must_use]
    pub fn with_account_id(self, account_id: &str) -> Self {
        Self { account_id: account_id.into(), ..self }
    }

    /// The account id, 12 digits, for ARNs.
    #[must_use]
    pub fn account_id(&self) -> &str {
        &self.account_id
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

/// Where machines become nodes and nodes read the control plane's keys: for a gateway without the API.
pub fn registration_router(api: Api) -> Router {
    registration::routes().with_state(api)
}

/// Every route.
pub fn router(api: Api) -> Router {
    let signed = Router::new()
        .route("/", post(protocol::handle))
        .route("/topics/{name}/events", get(stream::handle))
        .layer(from_fn_with_state(api.clone(), auth::require));
    let local = Router::new()
        .route("/metrics", get(metrics::handle))
        .layer(from_fn_with_state(api.clone(), auth::require_from_afar));
    // Over TLS a foreign name has no certificate here.
    let open =
        if api.encrypted { health::routes() } else { health::routes().layer(from_fn(protocol::refuse_foreign_hosts)) };
    // A node that registers proves itself by its activation.
    Router::new().merge(signed).merge(local).merge(open).merge(registration::routes()).with_state(api)
}
