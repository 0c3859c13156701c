//! What becomes of a batch, and of its parts.

use std::sync::Arc;

use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::bus::{Bus as _, Outgoing, Route};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Durability;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::topics::embedded::EmbeddedTopics;
use uuid::Uuid;

use super::*;

/// A message to the dispatcher, which has an id of its own for each name.
fn event(name: &str) -> Effects {
    let message = OutboxMessage {
        message_id: Uuid::from_u128(name.bytes().map(u128::from).sum()),
        message_type: "patchwave.rollout.started.v1".to_owned(),
        routing_key: "rollout.started".to_owned(),
        body: name.to_owned(),
    };
    Effects { outbox: vec![message], ..Effects::default() }
}

async fn open() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
    (Store::open_with(&url, Durability::None).await.unwrap(), directory)
}

/// What a store says that is away.
async fn away() -> HandlerError {
    let (store, _directory) = open().await;
    store.close().await;
    let error = HandlerError::from(store.begin().await.unwrap_err());
    assert_eq!(error.class(), Class::Transient);
    error
}

fn wrong(what: &str) -> HandlerError {
    HandlerError::Contradiction(what.to_owned())
}

#[tokio::test]
async fn a_store_that_was_away_from_the_start_repeats_the_whole_batch() {
    let mut applied = Applied::default();
    applied.note(0, Ok(Ok(Effects::default()))).unwrap();
    assert!(applied.note(1, Err(away().await)).is_err(), "nothing is lost by that");
}

#[tokio::test]
async fn a_store_that_goes_away_in_the_middle_costs_no_effects() {
    let mut applied = Applied::default();
    applied.note(0, Ok(Ok(event("a")))).unwrap();
    applied.note(1, Err(wrong("counters"))).unwrap();
    applied.note(2, Ok(Err("unknown window".to_owned()))).unwrap();
    assert!(!applied.is_away());
    applied.note(3, Err(away().await)).unwrap();
    assert!(applied.is_away());
    assert_eq!(applied.effects, event("a"));
    assert_eq!(applied.refused, [(1, "counters".to_owned()), (2, "unknown window".to_owned())]);
    assert_eq!(applied.again, [3]);
}

/// Passes names on to the dispatcher. The store goes away before each `x` that is not the first of
/// its batch, and `!` is refused.
struct Halting;

#[async_trait]
impl Handler for Halting {
    type Input = String;

    const QUEUE: WorkQueue = WorkQueue::Notifier;

    fn decode(delivery: &Delivery) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(&delivery.body).into_owned())
    }

    async fn apply(_store: &Store, _: &MasterKey, batch: &[String], _now: Timestamp) -> Result<Applied, HandlerError> {
        let mut applied = Applied::default();
        for (index, input) in batch.iter().enumerate() {
            if applied.is_away() {
                applied.again.push(index);
                continue;
            }
            let came = match input.as_str() {
                "!" => Err(wrong("it is refused")),
                "x" if index > 0 => Err(away().await),
                _ => Ok(Ok(event(input))),
            };
            applied.note(index, came)?;
        }
        Ok(applied)
    }
}

#[tokio::test]
async fn each_message_of_a_halting_batch_is_settled_once_and_what_it_leads_to_is_published() {
    let (store, _directory) = open().await;
    let bus = Arc::new(EmbeddedBus::open(None).await.unwrap());
    let names = ["a", "!", "x", "b", "x", "c"];
    let route = || Route::Event { key: "notification.raised".to_owned() };
    let messages = names.map(|name| Outgoing {
        route: route(),
        message_id: Uuid::from_u128(1),
        message_type: "patchwave.notification.raised.v1".to_owned(),
        body: name.as_bytes().to_vec(),
    });
    bus.publish(&messages).await.unwrap();

    let shutdown = CancellationToken::new();
    let master_key = Arc::new(MasterKey::ephemeral().unwrap());
    let context = Context {
        store,
        bus: bus.clone(),
        topics: Arc::new(EmbeddedTopics::new()),
        master_key,
        signer: None,
        calls: None,
    };
    let worker = tokio::spawn(consume::<Halting>(context, shutdown.clone()));
    let mut dispatcher = bus.consume(WorkQueue::Dispatcher).await.unwrap();
    let mut published = Vec::new();
    while published.len() < 5 {
        let within = tokio::time::timeout(Duration::from_secs(20), dispatcher.next_batch(10)).await;
        let batch = within.expect("what follows is published").unwrap();
        published.extend(batch.into_iter().map(|delivery| String::from_utf8(delivery.body).unwrap()));
    }
    assert_eq!(published, ["a", "x", "b", "x", "c"]);
    let mut letters = bus.consume(WorkQueue::Dead).await.unwrap();
    let buried = letters.next_batch(10).await.unwrap();
    assert_eq!(buried.iter().map(|letter| letter.body.as_slice()).collect::<Vec<_>>(), [b"!"]);
    shutdown.cancel();
    worker.await.unwrap();
    assert_eq!(bus.depth(WorkQueue::Notifier).await, Some(0));
}
