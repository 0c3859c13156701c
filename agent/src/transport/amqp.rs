//! The transport over RabbitMQ, through `lapin`.
//!
//! A connected node has one exclusive queue, which the broker deletes with the connection, and
//! declares nothing else. Recovery is left to the runtime: lapin's own would bring back queues
//! under their old names and so hide from the control plane that the session is a new one.

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, ready};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use futures_util::stream::StreamExt as _;
use lapin::message::DeliveryResult;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, ConnectionProperties, Consumer, ConsumerDelegate, Event};
use patchwave_schemas::NodeId;
use patchwave_schemas::envelope::CONTENT_TYPE;
use patchwave_schemas::topology::{HOST_QUEUE_PREFIX, REPORTS_EXCHANGE, node_queue};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::https::is_loopback;
use super::{Attached, Connection, Incoming, Link, Proofs, Ticket, Transport, TransportError};
use crate::report::Report;

/// Bytes of a frame. lapin allocates 2 × 32 of them for a connection; at the broker's default of
/// 128 KiB that is 8 MiB for an agent whose messages have a few KiB.
const FRAME_BYTES_MAX: u32 = 8_192;

/// Messages a node may hold unacknowledged. Commands come one by one; a few in advance suffice.
const PREFETCH: u16 = 8;

/// The same on a queue that serves many nodes.
const PREFETCH_SHARED: u16 = 1_024;

/// Consumers on one channel; a channel is one process on the broker, and one core there.
const CONSUMERS_PER_CHANNEL: usize = 250;

/// Nodes whose queues are declared at the same time.
const ATTACH_WINDOW: usize = 64;

/// Reports published before their confirms are awaited together.
const CONFIRM_WINDOW: usize = 512;

/// A broker's address, and how nodes use it.
pub struct AmqpTransport {
    uri: AMQPUri,
    name: String,
    shared_queue: bool,
    /// Who logs in, instead of the URL's user.
    login: Option<(NodeId, Proofs)>,
    /// Certificates to trust besides the system's, in PEM.
    ca_cert: Option<String>,
}

impl AmqpTransport {
    /// A transport to the broker at `url`. `name` is shown by the broker's tools.
    ///
    /// With `shared_queue` all nodes of the process are reached over one queue.
    ///
    /// # Errors
    /// [`TransportError::Url`] if the URL is not one of AMQP. Its password is never shown.
    pub fn new(url: &str, name: impl Into<String>, shared_queue: bool) -> Result<Self, TransportError> {
        let mut uri: AMQPUri =
            url.parse().map_err(|reason: String| TransportError::Url { url: without_password(url), reason })?;
        uri.query.frame_max.get_or_insert(FRAME_BYTES_MAX);
        Ok(Self { uri, name: name.into(), shared_queue, login: None, ca_cert: None })
    }

    /// Whether nobody on the way hears what is said: by TLS, or because it does not leave this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS || is_loopback(&self.uri.authority.host)
    }

    /// Logs in as a registered node, with a proof that is made anew for each connection.
    #[must_use]
    pub fn logging_in(mut self, node: NodeId, proofs: Proofs) -> Self {
        self.login = Some((node, proofs));
        self
    }

    /// Trusts the certificates in a PEM file, besides the system's, to vouch for the broker.
    ///
    /// # Errors
    /// [`TransportError::Certificates`] if it cannot be read.
    pub fn trusting(mut self, ca_cert: &Path) -> Result<Self, TransportError> {
        let bad = |reason: String| TransportError::Certificates { path: ca_cert.display().to_string(), reason };
        let pem = std::fs::read_to_string(ca_cert).map_err(|error| bad(error.to_string()))?;
        if !pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(bad("no certificate in it".to_owned()));
        }
        self.ca_cert = Some(pem);
        Ok(self)
    }
}

/// The URL with `***` for its password.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    match rest.rsplit_once('@') {
        Some((credentials, place)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{place}")
        }
        None => url.to_owned(),
    }
}

fn failed(attempted: impl Into<String>) -> impl FnOnce(lapin::Error) -> TransportError {
    let attempted = attempted.into();
    move |source| TransportError::Link { attempted, source: Box::new(source) }
}

