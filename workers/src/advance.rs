//! Applying a rollout's step to the store: the engine counts, this moves the rows.
//!
//! The caller holds the rollout's row and has already changed the invocations that its event
//! speaks of. When this returns, counters and rows agree again and everything that follows is in
//! the outbox or among the effects.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calls::CallOutcome;
use patchwave_engine::invocation::{self, Ending, State, Step};
use patchwave_engine::rollout::{Arrival, Cause, Effect, Event, Move, Place, Status};
use patchwave_platform::store::Tx;
use patchwave_platform::store::commands::{LockedRollout, Plan};
use patchwave_platform::store::invocations::{Change, Release};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_platform::workflows;
use patchwave_schemas::event::{RolloutFinished, Timer};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::{CommandId, NodeId};

use crate::effects::{Effects, NodeDelivery, Order};
use crate::{HandlerError, news, waves};

/// Notifications about single invocations that one step stores in one statement, and publishes
/// itself.
const TOLD_AT_ONCE: usize = 1_000;

/// Applies an event and all that follows from it, and stores the rollout.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub async fn advance(
    tx: &mut Tx,
    locked: &mut LockedRollout,
    event: Event,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let before = locked.plan.rollout.status();
    let slots_before = locked.plan.rollout.in_flight;
    locked.plan.rollout.ceiling = ceiling(tx, locked).await?;
    let mut effects = Effects::default();
    let mut outbox = Vec::new();
    let mut crossed = false;
    // Bounded: each further event takes at least one invocation out of those not yet released, or
    // opens one of the few waves.
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front().or_else(|| waves::look(locked, now, &mut outbox)) {
        let contradiction = |error| HandlerError::Contradiction(format!("command {}: {error}", locked.command_id));
        let (next, steps) = locked.plan.rollout.step(&event).map_err(contradiction)?;
        locked.plan.rollout = next;
        for step in steps {
            match step {
                Effect::Release { ready, pending } => {
                    let away = release(tx, locked, ready, pending, now, &mut effects).await?;
                    if away > 0 {
                        let moved = Move { from: Place::InFlight, to: Arrival::Place(Place::Waiting), count: away };
                        events.push_back(Event::Moved(vec![moved]));
                    }
                }
                Effect::EndUnreleased(ending) => end_unreleased(tx, locked, ending, now, &mut effects).await?,
                Effect::CancelInFlight => cancel_in_flight(tx, locked, now, &mut effects).await?,
                Effect::Stopped(Cause::Errors) => crossed = true,
                // Said by the change of status below.
                Effect::Stopped(_) => {}
                Effect::Finished(status) => {
                    outbox.push(finish(tx, locked, now).await?);
                    effects.outbox.extend(answer(tx, locked, status, now).await?);
                }
            }
        }
    }
    if crossed {
        outbox.push(news::threshold_crossed(locked, now));
    }
    if locked.plan.rollout.status() != before {
        outbox.extend(news::command_changed(locked, now));
    }
    tx.save_rollout(locked, now).await?;
    if locked.plan.may_reboot && locked.plan.rollout.in_flight != slots_before {
        tx.put_reboot_slots(locked.command_id, locked.plan.rollout.in_flight).await?;
    }
    tx.enqueue(&outbox, now).await?;
    effects.outbox.extend(outbox);
    Ok(effects)
}

/// How many nodes this rollout may have in flight for the sake of the fleet: as many as may restart at
/// once, less those of other rollouts. What they give back is taken at the next look at this one.
async fn ceiling(tx: &mut Tx, locked: &LockedRollout) -> Result<u32, HandlerError> {
    if !locked.plan.may_reboot {
        return Ok(u32::MAX);
    }
    match tx.lock_reboot_limit().await? {
        Some(limit) => Ok(limit.saturating_sub(tx.reboot_slots_beside(locked.command_id).await?)),
        None => Ok(u32::MAX),
    }
}

