//! `GET /node/v1/commands`: a node's commands, one JSON object a line, for as long as it listens.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Gateway;
use super::login::{Caller, unavailable};
use super::streams::{Full, Stream};

/// Between signs of life on a silent stream: below the idle limits of common proxies (60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(25);

/// How long a stream lasts; then the node opens another, with a new proof. Spread by a quarter, so
/// that nodes which came together do not stay together.
const LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// A sign of life.
const NOTHING: &[u8] = b"{}\n";

pub(super) async fn handle(State(gateway): State<Gateway>, Caller { node, key }: Caller) -> Response {
    let stream = match gateway.inner.streams.open(&node, key) {
        Ok(stream) => stream,
        Err(Full::NoAddress) => return unavailable("the bus is away"),
        Err(Full::TooMany) => return unavailable("too many nodes are connected here"),
    };
    tracing::debug!(node.id = %node, session = &*stream.session, "a node listens");
    let lines =
        Lines { stream, greeted: false, until: Instant::now() + LIFETIME.mul_f64(rand::random_range(0.75..1.0)) };
    let body = Body::from_stream(stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((Ok::<_, Infallible>(line), lines))
    }));
    // nginx would wait for more before it passes anything on.
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-ndjson"),
        (CACHE_CONTROL.as_str(), "no-store"),
        ("x-accel-buffering", "no"),
    ];
    (headers, body).into_response()
}

/// What is written, line by line.
struct Lines {
    stream: Stream,
    greeted: bool,
    until: Instant,
}

impl Lines {
    /// The next line; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            let first = json!({ "address": &*self.stream.address, "session": &*self.stream.session });
            return Some(format!("{first}\n").into());
        }
        let command = tokio::select! {
            biased;
            () = self.stream.closed.cancelled() => return None,
            command = self.stream.commands.recv() => command?,
            () = sleep_until(self.until) => return None,
            () = tokio::time::sleep(KEEP_ALIVE) => return Some(Bytes::from_static(NOTHING)),
        };
        let mut line = command.body;
        line.push(b'\n');
        Some(line.into())
    }
}
