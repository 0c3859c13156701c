//! Where messages go, and what the publisher hears of it.

use std::time::Duration;

use patchwave_platform::bus::{Published, Route};
use patchwave_schemas::topology::WorkQueue;

use crate::backend::Backend;
use crate::fixtures::{depth_becomes, event, message, number, publish, read, started, to_node};

contract! {
    a_message_goes_to_the_queues_bound_to_its_key,
    answers_are_in_the_order_of_the_messages,
    a_node_that_left_gets_nothing_and_the_publisher_knows,
    a_node_address_cannot_name_a_work_queue,
}

async fn a_message_goes_to_the_queues_bound_to_its_key(backend: Backend) {
    let report = |key: &str| message(Route::Report { key: key.to_owned() }, key);
    publish(
        &backend,
        &[
            event("window.start.requested", "resolver"),
            event("rollout.started", "dispatcher"),
            event("node.upserted", "inventory"),
            event("notification.raised", "notifier"),
            report("invocation.finished"),
            report("node.scanned"),
            report("node.connected"),
        ],
    )
    .await;
    for (queue, expected) in [
        (WorkQueue::Resolver, vec!["resolver"]),
        (WorkQueue::Dispatcher, vec!["dispatcher", "node.connected"]),
        (WorkQueue::Inventory, vec!["inventory", "node.scanned"]),
        (WorkQueue::Notifier, vec!["notifier"]),
        (WorkQueue::Collector, vec!["invocation.finished"]),
    ] {
        depth_becomes(backend.bus(), queue, expected.len() as u64).await;
        let mut consumer = backend.consume(queue).await;
        let bodies: Vec<_> = read(&mut *consumer, expected.len()).await.into_iter().map(|found| found.body).collect();
        assert_eq!(bodies, expected.iter().map(|body| body.as_bytes()).collect::<Vec<_>>(), "{queue:?}");
    }
}

async fn answers_are_in_the_order_of_the_messages(backend: Backend) {
    let here = "patchwave.node.mi-00000000000000001.a";
    let away = "patchwave.node.mi-00000000000000002.b";
    let mut node = backend.node(here).await;
    // Several groups, and a mixture: brokers confirm stored and returned messages out of order.
    let mut messages = Vec::new();
    let mut expected = Vec::new();
    for round in 0..50 {
        messages.extend([started(round), to_node(away, "lost"), to_node(here, &round.to_string()), started(round)]);
        messages.extend([to_node(away, "lost"), message(Route::Queue(WorkQueue::Notifier), "direct")]);
        let (yes, no) = (Published::Confirmed, Published::Returned);
        expected.extend([yes, no, yes, yes, no, yes]);
    }
    assert_eq!(backend.bus().publish(&messages).await.unwrap(), expected);
    for round in 0..50 {
        assert_eq!(node.recv().await, round.to_string().into_bytes());
    }
    depth_becomes(backend.bus(), WorkQueue::Notifier, 50).await;
}

async fn a_node_that_left_gets_nothing_and_the_publisher_knows(backend: Backend) {
    let address = "patchwave.host.simulator-1";
    assert_eq!(backend.bus().publish(&[to_node(address, "early")]).await.unwrap(), [Published::Returned]);
    let mut node = backend.node(address).await;
    assert_eq!(backend.bus().publish(&[to_node(address, "now")]).await.unwrap(), [Published::Confirmed]);
    assert_eq!(node.recv().await, b"now");
    drop(node);
    // A broker takes a moment to see that a connection has gone.
    while backend.bus().publish(&[to_node(address, "late")]).await.unwrap() != [Published::Returned] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Nothing was kept for its return.
    let mut node = backend.node(address).await;
    assert_eq!(backend.bus().publish(&[to_node(address, "again")]).await.unwrap(), [Published::Confirmed]);
    assert_eq!(node.recv().await, b"again");
}

async fn a_node_address_cannot_name_a_work_queue(backend: Backend) {
    let long = format!("patchwave.node.{}", "x".repeat(300));
    for address in [WorkQueue::Resolver.name(), WorkQueue::Dead.name(), "", &long] {
        assert_eq!(backend.bus().publish(&[to_node(address, "x")]).await.unwrap(), [Published::Returned], "{address}");
    }
    publish(&backend, &[started(7)]).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    assert_eq!(number(&read(&mut *consumer, 1).await[0]), 7);
}
