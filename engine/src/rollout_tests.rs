//! The rollout's transition table, and the promises that hold for any sequence of events.

use proptest::prelude::*;

use super::*;

fn running(targets: u32, concurrency: u32, errors: u32, error_mode: ErrorMode) -> (Rollout, Vec<Effect>) {
    Rollout::plan(targets, Limit::Count(concurrency), Limit::Count(errors), error_mode)
        .step(&Event::Start)
        .expect("a planned rollout starts")
}

fn ended(count: u32, ending: Ending) -> Event {
    Event::Moved(vec![Move { from: Place::InFlight, to: Arrival::Ended(ending), count }])
}

fn check(rollout: &Rollout, event: &Event, effects: &[Effect]) -> Rollout {
    let (next, found) = rollout.step(event).expect("a legal event");
    assert_eq!(found, effects, "{rollout:?} × {event:?}");
    next
}

#[test]
fn releases_up_to_the_limit_and_refills_as_invocations_end() {
    let (rollout, effects) = running(5, 2, 0, ErrorMode::Ssm);
    assert_eq!(effects, [Effect::Release { ready: 0, pending: 2 }]);
    let rollout = check(&rollout, &ended(1, Ending::Success), &[Effect::Release { ready: 0, pending: 1 }]);
    let rollout = check(&rollout, &ended(2, Ending::Success), &[Effect::Release { ready: 0, pending: 2 }]);
    let rollout = check(&rollout, &ended(2, Ending::Success), &[Effect::Finished(Status::Success)]);
    assert_eq!(rollout.ended.success, 5);
}

#[test]
fn no_targets_is_a_success_that_says_so() {
    let (_, effects) = running(0, 5, 0, ErrorMode::Ssm);
    assert_eq!(effects, [Effect::Finished(Status::NoTargets)]);
}

#[test]
fn the_error_that_exceeds_the_allowance_stops_the_rollout() {
    // 10 % of 50 allows 5: the 6th stops it.
    let rollout = Rollout::plan(50, Limit::Count(10), Limit::Percent(10), ErrorMode::Ssm);
    let (rollout, _) = rollout.step(&Event::Start).expect("starts");
    let rollout = check(&rollout, &ended(5, Ending::Failed), &[Effect::Release { ready: 0, pending: 5 }]);
    let rollout = check(
        &rollout,
        &ended(1, Ending::ExecutionTimedOut),
        &[Effect::Stopped(Cause::Errors), Effect::EndUnreleased(Ending::Terminated)],
    );
    assert_eq!((rollout.in_flight, rollout.ended.terminated), (9, 35));
    // What was in flight still counts (SSM's mode), and the end is Failed.
    let rollout = check(&rollout, &ended(4, Ending::Failed), &[]);
    check(&rollout, &ended(5, Ending::Success), &[Effect::Finished(Status::Failed)]);
}

#[test]
fn strict_mode_releases_only_what_its_budget_can_lose() {
    let (rollout, effects) = running(10, 8, 2, ErrorMode::Strict);
    assert_eq!(effects, [Effect::Release { ready: 0, pending: 3 }]);
    // One failed: of the budget of three, two are left, and both are in flight.
    let rollout = check(&rollout, &ended(1, Ending::Failed), &[]);
    let rollout = check(&rollout, &ended(1, Ending::Success), &[Effect::Release { ready: 0, pending: 1 }]);
    let all_fail = check(
        &rollout,
        &ended(2, Ending::Failed),
        &[Effect::Stopped(Cause::Errors), Effect::EndUnreleased(Ending::Terminated), Effect::Finished(Status::Failed)],
    );
    assert_eq!(all_fail.ended.failed, 3);
}

#[test]
fn strict_mode_counts_nodes_that_were_never_heard_of_again() {
    let (rollout, _) = running(10, 8, 1, ErrorMode::Strict);
    let unheard =
        Event::Moved(vec![Move { from: Place::InFlight, to: Arrival::Unheard(Ending::DeliveryTimedOut), count: 2 }]);
    check(
        &rollout,
        &unheard,
        &[Effect::Stopped(Cause::Errors), Effect::EndUnreleased(Ending::Terminated), Effect::Finished(Status::Failed)],
    );
}

