//! What every bus promises, asked of each adapter: in memory, embedded in a file, and RabbitMQ.
//!
//! A case gets a fresh, empty bus. New promises of the port are added here, for all adapters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::bus::embedded::{EmbeddedBus, NodeInbox};
use patchwave_platform::bus::{
    BATCH_MAX, Bus, BusError, Consumer, Delivery, Link, Outgoing, Published, Route, Verdict,
};
use patchwave_schemas::topology::{DELIVERY_LIMIT, WorkQueue};
use patchwave_tests::servers::{Rabbit, Redis, shared};
use uuid::Uuid;

/// A bus under test, and how to be a node on it.
enum Backend {
    Embedded { bus: Arc<EmbeddedBus>, _directory: Option<tempfile::TempDir> },
    Amqp { bus: Arc<AmqpBus>, url: String },
}

/// A connected node's end of the bus.
enum Node {
    Embedded(NodeInbox),
    Amqp { _connection: Box<lapin::Connection>, deliveries: lapin::Consumer },
}

impl Backend {
    async fn memory() -> Self {
        Self::Embedded { bus: Arc::new(EmbeddedBus::open(None).await.unwrap()), _directory: None }
    }

    async fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(Some(&directory.path().join("patchwave.db"))).await.unwrap();
        Self::Embedded { bus: Arc::new(bus), _directory: Some(directory) }
    }

    async fn rabbitmq() -> Self {
        let url = shared().unwrap().vhost("contract-bus").unwrap();
        let bus = AmqpBus::connect(&url, "contract").await.unwrap();
        up(&bus).await;
        Self::Amqp { bus: Arc::new(bus), url }
    }

    fn bus(&self) -> &dyn Bus {
        match self {
            Self::Embedded { bus, .. } => &**bus,
            Self::Amqp { bus, .. } => &**bus,
        }
    }

    async fn consume(&self, queue: WorkQueue) -> Box<dyn Consumer> {
        self.bus().consume(queue).await.unwrap()
    }

    async fn node(&self, address: &str) -> Node {
        match self {
            Self::Embedded { bus, .. } => Node::Embedded(bus.listen(address)),
            Self::Amqp { url, .. } => {
                let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
                let channel = connection.create_channel().await.unwrap();
                let options = lapin::options::QueueDeclareOptions { exclusive: true, ..Default::default() };
                channel.queue_declare(address.into(), options, Default::default()).await.unwrap();
                let options = lapin::options::BasicConsumeOptions { no_ack: true, ..Default::default() };
                let deliveries =
                    channel.basic_consume(address.into(), "".into(), options, Default::default()).await.unwrap();
                Node::Amqp { _connection: Box::new(connection), deliveries }
            }
        }
    }
}

impl Node {
    async fn recv(&mut self) -> Vec<u8> {
        match self {
            Self::Embedded(inbox) => inbox.recv().await.unwrap(),
            Self::Amqp { deliveries, .. } => deliveries.next().await.unwrap().unwrap().data,
        }
    }
}

fn message(route: Route, body: impl Into<Vec<u8>>) -> Outgoing {
    let message_type = "patchwave.contract.tested.v1".to_owned();
    Outgoing { route, message_id: Uuid::now_v7(), message_type, body: body.into() }
}

fn event(key: &str, body: impl Into<Vec<u8>>) -> Outgoing {
    message(Route::Event { key: key.to_owned() }, body)
}

/// An event for the resolver.
fn started(number: usize) -> Outgoing {
    event("window.started", number.to_string())
}

fn to_node(address: &str, body: &str) -> Outgoing {
    message(Route::Node { address: address.to_owned() }, body)
}

fn number(delivery: &Delivery) -> usize {
    String::from_utf8(delivery.body.clone()).unwrap().parse().unwrap()
}

async fn publish(backend: &Backend, messages: &[Outgoing]) {
    let answers = backend.bus().publish(messages).await.unwrap();
    assert_eq!(answers, vec![Published::Confirmed; messages.len()]);
}

