//! `/livez`: the process answers. `/readyz`: it can do its work, and if not, why.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use patchwave_platform::bus::Link;
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::notification::DEFAULT_TOPIC;
use serde_json::{Map, Value, json};

use crate::Api;

/// Longest wait for one answer: whoever asks waits ten seconds at most, and there are three.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The routes of `/livez` and `/readyz`.
pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// Answers always.
async fn livez() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 when everything this process stands on answers, 503 with the reasons when not.
async fn readyz(State(api): State<Api>) -> Response {
    let bus = match &*api.bus.link().borrow() {
        Link::Up => Ok(()),
        Link::Down { reason } => Err(reason.clone()),
    };
    let store = tokio::time::timeout(ANSWER_WITHIN, api.store.ping());
    // A subscription needs the server's answer, and is gone as soon as it is there.
    let topics = tokio::time::timeout(ANSWER_WITHIN, api.topics.subscribe(DEFAULT_TOPIC));
    let warnings = tokio::time::timeout(ANSWER_WITHIN, api.bus.warnings());
    let (store, topics, warnings) = tokio::join!(store, topics, warnings);
    let late = || format!("no answer within {} s", ANSWER_WITHIN.as_secs());
    let store = store.map_err(|_| late()).and_then(|done| done.map_err(|error| error_chain(&error)));
    let topics = topics.map_err(|_| late()).and_then(|done| done.map(drop).map_err(|error| error_chain(&error)));

    let mut ready = true;
    let mut checks = Map::new();
    for (name, outcome) in [("store", store), ("bus", bus), ("topics", topics)] {
        ready &= outcome.is_ok();
        let check = match outcome {
            Ok(()) => json!({ "ok": true }),
            Err(reason) => json!({ "ok": false, "reason": reason }),
        };
        checks.insert(name.to_owned(), check);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "checks": checks, "warnings": warnings.unwrap_or_default() });
    (status, Json(body)).into_response()
}
