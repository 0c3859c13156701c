//! What topics promise, asked of each adapter: in process and Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use patchwave_platform::topics::embedded::EmbeddedTopics;
use patchwave_platform::topics::redis::RedisTopics;
use patchwave_platform::topics::{ALL_TOPICS, News, Topics, TopicsError};
use patchwave_tests::servers::Redis;
use tokio::sync::mpsc::Receiver;

const LIMIT: Duration = Duration::from_secs(60);

/// Topics under test. Each case has a server of its own, as channels know no databases.
struct Backend {
    topics: Box<dyn Topics>,
    server: Option<Redis>,
}

impl Backend {
    async fn embedded() -> Self {
        Self { topics: Box::new(EmbeddedTopics::new()), server: None }
    }

    async fn redis() -> Self {
        let server = Redis::start().unwrap();
        let topics = RedisTopics::connect(&server.url()).await.unwrap();
        Self { topics: Box::new(topics), server: Some(server) }
    }

    async fn publish(&self, news: &[(&str, &str)]) {
        let news: Vec<_> = news.iter().map(|(topic, payload)| ((*topic).to_owned(), (*payload).to_owned())).collect();
        self.topics.publish(&news).await.unwrap();
    }
}

fn news(topic: &str, payload: &str) -> News {
    News { topic: topic.to_owned(), payload: payload.to_owned() }
}

async fn take(receiver: &mut Receiver<News>, count: usize) -> Vec<News> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(receiver.recv().await.expect("the subscription holds"));
    }
    taken
}

async fn subscribers_get_the_news_of_their_topic_in_order(backend: Backend) {
    let mut first = backend.topics.subscribe("patching").await.unwrap();
    let mut second = backend.topics.subscribe("patching").await.unwrap();
    backend.publish(&[("patching", "1"), ("other", "x"), ("patching", "2")]).await;
    let expected = [news("patching", "1"), news("patching", "2")];
    assert_eq!(take(&mut first, 2).await, expected);
    assert_eq!(take(&mut second, 2).await, expected);
}

async fn the_star_subscribes_to_every_topic(backend: Backend) {
    let mut all = backend.topics.subscribe(ALL_TOPICS).await.unwrap();
    backend.publish(&[("a", "1"), ("b.c", "2")]).await;
    assert_eq!(take(&mut all, 2).await, [news("a", "1"), news("b.c", "2")]);
}

async fn what_was_published_before_is_not_kept(backend: Backend) {
    backend.publish(&[("a", "early")]).await;
    let mut late = backend.topics.subscribe("a").await.unwrap();
    backend.publish(&[("a", "now")]).await;
    assert_eq!(take(&mut late, 1).await, [news("a", "now")]);
}

async fn payloads_travel_unharmed(backend: Backend) {
    let large = "ü\n\u{0}\"".repeat(20_000);
    let mut receiver = backend.topics.subscribe("a").await.unwrap();
    backend.publish(&[("a", ""), ("a", &large)]).await;
    assert_eq!(take(&mut receiver, 2).await, [news("a", ""), news("a", &large)]);
}

async fn a_subscriber_that_leaves_disturbs_nobody(backend: Backend) {
    let leaver = backend.topics.subscribe("a").await.unwrap();
    let mut stayer = backend.topics.subscribe("a").await.unwrap();
    drop(leaver);
    for round in 0..100 {
        backend.publish(&[("a", &round.to_string())]).await;
    }
    let taken = take(&mut stayer, 100).await;
    assert_eq!(taken.last(), Some(&news("a", "99")));
}

macro_rules! contract {
    ($($case:ident,)*) => {
        contract!(@adapter embedded, $($case,)*);
        contract!(@adapter redis, $($case,)*);
    };
    (@adapter $adapter:ident, $($case:ident,)*) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let work = async { super::$case(super::Backend::$adapter().await).await };
                    tokio::time::timeout(super::LIMIT, Box::pin(work)).await.expect("hangs");
                }
            )*
        }
    };
}

contract! {
    subscribers_get_the_news_of_their_topic_in_order,
    the_star_subscribes_to_every_topic,
    what_was_published_before_is_not_kept,
    payloads_travel_unharmed,
    a_subscriber_that_leaves_disturbs_nobody,
}

/// What only a server that can be lost has to promise.
mod redis_restarted {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn subscriptions_and_publishing_resume() {
        let mut backend = Backend::redis().await;
        let mut receiver = backend.topics.subscribe("a").await.unwrap();
        backend.publish(&[("a", "before")]).await;
        assert_eq!(take(&mut receiver, 1).await, [news("a", "before")]);

        backend.server.as_mut().unwrap().kill().unwrap();
        let lost = backend.topics.publish(&[("a".to_owned(), "lost".to_owned())]).await;
        assert!(matches!(lost, Err(TopicsError::Server { .. })), "{lost:?}");
        backend.server.as_mut().unwrap().restart().unwrap();

        // Subscribing again takes a moment, in which news is missed.
        let work = async {
            loop {
                backend.publish(&[("a", "after")]).await;
                let waiting = tokio::time::timeout(Duration::from_millis(100), receiver.recv());
                if let Ok(received) = waiting.await {
                    assert_eq!(received, Some(news("a", "after")));
                    break;
                }
            }
        };
        tokio::time::timeout(LIMIT, work).await.expect("the subscription resumes");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tls_to_a_server_without_it_is_an_error() {
        let plain = Redis::start().unwrap();
        let topics = RedisTopics::connect(&plain.url().replace("redis://", "rediss://")).await.unwrap();
        let refused = topics.publish(&[("a".to_owned(), "1".to_owned())]).await;
        assert!(matches!(refused, Err(TopicsError::Server { .. })), "{refused:?}");
        assert!(topics.subscribe("a").await.is_err());
    }

    #[tokio::test]
    async fn a_url_that_is_not_of_redis_is_refused_without_its_password() {
        for url in ["http://user:secret@host/", "redis://user:secret@host:port/", "nonsense"] {
            let Err(error) = RedisTopics::connect(url).await else { panic!("{url} was taken") };
            assert!(matches!(error, TopicsError::Url { .. }));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
