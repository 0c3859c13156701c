//! `POST /node/v1/reports`: what a node says, one CloudEvent a line; answered when the bus has it.
//!
//! A node has one request at a time, and all of them together have a budget, so that no node's key
//! buys more of this process's memory than its own reports need.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use patchwave_engine::broker_access::is_report_key;
use patchwave_platform::bus::{Outgoing, Route};
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::NodeId;
use patchwave_schemas::catalogue;
use patchwave_schemas::envelope::Head;
use patchwave_schemas::topology::routing_key;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::login::{Caller, unavailable};
use crate::body::{Broken, whole};

/// Bytes of a request at most. A scan of a large system has about one MiB.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Reports of a request at most: as many as an agent publishes at a time.
const REPORTS_MAX: usize = 1_024;

/// Who is posting: one request of each node at a time.
#[derive(Default)]
pub(super) struct Posts {
    last: AtomicU64,
    by_node: Mutex<HashMap<NodeId, Post>>,
}

struct Post {
    number: u64,
    over: CancellationToken,
}

impl Posts {
    /// Makes this request its node's. An older one ends: its peer is gone, or not the node's agent.
    fn begin(&self, node: &NodeId) -> Turn<'_> {
        let (number, over) = (self.last.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        if let Some(older) = self.lock().insert(node.clone(), Post { number, over: over.clone() }) {
            older.over.cancel();
        }
        Turn { posts: self, node: node.clone(), number, over }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Post>> {
        self.by_node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is its node's, until there is a newer one.
struct Turn<'a> {
    posts: &'a Posts,
    node: NodeId,
    number: u64,
    over: CancellationToken,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut posts = self.posts.lock();
        if posts.get(&self.node).is_some_and(|post| post.number == self.number) {
            posts.remove(&self.node);
        }
    }
}

pub(super) async fn handle(State(gateway): State<Gateway>, Caller { node, .. }: Caller, body: Body) -> Response {
    let turn = gateway.inner.posts.begin(&node);
    // What is given up in the middle of being published comes again, as after a lost answer.
    let answered = turn.over.run_until_cancelled(take(&gateway, &node, body)).await;
    answered.unwrap_or_else(|| (StatusCode::CONFLICT, "a newer request of this node took its place\n").into_response())
}

async fn take(gateway: &Gateway, node: &NodeId, body: Body) -> Response {
    let (body, _share) = match whole(body, BODY_BYTES_MAX, &gateway.inner.reports, node.as_str()).await {
        Ok(read) => read,
        Err(broken) => {
            tracing::info!(node.id = %node, reason = %broken, "reports could not be read");
            let status = match broken {
                Broken::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
                Broken::TooLate => StatusCode::REQUEST_TIMEOUT,
                Broken::NoRoom => return unavailable("too many reports are under way"),
                Broken::Cut(_) => StatusCode::BAD_REQUEST,
            };
            return (status, format!("{broken}; allowed are {BODY_BYTES_MAX} bytes\n")).into_response();
        }
    };
    let reports = match read(node, body) {
        Ok(reports) => reports,
        Err(reason) => {
            tracing::warn!(node.id = %node, reason, "reports were refused");
            return (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response();
        }
    };
    match gateway.inner.bus.publish(&reports).await {
        Ok(published) => Json(json!({ "confirmed": published.len() })).into_response(),
        Err(error) => {
            tracing::warn!(node.id = %node, reason = error_chain(&error), "reports could not be published");
            unavailable("the bus did not take the reports")
        }
    }
}

/// The messages of a request, if all of them are reports of this node. Takes the body, so that it is
/// there twice only while this runs, and not while the bus is waited for.
fn read(node: &NodeId, body: Bytes) -> Result<Vec<Outgoing>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let mut reports = Vec::new();
    for (number, line) in (1..).zip(lines) {
        if number > REPORTS_MAX {
            return Err(format!("more than {REPORTS_MAX} reports in one request"));
        }
        let head = Head::from_bytes(line).map_err(|error| format!("report {number}: {error}"))?;
        if head.source.strip_prefix("/node/") != Some(node.as_str()) {
            return Err(format!("report {number}: source is `{}`; allowed is `/node/{node}`", head.source));
        }
        let key = catalogue::find(&head.event_type)
            .map(|entry| routing_key(entry.message_type))
            .filter(|key| is_report_key(key))
            .ok_or_else(|| format!("report {number}: type is `{}`, which nodes do not report", head.event_type))?;
        reports.push(Outgoing {
            route: Route::Report { key: key.to_owned() },
            message_id: head.id,
            message_type: head.event_type,
            body: line.to_vec(),
        });
    }
    Ok(reports)
}
