//! Declares exchanges, queues and bindings. Names come from `schemas::topology`.
//!
//! Everything is declared by every program that connects, so none has to start first. A changed
//! argument of an existing queue is refused by the broker; such a change needs a new queue name.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind};
use patchwave_schemas::topology::{DEAD_EXCHANGE, DELIVERY_LIMIT, EVENTS_EXCHANGE, REPORTS_EXCHANGE, WorkQueue};

/// Delivery limit of the dead-letter queue: in effect none. Listing dead letters hands them out
/// and back, and RabbitMQ 4 would drop them after its default of 20. (3.x refuses -1.)
const DEAD_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Declares everything on one channel. Safe to repeat and to do from many programs at once.
pub(super) async fn declare(channel: &Channel) -> Result<(), lapin::Error> {
    // Whoever publishes while a broker is set up for the first time finds the graveyard complete.
    declare_exchange(channel, DEAD_EXCHANGE, FieldTable::default()).await?;
    declare_queue(channel, WorkQueue::Dead).await?;
    bind(channel, WorkQueue::Dead).await?;
    // An event that no queue is bound to is buried instead of lost.
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), text(DEAD_EXCHANGE));
    declare_exchange(channel, EVENTS_EXCHANGE, arguments).await?;
    // A report is returned to its agent, which keeps it and sends it again.
    declare_exchange(channel, REPORTS_EXCHANGE, FieldTable::default()).await?;
    let others = WorkQueue::ALL.into_iter().filter(|queue| *queue != WorkQueue::Dead);
    for queue in others.clone() {
        declare_queue(channel, queue).await?;
    }
    for queue in others {
        bind(channel, queue).await?;
    }
    Ok(())
}

async fn bind(channel: &Channel, queue: WorkQueue) -> Result<(), lapin::Error> {
    for (exchange, pattern) in queue.bindings() {
        let options = QueueBindOptions { nowait: false };
        channel
            .queue_bind(queue.name().into(), (*exchange).into(), (*pattern).into(), options, FieldTable::default())
            .await?;
    }
    Ok(())
}

async fn declare_exchange(channel: &Channel, name: &str, arguments: FieldTable) -> Result<(), lapin::Error> {
    let options = ExchangeDeclareOptions {
        passive: false,
        durable: true,
        auto_delete: false,
        // Other systems publish to the events exchange.
        internal: false,
        nowait: false,
    };
    channel.exchange_declare(name.into(), ExchangeKind::Topic, options, arguments).await
}

async fn declare_queue(channel: &Channel, queue: WorkQueue) -> Result<(), lapin::Error> {
    let mut arguments = FieldTable::default();
    // Quorum: survives a broker of a cluster, counts deliveries, and is the fastest durable kind.
    arguments.insert("x-queue-type".into(), text("quorum"));
    if queue == WorkQueue::Dead {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DEAD_DELIVERY_LIMIT));
    } else {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT.into()));
        arguments.insert("x-dead-letter-exchange".into(), text(DEAD_EXCHANGE));
    }
    let options = QueueDeclareOptions {
        passive: false,
        durable: true,
        // Shared by all workers, whoever is connected.
        exclusive: false,
        auto_delete: false,
        nowait: false,
    };
    channel.queue_declare(queue.name().into(), options, arguments).await.map(drop)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
