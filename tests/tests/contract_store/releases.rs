//! Releasing: in order, once, and with deadlines that do not move.

use patchwave_engine::invocation::{Ending, State};
use patchwave_platform::store::Store;
use patchwave_platform::store::invocations::Release;
use patchwave_schemas::{CommandId, NodeId};

use crate::fixtures::{
    add_command, address, apply, at, change, connect, hello, invocation, new_command, node, release, states,
};
use crate::place::Place;

contract! {
    pending_invocations_are_released_in_order_and_never_twice,
    the_cursor_passes_over_what_ended_meanwhile,
    a_release_says_where_its_node_is,
    invocations_whose_nodes_came_back_are_released_before_pending_ones,
    a_repeated_delivery_keeps_the_first_deadline,
    ending_what_is_unreleased_leaves_the_rest,
    unheard_invocations_are_those_of_connected_nodes_handed_over_before,
    waiting_invocations_of_connected_nodes_are_found,
    overdue_invocations_are_those_that_have_not_ended,
    invocations_in_flight_are_those_that_hold_a_slot,
    one_command_does_not_see_anothers_invocations,
}

fn numbers(releases: &[Release]) -> Vec<NodeId> {
    releases.iter().map(|one| one.node_id.clone()).collect()
}

fn nodes(numbers: impl IntoIterator<Item = usize>) -> Vec<NodeId> {
    numbers.into_iter().map(node).collect()
}

async fn release_from(store: &Store, command: CommandId, cursor: i64, count: u32) -> (Vec<Release>, i64) {
    let mut tx = store.begin().await.unwrap();
    let released = tx.release_pending(command, cursor, count, at(10), at(20)).await.unwrap();
    tx.commit().await.unwrap();
    released
}

async fn pending_invocations_are_released_in_order_and_never_twice(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 10).await;
    let mut cursor = 0;
    let mut seen = Vec::new();
    for expected in [3, 3, 3, 1, 0] {
        let (released, next) = release_from(&store, command, cursor, 3).await;
        assert_eq!(released.len(), expected);
        assert!(released.iter().all(|one| (one.state, one.attempt, one.released_at) == (State::Released, 1, at(10))));
        seen.extend(numbers(&released));
        cursor = next;
    }
    assert_eq!(seen, nodes(0..10));
    assert_eq!(cursor, 10);
    // Even a cursor that was lost releases nothing twice.
    assert_eq!(release_from(&store, command, 0, 100).await, (Vec::new(), 0));
    assert_eq!(release_from(&store, command, 0, 0).await, (Vec::new(), 0));
    let one = invocation(&store, command, 4).await;
    assert_eq!((one.state, one.attempts), (State::Released, 1));
    assert_eq!((one.released_at, one.deadline_at, one.finished_at), (Some(at(10)), Some(at(20)), None));
}

async fn the_cursor_passes_over_what_ended_meanwhile(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 6).await;
    let cancelled = State::Ended(Ending::Cancelled);
    apply(
        &store,
        &[change(command, 0, cancelled), change(command, 2, cancelled), change(command, 5, cancelled)],
        at(1),
    )
    .await;
    let (released, cursor) = release_from(&store, command, 0, 2).await;
    assert_eq!((numbers(&released), cursor), (nodes([1, 3]), 4));
    let (released, cursor) = release_from(&store, command, cursor, 9).await;
    assert_eq!((numbers(&released), cursor), (nodes([4]), 5));
    let ended = invocation(&store, command, 2).await;
    assert_eq!((ended.state, ended.attempts, ended.released_at), (cancelled, 0, None));
}

async fn a_release_says_where_its_node_is(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[]), hello(1, "b", &[])], at(0)).await;
    let mut tx = store.begin().await.unwrap();
    tx.nodes_away(&[(node(1), address(1, "b"))]).await.unwrap();
    tx.commit().await.unwrap();
    // Node 2 was removed since the command was resolved.
    let command = add_command(&store, "a", 3).await;
    let (released, _) = release_from(&store, command, 0, 3).await;
    let addresses: Vec<_> = released.into_iter().map(|one| one.address).collect();
    assert_eq!(addresses, [Some(address(0, "a")), None, None]);
}

async fn invocations_whose_nodes_came_back_are_released_before_pending_ones(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 6).await;
    release(&store, command, 4).await;
    apply(&store, &[3, 1, 2].map(|number| change(command, number, State::Ready)), at(5)).await;

    let mut tx = store.begin().await.unwrap();
    let ready = tx.release_ready(command, 2, at(10)).await.unwrap();
    let (pending, cursor) = tx.release_pending(command, 4, 1, at(10), at(4_000)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(numbers(&ready), nodes([1, 2]));
    assert!(ready.iter().all(|one| (one.state, one.attempt, one.released_at) == (State::Released, 2, at(0))));
    assert_eq!((numbers(&pending), cursor), (nodes([4]), 5));
    assert_eq!(
        states(&store, command).await,
        [State::Released, State::Released, State::Released, State::Ready, State::Released, State::Pending]
    );
    let one = invocation(&store, command, 1).await;
    assert_eq!((one.released_at, one.deadline_at, one.attempts), (Some(at(0)), Some(at(3_600)), 2));
}