#[test]
fn a_node_that_is_not_connected_gives_its_slot_to_the_next() {
    let (rollout, _) = running(4, 2, 0, ErrorMode::Ssm);
    let returned =
        |count| Event::Moved(vec![Move { from: Place::InFlight, to: Arrival::Place(Place::Waiting), count }]);
    let back = Event::Moved(vec![Move { from: Place::Waiting, to: Arrival::Place(Place::Ready), count: 1 }]);
    let rollout = check(&rollout, &returned(2), &[Effect::Release { ready: 0, pending: 2 }]);
    // It comes back while every slot is taken, and goes before what is pending.
    let rollout = check(&rollout, &back, &[]);
    let rollout = check(&rollout, &ended(1, Ending::Success), &[Effect::Release { ready: 1, pending: 0 }]);
    let rollout = check(&rollout, &ended(2, Ending::Success), &[]);
    // The last one waits for its node until its deadline.
    let late =
        Event::Moved(vec![Move { from: Place::Waiting, to: Arrival::Unheard(Ending::DeliveryTimedOut), count: 1 }]);
    check(&rollout, &late, &[Effect::Finished(Status::DeliveryTimedOut)]);
}

#[test]
fn cancelling_ends_what_was_never_sent_and_asks_the_rest_to_stop() {
    let (rollout, _) = running(5, 2, 0, ErrorMode::Ssm);
    let stopping = check(
        &rollout,
        &Event::Stop(Cause::Cancelled),
        &[Effect::Stopped(Cause::Cancelled), Effect::EndUnreleased(Ending::Cancelled), Effect::CancelInFlight],
    );
    assert_eq!(stopping.status(), ("Cancelling", "Cancelling"));
    check(&stopping, &Event::Stop(Cause::Cancelled), &[]);
    let stopping = check(&stopping, &ended(1, Ending::Success), &[]);
    check(&stopping, &ended(1, Ending::Cancelled), &[Effect::Finished(Status::Cancelled)]);
}

#[test]
fn what_is_held_back_is_released_when_its_wave_comes() {
    let rollout = Rollout::plan(5, Limit::Count(2), Limit::Count(5), ErrorMode::Ssm).holding(3);
    let (rollout, effects) = rollout.step(&Event::Start).expect("starts");
    assert_eq!(effects, [Effect::Release { ready: 0, pending: 2 }]);
    assert!(!rollout.is_between_waves(), "the first wave is at work");
    let rollout = check(&rollout, &ended(2, Ending::Success), &[]);
    assert!(rollout.is_between_waves() && !rollout.is_finished());
    let open = Event::Moved(vec![Move { from: Place::Held, to: Arrival::Place(Place::Pending), count: 3 }]);
    let rollout = check(&rollout, &open, &[Effect::Release { ready: 0, pending: 2 }]);
    let rollout = check(&rollout, &ended(2, Ending::Success), &[Effect::Release { ready: 0, pending: 1 }]);
    check(&rollout, &ended(1, Ending::Success), &[Effect::Finished(Status::Success)]);
}

#[test]
fn a_gate_that_stops_ends_what_is_held_back_as_terminated() {
    let (rollout, _) = Rollout::plan(5, Limit::Count(2), Limit::Count(5), ErrorMode::Ssm)
        .holding(3)
        .step(&Event::Start)
        .expect("starts");
    let rollout = check(&rollout, &ended(2, Ending::Failed), &[]);
    let rollout = check(
        &rollout,
        &Event::Stop(Cause::Gate),
        &[Effect::Stopped(Cause::Gate), Effect::EndUnreleased(Ending::Terminated), Effect::Finished(Status::Failed)],
    );
    assert_eq!((rollout.ended.terminated, rollout.held), (3, 0));
    check(&rollout, &Event::Stop(Cause::Gate), &[]);
}

