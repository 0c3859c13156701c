//! A bus of each kind, and the end of it that a node holds.

use std::sync::Arc;

use futures_util::StreamExt;
use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::bus::embedded::{EmbeddedBus, NodeInbox};
use patchwave_platform::bus::{Bus, Consumer};
use patchwave_schemas::topology::WorkQueue;
use patchwave_tests::servers::shared;

use crate::fixtures::up;

/// A bus under test, and how to be a node on it.
pub(crate) enum Backend {
    Embedded { bus: Arc<EmbeddedBus>, _directory: Option<tempfile::TempDir> },
    Amqp { bus: Arc<AmqpBus>, url: String },
}

/// A connected node's end of the bus.
pub(crate) enum Node {
    Embedded(NodeInbox),
    Amqp { _connection: Box<lapin::Connection>, deliveries: lapin::Consumer },
}

impl Backend {
    pub(crate) async fn memory() -> Self {
        Self::Embedded { bus: Arc::new(EmbeddedBus::open(None).await.unwrap()), _directory: None }
    }

    pub(crate) async fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(Some(&directory.path().join("patchwave.db"))).await.unwrap();
        Self::Embedded { bus: Arc::new(bus), _directory: Some(directory) }
    }

    pub(crate) async fn rabbitmq() -> Self {
        let url = shared().unwrap().vhost("contract-bus").unwrap();
        let bus = AmqpBus::connect(&url, "contract").await.unwrap();
        up(&bus).await;
        Self::Amqp { bus: Arc::new(bus), url }
    }

    pub(crate) fn bus(&self) -> &dyn Bus {
        match self {
            Self::Embedded { bus, .. } => &**bus,
            Self::Amqp { bus, .. } => &**bus,
        }
    }

    pub(crate) async fn consume(&self, queue: WorkQueue) -> Box<dyn Consumer> {
        self.bus().consume(queue).await.unwrap()
    }

    pub(crate) async fn node(&self, address: &str) -> Node {
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
    pub(crate) async fn recv(&mut self) -> Vec<u8> {
        match self {
            Self::Embedded(inbox) => inbox.recv().await.unwrap(),
            Self::Amqp { deliveries, .. } => deliveries.next().await.unwrap().unwrap().data,
        }
    }
}
