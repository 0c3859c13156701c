//! `POST /node/v1/reports`: what a node says, one CloudEvent a line; answered when the bus has it.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
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

use super::Gateway;
use super::login::{Caller, unavailable};

/// Bytes of a request at most. A scan of a large system has about one MiB.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Reports of a request at most: as many as an agent publishes at a time.
const REPORTS_MAX: usize = 1_024;

/// How long a node may take to send them.
const BODY_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn handle(State(gateway): State<Gateway>, Caller(node): Caller, body: Body) -> Response {
    let body = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let text = format!("the reports could not be read to their end; allowed are {BODY_BYTES_MAX} bytes\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
        }
        Err(_elapsed) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let reports = match read(&node, &body) {
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

/// The messages of a request, if all of them are reports of this node.
fn read(node: &NodeId, body: &Bytes) -> Result<Vec<Outgoing>, String> {
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