/// Reads exactly `count` deliveries.
async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(consumer.next_batch(count - all.len()).await.expect("the bus is open"));
    }
    all
}

async fn settle_all(consumer: &mut dyn Consumer, deliveries: &[Delivery], verdict: Verdict) {
    consumer.settle(deliveries.iter().map(|delivery| (delivery.tag, verdict.clone())).collect()).await.unwrap();
}

async fn up(bus: &dyn Bus) {
    bus.link().wait_for(|link| *link == Link::Up).await.unwrap();
}

/// Waits until a queue has this many ready messages. Brokers count a moment late.
async fn depth_becomes(bus: &dyn Bus, queue: WorkQueue, expected: u64) {
    while bus.depth(queue).await != Some(expected) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn confirmed_events_are_consumed_in_order(backend: Backend) {
    publish(&backend, &(0..10).map(started).collect::<Vec<_>>()).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let deliveries = read(&mut *consumer, 10).await;
    assert_eq!(deliveries.iter().map(number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert!(deliveries.iter().all(|delivery| !delivery.redelivered && delivery.death.is_none()));
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
}

async fn bytes_that_are_no_message_travel_unharmed(backend: Backend) {
    let bodies = [(0..=255).collect::<Vec<u8>>(), Vec::new(), vec![0xff; 300_000]];
    publish(&backend, &bodies.clone().map(|body| event("window.started", body))).await;
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let found = read(&mut *consumer, 3).await;
    assert_eq!(found.iter().map(|delivery| &delivery.body).collect::<Vec<_>>(), bodies.iter().collect::<Vec<_>>());
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
    assert_eq!(death.queue, WorkQueue::Resolver.name());
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

async fn a_closed_bus_ends_its_consumers_and_refuses_work(backend: Backend) {
    let mut consumer = backend.consume(WorkQueue::Resolver).await;
    let waiting = async { consumer.next_batch(1).await };
    let (batch, ()) = tokio::join!(waiting, backend.bus().close());
    assert_eq!(batch, None);
    assert!(matches!(backend.bus().publish(&[started(1)]).await, Err(BusError::Closed)));
    assert!(matches!(backend.bus().consume(WorkQueue::Resolver).await, Err(BusError::Closed)));
    assert!(matches!(&*backend.bus().link().borrow(), Link::Down { .. }));
}

/// Runs every case on every adapter, each with a limit that only a hang reaches.
macro_rules! contract {
    ($($case:ident,)*) => {
        contract!(@adapter memory, $($case,)*);
        contract!(@adapter file, $($case,)*);
        contract!(@adapter rabbitmq, $($case,)*);
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

const LIMIT: Duration = Duration::from_secs(60);

contract! {
    confirmed_events_are_consumed_in_order,
    a_message_goes_to_the_queues_bound_to_its_key,
    unsettled_deliveries_come_again_when_their_consumer_is_dropped,
    acknowledged_deliveries_are_forgotten_in_whatever_order,
    burying_carries_its_reason_and_leaves_the_neighbours,
    bytes_that_are_no_message_travel_unharmed,
    answers_are_in_the_order_of_the_messages,
    a_node_that_left_gets_nothing_and_the_publisher_knows,
    a_node_address_cannot_name_a_work_queue,
    consumers_share_a_queue_without_overlap,
    more_than_a_window_is_published_and_read_in_bounded_batches,
    waiting_for_a_batch_may_be_given_up_at_any_time,
    a_message_that_always_comes_back_is_buried,
    dead_letters_may_be_looked_at_as_often_as_wanted,
    what_no_queue_is_bound_to_is_buried_not_lost,
    a_replayed_dead_letter_reaches_its_queue,
    a_closed_bus_ends_its_consumers_and_refuses_work,
}

/// What only a bus that outlives its process can promise.
mod file_reopened {
    use super::*;

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
}

/// What only a link that can be lost has to promise.
mod rabbitmq_restarted {
    use super::*;

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
}
