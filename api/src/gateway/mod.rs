//! The way of nodes that do not reach the broker: over HTTPS, through this process.
//!
//! A node opens one long response, which brings its commands line by line, and posts its reports;
//! docs/node-gateway.md has the protocol. This process has one queue on the bus for all of its
//! nodes, and knows nothing that another gateway could miss: who is connected where is in the
//! store, told by hellos as with any connection, and by [`NodeDisconnected`] when a stream ends or
//! a command comes for a node that is not here. So any number of gateways serve a fleet, a node may
//! use any of them for each request, and nothing is lost silently when one dies.
//!
//! Not here: what a command or a report means.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use jiff::Timestamp;
use patchwave_platform::bus::{Bus, HostQueue, Outgoing, Route};
use patchwave_platform::proofs::Identities;
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::report::NodeDisconnected;
use patchwave_schemas::topology::routing_key;
use patchwave_schemas::{CloudEvent, Message as _, NodeId};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use reports::Posts;
use streams::{Command, Streams};

use crate::auth::strangers::Strangers;
use crate::shares::Shares;

mod commands;
mod login;
mod reports;
mod streams;

/// Streams of one process unless another limit is asked for. Each costs a socket and some KiB.
pub const STREAMS_MAX: usize = 20_000;

/// News of nodes that wait to be told at most. What does not fit is repaired by the rollouts'
/// checks, half a minute later.
const NEWS_MAX: usize = 16_384;

/// Time between two looks at whether the nodes that are connected here are still registered by the
/// keys they were let in by. Where the same process cuts a node off, its stream ends at once.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Nodes looked up together.
const LOOK_AT_ONCE: usize = 500;

/// Bytes of reports that are being read or published at once, and what one node may have of them:
/// its largest request, and one that it has just given up.
const REPORTS_BYTES: (usize, usize) = (256 << 20, 32 << 20);

/// News told together.
const NEWS_AT_ONCE: usize = 256;

/// First and last pause before another queue is taken on the bus.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Serves nodes over HTTP; clones share it.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<Inner>,
    look_every: Duration,
}

struct Inner {
    bus: Arc<dyn Bus>,
    identities: Arc<dyn Identities>,
    streams: Arc<Streams>,
    strangers: Strangers,
    posts: Posts,
    reports: Arc<Shares>,
    /// Taken by [`Gateway::run`].
    news: Mutex<mpsc::Receiver<NodeDisconnected>>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("streams", &self.inner.streams.len()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway between a bus and the nodes of `identities`, for at most `streams_max` at a time.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, identities: Arc<dyn Identities>, streams_max: usize) -> Self {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let streams = Arc::new(Streams::new(streams_max, sender));
        let inner = Inner {
            bus,
            identities,
            streams,
            strangers: Strangers::default(),
            posts: Posts::default(),
            reports: Shares::new(REPORTS_BYTES.0, REPORTS_BYTES.1),
            news: Mutex::new(news),
        };
        Self { inner: Arc::new(inner), look_every: LOOK_EVERY }
    }

    /// With another time between two looks at who is still registered than ten seconds.
    #[must_use]
    pub fn looking_every(self, look_every: Duration) -> Self {
        Self { look_every, ..self }
    }

    /// Ends a node's stream, if it has one here: it was deregistered or bound to another key.
    pub fn cut_off(&self, node: &NodeId) {
        self.inner.streams.cut_off(node, None);
    }

    /// The routes, for a listener that nodes reach.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/node/v1/commands", get(commands::handle))
            .route("/node/v1/reports", post(reports::handle))
            .with_state(self.clone())
    }

    /// Nodes that are connected here.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.inner.streams.len()
    }

    /// Passes commands on until `stop`, which also ends every stream. Without this running, no node
    /// is let in.
    pub async fn run(&self, stop: CancellationToken) {
        let mut news = self.inner.news.lock().await;
        let telling = tell(&*self.inner.bus, &mut news);
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.pass_on() => {}
            () = telling => {}
            () = self.keep_looking() => {}
        }
        self.inner.streams.close_all();
    }

    /// Ends the streams of nodes that another process cut off or bound to another key.
    async fn keep_looking(&self) {
        loop {
            tokio::time::sleep(self.look_every).await;
            for nodes in self.inner.streams.nodes().chunks(LOOK_AT_ONCE) {
                // Without its store the control plane cuts nobody off.
                let Ok(keys) = self.inner.identities.active_keys(nodes).await else { break };
                nodes.iter().for_each(|node| self.inner.streams.cut_off(node, keys.get(node)));
            }
        }
    }

    /// Takes a queue, serves it until it is lost, takes another.
    async fn pass_on(&self) {
        let pauses = || {
            let (first, last) = PAUSES;
            ExponentialBuilder::default().with_min_delay(first).with_max_delay(last).without_max_times().build()
        };
        let mut attempts = pauses();
        loop {
            match self.inner.bus.host().await {
                Ok(queue) => {
                    attempts = pauses();
                    self.serve(queue).await;
                    tracing::warn!("the gateway's queue is gone; its nodes connect again");
                }
                Err(error) => tracing::warn!(reason = error_chain(&error), "no queue for the gateway; trying again"),
            }
            let pause = attempts.next().unwrap_or(PAUSES.1);
            tokio::time::sleep(pause.mul_f64(rand::random::<f64>())).await;
        }
    }

    async fn serve(&self, mut queue: Box<dyn HostQueue>) {
        let streams = &self.inner.streams;
        streams.open_at(queue.address());
        tracing::info!(address = queue.address(), "the gateway takes commands");
        while let Some(body) = queue.next().await {
            match Command::read(body) {
                Ok(command) => streams.pass_on(command),
                Err(reason) => tracing::warn!(reason, "a command for no node was dropped"),
            }
        }
        // Its nodes have no address any more: they must say hello with another one.
        streams.close_all();
    }
}

/// Tells the control plane of nodes that are not here any more.
async fn tell(bus: &dyn Bus, news: &mut mpsc::Receiver<NodeDisconnected>) {
    let mut batch = Vec::new();
    while news.recv_many(&mut batch, NEWS_AT_ONCE).await > 0 {
        let messages: Vec<_> = batch.drain(..).map(outgoing).collect();
        if let Err(error) = bus.publish(&messages).await {
            let reason = error_chain(&error);
            tracing::warn!(
                reason,
                nodes = messages.len(),
                "could not tell that nodes are away; their rollouts will notice"
            );
        }
    }
}

fn outgoing(news: NodeDisconnected) -> Outgoing {
    let id = Uuid::now_v7();
    let node = news.node_id.clone();
    let event = CloudEvent::new(id, "/patchwave/gateway", Timestamp::now(), news).about(node.as_str());
    Outgoing {
        route: Route::Report { key: routing_key(NodeDisconnected::TYPE).to_owned() },
        message_id: id,
        message_type: NodeDisconnected::TYPE.to_owned(),
        body: event.to_bytes(),
    }
}
