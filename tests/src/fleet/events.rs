//! Any AMQP client: publishes to the exchanges as other systems do.

use anyhow::ensure;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use patchwave_schemas::topology::EVENTS_EXCHANGE;
use serde_json::{Value, json};
use uuid::Uuid;

/// A plain connection to the broker.
pub struct Events {
    // Closed when dropped.
    connection: Connection,
    channel: Channel,
}

impl Events {
    /// Connects.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { connection, channel })
    }

    /// The connection, for what is done with it elsewhere.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Publishes bytes to the events exchange; returns when some queue has them.
    ///
    /// # Errors
    /// When the broker does not take them, or no queue is bound to `key`.
    pub async fn publish(&self, key: &str, body: &[u8]) -> anyhow::Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = BasicProperties::default().with_delivery_mode(2);
        let exchange = EVENTS_EXCHANGE.into();
        let confirm = self.channel.basic_publish(exchange, key.into(), options, body, properties).await?.await?;
        ensure!(confirm.is_ack(), "the broker refused a message for `{key}`");
        ensure!(confirm.take_message().is_none(), "no queue is bound to `{key}`");
        Ok(())
    }
}

/// A CloudEvent as another system would write it.
#[must_use]
pub fn cloud_event(id: Uuid, event_type: &str, data: &Value) -> Vec<u8> {
    let event = json!({
        "specversion": "1.0",
        "id": id,
        "source": "/tests/other-system",
        "type": event_type,
        "time": jiff::Timestamp::now(),
        "data": data,
    });
    event.to_string().into_bytes()
}
