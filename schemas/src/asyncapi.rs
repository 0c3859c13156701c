//! The AsyncAPI 3.0 document: servers, channels, operations and messages, from the register.
//!
//! The application it describes is the control plane. So it *sends* events and commands to nodes,
//! and *receives* from its work queues what other systems, agents and itself have published.

use serde_json::{Map, Value, json};

use crate::catalogue::{Direction, Entry, MESSAGES, Publisher};
use crate::envelope::CONTENT_TYPE;
use crate::generated::{NEWS_SCHEMA, schema_path};
use crate::topology::{
    DEAD_EXCHANGE, DELIVERY_LIMIT, HOST_QUEUE_PREFIX, NODE_QUEUE_PREFIX, TOPIC_CHANNEL_PREFIX, WorkQueue, routing_key,
};

/// Version of the AMQP and Redis binding objects that are written.
const AMQP_BINDING: &str = "0.3.0";

/// The document.
#[must_use]
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:patchwave",
        "info": {
            "title": "Patchwave",
            "version": "1.0.0",
            "description": "What travels between Patchwave's programs, its agents and other systems. \
                Every message is a CloudEvent 1.0 in structured JSON, delivered at least once; its `id` is what \
                repetitions are recognised by. News for subscribers has SNS's envelope.",
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": servers(),
        "channels": channels(),
        "operations": operations(),
        "components": { "messages": messages() },
    })
}

fn servers() -> Value {
    json!({
        "broker": {
            "host": "{host}:5672",
            "protocol": "amqp",
            "protocolVersion": "0.9.1",
            "description": "RabbitMQ 3.10 or later: the `--bus` of every program.",
            "variables": { "host": { "default": "localhost", "description": "Name of the broker." } },
        },
        "topics": {
            "host": "{host}:6379",
            "protocol": "redis",
            "description": "Redis: the `--topics` of every program.",
            "variables": { "host": { "default": "localhost", "description": "Name of the Redis server." } },
        },
    })
}

fn channels() -> Value {
    let mut channels = Map::new();
    for entry in MESSAGES {
        for key in entry.routing_keys() {
            let exchange = entry.direction.exchange().unwrap_or_default();
            let channel = json!({
                "address": key,
                "title": format!("{key} on {exchange}"),
                "servers": [{ "$ref": "#/servers/broker" }],
                "messages": message_refs(&[entry]),
                "bindings": { "amqp": {
                    "is": "routingKey",
                    "exchange": {
                        "name": exchange, "type": "topic", "durable": true, "autoDelete": false, "vhost": "/"
                    },
                    "bindingVersion": AMQP_BINDING,
                } },
            });
            channels.insert(key_channel(key), channel);
        }
    }
    for queue in WorkQueue::ALL {
        channels.insert(queue_channel(queue), work_queue(queue));
    }
    let node = json!({
        "nodeId": { "description": "The node's id, `mi-` and 17 hex digits." },
        "session": { "description": "Differs for each connection of the agent." },
    });
    channels.insert(
        NODE_CHANNEL.to_owned(),
        node_queue(&format!("{NODE_QUEUE_PREFIX}{{nodeId}}.{{session}}"), node, "The queue of one connected node."),
    );
    let host = json!({ "session": { "description": "Differs for each connection of the program." } });
    channels.insert(
        HOST_CHANNEL.to_owned(),
        node_queue(
            &format!("{HOST_QUEUE_PREFIX}{{session}}"),
            host,
            "The queue of a program that serves many nodes, such as a simulator.",
        ),
    );
    channels.insert(
        NEWS_CHANNEL.to_owned(),
        json!({
            "address": format!("{TOPIC_CHANNEL_PREFIX}{{topic}}"),
            "title": "News of a topic",
            "description": "Redis pub/sub: whoever listens hears it, and Redis keeps nothing. \
                What is published is first in the store.",
            "servers": [{ "$ref": "#/servers/topics" }],
            "parameters": { "topic": { "description": "Name of the topic.", "default": "patchwave" } },
            "messages": { NEWS_SCHEMA: { "$ref": format!("#/components/messages/{NEWS_SCHEMA}") } },
        }),
    );
    Value::Object(channels)
}

const NODE_CHANNEL: &str = "queue.node";
const HOST_CHANNEL: &str = "queue.host";
const NEWS_CHANNEL: &str = "news";

fn key_channel(key: &str) -> String {
    format!("key.{key}")
}

fn queue_channel(queue: WorkQueue) -> String {
    format!("queue.{}", queue.role())
}

