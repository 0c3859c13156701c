//! Consuming a queue: whatever is ready becomes one transaction, one round of publishes and one
//! acknowledgement. While one batch is published the next is applied.
//!
//! - A message that cannot be decoded is buried alone; its neighbours are processed.
//! - A batch that fails because something is away is repeated with jittered backoff.
//! - A batch that fails otherwise is repeated message by message, and the culprit buried.
//! - What part of a batch has stored is carried out, whatever becomes of the rest.
//! - A panic is a bug of ours: it is caught, counted as a failure of that kind, and reported. What
//!   its batch had stored before it is left to the sweeps and the rollouts' checks.
//! - On shutdown the batch in hand is finished and acknowledged.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::bus::{BATCH_MAX, Consumer, Delivery, Verdict};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::envelope::DecodeError;
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message, NodeId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::effects::{Effects, carry_out};
use crate::letters::Payloads;
use crate::{Context, HandlerError, caller, collector, dead, dispatcher, inventory, notifier, resolver, workflows};

/// First pause before a batch is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(15);
/// Time after which a batch is given back to the bus: well below RabbitMQ's acknowledgement timeout
/// of thirty minutes. The bus's delivery limit bounds how often that happens.
const RETRY_FOR: Duration = Duration::from_secs(15 * 60);

/// What a queue's messages are, and how a batch of them is applied.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// A decoded message of this queue.
    type Input: Send + Sync;

    /// The queue.
    const QUEUE: WorkQueue;

    /// Decodes a message, checking all that can be checked without the store.
    ///
    /// # Errors
    /// [`DecodeError`]: the message is buried.
    fn decode(delivery: &Delivery) -> Result<Self::Input, DecodeError>;

    /// Applies a batch: in one transaction, or each message in its own. Repeating it must be
    /// harmless. The master key is for what a transaction records in the audit log.
    ///
    /// Messages with transactions of their own also fail on their own: [`Applied`] names them, so
    /// that what the others stored is carried out.
    ///
    /// # Errors
    /// [`HandlerError`]: nothing was stored that anything follows from. The whole batch is repeated.
    async fn apply(
        store: &Store,
        master_key: &MasterKey,
        batch: &[Self::Input],
        now: Timestamp,
    ) -> Result<Applied, HandlerError>;
}

/// Checks that a report about `node` comes from that node: it says so itself, and so does the bus.
///
/// # Errors
/// [`DecodeError::OtherSpeaker`]: the report is buried.
pub(crate) fn spoken_by<T: Message>(
    delivery: &Delivery,
    event: &CloudEvent<T>,
    node: &NodeId,
) -> Result<(), DecodeError> {
    event.spoken_by(node)?;
    if delivery.sender.may_speak_for(node) {
        Ok(())
    } else {
        Err(DecodeError::OtherSpeaker { speaker: delivery.sender.to_string(), node: node.to_string() })
    }
}

/// What a batch made.
#[derive(Debug, Default)]
pub struct Applied {
    /// What follows.
    pub effects: Effects,
    /// Messages that can never be applied: position in the batch, and why.
    pub refused: Vec<(usize, String)>,
    /// Messages to be applied again, because the store went away before them: positions in the
    /// batch. Their neighbours' effects do not wait for them.
    pub again: Vec<usize>,
}

impl From<Effects> for Applied {
    fn from(effects: Effects) -> Self {
        Self { effects, ..Self::default() }
    }
}

/// What one message leads to, or why it can never be applied.
pub(crate) type Resolved = Result<Result<Effects, String>, HandlerError>;

impl Applied {
    /// Takes note of what came of one message that had a transaction of its own.
    ///
    /// # Errors
    /// A transient failure, as long as nothing would be lost by repeating the whole batch.
    pub(crate) fn note(&mut self, index: usize, came: Resolved) -> Result<(), HandlerError> {
        match came {
            Ok(Ok(effects)) => self.effects.merge(effects),
            Ok(Err(reason)) => self.refused.push((index, reason)),
            Err(error) if error.class() != Class::Transient => {
                self.refused.push((index, error_chain(&error)));
            }
            Err(error) if self.effects.is_empty() && self.refused.is_empty() => return Err(error),
            Err(error) => {
                warn!(error = %error_chain(&error), "a transaction failed for now; the rest of a batch is tried again");
                self.again.push(index);
            }
        }
        Ok(())
    }

    /// Whether the store is away: what is left of the batch need not be tried.
    pub(crate) fn is_away(&self) -> bool {
        !self.again.is_empty()
    }
}