#[async_trait]
impl Transport for AmqpTransport {
    async fn connect(&self) -> Result<Connection, TransportError> {
        let mut uri = self.uri.clone();
        if let Some((node, proofs)) = &self.login {
            uri.authority.userinfo.username = node.to_string();
            uri.authority.userinfo.password = proofs(node);
        }
        let place = format!("{}:{}", uri.authority.host, uri.authority.port);
        let user = uri.authority.userinfo.username.clone();
        let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let tls = OwnedTLSConfig { identity: None, cert_chain: self.ca_cert.clone() };
        let runtime = lapin::runtime::default_runtime().map_err(failed("find a runtime"))?;
        let connection = lapin::Connection::connect_uri_with_config(uri, properties, tls, runtime)
            .await
            .map_err(failed(format!("connect to the broker at `{place}`")))?;
        let publisher = connection.create_channel().await.map_err(failed("open a channel for reports"))?;
        publisher
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .map_err(failed("switch publisher confirms on"))?;
        let (sender, incoming) = mpsc::unbounded_channel();
        let lost = CancellationToken::new();
        watch(&connection, lost.clone());
        let link = AmqpLink {
            connection,
            publisher,
            session: Uuid::new_v4().simple().to_string().into(),
            user,
            shared_queue: self.shared_queue,
            sender,
            lost: lost.clone(),
            state: tokio::sync::Mutex::default(),
            unacknowledged: Mutex::default(),
        };
        Ok(Connection { incoming, lost, link: Arc::new(link) })
    }
}

/// Cancels `lost` once the connection has ended.
///
/// Consumers hear of a socket that breaks, but not of a broker that says goodbye, because it is
/// stopped or has the node disconnected: lapin takes their delegates away before.
fn watch(connection: &lapin::Connection, lost: CancellationToken) {
    let mut events = Box::pin(connection.events_listener());
    tokio::spawn(async move {
        let ended = async { while !matches!(events.next().await, None | Some(Event::Error(_))) {} };
        if lost.run_until_cancelled(ended).await.is_some() {
            lost.cancel();
        }
    });
}

struct AmqpLink {
    connection: lapin::Connection,
    publisher: Channel,
    session: Arc<str>,
    /// Who this connection is logged in as; the broker lets it publish as nobody else.
    user: String,
    shared_queue: bool,
    sender: mpsc::UnboundedSender<Incoming>,
    /// Cancelled when any consumer ends, because then the link is of no use.
    lost: CancellationToken,
    // Held across awaits: attaching is rare, and two at a time would gain nothing.
    state: tokio::sync::Mutex<Consumers>,
    unacknowledged: Mutex<HashMap<u32, Acknowledged>>,
}

/// Who consumes what.
#[derive(Default)]
struct Consumers {
    channels: Vec<Channel>,
    /// Consumers on the last channel.
    on_last: usize,
    by_node: HashMap<NodeId, (Channel, Consumer)>,
    shared: Option<(Arc<str>, Consumer)>,
}

/// The acknowledged tags of one channel, so that a run of them costs one frame.
#[derive(Default)]
struct Acknowledged {
    /// Every tag up to this one is acknowledged at the broker.
    up_to: u64,
    /// Tags beyond, which wait for those between.
    beyond: BTreeSet<u64>,
}

impl Acknowledged {
    /// Notes tags; returns the tag up to which all are acknowledged now, if that has moved.
    fn note(&mut self, tags: impl IntoIterator<Item = u64>) -> Option<u64> {
        let before = self.up_to;
        self.beyond.extend(tags.into_iter().filter(|tag| *tag > before));
        while self.beyond.first() == Some(&(self.up_to + 1)) {
            self.beyond.pop_first();
            self.up_to += 1;
        }
        (self.up_to > before).then_some(self.up_to)
    }
}

/// Hands deliveries on in the order in which the channel brought them.
///
/// A delegate and not a stream for each of thousands of consumers: it is called where the frame
/// is read, and costs no task that waits.
struct Forward {
    node_id: Option<NodeId>,
    channel: u32,
    sender: mpsc::UnboundedSender<Incoming>,
    lost: CancellationToken,
}

impl ConsumerDelegate for Forward {
    fn on_new_delivery(&self, delivery: DeliveryResult) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if let Ok(Some(delivery)) = delivery {
            let ticket = Ticket { channel: self.channel, tag: delivery.delivery_tag };
            // Nobody receives any more only when the runtime has given the link up.
            let _ = self.sender.send(Incoming { node_id: self.node_id.clone(), body: delivery.data, ticket });
        } else {
            self.lost.cancel();
        }
        Box::pin(ready(()))
    }
}

