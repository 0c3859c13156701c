//! The outbox: what a commit leaves to be published is published at least once, by one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::bus::{Bus, Consumer};
use patchwave_platform::outbox::{flush, sweep};
use patchwave_platform::store::Store;
use patchwave_platform::store::outbox::{OWNER_PUBLISHES_WITHIN, OutboxMessage};
use patchwave_schemas::CommandId;
use patchwave_schemas::event::RolloutStarted;
use patchwave_schemas::topology::WorkQueue;
use uuid::Uuid;

use crate::fixtures::at;
use crate::place::Place;

contract! {
    messages_are_left_to_their_owner_for_a_while,
    enqueuing_the_same_message_again_changes_nothing,
    a_claimed_message_is_offered_again_when_its_claimer_died,
    dequeued_messages_are_gone,
    nothing_to_enqueue_or_dequeue_is_no_error,
    concurrent_claimers_take_each_message_once,
    bodies_come_back_as_they_were_stored,
    flushed_messages_are_published_and_forgotten,
    a_sweep_publishes_what_a_dead_process_left,
}

/// When the owner's time is over, for a message stored at `at(0)`.
fn overdue() -> jiff::Timestamp {
    at(0) + OWNER_PUBLISHES_WITHIN
}

fn message(number: usize) -> OutboxMessage {
    let command_id = CommandId::derived(&number.to_string());
    OutboxMessage::event(command_id.as_uuid(), "/patchwave/contract", at(0), RolloutStarted { command_id })
}

async fn enqueue(store: &Store, messages: &[OutboxMessage]) {
    let mut tx = store.begin().await.unwrap();
    tx.enqueue(messages, at(0)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn claim(store: &Store, now: jiff::Timestamp, limit: u32) -> Vec<OutboxMessage> {
    let mut tx = store.begin().await.unwrap();
    let claimed = tx.claim_outbox(now, limit).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn stored(store: &Store) -> u64 {
    store.figures(at(0)).await.unwrap().outbox_messages
}

async fn messages_are_left_to_their_owner_for_a_while(place: Place) {
    let store = place.open().await;
    enqueue(&store, &[message(1)]).await;
    assert_eq!(claim(&store, overdue() - SignedDuration::from_millis(1), 10).await, []);
    assert_eq!(claim(&store, overdue(), 10).await, [message(1)]);
}

async fn enqueuing_the_same_message_again_changes_nothing(place: Place) {
    let store = place.open().await;
    enqueue(&store, &[message(1)]).await;
    let mut tx = store.begin().await.unwrap();
    let other = OutboxMessage { body: "other".to_owned(), ..message(1) };
    tx.enqueue(&[other.clone(), message(2), other], at(500)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&store).await, 2);
    assert_eq!(claim(&store, overdue(), 10).await, [message(1)]);
}

async fn a_claimed_message_is_offered_again_when_its_claimer_died(place: Place) {
    let store = place.open().await;
    enqueue(&store, &[message(1)]).await;
    assert_eq!(claim(&store, overdue(), 10).await.len(), 1);
    assert_eq!(claim(&store, overdue(), 10).await, []);
    assert_eq!(claim(&store, overdue() + OWNER_PUBLISHES_WITHIN, 10).await, [message(1)]);
}

async fn dequeued_messages_are_gone(place: Place) {
    let store = place.open().await;
    enqueue(&store, &[message(1), message(2), message(3)]).await;
    let mut tx = store.begin().await.unwrap();
    tx.dequeue(&[message(1).message_id, message(3).message_id, Uuid::nil()]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(&store, overdue(), 10).await, [message(2)]);
}

async fn nothing_to_enqueue_or_dequeue_is_no_error(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.enqueue(&[], at(0)).await.unwrap();
    tx.dequeue(&[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stored(&store).await, 0);
}

async fn concurrent_claimers_take_each_message_once(place: Place) {
    const MESSAGES: usize = 60;
    let stores = [place.open().await, place.open().await];
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    enqueue(&stores[0], &messages).await;
    let claimers: Vec<_> = (0..6)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..MESSAGES {
                    mine.extend(claim(&store, overdue(), 7).await);
                }
                mine
            })
        })
        .collect();
    let mut ids = Vec::new();
    for claimer in claimers {
        ids.extend(claimer.await.unwrap().into_iter().map(|message| message.message_id));
    }
    assert_eq!(ids.len(), MESSAGES);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), messages.iter().map(|message| message.message_id).collect());
}

async fn bodies_come_back_as_they_were_stored(place: Place) {
    let store = place.open().await;
    for (number, body) in
        ["", "12", "null", r#"{"a":"it's \"quoted\" \\ \u0000"}"#, "žluťoučký 🐎\n\t%_$1"].iter().enumerate()
    {
        let sent = OutboxMessage { body: (*body).to_owned(), ..message(number) };
        enqueue(&store, std::slice::from_ref(&sent)).await;
        assert_eq!(claim(&store, overdue(), 10).await, [sent]);
    }
}

async fn next(consumer: &mut dyn Consumer) -> Vec<Vec<u8>> {
    consumer.next_batch(10).await.expect("the bus is open").into_iter().map(|delivery| delivery.body).collect()
}

async fn flushed_messages_are_published_and_forgotten(place: Place) {
    let store = place.open().await;
    let bus = Arc::new(EmbeddedBus::open(None).await.unwrap());
    let mut consumer = bus.consume(WorkQueue::Dispatcher).await.unwrap();
    enqueue(&store, &[message(1)]).await;
    flush(&store, &*bus, &[message(1)]).await;
    assert_eq!(next(&mut *consumer).await, [message(1).body.into_bytes()]);
    assert_eq!(stored(&store).await, 0);
}

async fn a_sweep_publishes_what_a_dead_process_left(place: Place) {
    let store = place.open().await;
    let bus = Arc::new(EmbeddedBus::open(None).await.unwrap());
    let mut consumer = bus.consume(WorkQueue::Dispatcher).await.unwrap();
    enqueue(&store, &[message(1)]).await;
    assert_eq!(sweep(&store, &*bus, at(0)).await.unwrap(), 0);
    assert_eq!(sweep(&store, &*bus, overdue()).await.unwrap(), 1);
    assert_eq!(next(&mut *consumer).await, [message(1).body.into_bytes()]);
    assert_eq!(stored(&store).await, 0);
}
