//! A rollout is looked at from time to time: deadlines that passed, commands that went unheard.
//!
//! This is what keeps anything from staying "in progress" for ever, and what repairs whatever a
//! lost message or a dead process left behind.

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::invocation::{Event, State, Step};
use patchwave_engine::rollout::{self, Arrival};
pub use patchwave_platform::launch::CHECK_EVERY;
use patchwave_platform::store::Tx;
use patchwave_platform::store::commands::LockedRollout;
use patchwave_schemas::CommandId;
use patchwave_schemas::event::Timer;

use crate::HandlerError;
use crate::advance::{Moves, Shift, advance, cancel_order, run_order, shift, wake};
use crate::effects::Effects;

/// A command that was handed over and not heard of for so long is handed over again. The node's
/// journal makes the second one a no-op, so this only costs a message; what takes longer than a
/// few seconds says so and is not repeated.
pub const UNHEARD_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Commands handed over again at one look, so that a dead broker's backlog does not become a burst.
const AGAIN_MAX: u32 = 1_000;

pub(super) async fn apply(tx: &mut Tx, command: CommandId, now: Timestamp) -> Result<Effects, HandlerError> {
    let mut locked = tx.lock_rollouts(&[command]).await?;
    let Some(rollout) = locked.first_mut() else { return Ok(Effects::default()) };
    let timer = Timer::RolloutCheck { command_id: command };
    if rollout.plan.rollout.is_finished() {
        tx.clear_timer(&timer).await?;
        return Ok(Effects::default());
    }
    let mut effects = Effects::default();
    if rollout.plan.rollout.phase == rollout::Phase::Planned {
        // The event that was to start it was lost.
        effects.merge(advance(tx, rollout, rollout::Event::Start, now).await?);
    }
    let mut moves = Moves::default();
    let mut shifts = Vec::new();
    let counts = &rollout.plan.rollout;
    // Nothing is read that cannot be there: a rollout of 100,000 is looked at every few seconds.
    let released = counts.in_flight + counts.waiting + counts.ready > 0;
    for one in if released { tx.overdue(command, now).await? } else { Vec::new() } {
        if let Ok(Step::To(State::Ended(ending))) = one.state.step(Event::DeadlinePassed)
            && let Some(from) = one.state.place()
        {
            moves.add(from, Arrival::Unheard(ending));
            shifts.push(Shift { node_id: one.node_id, from: one.state, to: State::Ended(ending) });
        }
    }
    shift(tx, rollout, shifts, now, &mut effects).await?;
    // An empty event still lets a rollout release: nothing waits for a message that was lost.
    let event = moves.into_event().unwrap_or(rollout::Event::Moved(Vec::new()));
    effects.merge(advance(tx, rollout, event, now).await?);

    if !rollout.plan.rollout.is_finished() {
        effects.merge(wake_connected(tx, rollout, now).await?);
        let in_flight = rollout.plan.rollout.in_flight > 0;
        let unheard = if in_flight { tx.unheard(command, now - UNHEARD_AFTER, AGAIN_MAX).await? } else { Vec::new() };
        let again = tx.redeliver(command, &unheard, now).await?;
        effects.deliveries.extend(again.into_iter().filter_map(|one| match one.state {
            State::Cancelling => cancel_order(command, one),
            _ => run_order(command, &rollout.plan, one, false),
        }));
        // A wait between two waves ends when it is due, and not up to a look later.
        let due = rollout.plan.waves.as_ref().and_then(|waves| waves.due_at()).filter(|due| *due > now);
        let next = now + CHECK_EVERY;
        tx.set_timer(&timer, due.map_or(next, |due| due.min(next))).await?;
    }
    Ok(effects)
}

/// Lets invocations go on that wait for a node which is connected.
///
/// A hello does so as it comes; but a command may be on its way to a node's old queue at that very
/// moment, and come back after the hello was handled.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub(super) async fn wake_connected(
    tx: &mut Tx,
    rollout: &mut LockedRollout,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let command = rollout.command_id;
    if rollout.plan.rollout.waiting == 0 {
        return Ok(Effects::default());
    }
    let waiting = tx.waiting_connected(command).await?;
    wake(tx, rollout, waiting, now).await
}
