//! The scheduler: time becomes events.
//!
//! It owns no state: timers are rows, and any number of schedulers may run without a leader. It
//! decides nothing about what an event means. Besides timers it repeats what dead processes left:
//! outgoing events and notifications that were stored and not published.

mod sweep;
mod timers;

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use patchwave_platform::bus::Bus;
use patchwave_platform::store::Store;
use patchwave_platform::store::group_compliance::hour_of;
use patchwave_platform::telemetry::error_chain;
use patchwave_platform::topics::Topics;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use sweep::{Sweeps, record_compliance, sweep, tidy};
pub use timers::{fire_due, tick};

/// Longest sleep: how late a timer may be noticed that was set for sooner than the one slept for.
const SLEEP_LONGEST: Duration = Duration::from_millis(500);
/// Time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks for what may be forgotten. It is days old: how many, nobody waits for.
const TIDY_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// Time between two looks at how patch groups stand. The last of an hour is what is kept of it, so a
/// new fleet shows within minutes.
const RECORD_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_mins(5);

/// What the scheduler needs.
#[derive(Clone)]
pub struct Context {
    /// Where the timers are.
    pub store: Store,
    /// Events out.
    pub bus: Arc<dyn Bus>,
    /// For notifications that were stored and not published.
    pub topics: Arc<dyn Topics>,
}

/// Fires timers and sweeps until shutdown. Survives the loss of store and bus.
pub async fn run(context: Context, shutdown: CancellationToken) {
    info!("scheduling");
    let sweeper = tokio::spawn(sweep_until(context.clone(), shutdown.clone()));
    let policy =
        || ExponentialBuilder::default().with_max_delay(Duration::from_secs(5)).with_jitter().without_max_times();
    let mut pauses = policy().build();
    while !shutdown.is_cancelled() {
        let pause = match round(&context).await {
            Ok(pause) => {
                pauses = policy().build();
                pause
            }
            Err(error) => {
                warn!(error = %error_chain(&error), "timers wait for the store");
                pauses.next().unwrap_or(SLEEP_LONGEST)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => {}
        }
    }
    if let Err(failure) = sweeper.await {
        warn!(error = %failure, "the sweeper ended unexpectedly");
    }
    info!("stopped");
}

/// Fires what is due; says how long to sleep.
async fn round(context: &Context) -> Result<Duration, patchwave_platform::store::Error> {
    if fire_due(&context.store, context.bus.as_ref(), Timestamp::now()).await? > 0 {
        return Ok(Duration::ZERO);
    }
    let next = context.store.next_timer_at().await?;
    let wait = next.map(|at| at.duration_since(Timestamp::now()));
    // At least a millisecond: a due timer that another scheduler holds is no reason to spin.
    Ok(wait.map_or(SLEEP_LONGEST, |wait| {
        Duration::try_from(wait).unwrap_or_default().clamp(Duration::from_millis(1), SLEEP_LONGEST)
    }))
}

async fn sweep_until(context: Context, shutdown: CancellationToken) {
    // Not at the start, when there is other work to catch up on.
    let mut tidied_at = Timestamp::now();
    let mut recorded_at: Option<Timestamp> = None;
    while !shutdown.is_cancelled() {
        if Timestamp::now().duration_since(tidied_at) > TIDY_EVERY {
            tidied_at = Timestamp::now();
            if let Err(error) = tidy(&context, tidied_at).await {
                warn!(error = %error_chain(&error), "what is old is forgotten later");
            }
        }
        let now = Timestamp::now();
        if recorded_at.is_none_or(|at| now.duration_since(at) > RECORD_EVERY || hour_of(at) != hour_of(now)) {
            match record_compliance(&context, now).await {
                Ok(true) => recorded_at = Some(now),
                // There are no nodes yet: looked for again with the next sweep.
                Ok(false) => {}
                Err(error) => warn!(error = %error_chain(&error), "compliance is recorded later"),
            }
        }
        match sweep(&context, Timestamp::now()).await {
            // There may be more: go on at once.
            Ok(Sweeps { more: true }) => continue,
            Ok(_) => {}
            Err(error) => warn!(error = %error_chain(&*error), "a sweep is repeated later"),
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
