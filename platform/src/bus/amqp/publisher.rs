//! Publishing with confirms: groups of joined calls, a bounded window, every answer waited for.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};
use patchwave_schemas::envelope::CONTENT_TYPE;
use patchwave_schemas::topology::{EVENTS_EXCHANGE, REPORTS_EXCHANGE, is_node_address};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::link::{ANSWER_PATIENCE, State};
use crate::bus::{BusError, Outgoing, Published, Route};

/// Publish calls polled together; halves the driver's CPU against one at a time (measured).
const GROUP: usize = 64;
/// Unconfirmed messages at most. Ten to nineteen times the rate of one at a time (measured);
/// more gains nothing and is more to repeat after a lost link.
const WINDOW: usize = 1_024;
/// How long to wait for a link, in all, before a publish fails.
const LINK_PATIENCE: Duration = Duration::from_secs(30);
/// How long one confirm may take. A broker that blocks publishers does not answer.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(30);
/// Idle channels kept open for the next calls.
const IDLE_CHANNELS_MAX: usize = 8;
/// Value of `app_id` on everything published here.
const APP_ID: &str = "patchwave";

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// A message as the broker is told of it.
pub(super) struct Publication<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    /// Whether the broker shall return it when no queue takes it.
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: &'a [u8],
}

impl<'a> Publication<'a> {
    fn of(message: &'a Outgoing, user: &str) -> Self {
        // The node's own queue, through the default exchange: nobody can bind to another's commands.
        let (exchange, routing_key, mandatory, delivery_mode) = match &message.route {
            Route::Event { key } => (EVENTS_EXCHANGE, key.as_str(), false, PERSISTENT),
            Route::Report { key } => (REPORTS_EXCHANGE, key.as_str(), false, PERSISTENT),
            Route::Node { address } => ("", address.as_str(), true, TRANSIENT),
            Route::Queue(queue) => ("", queue.name(), true, PERSISTENT),
        };
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        let properties = BasicProperties::default()
            .with_message_id(message.message_id.to_string().into())
            .with_type(short(&message.message_type))
            .with_content_type(CONTENT_TYPE.into())
            .with_app_id(APP_ID.into())
            // What the broker checks, and readers go by.
            .with_user_id(short(user))
            .with_timestamp(now)
            .with_delivery_mode(delivery_mode);
        Self { exchange, routing_key, mandatory, properties, body: &message.body }
    }
}

impl Publication<'_> {
    fn delivers_to_node(&self) -> bool {
        *self.properties.delivery_mode() == Some(TRANSIENT)
    }
}

/// Publishes over a supervised connection.
pub(super) struct Publisher {
    link: watch::Receiver<State>,
    /// The user that the connection is logged in as.
    user: String,
    /// Idle channels in confirm mode, with the connection each belongs to. A call has its channel
    /// to itself: lapin hands a returned message to whichever confirm comes next on the channel,
    /// so returns can be told apart within a call but not between calls. Guarded by a plain lock
    /// because it is never held over an await.
    idle: Mutex<Vec<(Arc<Connection>, Channel)>>,
}

impl Publisher {
    pub(super) fn new(link: watch::Receiver<State>, user: &str) -> Self {
        Self { link, user: user.to_owned(), idle: Mutex::new(Vec::new()) }
    }

