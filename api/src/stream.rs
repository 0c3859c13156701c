//! `GET /topics/{name}/events`: live notifications as server-sent events; `*` is every topic.
//!
//! Live news only: what is published while nobody listens is in ListNotifications.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::Api;

/// Between signs of life on a silent stream: below the idle limits of common proxies (60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Characters of a topic's name (SNS).
const TOPIC_CHARS_MAX: usize = 256;

pub(crate) async fn handle(State(api): State<Api>, Path(topic): Path<String>) -> Response {
    let fits = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if topic != "*" && (topic.is_empty() || topic.len() > TOPIC_CHARS_MAX || !fits) {
        let text = format!(
            "topic is `{}`; allowed are `*` and names of 1 to {TOPIC_CHARS_MAX} of a-z A-Z 0-9 _ - .\n",
            topic.escape_default()
        );
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let news = match api.topics.subscribe(&topic).await {
        Ok(news) => news,
        Err(error) => {
            tracing::error!(topic, error = &error as &dyn std::error::Error, "could not subscribe");
            return (StatusCode::SERVICE_UNAVAILABLE, "topics are not available; try again later\n").into_response();
        }
    };
    let events = stream::unfold((news, api.stop), |(mut news, stop)| async move {
        let next = tokio::select! {
            next = news.recv() => next?,
            () = stop.cancelled() => return None,
        };
        // A payload is JSON on one line; other line ends would break the framing.
        let event = Event::default().data(next.payload.replace(['\r', '\n'], " "));
        Some((Ok::<_, Infallible>(event), (news, stop)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