#[test]
fn a_ceiling_holds_releases_back_and_stops_nothing() {
    for mode in [ErrorMode::Ssm, ErrorMode::Strict] {
        let mut rollout = Rollout::plan(5, Limit::Count(4), Limit::Count(4), mode);
        rollout.ceiling = 0;
        let (mut rollout, effects) = rollout.step(&Event::Start).expect("starts");
        assert_eq!((effects, rollout.phase), (Vec::new(), Phase::Running), "it waits for others");
        rollout.ceiling = 2;
        let mut rollout = check(&rollout, &Event::Moved(Vec::new()), &[Effect::Release { ready: 0, pending: 2 }]);
        // The fleet takes one back: what is in flight stays there, and is not followed by another.
        rollout.ceiling = 1;
        let rollout = check(&rollout, &ended(1, Ending::Success), &[]);
        check(&rollout, &ended(1, Ending::Success), &[Effect::Release { ready: 0, pending: 1 }]);
    }
}

#[test]
fn cutoff_ends_a_rollout_as_timed_out() {
    let (rollout, _) = running(1, 1, 0, ErrorMode::Ssm);
    let (rollout, _) = rollout.step(&Event::Stop(Cause::Cutoff)).expect("legal");
    let rollout = check(&rollout, &ended(1, Ending::Cancelled), &[Effect::Finished(Status::CutoffReached)]);
    assert_eq!(rollout.status(), ("TimedOut", "CutoffReached"));
}

#[test]
fn late_starts_and_stops_change_nothing() {
    let (running_one, _) = running(1, 1, 0, ErrorMode::Ssm);
    check(&running_one, &Event::Start, &[]);
    let finished = check(&running_one, &ended(1, Ending::Success), &[Effect::Finished(Status::Success)]);
    for event in [Event::Start, Event::Stop(Cause::Cancelled), Event::Stop(Cause::Cutoff), Event::Moved(vec![])] {
        assert_eq!(check(&finished, &event, &[]), finished);
    }
}

#[test]
fn a_cancelled_plan_never_starts() {
    let planned = Rollout::plan(3, Limit::Count(1), Limit::Count(0), ErrorMode::Ssm);
    let cancelled = check(
        &planned,
        &Event::Stop(Cause::Cancelled),
        &[
            Effect::Stopped(Cause::Cancelled),
            Effect::EndUnreleased(Ending::Cancelled),
            Effect::Finished(Status::Cancelled),
        ],
    );
    check(&cancelled, &Event::Start, &[]);
}

#[test]
fn moving_more_than_there_is_is_refused() {
    let (rollout, _) = running(3, 2, 0, ErrorMode::Ssm);
    let error = rollout.step(&ended(3, Ending::Success)).expect_err("only two are in flight");
    assert_eq!((error.in_flight, error.pending), (2, 1));
}

#[test]
fn endings_within_the_error_budget_make_a_rollout_incomplete() {
    let (rollout, _) = running(3, 3, 1, ErrorMode::Ssm);
    let mixed = Event::Moved(vec![
        Move { from: Place::InFlight, to: Arrival::Ended(Ending::Success), count: 2 },
        Move { from: Place::InFlight, to: Arrival::Ended(Ending::Failed), count: 1 },
    ]);
    check(&rollout, &mixed, &[Effect::Finished(Status::Incomplete)]);
}

#[test]
fn all_undeliverable_is_failed() {
    let (rollout, _) = running(2, 2, 1, ErrorMode::Ssm);
    check(&rollout, &ended(2, Ending::Undeliverable), &[Effect::Finished(Status::Failed)]);
}

/// One thing that may happen next; the numbers choose among what is possible.
#[derive(Debug, Clone)]
enum Happening {
    Ends(u32, Ending),
    Unheard(u32),
    Returned(u32),
    Connected(u32),
    WaitedTooLong(u32),
    Stop(Cause),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (1..6_u32, prop_oneof![6 => Just(Ending::Success), 3 => Just(Ending::Failed),
            1 => Just(Ending::ExecutionTimedOut), 1 => Just(Ending::Undeliverable)])
            .prop_map(|(n, ending)| Happening::Ends(n, ending)),
        1 => (1..3_u32).prop_map(Happening::Unheard),
        2 => (1..6_u32).prop_map(Happening::Returned),
        2 => (1..6_u32).prop_map(Happening::Connected),
        1 => (1..6_u32).prop_map(Happening::WaitedTooLong),
        1 => prop_oneof![Just(Cause::Cancelled), Just(Cause::Cutoff)].prop_map(Happening::Stop),
    ]
}