fn work_queue(queue: WorkQueue) -> Value {
    let description = if queue == WorkQueue::Dead {
        "What could not be processed, as it came, whatever it is. `patchwave dead-letters` lists, replays and drops it."
            .to_owned()
    } else {
        format!(
            "A quorum queue; what is delivered more than {DELIVERY_LIMIT} times goes to the exchange `{DEAD_EXCHANGE}`."
        )
    };
    let bindings: Vec<Value> = queue
        .bindings()
        .iter()
        .map(|(exchange, pattern)| json!({ "exchange": exchange, "routingKey": pattern }))
        .collect();
    json!({
        "address": queue.name(),
        "title": format!("Work of the {}", queue.role()),
        "description": description,
        "servers": [{ "$ref": "#/servers/broker" }],
        "messages": message_refs(&read_by(queue)),
        "bindings": { "amqp": {
            "is": "queue",
            "queue": {
                "name": queue.name(), "durable": true, "exclusive": false, "autoDelete": false, "vhost": "/"
            },
            "bindingVersion": AMQP_BINDING,
        } },
        "x-queue-bindings": bindings,
    })
}

fn node_queue(address: &str, parameters: Value, description: &str) -> Value {
    json!({
        "address": address,
        "description": format!(
            "{description} It is named in `patchwave.node.connected.v1`, is deleted with its connection, and is \
             published to through the default exchange: transient and mandatory, so that a message which comes back \
             says that the node is not connected."
        ),
        "servers": [{ "$ref": "#/servers/broker" }],
        "parameters": parameters,
        "messages": message_refs(&to_nodes()),
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "durable": false, "exclusive": true, "autoDelete": true, "vhost": "/" },
            "bindingVersion": AMQP_BINDING,
        } },
    })
}

fn operations() -> Value {
    let mut operations = Map::new();
    for entry in MESSAGES.iter().filter(|entry| entry.direction == Direction::Event && sent_by_us(entry)) {
        for key in entry.routing_keys() {
            operations.insert(format!("send.{key}"), operation("send", &key_channel(key), &[entry.message_type]));
        }
    }
    for entry in to_nodes() {
        for (channel, suffix) in [(NODE_CHANNEL, "node"), (HOST_CHANNEL, "host")] {
            let id = format!("send.{}.{suffix}", routing_key(entry.message_type));
            operations.insert(id, operation("send", channel, &[entry.message_type]));
        }
    }
    operations.insert(format!("send.{NEWS_CHANNEL}"), operation("send", NEWS_CHANNEL, &[NEWS_SCHEMA]));
    for queue in WorkQueue::ALL.into_iter().filter(|queue| *queue != WorkQueue::Dead) {
        let types: Vec<&str> = read_by(queue).iter().map(|entry| entry.message_type).collect();
        operations.insert(format!("receive.{}", queue.role()), operation("receive", &queue_channel(queue), &types));
    }
    Value::Object(operations)
}

fn operation(action: &str, channel: &str, messages: &[&str]) -> Value {
    let messages: Vec<Value> =
        messages.iter().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })).collect();
    json!({ "action": action, "channel": { "$ref": format!("#/channels/{channel}") }, "messages": messages })
}

fn messages() -> Value {
    let mut messages = Map::new();
    for entry in MESSAGES {
        let schema = entry.schema();
        let publishers: Vec<&str> = entry.publishers.iter().map(|publisher| publisher.name()).collect();
        let message = json!({
            "name": entry.message_type,
            "title": routing_key(entry.message_type),
            "summary": schema.get("description"),
            "contentType": CONTENT_TYPE,
            "payload": payload(entry.message_type),
            "x-publishers": publishers,
        });
        messages.insert(entry.message_type.to_owned(), message);
    }
    let news = json!({
        "name": NEWS_SCHEMA,
        "title": "notification",
        "summary": "SNS's envelope around SSM's notification payload.",
        "contentType": "application/json",
        "payload": payload(NEWS_SCHEMA),
        "x-publishers": [Publisher::Worker.name()],
    });
    messages.insert(NEWS_SCHEMA.to_owned(), news);
    Value::Object(messages)
}

fn payload(name: &str) -> Value {
    json!({
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": { "$ref": format!("./{}", schema_path(name)) },
    })
}

fn message_refs(entries: &[&Entry]) -> Value {
    let refs = entries.iter().map(|entry| {
        let name = entry.message_type;
        (name.to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }))
    });
    Value::Object(refs.collect())
}

fn read_by(queue: WorkQueue) -> Vec<&'static Entry> {
    MESSAGES.iter().filter(|entry| entry.readers().contains(&queue)).collect()
}

fn to_nodes() -> Vec<&'static Entry> {
    MESSAGES.iter().filter(|entry| entry.direction == Direction::Node).collect()
}

fn sent_by_us(entry: &Entry) -> bool {
    entry.publishers.iter().any(|publisher| *publisher != Publisher::OtherSystems)
}
