//! Timers that are due become events, and windows re-arm theirs.

use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::bus::Bus;
use patchwave_platform::outbox;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::store::{Error, Store};
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::WindowId;
use patchwave_schemas::event::{Timer, TimerFired, WindowStarted};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::topology::{CALLER_TIMER_KEY, DISPATCHER_TIMER_KEY, RESOLVER_TIMER_KEY, WORKFLOWS_TIMER_KEY};
use tracing::{info, warn};

/// Timers taken in one transaction.
const BATCH: u32 = 200;
const SOURCE: &str = "/patchwave/scheduler";

/// Fires what is due and publishes it. Returns how many timers fired.
///
/// # Errors
/// The store's; what was not committed stays due, what was not published stays in the outbox.
pub async fn fire_due(store: &Store, bus: &dyn Bus, now: Timestamp) -> Result<usize, Error> {
    let messages = tick(store, now).await?;
    outbox::flush(store, bus, &messages).await;
    Ok(messages.len())
}

/// Turns timers that are due into stored events. Publishing them is the caller's business.
///
/// # Errors
/// The store's.
pub async fn tick(store: &Store, now: Timestamp) -> Result<Vec<OutboxMessage>, Error> {
    let mut messages = Vec::new();
    for (timer, due_at) in store.due_windows(now, BATCH).await? {
        if let Timer::Window { window_id } = &timer {
            match fire_window(store, window_id, &timer, due_at, now).await {
                Ok(fired) => messages.extend(fired),
                // One unreadable window must not stop the clock of the others.
                Err(error) if error.class() == Class::Rejected => {
                    warn!(window.id = %window_id, error = %error_chain(&error), "a window cannot be fired");
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut tx = store.begin().await?;
    let claimed = tx.claim_timers(now, BATCH).await?;
    let fired: Vec<_> = claimed.into_iter().map(|(timer, due_at)| fired(timer, due_at, now)).collect();
    tx.enqueue(&fired, now).await?;
    tx.commit().await?;
    messages.extend(fired);
    Ok(messages)
}

/// The id follows from timer and instant: fired twice, it is one event.
fn fired(timer: Timer, due_at: Timestamp, now: Timestamp) -> OutboxMessage {
    let id = derived_uuid("timer fired:", &format!("{}/{due_at}", timer.key()));
    let key = match timer {
        Timer::RolloutCheck { .. } => DISPATCHER_TIMER_KEY,
        Timer::Workflow { .. } => WORKFLOWS_TIMER_KEY,
        Timer::Call { .. } => CALLER_TIMER_KEY,
        Timer::Window { .. } | Timer::WindowCutoff { .. } | Timer::WindowEnd { .. } | Timer::WindowCalendar { .. } => {
            RESOLVER_TIMER_KEY
        }
    };
    OutboxMessage::keyed(id, key, SOURCE, now, TimerFired { timer, due_at })
}

/// Emits a window's occurrence and arms the next one.
///
/// After downtime the next one may be past too: it then fires at once, and whoever handles it
/// decides whether it starts late or was missed. So no occurrence is dropped in silence.
async fn fire_window(
    store: &Store,
    window_id: &WindowId,
    timer: &Timer,
    due_at: Timestamp,
    now: Timestamp,
) -> Result<Option<OutboxMessage>, Error> {
    let mut tx = store.begin().await?;
    let window = tx.lock_window(window_id).await?;
    if !tx.take_timer(timer, due_at).await? {
        return Ok(None);
    }
    let Some(window) = window.filter(|window| window.enabled) else {
        tx.commit().await?;
        return Ok(None);
    };
    let next = match window.schedule() {
        Ok(schedule) => schedule.next_after(due_at),
        Err(error) => {
            warn!(window.id = %window_id, %error, "a stored schedule cannot be read; the window fires no more");
            None
        }
    };
    tx.set_next_execution(window_id, next).await?;
    if let Some(next) = next {
        tx.set_timer(timer, next).await?;
    }
    let id = derived_uuid("window started:", &format!("{window_id}/{due_at}"));
    let message =
        OutboxMessage::event(id, SOURCE, now, WindowStarted { window_id: window_id.clone(), scheduled_at: due_at });
    tx.enqueue(std::slice::from_ref(&message), now).await?;
    tx.commit().await?;
    info!(window.id = %window_id, scheduled_at = %due_at, next = next.map(tracing::field::display), "a window fires");
    Ok(Some(message))
}