/// Runs the given roles until shutdown; all of them when `only` is empty.
pub async fn run(context: Context, only: &[WorkQueue], shutdown: CancellationToken) {
    let mut tasks = JoinSet::new();
    for queue in WorkQueue::ALL {
        if !only.is_empty() && !only.contains(&queue) {
            continue;
        }
        let (context, shutdown) = (context.clone(), shutdown.clone());
        let span = info_span!("worker", queue = queue.name());
        let task = async move {
            match queue {
                WorkQueue::Resolver => consume::<resolver::Resolver>(context, shutdown).await,
                WorkQueue::Dispatcher => consume::<dispatcher::Dispatcher>(context, shutdown).await,
                WorkQueue::Collector => consume::<collector::Collector>(context, shutdown).await,
                WorkQueue::Inventory => consume::<inventory::Inventory>(context, shutdown).await,
                WorkQueue::Notifier => consume::<notifier::Notifier>(context, shutdown).await,
                WorkQueue::Workflows => consume::<workflows::Workflows>(context, shutdown).await,
                WorkQueue::Caller => consume::<caller::Caller>(context, shutdown).await,
                WorkQueue::Dead => consume::<dead::DeadLetters>(context, shutdown).await,
            }
        };
        tasks.spawn(task.instrument(span));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(failure) = ended {
            // A process that reads only some of its queues looks alive and is not: it stops, and
            // whoever watches it starts it again.
            error!(error = %failure, "a worker ended unexpectedly; stopping");
            shutdown.cancel();
        }
    }
}

/// Reads one queue until shutdown, or until the bus is closed.
///
/// While what follows from one batch is published and confirmed, the next batch is applied. Each
/// batch keeps its own order (commit, publish, acknowledge), and batches keep theirs: publishing
/// never overtakes.
async fn consume<H: Handler>(context: Context, shutdown: CancellationToken) {
    let mut consumer = match context.bus.consume(H::QUEUE).await {
        Ok(consumer) => consumer,
        Err(failure) => {
            error!(error = %error_chain(&failure), "cannot consume");
            return;
        }
    };
    let mut idle = Some(Payloads::default());
    let mut carried: Option<Carried> = None;
    // The rest of a batch of which a part is stored.
    let mut again = Vec::new();
    info!("consuming");
    loop {
        let batch = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            payloads = finished(&mut carried), if carried.is_some() => {
                idle = Some(payloads);
                settle(consumer.as_mut(), carried.take()).await;
                continue;
            }
            batch = next(&mut again, consumer.as_mut()) => batch,
        };
        let Some(deliveries) = batch else { break };
        let judging = judge::<H>(&context, deliveries, &shutdown);
        let judged = if carried.is_some() {
            let (payloads, judged) = tokio::join!(finished(&mut carried), judging);
            idle = Some(payloads);
            settle(consumer.as_mut(), carried.take()).await;
            judged
        } else {
            judging.await
        };
        let Judged { verdicts, effects, again: rest } = judged;
        again = rest;
        let mut payloads = idle.take().unwrap_or_default();
        let context = context.clone();
        let work = async move {
            carry_out(&context, &mut payloads, effects).await;
            payloads
        };
        carried = Some(Carried { work: Box::pin(work), verdicts });
    }
    finished(&mut carried).await;
    settle(consumer.as_mut(), carried).await;
    let given_back: Vec<_> = again.into_iter().map(|delivery| (delivery.tag, Verdict::Requeue)).collect();
    if !given_back.is_empty()
        && let Err(failure) = consumer.settle(given_back).await
    {
        debug!(error = %error_chain(&failure), "the rest of a batch comes again by itself");
    }
    info!("stopped");
}

/// The rest of the batch before, or else the next batch.
async fn next(again: &mut Vec<Delivery>, consumer: &mut dyn Consumer) -> Option<Vec<Delivery>> {
    if again.is_empty() { consumer.next_batch(usize::from(BATCH_MAX)).await } else { Some(std::mem::take(again)) }
}

/// A batch that is stored and whose effects are being carried out.
struct Carried {
    work: BoxFuture<'static, Payloads>,
    verdicts: Vec<(u64, Verdict)>,
}

/// Waits until a batch's effects are carried out; at once when there is none.
async fn finished(carried: &mut Option<Carried>) -> Payloads {
    match carried {
        Some(carried) => (&mut carried.work).await,
        None => Payloads::default(),
    }
}