    pub(super) async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        let publications: Vec<Publication<'_>> =
            messages.iter().map(|message| Publication::of(message, &self.user)).collect();
        self.publish_all(&publications).await
    }

    /// Publishes until every message is answered for; what a lost link left unanswered is
    /// published again over the next one.
    pub(super) async fn publish_all(&self, messages: &[Publication<'_>]) -> Result<Vec<Published>, BusError> {
        // Addresses come from peers: none may name a work queue, and names longer than AMQP's 255
        // bytes name no queue at all.
        let mut answers: Vec<Option<Published>> = messages
            .iter()
            .map(|message| {
                (message.delivers_to_node() && !is_node_address(message.routing_key)).then_some(Published::Returned)
            })
            .collect();
        let mut patience = LINK_PATIENCE;
        while answers.iter().any(Option::is_none) {
            let waiting = Instant::now();
            let connection = self.connection(patience).await?;
            let attempt = self.attempt(&connection, messages, &mut answers).await;
            match attempt {
                Ok(()) => {}
                Err(Failure::Link(source)) => {
                    hold_commands(messages, &mut answers);
                    patience = patience.saturating_sub(waiting.elapsed());
                    if patience.is_zero() {
                        return Err(broker("publish to the bus", source));
                    }
                    tracing::debug!(error = %source, "publishing again what the lost link left unanswered");
                    // The supervisor may need a moment longer to notice the same loss.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(Failure::Refused(reason)) => return Err(broker("publish to the bus", reason)),
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Waits until the connection was closed.
    pub(super) async fn closed(&self) {
        let _ = self.link.clone().wait_for(|state| matches!(state, State::Closed)).await;
    }

    /// Messages ready on a queue.
    pub(super) async fn depth(&self, queue: &str) -> Option<u64> {
        let connection = self.connection(Duration::ZERO).await.ok()?;
        let channel = self.channel(&connection).await.ok()?;
        let options = lapin::options::QueueDeclareOptions {
            passive: true,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
        };
        let asking = channel.queue_declare(queue.into(), options, FieldTable::default());
        let found = timeout(ANSWER_PATIENCE, asking).await.ok()?.ok()?;
        self.give_back(connection, channel);
        Some(found.message_count().into())
    }

    async fn connection(&self, patience: Duration) -> Result<Arc<Connection>, BusError> {
        let mut link = self.link.clone();
        let settled = link.wait_for(|state| !matches!(state, State::Down(_)));
        match timeout(patience, settled).await.map(|state| state.map(|state| state.clone())) {
            Ok(Ok(State::Up(connection))) => Ok(connection),
            Ok(_) => Err(BusError::Closed),
            Err(_elapsed) => {
                let reason = match &*self.link.borrow() {
                    State::Down(reason) => reason.clone(),
                    _ => "the link came up too late".to_owned(),
                };
                Err(broker("reach the bus", reason))
            }
        }
    }

    async fn channel(&self, connection: &Arc<Connection>) -> Result<Channel, Failure> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            // Channels of a lost connection go with it.
            idle.retain(|(of, channel)| Arc::ptr_eq(of, connection) && channel.status().connected());
            idle.pop()
        };
        if let Some((_, channel)) = idle {
            return Ok(channel);
        }
        let opening = async {
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions { nowait: false }).await?;
            Ok::<Channel, lapin::Error>(channel)
        };
        match timeout(ANSWER_PATIENCE, opening).await {
            Ok(result) => Ok(result?),
            Err(elapsed) => Err(Failure::Link(Box::new(elapsed))),
        }
    }

    fn give_back(&self, connection: Arc<Connection>, channel: Channel) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CHANNELS_MAX {
            idle.push((connection, channel));
        }
    }

    /// Publishes what has no answer yet. On failure some may have been answered all the same.
    async fn attempt(
        &self,
        connection: &Arc<Connection>,
        messages: &[Publication<'_>],
        answers: &mut [Option<Published>],
    ) -> Result<(), Failure> {
        let channel = self.channel(connection).await?;
        let open: Vec<usize> = (0..messages.len()).filter(|&index| answers[index].is_none()).collect();
        let mut pending: VecDeque<(usize, PublisherConfirm)> = VecDeque::with_capacity(open.len().min(WINDOW));
        let mut confirmed = Vec::with_capacity(open.len());
        let mut returned = Returned::default();
        let mut refused = 0_usize;

        let mut outcome = async {
            for group in open.chunks(GROUP) {
                let calls = group.iter().map(|&index| publish_one(&channel, &messages[index]));
                let confirms = timeout(CONFIRM_PATIENCE, try_join_all(calls)).await.map_err(Failure::slow)??;
                pending.extend(group.iter().copied().zip(confirms));
                while pending.len() + GROUP > WINDOW {
                    settle_first(messages, &mut pending, &mut confirmed, &mut returned, &mut refused).await?;
                }
            }
            while !pending.is_empty() {
                settle_first(messages, &mut pending, &mut confirmed, &mut returned, &mut refused).await?;
            }
            Ok::<(), Failure>(())
        }
        .await;
        let complete = outcome.is_ok();

        // A return precedes its confirm, but may be reported with another one's: only when all
        // confirms are in is it known which mandatory messages were taken.
        for index in confirmed {
            let message = &messages[index];
            if !message.mandatory {
                answers[index] = Some(Published::Confirmed);
            } else if complete {
                let away = returned.contains(message);
                answers[index] = Some(if away { Published::Returned } else { Published::Confirmed });
            }
        }
        if complete {
            self.give_back(Arc::clone(connection), channel);
            if refused > 0 {
                outcome = Err(Failure::Refused(format!("the broker refused {refused} of {} messages", open.len())));
            }
        }
        outcome
    }
}

/// Commands to nodes that a lost link left unanswered may have arrived. Published again they could
/// come back although their node is at work, so they count as taken: whoever sent them hears of
/// the node, or sends them again itself.
fn hold_commands(messages: &[Publication<'_>], answers: &mut [Option<Published>]) {
    for (message, answer) in messages.iter().zip(answers) {
        if answer.is_none() && message.delivers_to_node() {
            *answer = Some(Published::Confirmed);
        }
    }
}

/// What came back, by message id and routing key.
#[derive(Default)]
struct Returned(HashSet<(Option<ShortString>, ShortString)>);

impl Returned {
    fn contains(&self, message: &Publication<'_>) -> bool {
        !self.0.is_empty() && self.0.contains(&(message.properties.message_id().clone(), message.routing_key.into()))
    }
}

async fn publish_one(channel: &Channel, message: &Publication<'_>) -> Result<PublisherConfirm, lapin::Error> {
    // `immediate` was removed from RabbitMQ.
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    channel
        .basic_publish(
            message.exchange.into(),
            message.routing_key.into(),
            options,
            message.body,
            message.properties.clone(),
        )
        .await
}

async fn settle_first(
    messages: &[Publication<'_>],
    pending: &mut VecDeque<(usize, PublisherConfirm)>,
    confirmed: &mut Vec<usize>,
    returned: &mut Returned,
    refused: &mut usize,
) -> Result<(), Failure> {
    let Some((index, confirm)) = pending.pop_front() else { return Ok(()) };
    let confirmation = timeout(CONFIRM_PATIENCE, confirm).await.map_err(Failure::slow)??;
    match &confirmation {
        Confirmation::Ack(_) => confirmed.push(index),
        // Its queue takes no more, as its node may have told the broker: that is no reason to hold up
        // the others. As for a lost link, the command counts as taken, and is sent again.
        Confirmation::Nack(_) if messages[index].delivers_to_node() => confirmed.push(index),
        Confirmation::Nack(_) | Confirmation::NotRequested => *refused += 1,
    }
    if let Some(message) = confirmation.take_message() {
        let delivery = &message.delivery;
        returned.0.insert((delivery.properties.message_id().clone(), delivery.routing_key.clone()));
    }
    Ok(())
}

/// Why an attempt did not answer for every message.
enum Failure {
    /// The link or its channel; another one may do.
    Link(Box<dyn std::error::Error + Send + Sync>),
    /// The broker said no.
    Refused(String),
}

impl Failure {
    fn slow(_: tokio::time::error::Elapsed) -> Self {
        Self::Refused(format!("the broker did not confirm within {} s", CONFIRM_PATIENCE.as_secs()))
    }
}

impl From<lapin::Error> for Failure {
    fn from(error: lapin::Error) -> Self {
        Self::Link(Box::new(error))
    }
}

/// A short string holds 255 bytes at most; what is longer is cut, as it is only for display.
fn short(text: &str) -> ShortString {
    text[..text.floor_char_boundary(255)].into()
}

pub(super) fn broker(attempted: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BusError {
    BusError::Broker { attempted: attempted.to_owned(), source: source.into() }
}