impl AmqpLink {
    async fn open_channel(&self, prefetch: u16) -> Result<Channel, TransportError> {
        let channel = self.connection.create_channel().await.map_err(failed("open a channel for commands"))?;
        // Not global: the limit is each consumer's own.
        channel
            .basic_qos(prefetch, BasicQosOptions { global: false })
            .await
            .map_err(failed("limit the messages in advance"))?;
        Ok(channel)
    }

    async fn consume(
        &self,
        channel: &Channel,
        queue: &str,
        node_id: Option<NodeId>,
    ) -> Result<Consumer, TransportError> {
        let options = QueueDeclareOptions {
            passive: false,
            // Commands are transient; the store is the mailbox.
            durable: false,
            // Nobody else may read it, and it goes with the connection.
            exclusive: true,
            auto_delete: true,
            nowait: false,
        };
        channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await
            .map_err(failed(format!("declare queue `{queue}`")))?;
        let consumer = channel
            .basic_consume(queue.into(), queue.into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
            .map_err(failed(format!("consume queue `{queue}`")))?;
        consumer.set_delegate(Forward {
            node_id,
            channel: u32::from(channel.id()),
            sender: self.sender.clone(),
            lost: self.lost.clone(),
        });
        Ok(consumer)
    }

    async fn attach_shared(&self, consumers: &mut Consumers) -> Result<Arc<str>, TransportError> {
        if let Some((address, _)) = &consumers.shared {
            return Ok(Arc::clone(address));
        }
        let address: Arc<str> = format!("{HOST_QUEUE_PREFIX}{}", self.session).into();
        let channel = self.open_channel(PREFETCH_SHARED).await?;
        let consumer = self.consume(&channel, &address, None).await?;
        consumers.channels.push(channel);
        consumers.shared = Some((Arc::clone(&address), consumer));
        Ok(address)
    }

    async fn attach_each(&self, nodes: &[NodeId], consumers: &mut Consumers) -> Result<Vec<Attached>, TransportError> {
        let mut attached = Vec::with_capacity(nodes.len());
        for window in nodes.chunks(ATTACH_WINDOW) {
            if consumers.channels.is_empty() || consumers.on_last + window.len() > CONSUMERS_PER_CHANNEL {
                consumers.channels.push(self.open_channel(PREFETCH).await?);
                consumers.on_last = 0;
            }
            let Some(channel) = consumers.channels.last().cloned() else { return Err(TransportError::Closed) };
            consumers.on_last += window.len();
            let addresses: Vec<Arc<str>> = window.iter().map(|node| node_queue(node, &self.session).into()).collect();
            let consuming = window
                .iter()
                .zip(&addresses)
                .map(|(node, address)| self.consume(&channel, address, Some(node.clone())));
            let consuming = try_join_all(consuming).await?;
            for ((node, address), consumer) in window.iter().zip(addresses).zip(consuming) {
                consumers.by_node.insert(node.clone(), (channel.clone(), consumer));
                attached.push(Attached { address, session: Arc::clone(&self.session) });
            }
        }
        Ok(attached)
    }

    /// Publishes one window of reports and waits for its confirms.
    async fn publish(&self, reports: &[Report]) -> Result<(), TransportError> {
        let publishes = reports.iter().map(|report| {
            let properties = BasicProperties::default()
                .with_content_type(CONTENT_TYPE.into())
                .with_message_id(report.id.to_string().into())
                .with_type(report.message_type.into())
                .with_app_id("patchwave-agent".into())
                .with_user_id(self.user.as_str().into())
                // Persistent: what a node did must survive the broker.
                .with_delivery_mode(2);
            self.publisher.basic_publish(
                REPORTS_EXCHANGE.into(),
                report.routing_key().into(),
                // Mandatory: a broker that is being set up for the first time has the exchange before
                // it has the queues behind it, and would confirm a hello that nobody gets.
                BasicPublishOptions { mandatory: true, immediate: false },
                &report.body,
                properties,
            )
        });
        let confirms = try_join_all(publishes).await.map_err(failed("publish reports"))?;
        let confirms = try_join_all(confirms).await.map_err(failed("have reports confirmed"))?;
        // A returned message may be reported with another one's confirm, so all of them are sent again.
        let taken = |confirm: &Confirmation| matches!(confirm, Confirmation::Ack(None));
        match confirms.iter().zip(reports).find(|(confirm, _)| !taken(confirm)) {
            Some((_, report)) => Err(TransportError::Refused { message_type: report.message_type }),
            None => Ok(()),
        }
    }

    /// Runs an operation, which ends at once when the link is lost.
    async fn while_up<T>(
        &self,
        operation: impl Future<Output = Result<T, TransportError>> + Send,
    ) -> Result<T, TransportError> {
        self.lost.run_until_cancelled(operation).await.unwrap_or(Err(TransportError::Closed))
    }
}

impl Drop for AmqpLink {
    fn drop(&mut self) {
        // Whoever watches the connection has nothing left to say.
        self.lost.cancel();
    }
}

#[async_trait]
impl Link for AmqpLink {
    async fn attach(&self, nodes: &[NodeId]) -> Result<Vec<Attached>, TransportError> {
        let mut consumers = self.state.lock().await;
        let operation = async {
            if self.shared_queue {
                let address = self.attach_shared(&mut consumers).await?;
                let attached = Attached { address, session: Arc::clone(&self.session) };
                Ok(vec![attached; nodes.len()])
            } else {
                self.attach_each(nodes, &mut consumers).await
            }
        };
        self.while_up(operation).await
    }

