//! What cannot be processed is buried with its reason, and can be had again.

use patchwave_platform::bus::{Route, Sender, Verdict};
use patchwave_schemas::topology::{DELIVERY_LIMIT, WorkQueue};

use crate::backend::Backend;
use crate::fixtures::{event, message, number, publish, read, settle_all, started};

contract! {
    burying_carries_its_reason_and_leaves_the_neighbours,
    a_message_that_always_comes_back_is_buried,
    dead_letters_may_be_looked_at_as_often_as_wanted,
    what_no_queue_is_bound_to_is_buried_not_lost,
    a_replayed_dead_letter_reaches_its_queue,
}

async fn burying_carries_its_reason_and_leaves_the_neighbours(backend: Backend) {
    publish(&backend, &[started(0), started(1), started(2)]).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let held = read(&mut *consumer, 3).await;
    let reason = "type is `x`; expected `y`".to_owned();
    consumer
        .settle(vec![
            (held[0].tag, Verdict::Ack),
            (held[1].tag, Verdict::Bury { reason: reason.clone() }),
            (held[2].tag, Verdict::Requeue),
        ])
        .await
        .unwrap();
    let again = read(&mut *consumer, 1).await;
    assert_eq!((number(&again[0]), again[0].redelivered), (2, true));
    settle_all(&mut *consumer, &again, Verdict::Ack).await;

    let mut dead = backend.consume(WorkQueue::Dead).await;
    let buried = read(&mut *dead, 1).await;
    assert_eq!(number(&buried[0]), 1);
    let death = buried[0].death.clone().unwrap();
    assert_eq!((death.queue.as_str(), death.reason), (WorkQueue::Resolver.name(), reason));
    assert_eq!(death.sender, Sender::ControlPlane, "whoever buried it is not asked");
}

async fn a_message_that_always_comes_back_is_buried(backend: Backend) {
    publish(&backend, &[started(1)]).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let mut dead = backend.consume(WorkQueue::Dead).await;
    let mut hand_outs = 0;
    let buried = loop {
        tokio::select! {
            batch = consumer.next_batch(1) => {
                hand_outs += 1;
                assert!(hand_outs <= DELIVERY_LIMIT + 1, "never given up");
                settle_all(&mut *consumer, &batch.unwrap(), Verdict::Requeue).await;
            }
            batch = dead.next_batch(1) => break batch.unwrap(),
        }
    };
    assert_eq!(hand_outs, DELIVERY_LIMIT + 1);
    let death = buried[0].death.clone().unwrap();
    assert_eq!((death.queue.as_str(), death.sender), (WorkQueue::Resolver.name(), Sender::ControlPlane));
    assert!(death.reason.contains("delivery limit"), "{}", death.reason);
}

async fn dead_letters_may_be_looked_at_as_often_as_wanted(backend: Backend) {
    publish(&backend, &[message(Route::Queue(WorkQueue::Dead), "1")]).await;
    let mut dead = backend.consume(WorkQueue::Dead).await;
    for _ in 0..DELIVERY_LIMIT + 5 {
        let found = read(&mut *dead, 1).await;
        settle_all(&mut *dead, &found, Verdict::Requeue).await;
    }
    assert_eq!(number(&read(&mut *dead, 1).await[0]), 1);
}

async fn what_no_queue_is_bound_to_is_buried_not_lost(backend: Backend) {
    publish(&backend, &[event("nobody.reads.this", "1")]).await;
    let mut dead = backend.consume(WorkQueue::Dead).await;
    let buried = read(&mut *dead, 1).await;
    let death = buried[0].death.clone().unwrap();
    assert_eq!(death.queue, "");
    assert!(death.reason.contains("`nobody.reads.this`"), "{}", death.reason);
}

async fn a_replayed_dead_letter_reaches_its_queue(backend: Backend) {
    publish(&backend, &[message(Route::Queue(WorkQueue::Collector), "42")]).await;
    let mut consumer = backend.consume(WorkQueue::Collector).await;
    assert_eq!(number(&read(&mut *consumer, 1).await[0]), 42);
}
