//! Consuming a queue: whatever is ready becomes one transaction, one round of publishes and one
//! acknowledgement. While one batch is published the next is applied.
//!
//! - A message that cannot be decoded is buried alone; its neighbours are processed.
//! - A batch that fails because something is away is repeated with jittered backoff.
//! - A batch that fails otherwise is repeated message by message, and the culprit buried.
//! - A panic is a bug of ours: it is caught, counted as a failure of that kind, and reported.
//! - On shutdown the batch in hand is finished and acknowledged.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::bus::{BATCH_MAX, Consumer, Delivery, Verdict};
use patchwave_platform::outbox::Chain;
use patchwave_platform::store::Store;
use patchwave_schemas::envelope::DecodeError;
use patchwave_schemas::topology::WorkQueue;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::effects::{Effects, Payloads, carry_out};
use crate::{Context, HandlerError, collector, dead, dispatcher, inventory, notifier, resolver};

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

    /// Applies a batch in one transaction. Repeating it must be harmless.
    ///
    /// # Errors
    /// [`HandlerError`]: nothing was stored.
    async fn apply(store: &Store, batch: &[Self::Input], now: Timestamp) -> Result<Applied, HandlerError>;
}

/// What a batch made.
#[derive(Debug, Default)]
pub struct Applied {
    /// What follows.
    pub effects: Effects,
    /// Messages that can never be applied: position in the batch, and why.
    pub refused: Vec<(usize, String)>,
}

impl From<Effects> for Applied {
    fn from(effects: Effects) -> Self {
        Self { effects, refused: Vec::new() }
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
            error!(error = %Chain(&failure), "cannot consume");
            return;
        }
    };
    let mut idle = Some(Payloads::default());
    let mut carried: Option<Carried> = None;
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
            batch = consumer.next_batch(usize::from(BATCH_MAX)) => batch,
        };
        let Some(deliveries) = batch else { break };
        let judging = judge::<H>(&context.store, &deliveries, &shutdown);
        let (verdicts, effects) = if carried.is_some() {
            let (payloads, judged) = tokio::join!(finished(&mut carried), judging);
            idle = Some(payloads);
            settle(consumer.as_mut(), carried.take()).await;
            judged
        } else {
            judging.await
        };
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
    info!("stopped");
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
        warn!(error = %Chain(&failure), "could not acknowledge a batch");
    }
    debug!(messages, "processed");
}

/// Decodes and applies a batch; says what becomes of each delivery, and what follows.
pub async fn judge<H: Handler>(
    store: &Store,
    deliveries: &[Delivery],
    shutdown: &CancellationToken,
) -> (Vec<(u64, Verdict)>, Effects) {
    let mut verdicts = Vec::with_capacity(deliveries.len());
    let mut tags = Vec::with_capacity(deliveries.len());
    let mut inputs = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match H::decode(delivery) {
            Ok(input) => {
                tags.push(delivery.tag);
                inputs.push(input);
            }
            Err(failure) => {
                verdicts.push((delivery.tag, Verdict::Bury { reason: Chain(&failure).to_string() }));
            }
        }
    }
    if inputs.is_empty() {
        return (verdicts, Effects::default());
    }
    match attempt::<H>(store, &inputs, shutdown).await {
        Ok(applied) => {
            verdicts.extend(settle_all(&tags, applied.refused));
            return (verdicts, applied.effects);
        }
        Err(Failure::Away) => {
            verdicts.extend(tags.into_iter().map(|tag| (tag, Verdict::Requeue)));
            return (verdicts, Effects::default());
        }
        Err(Failure::Refused(reason)) => {
            if inputs.len() == 1 {
                verdicts.push((tags[0], Verdict::Bury { reason }));
                return (verdicts, Effects::default());
            }
            warn!(reason, messages = inputs.len(), "a batch failed; trying its messages one by one");
        }
    }
    let mut effects = Effects::default();
    let mut away = false;
    for (tag, input) in tags.into_iter().zip(&inputs) {
        if away {
            verdicts.push((tag, Verdict::Requeue));
            continue;
        }
        match attempt::<H>(store, std::slice::from_ref(input), shutdown).await {
            Ok(applied) => {
                verdicts.extend(settle_all(&[tag], applied.refused));
                effects.merge(applied.effects);
            }
            Err(Failure::Away) => {
                away = true;
                verdicts.push((tag, Verdict::Requeue));
            }
            Err(Failure::Refused(reason)) => verdicts.push((tag, Verdict::Bury { reason })),
        }
    }
    (verdicts, effects)
}

fn settle_all(tags: &[u64], refused: Vec<(usize, String)>) -> Vec<(u64, Verdict)> {
    let mut verdicts: Vec<_> = tags.iter().map(|tag| (*tag, Verdict::Ack)).collect();
    for (index, reason) in refused {
        if let Some((_, verdict)) = verdicts.get_mut(index) {
            *verdict = Verdict::Bury { reason };
        }
    }
    verdicts
}

enum Failure {
    /// Still away after every retry, or shutting down.
    Away,
    /// Will not work with this input.
    Refused(String),
}

async fn attempt<H: Handler>(
    store: &Store,
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
        let tried = AssertUnwindSafe(H::apply(store, inputs, Timestamp::now())).catch_unwind().await;
        let failure = match tried {
            Ok(Ok(applied)) => return Ok(applied),
            Ok(Err(failure)) => failure,
            Err(_panic) => return Err(Failure::Refused("the handler panicked; this is a bug".to_owned())),
        };
        if failure.class() != Class::Transient {
            return Err(Failure::Refused(Chain(&failure).to_string()));
        }
        let Some(pause) = pauses.next().filter(|_| since.elapsed() < RETRY_FOR) else { return Err(Failure::Away) };
        warn!(error = %Chain(&failure), pause_ms = pause.as_millis(), "the store is away; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return Err(Failure::Away),
        }
    }
}
