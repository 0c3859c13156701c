//! A process's own queue, for commands to the nodes that it serves.
//!
//! Exclusive and transient like a node's: it goes with the connection, and the publishers of
//! commands hear of that by what comes back to them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use patchwave_schemas::topology::HOST_QUEUE_PREFIX;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::link::{ANSWER_PATIENCE, State};
use super::publisher::broker;
use crate::bus::{BusError, HostQueue};

/// How long to wait for a link.
const LINK_PATIENCE: Duration = Duration::from_secs(30);
/// Commands in advance: what bounds the memory of a process that is slow for a moment.
const PREFETCH: u16 = 1_024;
/// Commands that are acknowledged together while more are ready.
const ACKNOWLEDGE_EVERY: u64 = 256;

/// A queue, and what consumes it.
pub(super) struct AmqpHost {
    address: String,
    link: watch::Receiver<State>,
    connection: Arc<Connection>,
    channel: Channel,
    deliveries: lapin::Consumer,
    /// The last delivery that was handed out, and how many since the last acknowledgement.
    last: u64,
    open: u64,
}

/// Declares a queue on the connection that is up, and consumes it.
pub(super) async fn open(mut link: watch::Receiver<State>) -> Result<AmqpHost, BusError> {
    let attempted = "take a queue for nodes";
    let settled = timeout(LINK_PATIENCE, link.wait_for(|state| !matches!(state, State::Down(_)))).await;
    let connection = match settled.map(|state| state.map(|state| state.clone())) {
        Ok(Ok(State::Up(connection))) => connection,
        Ok(_) => return Err(BusError::Closed),
        Err(elapsed) => return Err(broker(attempted, elapsed)),
    };
    let address = format!("{HOST_QUEUE_PREFIX}{}", Uuid::new_v4().simple());
    match timeout(ANSWER_PATIENCE, declare(&connection, &address)).await {
        Ok(Ok((channel, deliveries))) => {
            Ok(AmqpHost { address, link, connection, channel, deliveries, last: 0, open: 0 })
        }
        Ok(Err(error)) => Err(broker(attempted, error)),
        Err(elapsed) => Err(broker(attempted, elapsed)),
    }
}

async fn declare(connection: &Connection, address: &str) -> Result<(Channel, lapin::Consumer), lapin::Error> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(PREFETCH, BasicQosOptions { global: false }).await?;
    let options = QueueDeclareOptions {
        passive: false,
        // Commands are transient; the store is the mailbox.
        durable: false,
        // Nobody else may read it, and it goes with the connection.
        exclusive: true,
        auto_delete: true,
        nowait: false,
    };
    channel.queue_declare(address.into(), options, FieldTable::default()).await?;
    let options = BasicConsumeOptions::default();
    let deliveries = channel.basic_consume(address.into(), address.into(), options, FieldTable::default()).await?;
    Ok((channel, deliveries))
}

impl AmqpHost {
    /// Acknowledges what was handed out. Whether it worked shows with the next delivery.
    async fn acknowledge(&mut self) {
        // First: a future that is dropped meanwhile leaves it to the next acknowledgement.
        if std::mem::take(&mut self.open) > 0 {
            let told = self.channel.basic_ack(self.last, BasicAckOptions { multiple: true }).await;
            if let Err(error) = told {
                tracing::debug!(%error, "commands could not be acknowledged; their queue is gone");
            }
        }
    }

    fn take(&mut self, delivery: Option<Result<Delivery, lapin::Error>>) -> Option<Vec<u8>> {
        let delivery = delivery?.ok()?;
        self.last = delivery.delivery_tag;
        self.open += 1;
        Some(delivery.data)
    }
}

#[async_trait]
impl HostQueue for AmqpHost {
    fn address(&self) -> &str {
        &self.address
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.open >= ACKNOWLEDGE_EVERY {
            self.acknowledge().await;
        }
        if let Some(ready) = self.deliveries.next().now_or_never() {
            return self.take(ready);
        }
        self.acknowledge().await;
        let connection = &self.connection;
        // The supervisor notices every loss; the driver's stream has been seen to miss one.
        let lost = self.link.wait_for(|state| !state.is(connection));
        let delivery = tokio::select! {
            biased;
            delivery = self.deliveries.next() => delivery,
            _ = lost => None,
        };
        self.take(delivery)
    }
}
