//! Messages to send, and ways to read and settle them.

use std::time::Duration;

use patchwave_platform::bus::{Bus, Consumer, Delivery, Link, Outgoing, Published, Route, Verdict};
use patchwave_schemas::topology::WorkQueue;
use uuid::Uuid;

use crate::backend::Backend;

pub(crate) fn message(route: Route, body: impl Into<Vec<u8>>) -> Outgoing {
    let message_type = "patchwave.contract.tested.v1".to_owned();
    Outgoing { route, message_id: Uuid::now_v7(), message_type, body: body.into() }
}

pub(crate) fn event(key: &str, body: impl Into<Vec<u8>>) -> Outgoing {
    message(Route::Event { key: key.to_owned() }, body)
}

/// An event for the resolver.
pub(crate) fn started(number: usize) -> Outgoing {
    event("window.started", number.to_string())
}

pub(crate) fn to_node(address: &str, body: &str) -> Outgoing {
    message(Route::Node { address: address.to_owned() }, body)
}

pub(crate) fn number(delivery: &Delivery) -> usize {
    String::from_utf8(delivery.body.clone()).unwrap().parse().unwrap()
}

pub(crate) async fn publish(backend: &Backend, messages: &[Outgoing]) {
    let answers = backend.bus().publish(messages).await.unwrap();
    assert_eq!(answers, vec![Published::Confirmed; messages.len()]);
}

/// Reads exactly `count` deliveries.
pub(crate) async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(consumer.next_batch(count - all.len()).await.expect("the bus is open"));
    }
    all
}

pub(crate) async fn settle_all(consumer: &mut dyn Consumer, deliveries: &[Delivery], verdict: Verdict) {
    consumer.settle(deliveries.iter().map(|delivery| (delivery.tag, verdict.clone())).collect()).await.unwrap();
}

pub(crate) async fn up(bus: &dyn Bus) {
    bus.link().wait_for(|link| *link == Link::Up).await.unwrap();
}

/// Waits until a queue has this many ready messages. Brokers count a moment late.
pub(crate) async fn depth_becomes(bus: &dyn Bus, queue: WorkQueue, expected: u64) {
    while bus.depth(queue).await != Some(expected) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
