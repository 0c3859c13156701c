//! What those who got in can do.

use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, ExchangeBindOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Connection, ExchangeKind};
use patchwave_platform::bus::{Bus as _, Outgoing, Published, Route};
use patchwave_schemas::topology::{DEAD_EXCHANGE, EVENTS_EXCHANGE, REPORTS_EXCHANGE, WorkQueue, node_queue};

use crate::world::{Key, World, assert_refused, channel, publish};

const REFUSED: &str = "ACCESS_REFUSED";

fn own() -> QueueDeclareOptions {
    QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() }
}

fn said_by(user: &str) -> BasicProperties {
    BasicProperties::default().with_user_id(user.into())
}

pub(crate) fn command(address: &str) -> Outgoing {
    Outgoing {
        route: Route::Node { address: address.to_owned() },
        message_id: uuid::Uuid::new_v4(),
        message_type: "patchwave.invocation.run.v1".to_owned(),
        body: b"run".to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_its_commands_and_says_its_reports() {
    let world = World::new().await;
    let node = Key::new(1);
    world.register(&node);
    let connection = world.connect(&node).await;
    let address = node_queue(&node.node, "0123456789abcdef");
    let queue = channel(&connection).await;
    queue.queue_declare(address.as_str().into(), own(), FieldTable::default()).await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut commands =
        queue.basic_consume(address.as_str().into(), "".into(), options, FieldTable::default()).await.unwrap();
    assert_eq!(world.bus.publish(&[command(&address)]).await.unwrap(), [Published::Confirmed]);
    assert_eq!(commands.next().await.unwrap().unwrap().data, b"run");

    let mut collector = world.bus.consume(WorkQueue::Collector).await.unwrap();
    publish(&connection, REPORTS_EXCHANGE, "invocation.finished", said_by(node.node.as_str())).await.unwrap();
    assert_eq!(collector.next_batch(1).await.unwrap()[0].body, b"{}");
    for key in ["node.connected", "node.heartbeat", "node.scanned", "invocation.progressed"] {
        publish(&connection, REPORTS_EXCHANGE, key, said_by(node.node.as_str())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_can_do_nothing_else() {
    let world = World::new().await;
    let (node, other) = (Key::new(1), Key::new(2));
    world.register(&node);
    world.register(&other);
    let (mine, others) = (node_queue(&node.node, "1"), node_queue(&other.node, "1"));
    // The other node is there, with its queue.
    let theirs = world.connect(&other).await;
    let their_channel = channel(&theirs).await;
    their_channel.queue_declare(others.as_str().into(), own(), FieldTable::default()).await.unwrap();
    let connection = world.connect(&node).await;
    let my_channel = channel(&connection).await;
    my_channel.queue_declare(mine.as_str().into(), own(), FieldTable::default()).await.unwrap();

    cannot_use_queues(&connection, &others).await;
    cannot_bind(&connection, &mine).await;
    cannot_manage_exchanges(&connection).await;
    cannot_publish(&connection, node.node.as_str(), other.node.as_str(), &others).await;
    // Nothing of that came to anybody's queue.
    let still = QueueDeclareOptions { passive: true, ..own() };
    let queue = their_channel.queue_declare(others.as_str().into(), still, FieldTable::default()).await.unwrap();
    assert_eq!(queue.message_count(), 0);
    for queue in WorkQueue::ALL {
        assert_eq!(world.bus.depth(queue).await, Some(0), "{queue:?}");
    }
}

async fn cannot_use_queues(connection: &Connection, others: &str) {
    let forbidden = WorkQueue::ALL.map(WorkQueue::name).into_iter().chain([others, "patchwave.host.1"]);
    for name in forbidden {
        let consumed = channel(connection).await;
        let options = BasicConsumeOptions::default();
        let consumed = consumed.basic_consume(name.into(), "".into(), options, FieldTable::default()).await;
        assert_refused_or_locked(&format!("consume {name}"), consumed);
        let got = channel(connection).await.basic_get(name.into(), BasicGetOptions::default()).await;
        assert_refused_or_locked(&format!("get from {name}"), got);
        let purged = channel(connection).await.queue_purge(name.into(), QueuePurgeOptions::default()).await;
        assert_refused_or_locked(&format!("purge {name}"), purged);
        let deleted = channel(connection).await.queue_delete(name.into(), QueueDeleteOptions::default()).await;
        assert_refused_or_locked(&format!("delete {name}"), deleted);
    }
    let deeper = format!("{others}.2");
    let names = ["anything", "patchwave.host.2", "patchwave.node.mi-00000000000000001", deeper.as_str(), ""];
    for name in names {
        let declared = channel(connection).await.queue_declare(name.into(), own(), FieldTable::default()).await;
        assert_refused(&format!("declare `{name}`"), declared, REFUSED);
    }
    // What the broker itself would publish for it from its queue.
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(LongString::from(EVENTS_EXCHANGE)));
    let name = "patchwave.node.mi-00000000000000001.2";
    let declared = channel(connection).await.queue_declare(name.into(), own(), arguments).await;
    assert_refused("a dead-letter exchange", declared, REFUSED);
}

/// The queue is another's, or another connection's alone: RabbitMQ looks at both, in an order of
/// its own.
#[track_caller]
fn assert_refused_or_locked<T>(what: &str, result: Result<T, lapin::Error>) {
    let error = result.err().unwrap_or_else(|| panic!("{what}: was allowed")).to_string();
    assert!([REFUSED, "RESOURCE_LOCKED", "NOT_FOUND"].iter().any(|word| error.contains(word)), "{what}: {error}");
}

async fn cannot_bind(connection: &Connection, mine: &str) {
    for exchange in [EVENTS_EXCHANGE, REPORTS_EXCHANGE, DEAD_EXCHANGE, "amq.topic", "amq.rabbitmq.trace"] {
        let bound = channel(connection)
            .await
            .queue_bind(mine.into(), exchange.into(), "#".into(), QueueBindOptions::default(), FieldTable::default())
            .await;
        assert_refused(&format!("bind its queue to {exchange}"), bound, REFUSED);
    }
    let options = ExchangeBindOptions::default();
    let bound = channel(connection)
        .await
        .exchange_bind(REPORTS_EXCHANGE.into(), EVENTS_EXCHANGE.into(), "#".into(), options, FieldTable::default())
        .await;
    assert_refused("bind exchanges", bound, REFUSED);
}

async fn cannot_manage_exchanges(connection: &Connection) {
    for name in ["patchwave.node.mi-00000000000000001.x", "mine", EVENTS_EXCHANGE] {
        let options = ExchangeDeclareOptions::default();
        let declared = channel(connection)
            .await
            .exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default())
            .await;
        assert_refused(&format!("declare exchange {name}"), declared, REFUSED);
    }
    for name in [EVENTS_EXCHANGE, REPORTS_EXCHANGE] {
        let deleted = channel(connection).await.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await;
        assert_refused(&format!("delete exchange {name}"), deleted, REFUSED);
    }
}

async fn cannot_publish(connection: &Connection, me: &str, other: &str, others: &str) {
    for (what, exchange, key, properties, words) in [
        ("a command to another", "", others, said_by(me), REFUSED),
        ("work through the default exchange", "", WorkQueue::Resolver.name(), said_by(me), REFUSED),
        ("an event", EVENTS_EXCHANGE, "command.requested", said_by(me), REFUSED),
        ("a report's key as an event", EVENTS_EXCHANGE, "node.upserted", said_by(me), REFUSED),
        ("a dead letter", DEAD_EXCHANGE, "x", said_by(me), REFUSED),
        ("to another's exchange", "amq.topic", "x", said_by(me), REFUSED),
        ("a report that is none", REPORTS_EXCHANGE, "node.removed", said_by(me), REFUSED),
        ("a report as another", REPORTS_EXCHANGE, "node.heartbeat", said_by(other), "PRECONDITION_FAILED"),
        (
            "a report as the control plane",
            REPORTS_EXCHANGE,
            "node.heartbeat",
            said_by("patchwave"),
            "PRECONDITION_FAILED",
        ),
    ] {
        assert_refused(what, publish(connection, exchange, key, properties).await, words);
    }
}