/// Releases invocations. Returns how many of their nodes are known to be away; those wait.
async fn release(
    tx: &mut Tx,
    locked: &mut LockedRollout,
    ready: u32,
    pending: u32,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<u32, HandlerError> {
    let command = locked.command_id;
    let mut released = Vec::new();
    if ready > 0 {
        released.extend(tx.release_ready(command, ready, now).await?.into_iter().map(|one| (State::Ready, one)));
    }
    if pending > 0 {
        let deadline = deadline_of(&locked.plan, now);
        let (fresh, cursor) = tx.release_pending(command, locked.plan.cursor, pending, now, deadline).await?;
        locked.plan.cursor = cursor;
        released.extend(fresh.into_iter().map(|one| (State::Pending, one)));
    }
    if released.len() != (ready + pending) as usize {
        return Err(HandlerError::Contradiction(format!(
            "command {command}: {} invocations were to be released and {} are stored as releasable",
            ready + pending,
            released.len()
        )));
    }
    let (reachable, away): (Vec<_>, Vec<_>) = released.into_iter().partition(|(_, one)| one.address.is_some());
    let told = reachable
        .iter()
        .filter_map(|(_, one)| news::invocation_changed(locked, &one.node_id, State::Released, now))
        .collect();
    tell(tx, told, now, effects).await?;
    effects.deliveries.extend(reachable.into_iter().filter_map(|(_, one)| run_order(command, &locked.plan, one, true)));
    let shifts: Vec<_> =
        away.into_iter().map(|(from, one)| Shift { node_id: one.node_id, from, to: State::Waiting }).collect();
    let away = u32::try_from(shifts.len()).expect("fewer than were released, which is a u32");
    shift(tx, locked, shifts, now, effects).await?;
    Ok(away)
}

/// An invocation that goes from one state to another.
#[derive(Debug)]
pub struct Shift {
    /// Its node.
    pub node_id: NodeId,
    /// Where it stood.
    pub from: State,
    /// Where it stands now.
    pub to: State,
}

/// Stores where invocations of one rollout stand now, and tells whoever asked to hear of each. The
/// counters are the caller's business.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub async fn shift(
    tx: &mut Tx,
    locked: &LockedRollout,
    shifts: Vec<Shift>,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), HandlerError> {
    let told = shifts
        .iter()
        .filter(|one| one.from.details() != one.to.details())
        .filter_map(|one| news::invocation_changed(locked, &one.node_id, one.to, now))
        .collect();
    let changes: Vec<_> = shifts
        .into_iter()
        .map(|one| Change {
            command_id: locked.command_id,
            node_id: one.node_id,
            state: one.to,
            report: None,
            late: false,
        })
        .collect();
    tx.change_invocations(&changes, now).await?;
    tell(tx, told, now, effects).await
}

/// Stores what is told of single invocations. What one step cannot publish soon is left to the
/// outbox's sweep, so that a stop of a large rollout holds no more in memory than a small one.
pub(crate) async fn tell(
    tx: &mut Tx,
    told: Vec<OutboxMessage>,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), HandlerError> {
    for page in told.chunks(TOLD_AT_ONCE) {
        tx.enqueue(page, now).await?;
    }
    let room = TOLD_AT_ONCE.saturating_sub(effects.outbox.len());
    effects.outbox.extend(told.into_iter().take(room));
    Ok(())
}

/// Ends what holds no slot.
async fn end_unreleased(
    tx: &mut Tx,
    locked: &LockedRollout,
    ending: Ending,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), HandlerError> {
    let command = locked.command_id;
    let mut after: Option<NodeId> = None;
    // Read only for whoever asked, and before the statement that ends them all.
    while locked.plan.notifies_invocations() {
        let nodes = tx.nodes_without_slot(command, after.as_ref(), TOLD_AT_ONCE).await?;
        let state = State::Ended(ending);
        let told = nodes.iter().filter_map(|node| news::invocation_changed(locked, node, state, now)).collect();
        tell(tx, told, now, effects).await?;
        if nodes.len() < TOLD_AT_ONCE {
            break;
        }
        after = nodes.into_iter().next_back();
    }
    tx.end_unreleased(command, ending, now).await?;
    Ok(())
}

/// Lets invocations go on whose nodes are connected again. Those that came back too late to be
/// started end as at their deadline: the node would only refuse them.
///
/// # Errors
/// [`HandlerError`]; the caller drops the transaction.
pub async fn wake(
    tx: &mut Tx,
    locked: &mut LockedRollout,
    waiting: Vec<Release>,
    now: Timestamp,
) -> Result<Effects, HandlerError> {
    let mut effects = Effects::default();
    let mut moves = Moves::default();
    let mut shifts = Vec::with_capacity(waiting.len());
    for one in waiting {
        let late = now > start_before(&locked.plan, one.released_at);
        let event = if late { invocation::Event::DeadlinePassed } else { invocation::Event::Connected };
        let Ok(Step::To(to)) = one.state.step(event) else { continue };
        moves.add(
            Place::Waiting,
            match to {
                State::Ended(ending) => Arrival::Unheard(ending),
                _ => Arrival::Place(Place::Ready),
            },
        );
        shifts.push(Shift { node_id: one.node_id, from: one.state, to });
    }
    shift(tx, locked, shifts, now, &mut effects).await?;
    if let Some(event) = moves.into_event() {
        effects.merge(advance(tx, locked, event, now).await?);
    }
    Ok(effects)
}

/// When an invocation first released at `released_at` ends by itself.
fn deadline_of(plan: &Plan, released_at: Timestamp) -> Timestamp {
    start_before(plan, released_at) + SignedDuration::from_secs(i64::from(plan.execution_seconds))
}

