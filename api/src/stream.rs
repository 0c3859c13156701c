//! `GET /topics/{name}/events`: live notifications as server-sent events; `*` is every topic.
//!
//! Live news only: what is published while nobody listens is in ListNotifications. They speak of
//! every node, so a key that is limited to some hears none of them; and a stream ends when its key
//! may no longer listen.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use patchwave_engine::access::{Class, permit};
use patchwave_platform::topics::News;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use crate::auth::Caller;
use crate::{Api, audited, protocol};

/// Between signs of life on a silent stream: below the idle limits of common proxies (60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Characters of a topic's name (SNS).
const TOPIC_CHARS_MAX: usize = 256;
/// Between two looks at whether the key may still listen: as long as it may outlive its end.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// Looks in a row that may find no store before a stream ends. Nothing is published without it.
const BLIND_CHECKS_MAX: u32 = 3;

/// Whether a listener may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    May,
    MayNot,
    /// The store could not be asked.
    Unknown,
}

pub(crate) async fn handle(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(topic): Path<String>,
) -> Response {
    let fits = topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if topic != "*" && (topic.is_empty() || topic.len() > TOPIC_CHARS_MAX || !fits) {
        let text = format!(
            "topic is `{}`; allowed are `*` and names of 1 to {TOPIC_CHARS_MAX} of a-z A-Z 0-9 _ - .\n",
            topic.escape_default()
        );
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    if let Err(error) = audited::permitted(&api, &caller, Class::FleetRead, "GET /topics/*/events", &topic).await {
        return protocol::finished(Err(error), Uuid::new_v4());
    }
    let news = match api.topics.subscribe(&topic).await {
        Ok(news) => news,
        Err(error) => {
            tracing::error!(topic, error = &error as &dyn std::error::Error, "could not subscribe");
            return (StatusCode::SERVICE_UNAVAILABLE, "topics are not available; try again later\n").into_response();
        }
    };
    let stop = api.stop.clone();
    let events = while_permitted(news, CHECK_EVERY, move || may_listen(api.clone(), caller.access_key_id.clone()));
    // A payload is JSON on one line; other line ends would break the framing.
    let events = events.map(|news| Ok::<_, Infallible>(Event::default().data(news.payload.replace(['\r', '\n'], " "))));
    let events = events.take_until(stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// Looks an access key up again.
async fn may_listen(api: Api, access_key_id: String) -> Verdict {
    match api.store.access_key(&api.master_key, &access_key_id).await {
        Ok(Some((key, _))) if key.enabled && permit(key.role, key.policy.is_some(), Class::FleetRead).is_ok() => {
            Verdict::May
        }
        Ok(_) => Verdict::MayNot,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a listener's access key could not be looked up");
            Verdict::Unknown
        }
    }
}

/// News until there is no more, or until `check` says no, which is asked each time `every` has passed.
fn while_permitted<C, F>(news: mpsc::Receiver<News>, every: Duration, check: C) -> impl Stream<Item = News>
where
    C: Fn() -> F,
    F: Future<Output = Verdict>,
{
    let mut checks = interval_at(Instant::now() + every, every);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((news, checks, check, 0), |(mut news, mut checks, check, mut blind)| async move {
        loop {
            tokio::select! {
                biased;
                _ = checks.tick() => match check().await {
                    Verdict::May => blind = 0,
                    Verdict::Unknown if blind + 1 < BLIND_CHECKS_MAX => blind += 1,
                    Verdict::Unknown | Verdict::MayNot => return None,
                },
                next = news.recv() => return next.map(|next| (next, (news, checks, check, blind))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;

    use super::*;

    /// Looks until the stream ends, when each finds what comes next in `verdicts`.
    async fn looks_until_the_end(verdicts: &[Verdict]) -> usize {
        // Behind the end of `verdicts` a look panics.
        let (sender, news) = mpsc::channel(1);
        let looks = Cell::new(0);
        let check = || {
            looks.set(looks.get() + 1);
            std::future::ready(verdicts[looks.get() - 1])
        };
        let mut stream = pin!(while_permitted(news, Duration::from_millis(5), check));
        sender.send(News { topic: "t".to_owned(), payload: "first".to_owned() }).await.expect("a listener");
        assert_eq!(stream.next().await.expect("news").payload, "first");
        assert!(stream.next().await.is_none(), "the sender is still there");
        looks.get()
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_key_may_no_longer_listen() {
        use Verdict::{May, MayNot, Unknown};
        assert_eq!(looks_until_the_end(&[May, May, MayNot]).await, 3);
        assert_eq!(looks_until_the_end(&[Unknown, Unknown, May, Unknown, Unknown, Unknown]).await, 6);
    }
}