fn event_of(rollout: &Rollout, happening: &Happening) -> Event {
    let moved = |from, to, count: u32, held: u32| Event::Moved(vec![Move { from, to, count: count.min(held) }]);
    match happening {
        Happening::Ends(n, ending) => moved(Place::InFlight, Arrival::Ended(*ending), *n, rollout.in_flight),
        Happening::Unheard(n) => {
            moved(Place::InFlight, Arrival::Unheard(Ending::DeliveryTimedOut), *n, rollout.in_flight)
        }
        Happening::Returned(n) => moved(Place::InFlight, Arrival::Place(Place::Waiting), *n, rollout.in_flight),
        Happening::Connected(n) => moved(Place::Waiting, Arrival::Place(Place::Ready), *n, rollout.waiting),
        Happening::WaitedTooLong(n) => {
            moved(Place::Waiting, Arrival::Unheard(Ending::DeliveryTimedOut), *n, rollout.waiting)
        }
        Happening::Stop(cause) => Event::Stop(*cause),
    }
}

proptest! {
    #[test]
    fn invariants_hold_for_any_sequence_of_events(
        targets in 0..60_u32,
        concurrency in 1..20_u32,
        errors in 0..6_u32,
        strict in any::<bool>(),
        happenings in prop::collection::vec(happening(), 0..200),
    ) {
        let mode = if strict { ErrorMode::Strict } else { ErrorMode::Ssm };
        let (mut rollout, mut effects) = running(targets, concurrency, errors, mode);
        let mut finishes = effects.iter().filter(|effect| matches!(effect, Effect::Finished(_))).count();
        for happening in &happenings {
            let stopped = rollout.phase != Phase::Running;
            let event = event_of(&rollout, happening);
            let (next, now) = rollout.step(&event).expect("only possible things happen");
            effects = now;
            let open = next.pending + next.in_flight + next.waiting + next.ready;
            // Every target is in exactly one place or has exactly one ending.
            prop_assert_eq!(open + next.ended.ended(), targets);
            prop_assert!(next.in_flight <= concurrency, "{:?}", next);
            let releases = effects.iter().any(|effect| matches!(effect, Effect::Release { .. }));
            prop_assert!(!(stopped && releases), "released after it had stopped");
            let crossed = next.ended.errors() > errors;
            prop_assert!(!(crossed && releases), "released in the step that crossed the threshold");
            if strict {
                // Whatever is in flight or unheard may still fail.
                prop_assert!(next.ended.errors() + next.in_flight + next.unheard <= errors + 1, "{:?}", next);
            }
            finishes += effects.iter().filter(|effect| matches!(effect, Effect::Finished(_))).count();
            prop_assert_eq!(finishes == 1, next.is_finished());
            prop_assert_eq!(open == 0, next.is_finished());
            rollout = next;
        }
    }

    #[test]
    fn every_rollout_ends_once_its_invocations_do(
        targets in 0..60_u32, concurrency in 1..20_u32, errors in 0..6_u32, strict in any::<bool>(), seed in any::<u64>(),
    ) {
        let mode = if strict { ErrorMode::Strict } else { ErrorMode::Ssm };
        let (mut rollout, _) = running(targets, concurrency, errors, mode);
        let mut seed = seed;
        for _ in 0..=targets {
            if rollout.is_finished() { break; }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ending = if seed >> 61 == 0 { Ending::Failed } else { Ending::Success };
            rollout = rollout.step(&ended(1, ending)).expect("something is in flight").0;
        }
        prop_assert!(rollout.is_finished(), "{:?}", rollout);
    }
}
