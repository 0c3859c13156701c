//! Reading a work queue: batches by readiness, multiple acknowledgements, burials with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};
use patchwave_schemas::topology::{DEAD_EXCHANGE, WorkQueue};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::death;
use super::link::{ANSWER_PATIENCE, State};
use super::publisher::{Publication, Publisher, broker};
use super::{Vouched, topology};
use crate::bus::{BusError, Consumer, Delivery, HELD_MAX, Sender, Verdict};
use crate::telemetry::error_chain;

/// Longest pause before consuming is tried again on a connection that is up but refused it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A consumer of one queue over whatever connection is up.
pub(super) struct AmqpConsumer {
    queue: WorkQueue,
    /// Consumer tag, for operators: program and queue.
    name: String,
    link: watch::Receiver<State>,
    publisher: Arc<Publisher>,
    vouched: Arc<Vouched>,
    session: Option<Session>,
    opening: Option<JoinHandle<Option<Session>>>,
    /// The last tag handed out. Broker tags start at 1 again in each session; ours never repeat.
    last_tag: u64,
}

/// Consuming over one connection.
struct Session {
    channel: Channel,
    deliveries: lapin::Consumer,
    /// Our tag minus the broker's.
    base: u64,
    /// Handed out and not settled, by our tag.
    held: BTreeMap<u64, Held>,
    connection: Arc<Connection>,
}

/// What burying a delivery needs.
struct Held {
    routing_key: ShortString,
    properties: BasicProperties,
    sender: Sender,
    body: Vec<u8>,
}

impl AmqpConsumer {
    pub(super) fn new(
        queue: WorkQueue,
        connection_name: &str,
        link: watch::Receiver<State>,
        publisher: Arc<Publisher>,
        vouched: Arc<Vouched>,
    ) -> Self {
        let name = format!("{connection_name}.{}", queue.role());
        Self { queue, name, link, publisher, vouched, session: None, opening: None, last_tag: 0 }
    }

    /// Starts consuming on the connection that is up, waiting for one. False when closed.
    ///
    /// Opening is a task of its own: a caller may drop this future at any time, and a half-opened
    /// consumer would keep what the broker already sent it.
    async fn ensure_session(&mut self) -> bool {
        while self.session.is_none() {
            let opening = match &mut self.opening {
                Some(opening) => opening,
                None => {
                    let state = match self.link.wait_for(|state| !matches!(state, State::Down(_))).await {
                        Ok(state) => state.clone(),
                        Err(_supervisor_gone) => return false,
                    };
                    let State::Up(connection) = state else { return false };
                    self.opening.insert(tokio::spawn(open(connection, self.queue, self.name.clone())))
                }
            };
            let opened = opening.await;
            self.opening = None;
            if let Ok(Some(mut session)) = opened {
                session.base = self.last_tag;
                self.session = Some(session);
            }
        }
        true
    }

    /// Notes a delivery as held and turns it into the port's type.
    fn take(&mut self, delivery: lapin::message::Delivery) -> Option<Delivery> {
        let session = self.session.as_mut()?;
        let tag = session.base + delivery.delivery_tag;
        self.last_tag = tag;
        let sender = self.vouched.sender(delivery.properties.user_id().as_ref().map(ShortString::as_str));
        let death = (self.queue == WorkQueue::Dead).then(|| death::read(&delivery, &sender));
        let held = Held {
            routing_key: delivery.routing_key,
            properties: delivery.properties,
            sender: sender.clone(),
            body: delivery.data.clone(),
        };
        session.held.insert(tag, held);
        Some(Delivery { tag, body: delivery.data, redelivered: delivery.redelivered, death, sender })
    }

    /// Publishes deliveries to the dead letters, each with its reason, and waits for the confirms.
    async fn bury(&self, burials: &[(u64, String)]) -> Result<(), BusError> {
        let Some(session) = &self.session else { return Ok(()) };
        let publications: Vec<Publication<'_>> = burials
            .iter()
            .filter_map(|(tag, reason)| {
                let held = session.held.get(tag)?;
                let properties =
                    death::properties(&held.properties, self.vouched.own(), &held.sender, self.queue.name(), reason);
                Some(Publication {
                    exchange: DEAD_EXCHANGE,
                    routing_key: held.routing_key.as_str(),
                    mandatory: false,
                    properties,
                    body: &held.body,
                })
            })
            .collect();
        self.publisher.publish_all(&publications).await.map(drop)
    }
}