/// Acknowledges a batch whose effects are carried out.
async fn settle(consumer: &mut dyn Consumer, carried: Option<Carried>) {
    let Some(Carried { verdicts, .. }) = carried else { return };
    let messages = verdicts.len();
    let buried = verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Bury { .. })).count();
    if buried > 0 {
        warn!(messages = buried, "messages were sent to the dead letters");
    }
    if let Err(failure) = consumer.settle(verdicts).await {
        // They come again, and are recognised.
        warn!(error = %error_chain(&failure), "could not acknowledge a batch");
    }
    debug!(messages, "processed");
}

/// What becomes of a batch.
#[derive(Debug, Default)]
struct Judged {
    /// What the bus is told once the effects are carried out.
    verdicts: Vec<(u64, Verdict)>,
    /// What follows from all that was stored.
    effects: Effects,
    /// Deliveries to be judged again, at once.
    again: Vec<Delivery>,
}

impl Judged {
    fn take(&mut self, deliveries: Vec<Delivery>, applied: Applied) {
        let Applied { effects, refused, again } = applied;
        self.effects.merge(effects);
        let mut refused: HashMap<_, _> = refused.into_iter().collect();
        for (index, delivery) in deliveries.into_iter().enumerate() {
            match refused.remove(&index) {
                Some(reason) => self.verdicts.push((delivery.tag, Verdict::Bury { reason })),
                None if again.contains(&index) => self.again.push(delivery),
                None => self.verdicts.push((delivery.tag, Verdict::Ack)),
            }
        }
    }
}

/// Decodes and applies a batch; says what becomes of each delivery, and what follows.
async fn judge<H: Handler>(context: &Context, deliveries: Vec<Delivery>, shutdown: &CancellationToken) -> Judged {
    let mut judged = Judged::default();
    let mut kept = Vec::with_capacity(deliveries.len());
    let mut inputs = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match H::decode(&delivery) {
            Ok(input) => {
                kept.push(delivery);
                inputs.push(input);
            }
            Err(failure) => {
                judged.verdicts.push((delivery.tag, Verdict::Bury { reason: error_chain(&failure) }));
            }
        }
    }
    if inputs.is_empty() {
        return judged;
    }
    match attempt::<H>(context, &inputs, shutdown).await {
        Ok(applied) => {
            judged.take(kept, applied);
            return judged;
        }
        Err(Failure::Away) => {
            judged.verdicts.extend(kept.iter().map(|delivery| (delivery.tag, Verdict::Requeue)));
            return judged;
        }
        Err(Failure::Refused(reason)) if inputs.len() == 1 => {
            judged.verdicts.push((kept[0].tag, Verdict::Bury { reason }));
            return judged;
        }
        Err(Failure::Refused(reason)) => {
            warn!(reason, messages = inputs.len(), "a batch failed; trying its messages one by one");
        }
    }
    let mut away = false;
    for (delivery, input) in kept.into_iter().zip(&inputs) {
        let tag = delivery.tag;
        if away {
            judged.verdicts.push((tag, Verdict::Requeue));
            continue;
        }
        match attempt::<H>(context, std::slice::from_ref(input), shutdown).await {
            Ok(applied) => judged.take(vec![delivery], applied),
            Err(Failure::Away) => {
                away = true;
                judged.verdicts.push((tag, Verdict::Requeue));
            }
            Err(Failure::Refused(reason)) => judged.verdicts.push((tag, Verdict::Bury { reason })),
        }
    }
    judged
}

enum Failure {
    /// Still away after every retry, or shutting down.
    Away,
    /// Will not work with this input.
    Refused(String),
}

async fn attempt<H: Handler>(
    context: &Context,
    inputs: &[H::Input],
    shutdown: &CancellationToken,
) -> Result<Applied, Failure> {
    let since = Instant::now();
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(RETRY_FIRST)
        .with_max_delay(RETRY_LONGEST)
        .without_max_times()
        .with_jitter()
        .build();
    loop {
        let tried = AssertUnwindSafe(H::apply(&context.store, &context.master_key, inputs, Timestamp::now()))
            .catch_unwind()
            .await;
        let failure = match tried {
            Ok(Ok(applied)) => return Ok(applied),
            Ok(Err(failure)) => failure,
            Err(_panic) => return Err(Failure::Refused("the handler panicked; this is a bug".to_owned())),
        };
        if failure.class() != Class::Transient {
            return Err(Failure::Refused(error_chain(&failure)));
        }
        let Some(pause) = pauses.next().filter(|_| since.elapsed() < RETRY_FOR) else { return Err(Failure::Away) };
        warn!(error = %error_chain(&failure), pause_ms = pause.as_millis(), "the store is away; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Err(Failure::Away),
        }
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
