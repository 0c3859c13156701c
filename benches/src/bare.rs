//! The yardstick: command → echo → result with `lapin` alone, on the same broker, over the same
//! number and kind of queues, with messages of the same size and the same promises.
//!
//! Nothing is decided, stored or journaled here. Anything that would make this slower than a good
//! program with `lapin` can be would flatter Patchwave; so it does all that was measured to help:
//! joined publishes, pipelined confirms, batches by readiness, one acknowledgement for many.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, ready};
use std::io::Write as _;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::DeliveryResult;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ConsumerDelegate, PublisherConfirm};
use patchwave_schemas::envelope::CONTENT_TYPE;
use patchwave_schemas::ids::derived_uuid;
use tokio::sync::mpsc;

/// Bytes of a message: what a command and a report of the measured rollout have.
pub(crate) const MESSAGE_BYTES: usize = 700;
/// Connections that the echoing nodes share.
const ECHO_CONNECTIONS: usize = 4;
/// Consumers on one channel.
const CONSUMERS_PER_CHANNEL: usize = 250;
/// Queues declared at the same time.
const DECLARE_WINDOW: usize = 64;
/// Publish calls polled together.
const GROUP: usize = 64;
/// Messages in advance on a shared queue, and for the results.
const PREFETCH: u16 = 1_024;
/// Messages in advance on the queue of one node.
const PREFETCH_NODE: u16 = 8;
/// Messages handled in one round.
const BATCH: usize = 512;
/// A round trip that makes no progress for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// Name of the queue of results; durable and of the kind that work queues have.
fn result_queue(tag: &str) -> String {
    format!("bench.results.{tag}")
}

/// Name of the queue that the commands of `node` go to.
fn node_queue(tag: &str, node: usize, shared: bool) -> String {
    if shared { format!("bench.host.{tag}") } else { format!("bench.node.{tag}.{node}") }
}

async fn connect(url: &str) -> anyhow::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("bench".into());
    Connection::connect(url, properties).await.context("could not connect to the broker")
}

async fn declare_results(channel: &Channel, tag: &str) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(result_queue(tag).into(), options, arguments).await?;
    Ok(())
}

async fn publish(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    delivery_mode: u8,
) -> Result<PublisherConfirm, lapin::Error> {
    let properties = BasicProperties::default()
        .with_message_id(uuid::Uuid::new_v4().to_string().into())
        .with_type("bench.v1".into())
        .with_content_type(CONTENT_TYPE.into())
        .with_delivery_mode(delivery_mode);
    let options = BasicPublishOptions { mandatory: delivery_mode == TRANSIENT, ..BasicPublishOptions::default() };
    channel.basic_publish("".into(), queue.into(), options, body, properties).await
}

async fn confirmed(confirms: Vec<PublisherConfirm>) -> anyhow::Result<()> {
    for confirm in confirms {
        let answer = confirm.await?;
        ensure!(answer.is_ack() && answer.take_message().is_none(), "the broker refused or returned a message");
    }
    Ok(())
}

/// What one bare round took.
pub(crate) struct BareRound {
    /// First publish to last result.
    pub(crate) elapsed: Duration,
    /// First publish to last confirm of a command.
    pub(crate) published: Duration,
}

/// The publishing side.
pub(crate) struct Driver {
    _publishing: Connection,
    _consuming: Connection,
    commands: Channel,
    results: Channel,
    consumer: Consumer,
    queues: Vec<String>,
}

impl Driver {
    pub(crate) async fn connect(url: &str, tag: &str, nodes: usize, shared: bool) -> anyhow::Result<Self> {
        let (publishing, consuming) = (connect(url).await?, connect(url).await?);
        let commands = publishing.create_channel().await?;
        commands.confirm_select(ConfirmSelectOptions::default()).await?;
        let results = consuming.create_channel().await?;
        declare_results(&results, tag).await?;
        results.queue_purge(result_queue(tag).into(), QueuePurgeOptions::default()).await?;
        results.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let name = result_queue(tag);
        let consumer = results.basic_consume(name.into(), "bench".into(), options, FieldTable::default()).await?;
        // In no order, as a rollout goes: in order, whole groups would go to one channel.
        let mut queues: Vec<_> = (0..nodes).map(|node| node_queue(tag, node, shared)).collect();
        queues.sort_by_cached_key(|queue| derived_uuid("bench order:", queue));
        Ok(Self { _publishing: publishing, _consuming: consuming, commands, results, consumer, queues })
    }

    /// One command for every node, at most `limit` in flight.
    pub(crate) async fn round(&mut self, limit: usize) -> anyhow::Result<BareRound> {
        let body = vec![b'x'; MESSAGE_BYTES];
        let (sender, mut confirms) = mpsc::unbounded_channel::<Vec<PublisherConfirm>>();
        let started = Instant::now();
        let confirming = tokio::spawn(async move {
            while let Some(group) = confirms.recv().await {
                confirmed(group).await?;
            }
            Ok::<Instant, anyhow::Error>(Instant::now())
        });
        let mut sender = Some(sender);
        let (mut next, mut in_flight, mut done) = (0, 0, 0);
        while done < self.queues.len() {
            let free = (limit - in_flight).min(self.queues.len() - next);
            for group in self.queues[next..next + free].chunks(GROUP) {
                let calls = group.iter().map(|queue| publish(&self.commands, queue, &body, TRANSIENT));
                let group = try_join_all(calls).await?;
                if let Some(sender) = &sender {
                    let _ = sender.send(group);
                }
            }
            next += free;
            in_flight += free;
            if next == self.queues.len() {
                sender = None;
            }
            let first = tokio::time::timeout(PATIENCE, self.consumer.next()).await.context("no result came")?;
            let mut last = first.context("the results ended")??.delivery_tag;
            let mut count = 1;
            while count < BATCH
                && let Some(Some(Ok(delivery))) = self.consumer.next().now_or_never()
            {
                last = delivery.delivery_tag;
                count += 1;
            }
            self.results.basic_ack(last, BasicAckOptions { multiple: true }).await?;
            in_flight -= count;
            done += count;
        }
        let elapsed = started.elapsed();
        let published = confirming.await??.duration_since(started);
        Ok(BareRound { elapsed, published })
    }
}

