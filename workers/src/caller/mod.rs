//! The caller: makes the calls that executions and windows' tasks have stored.
//!
//! A call is claimed in a transaction and made outside of it, by a task of its own: a function may
//! take a quarter of an hour, and its queue goes on meanwhile. Who claims holds a lease; a timer at
//! its end makes sure that a call whose process died is made again, under the same token.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calls::CallOutcome;
use patchwave_platform::bus::{Bus, Delivery};
use patchwave_platform::operations::CallMaker;
use patchwave_platform::outbox;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::calls::StoredCall;
use patchwave_platform::store::{Error, Store};
use patchwave_platform::telemetry::error_chain;
use patchwave_platform::workflows::{end_call, failed};
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{CallRequested, Timer, TimerFired};
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{CloudEvent, Message};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use crate::HandlerError;
use crate::effects::Effects;
use crate::runtime::{Applied, Handler, Resolved};

/// Calls that one process makes at a time. More wait for a place; their deadlines run.
const AT_ONCE: usize = 64;
/// Longest time that a call may take: Lambda's.
const LONGEST: SignedDuration = SignedDuration::from_mins(15);
/// Time beyond a call's own that its process is given to store the answer.
const LEASE_SLACK: SignedDuration = SignedDuration::from_secs(30);

/// Makes calls.
pub struct Caller;

#[async_trait]
impl Handler for Caller {
    /// The call's token.
    type Input = String;

    const QUEUE: WorkQueue = WorkQueue::Caller;

    fn decode(delivery: &Delivery) -> Result<String, DecodeError> {
        let body = &delivery.body;
        let unknown = |found: &str| DecodeError::UnknownType { found: found.to_owned() };
        match Head::from_bytes(body)?.event_type.as_str() {
            CallRequested::TYPE => CloudEvent::<CallRequested>::from_bytes(body).map(|event| event.data.token),
            TimerFired::TYPE => match CloudEvent::<TimerFired>::from_bytes(body)?.data.timer {
                Timer::Call { token } => Ok(token),
                other => Err(unknown(&other.key())),
            },
            other => Err(unknown(other)),
        }
    }

    async fn apply(store: &Store, _: &MasterKey, batch: &[String], now: Timestamp) -> Result<Applied, HandlerError> {
        let mut applied = Applied::default();
        for (index, token) in batch.iter().enumerate() {
            if applied.is_away() {
                applied.again.push(index);
                continue;
            }
            applied.note(index, claim(store, token, now).await)?;
        }
        Ok(applied)
    }
}

/// Takes a call on, unless it has ended or somebody else is at it.
async fn claim(store: &Store, token: &str, now: Timestamp) -> Resolved {
    let timer = Timer::Call { token: token.to_owned() };
    let mut tx = store.begin().await?;
    let Some(known) = tx.call(token).await? else {
        // Its execution is over, and its calls are forgotten.
        tx.clear_timer(&timer).await?;
        tx.commit().await?;
        return Ok(Ok(Effects::default()));
    };
    let lease = time_for(&known, now) + LEASE_SLACK;
    let claimed = tx.claim_call(token, lease, now).await?;
    if claimed.is_some() {
        tx.set_timer(&timer, now + lease).await?;
    } else if known.ended_at.is_some() {
        tx.clear_timer(&timer).await?;
    }
    tx.commit().await?;
    Ok(Ok(Effects { calls: claimed.into_iter().collect(), ..Effects::default() }))
}

/// How long a call may take from now on.
fn time_for(call: &StoredCall, now: Timestamp) -> SignedDuration {
    call.deadline_at.map_or(LONGEST, |at| at.duration_since(now)).clamp(SignedDuration::ZERO, LONGEST)
}

/// What makes calls: one maker for each of their kinds.
#[derive(Clone)]
pub struct Calls {
    makers: Vec<Arc<dyn CallMaker>>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("makers", &self.makers.len()).field("places", &self.places).finish()
    }
}

impl Calls {
    /// Calls by way of these; the first whose kind it is makes it.
    #[must_use]
    pub fn new(makers: Vec<Arc<dyn CallMaker>>) -> Self {
        Self { makers, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Makes calls that were claimed, each in a task of its own, and stores how they ended.
    pub(crate) fn make(&self, store: &Store, bus: &Arc<dyn Bus>, calls: Vec<StoredCall>) {
        for call in calls {
            let (this, store, bus) = (self.clone(), store.clone(), Arc::clone(bus));
            tokio::spawn(async move {
                let outcome = this.one(&call).await;
                if let Err(error) = settle(&store, bus.as_ref(), &call, outcome).await {
                    // Its lease runs out, and it is made again under the same token.
                    warn!(call.token = %call.token, error = %error_chain(&error), "a call's answer could not be stored");
                }
            });
        }
    }

    async fn one(&self, call: &StoredCall) -> CallOutcome {
        let time = || Duration::try_from(time_for(call, Timestamp::now())).unwrap_or_default();
        let timed_out = || failed("States.Timeout", "the call did not end within its time");
        let Ok(Ok(_place)) = tokio::time::timeout(time(), self.places.acquire()).await else { return timed_out() };
        let time = time();
        debug!(call.token = %call.token, seconds = time.as_secs(), "a call is made");
        let made = async {
            for maker in &self.makers {
                if let Some(outcome) = maker.make(call, time).await {
                    return outcome;
                }
            }
            failed("States.Runtime", "nobody here makes calls of this kind")
        };
        tokio::time::timeout(time, made).await.unwrap_or_else(|_| timed_out())
    }
}

/// Stores how a call ended, and tells whoever waits for it.
async fn settle(store: &Store, bus: &dyn Bus, call: &StoredCall, outcome: CallOutcome) -> Result<(), Error> {
    let now = Timestamp::now();
    let mut tx = store.begin().await?;
    let told = end_call(&mut tx, call, outcome, now).await?;
    tx.clear_timer(&Timer::Call { token: call.token.clone() }).await?;
    tx.commit().await?;
    outbox::flush(store, bus, told.as_slice()).await;
    Ok(())
}
