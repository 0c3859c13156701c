//! Between two waves of a rollout: the engine says what follows, this makes it events and news.

use jiff::Timestamp;
use patchwave_engine::rollout::waves::{Effect, Event as WaveEvent, Stage};
use patchwave_engine::rollout::{Arrival, Cause, Event, Move, Place};
use patchwave_platform::store::commands::LockedRollout;
use patchwave_platform::store::outbox::OutboxMessage;

use crate::news;

/// Lets time pass for the waves of a rollout of which everything released has ended; returns what
/// follows for the rollout.
pub(crate) fn look(locked: &mut LockedRollout, now: Timestamp, outbox: &mut Vec<OutboxMessage>) -> Option<Event> {
    if !locked.plan.rollout.is_between_waves() {
        return None;
    }
    let tally = locked.plan.rollout.ended;
    let event = match locked.plan.waves.as_ref()?.stage {
        Stage::Open => WaveEvent::Over(tally),
        _ => WaveEvent::Tick(tally),
    };
    step(locked, &event, now, outbox)
}

/// Lets an event happen to the waves of a rollout; returns what follows for the rollout.
pub(crate) fn step(
    locked: &mut LockedRollout,
    event: &WaveEvent,
    now: Timestamp,
    outbox: &mut Vec<OutboxMessage>,
) -> Option<Event> {
    let (next, effect) = locked.plan.waves.as_ref()?.step(event, now);
    locked.plan.waves = Some(next);
    match effect? {
        Effect::Open(count) => {
            let opened = Move { from: Place::Held, to: Arrival::Place(Place::Pending), count };
            Some(Event::Moved(vec![opened]))
        }
        Effect::Waits => {
            outbox.extend(news::gate_waits(locked, now));
            None
        }
        Effect::Stop => {
            outbox.extend(news::gate_stopped(locked, now));
            Some(Event::Stop(Cause::Gate))
        }
    }
}
