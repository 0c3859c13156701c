//! The listener: TCP or TLS, and the limits that keep one peer from taking it all.
//!
//! Requests must come whole within their times; connections are counted; a slow or silent peer is
//! dropped. Without a certificate only this machine is listened to, unless the operator says
//! otherwise in so many words.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use patchwave_platform::telemetry::error_chain;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::auth::limits;
use crate::body::InTime;
use crate::shares::{Share, Shares};
use crate::tls::{Tls, TlsError};
use crate::{Api, health, protocol, router};

/// Connections at once. More would take file descriptors from the store and the bus.
const CONNECTIONS_MAX: usize = 4_096;
/// Of them, the part that one network may have: a quarter. A proxy in front is one network, unless
/// it is on this machine.
const NETWORKS_SHARE: usize = 4;
/// File descriptors for what is no connection of a peer: the store, the bus, files.
const OTHER_DESCRIPTORS: u64 = 256;
/// Time for the head of a request, and the longest silence between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Time for the body of a request: enough for the largest, a gateway's reports, on a slow line.
const BODY_WITHIN: Duration = Duration::from_secs(60);
/// Time for a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Milliseconds that what was written may stay unconfirmed by the peer's system. A stream to a node
/// that vanished ends by this: signs of life are written to it.
const UNHEARD_MS: u32 = 60_000;
/// Pause after the system refused a connection: it has no descriptors left, and gets some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for requests in hand to end at a stop. Service managers give 30 s in all.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How the API is served.
#[derive(Debug, Clone, Default)]
pub struct Serving {
    /// With what certificate; plain HTTP when absent.
    pub tls: Option<Arc<Tls>>,
    /// Whether plain HTTP may be served to other machines: whoever is on the way can then read
    /// everything, though not sign anything.
    pub insecurely: bool,
    /// Routes beside the API's, with an authentication of their own.
    pub beside: Router,
    /// Connections at once, where the usual 4,096 are too few: a gateway has one for each node.
    pub connections_max: Option<usize>,
    /// Time for the body of a request, where the usual minute is too long.
    pub body_within: Option<Duration>,
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can be reached from other machines, and nothing would be encrypted.
    #[error(
        "listen address `{address}` is not loopback, and without a certificate everything could be read on the way; \
         allowed are --tls-cert with --tls-key, an address in 127.0.0.0/8 or [::1], or --listen-insecurely"
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
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Listens on an address; port 0 picks a free one.
///
/// # Errors
/// [`ServeError::NotLoopback`], [`ServeError::Bind`].
pub async fn bind(address: SocketAddr, serving: &Serving) -> Result<TcpListener, ServeError> {
    check_reach(address, serving)?;
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

/// Serves the API until `stop`, then finishes the requests it has.
///
/// # Errors
/// [`ServeError::NotLoopback`] for a listener that other machines can reach in plain HTTP without
/// leave, [`ServeError::Serve`].
pub async fn serve(
    listener: TcpListener,
    mut api: Api,
    serving: Serving,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    // Cutting entries off at the log's end shows only beside a head that was noted elsewhere: here.
    match api.store.audit_head().await {
        Ok(head) => tracing::info!(audit.seq = head.seq, audit.mac = head.mac, "the audit log ends here"),
        Err(error) => tracing::warn!(error = %error_chain(&error), "the audit log's end could not be read"),
    }
    api.stop = stop.clone();
    api.encrypted = serving.tls.is_some();
    let routes = router(api).merge(serving.beside.clone());
    serve_routes(listener, routes, serving, stop).await
}

/// `/livez` and `/readyz`, for processes without the API.
pub fn health_router(api: Api) -> Router {
    let local = axum::middleware::from_fn(protocol::refuse_foreign_hosts);
    health::routes().layer(local).with_state(api)
}

/// Answers `/livez` and `/readyz`, and nothing else, until `stop`: for processes without the API.
///
/// # Errors
/// As [`serve`].
pub async fn serve_health(listener: TcpListener, api: Api, stop: CancellationToken) -> Result<(), ServeError> {
    serve_routes(listener, health_router(api), Serving::default(), stop).await
}

/// Serves these routes alone until `stop`: for what has an authentication of its own.
///
/// # Errors
/// As [`serve`].
pub async fn serve_routes(
    listener: TcpListener,
    routes: Router,
    serving: Serving,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(|source| ServeError::Serve { source })?;
    check_reach(address, &serving)?;
    let encrypted = serving.tls.is_some();
    tracing::info!(listen.address = %address, tls = encrypted, "listening for requests");
    if !encrypted && !is_loopback(address) {
        tracing::warn!(listen.address = %address, "requests and answers are not encrypted, as --listen-insecurely asks");
    }
    let graceful = GracefulShutdown::new();
    let most = serving.connections_max.unwrap_or(CONNECTIONS_MAX);
    allow_descriptors(most);
    let free = Arc::new(Semaphore::new(most));
    let shares = Shares::new(most, most.div_ceil(NETWORKS_SHARE));
    let body_within = serving.body_within.unwrap_or(BODY_WITHIN);
    loop {
        let place = Arc::clone(&free).acquire_owned();
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            pair = async { (place.await, listener.accept().await) } => pair,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(share) = share_of(&shares, peer) else {
            tracing::debug!(%peer, "too many connections from this network");
            continue;
        };
        // Fails on a connection that is gone already, which will show.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNHEARD_MS);
        let (routes, tls, watcher) = (routes.clone(), serving.tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _held = (place, share);
            let Some(tls) = tls else { return converse(stream, peer, routes, body_within, watcher).await };
            match tokio::time::timeout(HANDSHAKE_WITHIN, tls.acceptor().accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, peer, routes, body_within, watcher).await,
                Ok(Err(error)) => tracing::debug!(%peer, error = &error as &dyn std::error::Error, "no TLS handshake"),
                Err(_) => tracing::debug!(%peer, "no TLS handshake in time"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(STOP_WITHIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}

/// Answers the requests of one connection.
async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    routes: Router,
    body_within: Duration,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Body::new(InTime::new(body, body_within)));
        request.extensions_mut().insert(ConnectInfo(peer));
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection broke off");
    }
}

/// A connection's part of what its network may have; `None` when that is all taken. Whoever is on
/// this machine can do worse, and may be a proxy for everybody.
fn share_of(shares: &Arc<Shares>, peer: SocketAddr) -> Option<Share> {
    let mut share = shares.open(&limits::network(peer.ip()));
    (is_loopback(peer) || share.grow(1)).then_some(share)
}

/// Raises the number of files that this process may open as far as it may and needs to, and says so
/// when the system will refuse connections before we do.
fn allow_descriptors(connections: usize) {
    let needed = connections as u64 + OTHER_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|allowed| allowed >= needed) {
        return;
    }
    let raised = limit.maximum.map_or(needed, |most| most.min(needed));
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), ..limit });
    let allowed = if set.is_ok() { raised } else { limit.current.unwrap_or_default() };
    if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "this process may open fewer files than it would serve connections; raise its limit (LimitNOFILE=, ulimit -n)"
        );
    }
}

fn check_reach(address: SocketAddr, serving: &Serving) -> Result<(), ServeError> {
    if is_loopback(address) || serving.tls.is_some() || serving.insecurely {
        return Ok(());
    }
    Err(ServeError::NotLoopback { address })
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_has_a_part_of_the_connections_and_this_machine_any() {
        let shares = Shares::new(8, 2);
        let connect = |peer: &str| share_of(&shares, peer.parse().expect("an address"));
        let held = [connect("192.0.2.1:1"), connect("192.0.2.1:2"), connect("[2001:db8::1]:1")];
        assert!(held.iter().all(Option::is_some));
        assert!(connect("192.0.2.1:3").is_none() && connect("192.0.2.2:1").is_some());
        assert!((0..20).map(|port| connect(&format!("127.0.0.1:{port}"))).all(|share| share.is_some()));
        drop(held);
        assert!(connect("192.0.2.1:3").is_some());
    }
}