/// After this it must not start on its node.
fn start_before(plan: &Plan, released_at: Timestamp) -> Timestamp {
    let delivered_by = released_at + SignedDuration::from_secs(i64::from(plan.delivery_seconds));
    plan.start_before.map_or(delivered_by, |cutoff| cutoff.min(delivered_by))
}

/// The message that makes a node run its invocation; `None` when it is known to be away.
///
/// `released` says that it was given a slot just now. Every delivery before that came back, or the
/// invocation would not have been waiting; so if this one comes back too, the slot is free.
#[must_use]
pub fn run_order(command: CommandId, plan: &Plan, one: Release, released: bool) -> Option<NodeDelivery> {
    let order = Order::Run {
        baseline_key: one.baseline_key,
        not_before: one.released_at,
        not_after: start_before(plan, one.released_at),
    };
    let address = one.address?;
    let (node_id, attempt) = (one.node_id, one.attempt);
    Some(NodeDelivery { command_id: command, node_id, address, order, attempt, frees_slot: released })
}

/// The message that makes a node stop its invocation; `None` when it is known to be away.
#[must_use]
pub fn cancel_order(command: CommandId, one: Release) -> Option<NodeDelivery> {
    let address = one.address?;
    let (node_id, attempt) = (one.node_id, one.attempt);
    Some(NodeDelivery { command_id: command, node_id, address, order: Order::Cancel, attempt, frees_slot: false })
}

async fn cancel_in_flight(
    tx: &mut Tx,
    locked: &LockedRollout,
    now: Timestamp,
    effects: &mut Effects,
) -> Result<(), HandlerError> {
    let command = locked.command_id;
    let in_flight = tx.in_flight(command).await?;
    let shifts = in_flight
        .iter()
        .filter(|one| one.state != State::Cancelling)
        .map(|one| Shift { node_id: one.node_id.clone(), from: one.state, to: State::Cancelling })
        .collect();
    shift(tx, locked, shifts, now, effects).await?;
    effects.deliveries.extend(in_flight.into_iter().filter_map(|one| cancel_order(command, one)));
    Ok(())
}

async fn finish(tx: &mut Tx, locked: &LockedRollout, now: Timestamp) -> Result<OutboxMessage, HandlerError> {
    let command = locked.command_id;
    tx.clear_timer(&Timer::RolloutCheck { command_id: command }).await?;
    let finished = RolloutFinished {
        command_id: command,
        task_execution_id: locked.plan.task_execution_id,
        window_execution_id: locked.plan.window_execution_id,
    };
    let id = derived_uuid("rollout finished:", &command.to_string());
    Ok(OutboxMessage::event(id, "/patchwave/worker", now, finished))
}

/// Answers the calls of executions that wait for this command.
async fn answer(
    tx: &mut Tx,
    locked: &LockedRollout,
    status: Status,
    now: Timestamp,
) -> Result<Vec<OutboxMessage>, HandlerError> {
    let reference = locked.command_id.to_string();
    let waiting = tx.calls_of_reference(&reference).await?;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let ended = &locked.plan.rollout.ended;
    let view = serde_json::json!({
        "CommandId": reference,
        "Status": status.status(),
        "StatusDetails": status.details(),
        "TargetCount": locked.plan.rollout.targets,
        "SuccessCount": ended.success,
        "ErrorCount": ended.failed + ended.execution_timed_out,
        "DeliveryTimedOutCount": ended.delivery_timed_out,
    });
    let outcome = match status {
        Status::Success | Status::NoTargets => CallOutcome::Succeeded(view),
        _ => workflows::failed("Patchwave.CommandFailed", view.to_string()),
    };
    let mut told = Vec::new();
    for call in &waiting {
        told.extend(workflows::end_call(tx, call, outcome.clone(), now).await?);
    }
    Ok(told)
}

/// How a node's word about its invocation counts.
#[must_use]
pub fn ending_of(outcome: patchwave_schemas::report::Outcome) -> Ending {
    use patchwave_schemas::report::Outcome;
    match outcome {
        Outcome::Success | Outcome::Skipped => Ending::Success,
        Outcome::Failed => Ending::Failed,
        Outcome::TimedOut => Ending::ExecutionTimedOut,
        Outcome::Cancelled => Ending::Cancelled,
        Outcome::Refused => Ending::Undeliverable,
    }
}

/// Sums up moves of the same kind, so that a batch is one event of few moves.
#[derive(Debug, Default)]
pub struct Moves(Vec<Move>);

impl Moves {
    /// Adds one invocation's move.
    pub fn add(&mut self, from: Place, to: Arrival) {
        match self.0.iter_mut().find(|known| known.from == from && known.to == to) {
            Some(known) => known.count += 1,
            None => self.0.push(Move { from, to, count: 1 }),
        }
    }

    /// The event, unless nothing moved.
    #[must_use]
    pub fn into_event(self) -> Option<Event> {
        (!self.0.is_empty()).then_some(Event::Moved(self.0))
    }
}
