//! What is confirmed is handed out: in order, without overlap, until it is settled.

use std::collections::BTreeSet;
use std::time::Duration;

use patchwave_platform::bus::{BATCH_MAX, BusError, Link, Verdict};
use patchwave_schemas::topology::WorkQueue;

use crate::backend::Backend;
use crate::fixtures::{depth_becomes, event, number, publish, read, settle_all, started};

contract! {
    confirmed_events_are_consumed_in_order,
    unsettled_deliveries_come_again_when_their_consumer_is_dropped,
    acknowledged_deliveries_are_forgotten_in_whatever_order,
    bytes_that_are_no_message_travel_unharmed,
    consumers_share_a_queue_without_overlap,
    more_than_a_window_is_published_and_read_in_bounded_batches,
    waiting_for_a_batch_may_be_given_up_at_any_time,
    a_closed_bus_ends_its_consumers_and_refuses_work,
}

async fn confirmed_events_are_consumed_in_order(backend: Backend) {
    publish(&backend, &(0..10).map(started).collect::<Vec<_>>()).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let deliveries = read(&mut *consumer, 10).await;
    assert_eq!(deliveries.iter().map(number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(deliveries.iter().all(|delivery| !delivery.redelivered && delivery.death.is_none()));
}

async fn unsettled_deliveries_come_again_when_their_consumer_is_dropped(backend: Backend) {
    publish(&backend, &[started(0), started(1), started(2)]).await;
    let mut first = backend.consume(WorkQueue::Resolver).await;
    let held = read(&mut *first, 3).await;
    settle_all(&mut *first, &held[..1], Verdict::Ack).await;
    drop(first);

    let mut second = backend.consume(WorkQueue::Resolver).await;
    let again = read(&mut *second, 2).await;
    assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [1, 2]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
}

async fn acknowledged_deliveries_are_forgotten_in_whatever_order(backend: Backend) {
    publish(&backend, &(0..20).map(started).collect::<Vec<_>>()).await;
    let mut first = backend.consume(WorkQueue::Resolver).await;
    let held = read(&mut *first, 20).await;
    // Odd ones, then all but two: neither a hole nor an overlap may be settled by accident.
    let odd: Vec<_> = held.iter().skip(1).step_by(2).cloned().collect();
    settle_all(&mut *first, &odd, Verdict::Ack).await;
    let even: Vec<_> = held.iter().step_by(2).filter(|found| ![4, 18].contains(&number(found))).cloned().collect();
    settle_all(&mut *first, &even, Verdict::Ack).await;
    // A tag that was settled before is ignored.
    settle_all(&mut *first, &held[..1], Verdict::Ack).await;
    drop(first);

    depth_becomes(backend.bus(), WorkQueue::Resolver, 2).await;
    let mut second = backend.consume(WorkQueue::Resolver).await;
    let rest = read(&mut *second, 2).await;
    assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), [4, 18]);
}

async fn bytes_that_are_no_message_travel_unharmed(backend: Backend) {
    let bodies = [(0..=255).collect::<Vec<u8>>(), Vec::new(), vec![0xff; 300_000]];
    publish(&backend, &bodies.clone().map(|body| event("window.started", body))).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let found = read(&mut *consumer, 3).await;
    assert_eq!(found.iter().map(|delivery| &delivery.body).collect::<Vec<_>>(), bodies.iter().collect::<Vec<_>>());
}

async fn consumers_share_a_queue_without_overlap(backend: Backend) {
    let mut first = backend.consume(WorkQueue::Resolver).await;
    let mut second = backend.consume(WorkQueue::Resolver).await;
    let mut seen = BTreeSet::new();
    let mut shares = [0_usize; 2];
    // Rounds, as how many a consumer takes at once is its own business.
    for round in 0..10 {
        publish(&backend, &(0..40).map(|index| started(round * 40 + index)).collect::<Vec<_>>()).await;
        let mut open = 40;
        while open > 0 {
            let (share, consumer, batch) = tokio::select! {
                batch = first.next_batch(5) => (0, &mut first, batch),
                batch = second.next_batch(5) => (1, &mut second, batch),
            };
            let batch = batch.unwrap();
            open -= batch.len();
            shares[share] += batch.len();
            for delivery in &batch {
                assert!(seen.insert(number(delivery)), "{} was handed out twice", number(delivery));
            }
            settle_all(&mut **consumer, &batch, Verdict::Ack).await;
        }
    }
    assert_eq!(seen.len(), 400);
    assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
}

async fn more_than_a_window_is_published_and_read_in_bounded_batches(backend: Backend) {
    let count = 3_000;
    publish(&backend, &(0..count).map(started).collect::<Vec<_>>()).await;
    depth_becomes(backend.bus(), WorkQueue::Resolver, count as u64).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let mut expected = 0;
    while expected < count {
        let batch = consumer.next_batch(usize::from(BATCH_MAX)).await.unwrap();
        assert!(!batch.is_empty() && batch.len() <= usize::from(BATCH_MAX));
        for delivery in &batch {
            assert_eq!(number(delivery), expected);
            expected += 1;
        }
        settle_all(&mut *consumer, &batch, Verdict::Ack).await;
    }
    depth_becomes(backend.bus(), WorkQueue::Resolver, 0).await;
}

async fn waiting_for_a_batch_may_be_given_up_at_any_time(backend: Backend) {
    publish(&backend, &(0..300).map(started).collect::<Vec<_>>()).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let mut seen = Vec::new();
    while seen.len() < 300 {
        let waiting = consumer.next_batch(7);
        if let Ok(batch) = tokio::time::timeout(Duration::from_micros(500), waiting).await {
            let batch = batch.unwrap();
            assert!(batch.iter().all(|delivery| !delivery.redelivered));
            seen.extend(batch.iter().map(number));
            settle_all(&mut *consumer, &batch, Verdict::Ack).await;
        }
    }
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
}

async fn a_closed_bus_ends_its_consumers_and_refuses_work(backend: Backend) {
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let waiting = async { consumer.next_batch(1).await };
    let (batch, ()) = tokio::join!(waiting, backend.bus().close());
    assert_eq!(batch, None);
    assert!(matches!(backend.bus().publish(&[started(1)]).await, Err(BusError::Closed)));
    assert!(matches!(backend.bus().consume(WorkQueue::Resolver).await, Err(BusError::Closed)));
    assert!(matches!(&*backend.bus().link().borrow(), Link::Down { .. }));
}
