//! What only a bus that outlives its process can promise.

use std::collections::BTreeSet;
use std::sync::Arc;

use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::bus::{Bus, Verdict};
use patchwave_schemas::topology::WorkQueue;

use crate::backend::Backend;
use crate::fixtures::{number, publish, read, settle_all, started};

#[tokio::test]
async fn unsettled_and_buried_messages_are_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("patchwave.db");
    let bus = EmbeddedBus::open(Some(&path)).await.unwrap();
    bus.publish(&[started(0), started(1), started(2), started(3)]).await.unwrap();
    let mut consumer = bus.consume(WorkQueue::Resolver).await.unwrap();
    let held = read(&mut *consumer, 3).await;
    let reason = "not wanted".to_owned();
    let verdicts = vec![(held[0].tag, Verdict::Ack), (held[1].tag, Verdict::Bury { reason: reason.clone() })];
    consumer.settle(verdicts).await.unwrap();
    drop((consumer, bus));

    let bus = EmbeddedBus::open(Some(&path)).await.unwrap();
    let mut consumer = bus.consume(WorkQueue::Resolver).await.unwrap();
    let again = read(&mut *consumer, 2).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [2, 3]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    let buried = read(&mut *bus.consume(WorkQueue::Dead).await.unwrap(), 1).await;
    assert_eq!(number(&buried[0]), 1);
    assert_eq!(buried[0].death.as_ref().unwrap().reason, reason);
}

#[tokio::test]
async fn a_second_owner_of_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("patchwave.db");
    let _first = EmbeddedBus::open(Some(&path)).await.unwrap();
    let Err(error) = EmbeddedBus::open(Some(&path)).await else { panic!("opened twice") };
    assert!(error.to_string().contains("patchwave.db"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_at_the_same_time_all_get_through() {
    let backend = Arc::new(Backend::file().await);
    let mut tasks = tokio::task::JoinSet::new();
    for publisher in 0..50 {
        let backend = Arc::clone(&backend);
        tasks.spawn(async move {
            publish(&backend, &(0..20).map(|index| started(publisher * 20 + index)).collect::<Vec<_>>()).await;
        });
    }
    tasks.join_all().await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 1_000 {
        let batch = consumer.next_batch(100).await.unwrap();
        seen.extend(batch.iter().map(number));
        settle_all(&mut *consumer, &batch, Verdict::Ack).await;
    }
}
