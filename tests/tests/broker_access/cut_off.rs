//! Nodes that were cut off are disconnected, whatever the broker does meanwhile.

use jiff::{SignedDuration, Timestamp};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use patchwave_platform::bus::amqp::{AmqpBus, Management};
use patchwave_platform::bus::{Bus as _, Disconnected};
use patchwave_platform::cut_off;
use patchwave_platform::store::Store;
use patchwave_schemas::topology::node_queue;
use patchwave_tests::fleet::eventually;
use patchwave_tests::servers::free_port;

use crate::world::{Key, World, assert_refused, channel};

async fn lasting_queue(connection: &lapin::Connection, name: &str) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel(connection).await.queue_declare(name.into(), durable, FieldTable::default()).await.unwrap();
}

async fn disconnected(connection: &lapin::Connection) {
    eventually("the connection is closed", async || (!connection.status().connected()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_disconnected_with_all_its_queues_and_no_other_is() {
    let world = World::new().await;
    let (node, other) = (Key::new(1), Key::new(2));
    world.register(&node);
    world.register(&other);
    let (first, second, others) = (world.connect(&node).await, world.connect(&node).await, world.connect(&other).await);
    let (mine, theirs) = (node_queue(&node.node, "lasting"), node_queue(&other.node, "lasting"));
    lasting_queue(&first, &mine).await;
    lasting_queue(&others, &theirs).await;

    assert_eq!(world.bus.disconnect(&node.node).await.unwrap(), Disconnected::Done);

    disconnected(&first).await;
    disconnected(&second).await;
    assert!(others.status().connected());
    let passive = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
    let again = world.connect(&node).await;
    let gone = channel(&again).await.queue_declare(mine.as_str().into(), passive, FieldTable::default()).await;
    assert_refused("its lasting queue", gone, "NOT_FOUND");
    channel(&others).await.queue_declare(theirs.as_str().into(), passive, FieldTable::default()).await.unwrap();

    // A node that is not there, or that never was, is as good as disconnected.
    assert_eq!(world.bus.disconnect(&Key::new(3).node).await.unwrap(), Disconnected::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_disconnected_is_repeated_and_looked_at_once_more() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", directory.path().join("s.db").display())).await.unwrap();
    let node = Key::new(1);
    world.register(&node);
    let connection = world.connect(&node).await;
    let now = Timestamp::now();
    let mut tx = store.begin().await.unwrap();
    tx.request_cut_off(&node.node, now).await.unwrap();
    tx.commit().await.unwrap();

    // Nobody answers at the management API, or it is not known: the node stays noted.
    let url = world.rabbit.deployed_url("server/bus").unwrap();
    let nowhere = Management::new(&format!("http://u:p@127.0.0.1:{}", free_port().unwrap())).unwrap();
    let away = AmqpBus::connect(&url, "away").await.unwrap().managed_by(Some(nowhere));
    cut_off::at_once(&store, &away, &node.node, now).await;
    assert_eq!(store.due_cut_offs(now, 10).await.unwrap().len(), 1);
    cut_off::sweep(&store, &away, now).await.unwrap_err();
    let unable = AmqpBus::connect(&url, "unable").await.unwrap();
    let later = now + SignedDuration::from_secs(16);
    assert_eq!(cut_off::sweep(&store, &unable, later).await.unwrap(), 0);
    assert_eq!(store.due_cut_offs(later, 10).await.unwrap().len(), 1);
    assert!(connection.status().connected());

    assert_eq!(cut_off::sweep(&store, &world.bus, later).await.unwrap(), 1);
    disconnected(&connection).await;

    // A login that was answered before is a connection a moment later: it goes as well.
    let late = world.connect(&node).await;
    assert_eq!(cut_off::sweep(&store, &world.bus, later).await.unwrap(), 0, "not yet");
    let last = now + SignedDuration::from_secs(21);
    assert_eq!(cut_off::sweep(&store, &world.bus, last).await.unwrap(), 1);
    disconnected(&late).await;
    assert_eq!(store.due_cut_offs(last + SignedDuration::from_hours(1), 10).await.unwrap(), []);
}