/// A command as the echo receives it: which channel of which connection, and its tag there.
struct Received {
    channel: u16,
    tag: u64,
}

/// Hands deliveries on in order, without a task for each of thousands of consumers.
struct Forward {
    channel: u16,
    sender: mpsc::UnboundedSender<Received>,
}

impl ConsumerDelegate for Forward {
    fn on_new_delivery(&self, delivery: DeliveryResult) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if let Ok(Some(delivery)) = delivery {
            let _ = self.sender.send(Received { channel: self.channel, tag: delivery.delivery_tag });
        }
        Box::pin(ready(()))
    }
}

/// The nodes' side, in a process of its own: answers every command, until it is killed.
///
/// Prints a line when all its queues are there.
pub(crate) async fn echo(url: &str, tag: &str, nodes: usize, shared: bool) -> anyhow::Result<()> {
    let connections = if shared { 1 } else { ECHO_CONNECTIONS.min(nodes.div_ceil(CONSUMERS_PER_CHANNEL)) };
    let each = nodes.div_ceil(connections);
    let mut sides = Vec::new();
    for index in 0..connections {
        let part = index * each..((index + 1) * each).min(nodes);
        sides.push(EchoSide::open(url, tag, part, shared).await?);
    }
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    try_join_all(sides.into_iter().map(EchoSide::run)).await?;
    Ok(())
}

struct EchoSide {
    _connection: Connection,
    publisher: Channel,
    channels: HashMap<u16, Channel>,
    _consumers: Vec<Consumer>,
    incoming: mpsc::UnboundedReceiver<Received>,
    results: String,
}

impl EchoSide {
    async fn open(url: &str, tag: &str, nodes: std::ops::Range<usize>, shared: bool) -> anyhow::Result<Self> {
        let connection = connect(url).await?;
        let publisher = connection.create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        declare_results(&publisher, tag).await?;
        let (sender, incoming) = mpsc::unbounded_channel();
        let mut channels: HashMap<u16, Channel> = HashMap::new();
        let mut consumers = Vec::new();
        let nodes: Vec<usize> = if shared { vec![0] } else { nodes.collect() };
        for part in nodes.chunks(CONSUMERS_PER_CHANNEL) {
            let channel = connection.create_channel().await?;
            let prefetch = if shared { PREFETCH } else { PREFETCH_NODE };
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            for window in part.chunks(DECLARE_WINDOW) {
                let opening = window.iter().map(|node| {
                    let (channel, sender) = (&channel, sender.clone());
                    let queue = node_queue(tag, *node, shared);
                    async move {
                        let options = QueueDeclareOptions {
                            exclusive: true,
                            auto_delete: true,
                            ..QueueDeclareOptions::default()
                        };
                        channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
                        let options = BasicConsumeOptions::default();
                        let name = queue.as_str();
                        let consumer =
                            channel.basic_consume(name.into(), name.into(), options, FieldTable::default()).await?;
                        consumer.set_delegate(Forward { channel: channel.id(), sender });
                        Ok::<Consumer, lapin::Error>(consumer)
                    }
                });
                consumers.extend(try_join_all(opening).await?);
            }
            channels.insert(channel.id(), channel);
        }
        let results = result_queue(tag);
        Ok(Self { _connection: connection, publisher, channels, _consumers: consumers, incoming, results })
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let body = vec![b'y'; MESSAGE_BYTES];
        let (sender, mut published) = mpsc::channel::<(Vec<PublisherConfirm>, BTreeMap<u16, u64>)>(4);
        let channels = self.channels;
        // Commands are acknowledged behind their results' confirms, while the next are taken.
        let acknowledging = tokio::spawn(async move {
            while let Some((confirms, tags)) = published.recv().await {
                confirmed(confirms).await?;
                for (channel, tag) in tags {
                    channels[&channel].basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                }
            }
            Ok::<(), anyhow::Error>(())
        });
        let mut batch = Vec::new();
        while self.incoming.recv_many(&mut batch, BATCH).await > 0 {
            let mut tags = BTreeMap::new();
            for received in &batch {
                tags.insert(received.channel, received.tag);
            }
            let mut confirms = Vec::with_capacity(batch.len());
            for group in batch.chunks(GROUP) {
                let calls = group.iter().map(|_| publish(&self.publisher, &self.results, &body, PERSISTENT));
                confirms.extend(try_join_all(calls).await?);
            }
            batch.clear();
            if sender.send((confirms, tags)).await.is_err() {
                break;
            }
        }
        drop(sender);
        acknowledging.await?
    }
}
