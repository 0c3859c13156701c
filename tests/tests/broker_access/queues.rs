//! What a node can make of the queues that it may declare.

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use patchwave_platform::bus::{Bus as _, Published};
use patchwave_schemas::topology::node_queue;
use serde_json::Value;

use crate::permissions::command;
use crate::world::{Key, World, channel};

const DURABLE: QueueDeclareOptions =
    QueueDeclareOptions { durable: true, passive: false, exclusive: false, auto_delete: false, nowait: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_node_declares_holds_little_and_not_for_long() {
    let world = World::new().await;
    let node = Key::new(1);
    world.register(&node);
    let connection = world.connect(&node).await;
    let endless = AMQPValue::LongLongInt(1 << 40);
    let mut wishes = FieldTable::default();
    wishes.insert("x-expires".into(), AMQPValue::LongInt(i32::MAX));
    wishes.insert("x-max-length".into(), endless.clone());
    wishes.insert("x-max-length-bytes".into(), endless);
    for (name, arguments) in [("plain", FieldTable::default()), ("wishes", wishes)] {
        let queue = node_queue(&node.node, name);
        channel(&connection).await.queue_declare(queue.as_str().into(), DURABLE, arguments).await.unwrap();
        // The lower of policy and argument holds. Nobody reads it: the first are dropped.
        let commands = vec![command(&queue); 1_200];
        assert!(world.bus.publish(&commands).await.unwrap().iter().all(|one| *one == Published::Confirmed));
        let passive = QueueDeclareOptions { passive: true, ..DURABLE };
        let looking = channel(&connection).await;
        let held = looking.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await.unwrap();
        assert_eq!(held.message_count(), 1_000, "{name}");
    }
    // Longer than a test waits.
    let policies: Value = serde_json::from_str(&world.rabbit.management("GET", "/api/policies").unwrap()).unwrap();
    assert_eq!((&policies[0]["apply-to"], &policies[0]["definition"]["expires"]), (&"queues".into(), &300_000.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_refuses_commands_holds_up_no_other_node() {
    let world = World::new().await;
    let (node, other) = (Key::new(1), Key::new(2));
    let (mut refusing, mut addresses) = (FieldTable::default(), Vec::new());
    refusing.insert("x-max-length".into(), AMQPValue::LongInt(0));
    refusing.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    for (key, arguments) in [(&node, refusing), (&other, FieldTable::default())] {
        world.register(key);
        let address = node_queue(&key.node, "1");
        let connection = world.connect(key).await;
        channel(&connection).await.queue_declare(address.as_str().into(), DURABLE, arguments).await.unwrap();
        addresses.push(address);
    }
    let commands = [command(&addresses[0]), command(&addresses[1]), command(&addresses[0])];
    assert_eq!(world.bus.publish(&commands).await.unwrap(), [Published::Confirmed; 3]);
}
