//! What only a link that can be lost has to promise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::bus::{Bus, BusError, Link, Published, Verdict};
use patchwave_schemas::topology::WorkQueue;
use patchwave_tests::servers::{Rabbit, Redis};

use crate::LIMIT;
use crate::fixtures::{number, read, started, up};

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_confirmed_is_lost_and_everybody_resumes() {
    let mut rabbit = Rabbit::start().unwrap();
    let bus = Arc::new(AmqpBus::connect(&rabbit.url(), "restart").await.unwrap());
    let total = 4_000;
    let publisher = {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            for chunk in (0..total).collect::<Vec<_>>().chunks(20) {
                let messages: Vec<_> = chunk.iter().copied().map(started).collect();
                // Confirmed before the next: what follows relies on it being stored.
                bus.publish(&messages).await.unwrap();
            }
        })
    };
    let consumer = {
        let bus = Arc::clone(&bus);
        tokio::spawn(async move {
            let mut consumer = bus.consume(WorkQueue::Resolver).await.unwrap();
            let mut seen = BTreeSet::new();
            while seen.len() < total {
                let batch = consumer.next_batch(50).await.unwrap();
                seen.extend(batch.iter().map(number));
                let verdicts = batch.iter().map(|delivery| (delivery.tag, Verdict::Ack)).collect();
                // May fail in the middle: those messages come again.
                let _ = consumer.settle(verdicts).await;
            }
        })
    };
    // In the middle of it, twice: as a crash and as maintenance.
    for breakage in [Rabbit::kill, Rabbit::stop] {
        up(&*bus).await;
        depth_or_progress(&publisher).await;
        breakage(&mut rabbit).unwrap();
        bus.link().wait_for(|link| matches!(link, Link::Down { .. })).await.unwrap();
        rabbit.restart().unwrap();
    }
    tokio::time::timeout(Duration::from_secs(120), async {
        publisher.await.unwrap();
        consumer.await.unwrap();
    })
    .await
    .expect("publisher and consumer resume");
    up(&*bus).await;
}

/// Lets some work happen, unless it is done already.
async fn depth_or_progress<T>(task: &tokio::task::JoinHandle<T>) {
    for _ in 0..20 {
        if !task.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_may_be_opened_before_its_broker_is_up() {
    let mut rabbit = Rabbit::start().unwrap();
    rabbit.stop().unwrap();
    let bus = Arc::new(AmqpBus::connect(&rabbit.url(), "early").await.unwrap());
    assert!(matches!(&*bus.link().borrow(), Link::Down { .. }));
    let early = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.publish(&[started(5)]).await }
    });
    rabbit.restart().unwrap();
    assert_eq!(early.await.unwrap().unwrap(), [Published::Confirmed]);
    let mut consumer = bus.consume(WorkQueue::Resolver).await.unwrap();
    assert_eq!(number(&read(&mut *consumer, 1).await[0]), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_name_a_file_limit_that_is_too_low() {
    let rabbit = Rabbit::start_with_file_limit(2_048).unwrap();
    let bus = AmqpBus::connect(&rabbit.url(), "warned").await.unwrap();
    // The broker collects its statistics every few seconds.
    let asking = async {
        loop {
            let warnings = bus.warnings().await;
            if !warnings.is_empty() {
                return warnings;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let warnings = tokio::time::timeout(LIMIT, asking).await.expect("no warning");
    assert!(warnings[0].contains("may open 2048 files"), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_to_a_server_without_it_leaves_the_link_down_with_the_reason() {
    let plain = Redis::start().unwrap();
    let url = plain.url().replace("redis://", "amqps://guest:secret@").replace("/0", "/%2f");
    let bus = AmqpBus::connect(&url, "tls").await.unwrap();
    let mut link = bus.link();
    let named = link.wait_for(|link| matches!(link, Link::Down { reason } if reason != "not connected yet"));
    let link = tokio::time::timeout(LIMIT, named).await.expect("no reason").unwrap().clone();
    let Link::Down { reason } = link else { panic!("up") };
    assert!(!reason.contains("secret"), "{reason}");
}

#[tokio::test]
async fn a_url_that_is_not_of_rabbitmq_is_refused_without_its_password() {
    for url in ["http://user:secret@host/", "amqp://user:secret@host:port/", "nonsense"] {
        let Err(error) = AmqpBus::connect(url, "refused").await else { panic!("{url} was taken") };
        assert!(matches!(error, BusError::Url { .. }));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