/// Consumes on a connection; `None`, after a pause, when the broker refuses.
async fn open(connection: Arc<Connection>, queue: WorkQueue, name: String) -> Option<Session> {
    let reason = match timeout(ANSWER_PATIENCE, try_open(connection, queue, &name)).await {
        Ok(Ok(session)) => return Some(session),
        Ok(Err(error)) => error_chain(&error),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(queue = queue.name(), reason, "could not consume; trying again");
    tokio::time::sleep(PAUSE_MAX.mul_f64(rand::random::<f64>())).await;
    None
}

async fn try_open(connection: Arc<Connection>, queue: WorkQueue, name: &str) -> Result<Session, lapin::Error> {
    let channel = connection.create_channel().await?;
    // Again, as a deleted queue is one reason to be here.
    topology::declare(&channel).await?;
    // Per consumer: quorum queues know no global prefetch.
    channel.basic_qos(HELD_MAX, BasicQosOptions { global: false }).await?;
    let options = BasicConsumeOptions {
        no_local: false,
        // Acknowledged once the effect is stored.
        no_ack: false,
        // Any number of workers share a queue.
        exclusive: false,
        nowait: false,
    };
    let tag = format!("{name}.{}", uuid::Uuid::new_v4().simple());
    let deliveries = channel.basic_consume(queue.name().into(), tag.into(), options, FieldTable::default()).await?;
    Ok(Session { channel, deliveries, base: 0, held: BTreeMap::new(), connection })
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next_batch(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let max = max.max(1);
        loop {
            if !self.ensure_session().await {
                return None;
            }
            let session = self.session.as_mut()?;
            let connection = &session.connection;
            // The supervisor notices every loss; the driver's stream has been seen to miss one.
            let lost = self.link.wait_for(|state| !state.is(connection));
            let first = tokio::select! {
                biased;
                first = session.deliveries.next() => first,
                _ = lost => None,
            };
            let Some(Ok(first)) = first else {
                tracing::debug!(queue = self.queue.name(), reason = ?first, "consuming ended; starting again");
                self.session = None;
                continue;
            };
            // From here on nothing waits, so a dropped future has taken nothing.
            let mut batch = Vec::new();
            batch.extend(self.take(first));
            while batch.len() < max {
                let ready = self.session.as_mut()?.deliveries.next().now_or_never();
                let Some(Some(Ok(delivery))) = ready else {
                    // An end met here is met again: the channel's state says so.
                    if matches!(ready, Some(None | Some(Err(_)))) {
                        self.session = None;
                    }
                    break;
                };
                batch.extend(self.take(delivery));
            }
            return Some(batch);
        }
    }

    async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<(), BusError> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut done = BTreeSet::new();
        let mut again = Vec::new();
        let mut burials = Vec::new();
        for (tag, verdict) in verdicts {
            match verdict {
                _ if !session.held.contains_key(&tag) => {}
                Verdict::Ack => {
                    done.insert(tag);
                }
                Verdict::Bury { reason } => burials.push((tag, reason)),
                Verdict::Requeue => again.push(tag),
            }
        }
        let buried = if burials.is_empty() { Ok(()) } else { self.bury(&burials).await };
        let burials = burials.into_iter().map(|(tag, _)| tag);
        // What could not be buried comes again rather than staying held for ever.
        if buried.is_ok() {
            done.extend(burials)
        } else {
            again.extend(burials)
        }
        let Some(session) = self.session.as_mut() else { return buried };
        let error: Box<dyn std::error::Error + Send + Sync> =
            match timeout(ANSWER_PATIENCE, session.tell(&again, done)).await {
                Ok(Ok(())) => return buried,
                Ok(Err(error)) => Box::new(error),
                Err(elapsed) => Box::new(elapsed),
            };
        self.session = None;
        Err(broker(&format!("settle deliveries of {}", self.queue.name()), error))
    }
}

impl Session {
    /// Requeues and acknowledges, with one multiple-acknowledge for everything up to the first
    /// delivery that is still held.
    async fn tell(&mut self, again: &[u64], done: BTreeSet<u64>) -> Result<(), lapin::Error> {
        for tag in again {
            self.held.remove(tag);
            let options = BasicNackOptions { multiple: false, requeue: true };
            self.channel.basic_nack(tag - self.base, options).await?;
        }
        let still_held = self.held.keys().find(|tag| !done.contains(tag)).copied().unwrap_or(u64::MAX);
        let mut up_to = None;
        let mut single = Vec::new();
        for tag in done {
            self.held.remove(&tag);
            if tag < still_held { up_to = Some(tag) } else { single.push(tag) }
        }
        if let Some(tag) = up_to {
            self.channel.basic_ack(tag - self.base, BasicAckOptions { multiple: true }).await?;
        }
        let acks =
            single.into_iter().map(|tag| self.channel.basic_ack(tag - self.base, BasicAckOptions { multiple: false }));
        futures_util::future::try_join_all(acks).await?;
        Ok(())
    }
}