    async fn detach(&self, nodes: &[NodeId]) -> Result<(), TransportError> {
        let mut consumers = self.state.lock().await;
        for node in nodes {
            if let Some((channel, consumer)) = consumers.by_node.remove(node) {
                // The queue is deleted with its only consumer.
                let cancelled = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
                self.while_up(async { cancelled.await.map_err(failed("stop consuming")) }).await?;
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, tickets: Vec<Ticket>) -> Result<(), TransportError> {
        let mut by_channel: HashMap<u32, Vec<u64>> = HashMap::new();
        for ticket in tickets {
            by_channel.entry(ticket.channel).or_default().push(ticket.tag);
        }
        let moved: Vec<(u32, u64)> = {
            let mut unacknowledged = self.unacknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            let note = |(channel, tags)| Some((channel, unacknowledged.entry(channel).or_default().note(tags)?));
            by_channel.into_iter().filter_map(note).collect()
        };
        let channels: Vec<(Channel, u64)> = {
            let consumers = self.state.lock().await;
            let find = |id| consumers.channels.iter().find(|open| u32::from(open.id()) == id).cloned();
            moved.into_iter().filter_map(|(channel, tag)| Some((find(channel)?, tag))).collect()
        };
        // Together: each call waits until its frame is written, and a fleet has many channels.
        let acknowledging =
            channels.iter().map(|(channel, tag)| channel.basic_ack(*tag, BasicAckOptions { multiple: true }));
        self.while_up(async { try_join_all(acknowledging).await.map_err(failed("acknowledge commands")) }).await?;
        Ok(())
    }

    async fn report(&self, reports: &[Report]) -> Result<(), TransportError> {
        for window in reports.chunks(CONFIRM_WINDOW) {
            self.while_up(self.publish(window)).await?;
        }
        Ok(())
    }

    async fn close(&self) {
        // A link that is gone cannot be closed any more, which is just as well.
        if let Err(error) = self.connection.close(200, "bye".into()).await {
            tracing::debug!(%error, "the link was closed already");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("amqp://user:secret@host:5672/%2f", "amqp://user:***@host:5672/%2f"),
            ("amqp://user:s@cret@host/", "amqp://user:***@host/"),
            ("amqp://host", "amqp://host"),
            ("user:secret", "***"),
        ] {
            assert_eq!(without_password(url), shown);
        }
        let error = AmqpTransport::new("http://user:secret@host", "test", false).err().expect("refused");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn frames_are_small_unless_the_url_says_otherwise() {
        let frame_max = |url| AmqpTransport::new(url, "test", false).expect("a broker's URL").uri.query.frame_max;
        assert_eq!(frame_max("amqp://host"), Some(FRAME_BYTES_MAX));
        assert_eq!(frame_max("amqp://host?frame_max=65536"), Some(65_536));
    }

    #[test]
    fn only_an_unbroken_run_of_tags_is_acknowledged() {
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.note([2, 3]), None);
        assert_eq!(acknowledged.note([1, 5]), Some(3));
        assert_eq!(acknowledged.note([4]), Some(5));
        assert_eq!(acknowledged.note([4]), None);
    }
}