async fn a_repeated_delivery_keeps_the_first_deadline(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 3).await;
    release(&store, command, 3).await;
    apply(&store, &[change(command, 1, State::Cancelling)], at(5)).await;

    let mut tx = store.begin().await.unwrap();
    let flying = tx.in_flight(command).await.unwrap();
    let again = tx.redeliver(command, &flying[..2], at(100)).await.unwrap();
    assert_eq!(tx.redeliver(command, &[], at(100)).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert_eq!(numbers(&again), nodes([0, 1]));
    assert!(again.iter().all(|one| one.attempt == 2 && one.released_at == at(0)));
    assert_eq!(again[1].state, State::Cancelling);
    for (number, attempts) in [(0, 2), (1, 2), (2, 1)] {
        let one = invocation(&store, command, number).await;
        assert_eq!(one.attempts, attempts);
        assert_eq!((one.released_at, one.deadline_at), (Some(at(0)), Some(at(3_600))));
    }
}

async fn ending_what_is_unreleased_leaves_the_rest(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 8).await;
    release(&store, command, 6).await;
    let states_then = [State::Waiting, State::Ready, State::Running, State::Cancelling, State::Ended(Ending::Success)];
    let changes: Vec<_> =
        states_then.into_iter().enumerate().map(|(index, state)| change(command, index + 1, state)).collect();
    apply(&store, &changes, at(5)).await;

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.end_unreleased(command, Ending::Terminated, at(9)).await.unwrap(), 4);
    assert_eq!(tx.end_unreleased(command, Ending::Cancelled, at(10)).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let terminated = State::Ended(Ending::Terminated);
    assert_eq!(
        states(&store, command).await,
        [
            State::Released,
            terminated,
            terminated,
            State::Running,
            State::Cancelling,
            State::Ended(Ending::Success),
            terminated,
            terminated
        ]
    );
    assert_eq!(invocation(&store, command, 7).await.finished_at, Some(at(9)));
    assert_eq!(invocation(&store, command, 5).await.finished_at, Some(at(5)));
}

async fn unheard_invocations_are_those_of_connected_nodes_handed_over_before(place: Place) {
    let store = place.open().await;
    let hellos: Vec<_> = [0, 1, 2, 4].map(|number| hello(number, "a", &[])).into();
    connect(&store, &hellos, at(0)).await;
    let command = add_command(&store, "a", 6).await;
    // Node 3 is not connected; node 1 runs; node 2 was told to stop; node 5 is pending.
    release(&store, command, 5).await;
    apply(&store, &[change(command, 1, State::Running), change(command, 2, State::Cancelling)], at(5)).await;

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.unheard(command, at(0), 10).await.unwrap(), []);
    let unheard = tx.unheard(command, at(1), 10).await.unwrap();
    assert_eq!(numbers(&unheard), nodes([0, 2, 4]));
    assert_eq!(numbers(&tx.unheard(command, at(1), 2).await.unwrap()), nodes([0, 2]));
    tx.redeliver(command, &unheard[..1], at(50)).await.unwrap();
    assert_eq!(numbers(&tx.unheard(command, at(50), 10).await.unwrap()), nodes([2, 4]));
}

async fn waiting_invocations_of_connected_nodes_are_found(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[]), hello(2, "a", &[])], at(0)).await;
    let command = add_command(&store, "a", 3).await;
    release(&store, command, 3).await;
    apply(&store, &[change(command, 0, State::Waiting), change(command, 2, State::Waiting)], at(5)).await;
    let mut tx = store.begin().await.unwrap();
    let found = tx.waiting_connected(command).await.unwrap();
    assert_eq!(numbers(&found), nodes([2]));
    assert_eq!((found[0].state, found[0].address.clone()), (State::Waiting, Some(address(2, "a"))));
}

async fn overdue_invocations_are_those_that_have_not_ended(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 7).await;
    release(&store, command, 6).await;
    let states_then = [State::Waiting, State::Ready, State::Running, State::Cancelling, State::Ended(Ending::Failed)];
    let changes: Vec<_> =
        states_then.into_iter().enumerate().map(|(index, state)| change(command, index + 1, state)).collect();
    apply(&store, &changes, at(5)).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.overdue(command, at(3_599)).await.unwrap(), []);
    assert_eq!(numbers(&tx.overdue(command, at(3_600)).await.unwrap()), nodes(0..5));
}

async fn invocations_in_flight_are_those_that_hold_a_slot(place: Place) {
    let store = place.open().await;
    let command = add_command(&store, "a", 7).await;
    release(&store, command, 6).await;
    let states_then = [State::Waiting, State::Ready, State::Running, State::Cancelling, State::Ended(Ending::Failed)];
    let changes: Vec<_> =
        states_then.into_iter().enumerate().map(|(index, state)| change(command, index + 1, state)).collect();
    apply(&store, &changes, at(5)).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(numbers(&tx.in_flight(command).await.unwrap()), nodes([0, 3, 4]));
}

async fn one_command_does_not_see_anothers_invocations(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(0, "a", &[]), hello(1, "a", &[])], at(0)).await;
    let (mine, other) = (add_command(&store, "mine", 2).await, add_command(&store, "other", 2).await);
    release(&store, other, 2).await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.add_command(&new_command(mine, 9, at(9))).await.unwrap(), "stored once");
    assert_eq!(tx.in_flight(mine).await.unwrap(), []);
    assert_eq!(tx.overdue(mine, at(9_999)).await.unwrap(), []);
    assert_eq!(tx.unheard(mine, at(9_999), 9).await.unwrap(), []);
    assert_eq!(tx.end_unreleased(mine, Ending::Cancelled, at(1)).await.unwrap(), 2);
    tx.commit().await.unwrap();
    assert_eq!(states(&store, other).await, [State::Released; 2]);
}
