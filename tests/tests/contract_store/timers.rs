//! Timers: set, moved, and taken exactly once.

use std::collections::BTreeSet;

use patchwave_platform::store::Store;
use patchwave_platform::store::timers::REFIRE_AFTER;
use patchwave_schemas::event::Timer;
use patchwave_schemas::{CommandId, WindowExecutionId, WindowId};

use crate::fixtures::at;
use crate::place::Place;

contract! {
    a_timer_fires_at_the_instant_it_was_last_moved_to,
    a_fired_timer_fires_again_until_it_is_cleared,
    a_cleared_timer_does_not_fire,
    claimed_timers_are_the_earliest_due_ones,
    concurrent_claimers_take_each_timer_once,
    timers_of_windows_are_left_to_those_who_hold_the_window,
    a_timer_is_taken_only_at_its_instant_and_by_one,
    a_claim_that_is_not_committed_leaves_its_timers,
}

fn check(number: usize) -> Timer {
    Timer::RolloutCheck { command_id: CommandId::derived(&number.to_string()) }
}

async fn set(store: &Store, timers: &[(Timer, i64)]) {
    let mut tx = store.begin().await.unwrap();
    for (timer, seconds) in timers {
        tx.set_timer(timer, at(*seconds)).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn claim(store: &Store, seconds: i64, limit: u32) -> Vec<(Timer, jiff::Timestamp)> {
    let mut tx = store.begin().await.unwrap();
    let claimed = tx.claim_timers(at(seconds), limit).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn a_timer_fires_at_the_instant_it_was_last_moved_to(place: Place) {
    let store = place.open().await;
    assert_eq!(store.next_timer_at().await.unwrap(), None);
    set(&store, &[(check(1), 10), (check(1), 30), (check(1), 20)]).await;
    assert_eq!(store.next_timer_at().await.unwrap(), Some(at(20)));
    assert_eq!(claim(&store, 19, 10).await, []);
    assert_eq!(claim(&store, 20, 10).await, [(check(1), at(20))]);
    assert_eq!(claim(&store, 30, 10).await, []);
}

async fn a_fired_timer_fires_again_until_it_is_cleared(place: Place) {
    let store = place.open().await;
    set(&store, &[(check(1), 10)]).await;
    assert_eq!(claim(&store, 10, 10).await, [(check(1), at(10))]);
    let again = at(10) + REFIRE_AFTER;
    assert_eq!(store.next_timer_at().await.unwrap(), Some(again));
    assert_eq!(claim(&store, 10 + REFIRE_AFTER.as_secs(), 10).await, [(check(1), again)]);
    let mut tx = store.begin().await.unwrap();
    tx.clear_timer(&check(1)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.next_timer_at().await.unwrap(), None);
}

async fn a_cleared_timer_does_not_fire(place: Place) {
    let store = place.open().await;
    set(&store, &[(check(1), 10), (check(2), 10)]).await;
    let mut tx = store.begin().await.unwrap();
    for _ in 0..2 {
        tx.clear_timer(&check(1)).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(claim(&store, 10, 10).await, [(check(2), at(10))]);
}

async fn claimed_timers_are_the_earliest_due_ones(place: Place) {
    let store = place.open().await;
    set(&store, &[(check(3), 3), (check(1), 1), (check(4), 4), (check(2), 2)]).await;
    assert_eq!(claim(&store, 3, 2).await, [(check(1), at(1)), (check(2), at(2))]);
    assert_eq!(claim(&store, 3, 2).await, [(check(3), at(3))]);
    assert_eq!(store.next_timer_at().await.unwrap(), Some(at(4)));
}

async fn concurrent_claimers_take_each_timer_once(place: Place) {
    const TIMERS: usize = 100;
    // Two processes with three claimers each.
    let stores = [place.open().await, place.open().await];
    let timers: Vec<_> = (0..TIMERS).map(|number| (check(number), 1)).collect();
    set(&stores[0], &timers).await;

    let claimers: Vec<_> = (0..6)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                // A claim may come back empty only because others hold what is left.
                for _ in 0..TIMERS {
                    mine.extend(claim(&store, 1, 7).await);
                }
                mine
            })
        })
        .collect();
    let mut keys = Vec::new();
    for claimer in claimers {
        keys.extend(claimer.await.unwrap().into_iter().map(|(timer, _)| timer.key()));
    }
    assert_eq!(keys.len(), TIMERS);
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), timers.iter().map(|(timer, _)| timer.key()).collect());
}

async fn timers_of_windows_are_left_to_those_who_hold_the_window(place: Place) {
    let store = place.open().await;
    let window = Timer::Window { window_id: WindowId::from_bits(1) };
    let execution_id = WindowExecutionId::derived("one");
    let cutoff = Timer::WindowCutoff { execution_id };
    let end = Timer::WindowEnd { execution_id };
    set(&store, &[(window.clone(), 1), (cutoff.clone(), 2), (end.clone(), 3)]).await;
    assert_eq!(claim(&store, 5, 10).await, [(cutoff, at(2)), (end, at(3))]);
    assert_eq!(store.due_windows(at(0), 10).await.unwrap(), []);
    assert_eq!(store.due_windows(at(5), 10).await.unwrap(), [(window, at(1))]);
}

async fn a_timer_is_taken_only_at_its_instant_and_by_one(place: Place) {
    let store = place.open().await;
    let window = Timer::Window { window_id: WindowId::from_bits(1) };
    set(&store, &[(window.clone(), 10)]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.take_timer(&window, at(9)).await.unwrap(), "it was moved");
    tx.commit().await.unwrap();

    let takers: Vec<_> = (0..4)
        .map(|_| {
            let (store, window) = (store.clone(), window.clone());
            tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let taken = tx.take_timer(&window, at(10)).await.unwrap();
                tx.commit().await.unwrap();
                taken
            })
        })
        .collect();
    let mut taken = 0;
    for taker in takers {
        taken += usize::from(taker.await.unwrap());
    }
    assert_eq!(taken, 1);
}

async fn a_claim_that_is_not_committed_leaves_its_timers(place: Place) {
    let store = place.open().await;
    set(&store, &[(check(1), 1)]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.claim_timers(at(1), 10).await.unwrap().len(), 1);
    drop(tx);
    // The row stays locked until the database has heard of the rollback; an update waits for that.
    set(&store, &[(check(1), 2)]).await;
    assert_eq!(claim(&store, 2, 10).await, [(check(1), at(2))]);
}
