//! Opening, migrating, and what happens when transactions meet or die.

use patchwave_engine::rollout::Event;
use patchwave_platform::store::Store;
use patchwave_schemas::CommandId;

use crate::fixtures::{add_command, at, connect, hello, new_command, node};
use crate::place::Place;

contract! {
    many_processes_may_open_a_fresh_store_at_once,
    opening_again_keeps_what_is_stored,
    two_transactions_on_one_rollout_follow_each_other,
    rollouts_are_locked_in_one_order_whatever_order_is_asked_for,
    a_dropped_transaction_leaves_no_trace,
    uncommitted_changes_are_seen_by_nobody_else,
    writers_of_two_processes_take_turns,
    a_finished_rollout_is_no_longer_open,
    commands_are_listed_newest_first_page_by_page,
    a_store_answers_to_a_ping_until_it_is_closed,
}

async fn many_processes_may_open_a_fresh_store_at_once(place: Place) {
    let openers: Vec<_> = (0..8_usize)
        .map(|number| {
            let url = place.url().to_owned();
            tokio::spawn(async move {
                let store = Store::open(&url).await?;
                let mut tx = store.begin().await?;
                tx.nodes_connected(&[hello(number, "a", &[])], at(0)).await?;
                tx.commit().await?;
                store.ensure_predefined_baselines(at(0)).await
            })
        })
        .collect();
    for opener in openers {
        opener.await.unwrap().unwrap();
    }
    let store = place.open().await;
    assert_eq!(store.nodes().await.unwrap().len(), 8);
    assert!(!store.baselines().await.unwrap().is_empty());
}

async fn opening_again_keeps_what_is_stored(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "a", &[])], at(0)).await;
    store.close().await;
    let again = place.open().await;
    assert!(again.node(&node(1)).await.unwrap().is_some());
}

/// Counts a rollout's cursor up, one transaction each, from what is stored.
async fn count_up(store: &Store, command: CommandId, rounds: usize) {
    for _ in 0..rounds {
        let mut tx = store.begin().await.unwrap();
        let mut locked = tx.lock_rollouts(&[command]).await.unwrap().remove(0);
        let before = locked.plan.cursor;
        // Gives the other side the chance to read the same counters, if it is let.
        tokio::task::yield_now().await;
        locked.plan.cursor = before + 1;
        tx.save_rollout(&locked, at(1)).await.unwrap();
        tx.commit().await.unwrap();
    }
}

async fn two_transactions_on_one_rollout_follow_each_other(place: Place) {
    let stores = [place.open().await, place.open().await];
    let command = add_command(&stores[0], "a", 1).await;
    let mut first = stores[0].begin().await.unwrap();
    let mut locked = first.lock_rollouts(&[command]).await.unwrap().remove(0);
    let second = tokio::spawn({
        let store = stores[1].clone();
        async move {
            let mut tx = store.begin().await.unwrap();
            tx.lock_rollouts(&[command]).await.unwrap().remove(0).plan
        }
    });
    let (rollout, _) = locked.plan.rollout.step(&Event::Start).unwrap();
    locked.plan.rollout = rollout;
    locked.plan.cursor = 7;
    first.save_rollout(&locked, at(1)).await.unwrap();
    first.commit().await.unwrap();
    let seen = second.await.unwrap();
    assert_eq!((seen.cursor, seen.rollout), (7, rollout));

    let counters = [
        tokio::spawn({
            let store = stores[0].clone();
            async move { count_up(&store, command, 20).await }
        }),
        tokio::spawn({
            let store = stores[1].clone();
            async move { count_up(&store, command, 20).await }
        }),
    ];
    for counter in counters {
        counter.await.unwrap();
    }
    let mut tx = stores[0].begin().await.unwrap();
    assert_eq!(tx.lock_rollouts(&[command]).await.unwrap()[0].plan.cursor, 47);
}

async fn rollouts_are_locked_in_one_order_whatever_order_is_asked_for(place: Place) {
    let stores = [place.open().await, place.open().await];
    let mut commands = Vec::new();
    for number in 0..10 {
        commands.push(add_command(&stores[0], &number.to_string(), 0).await);
    }
    let lockers: Vec<_> = (0..4_usize)
        .map(|locker| {
            let store = stores[locker % 2].clone();
            let mut commands = commands.clone();
            commands.rotate_left(locker * 3);
            if locker % 2 == 1 {
                commands.reverse();
            }
            tokio::spawn(async move {
                for _ in 0..10 {
                    let mut tx = store.begin().await.unwrap();
                    let locked = tx.lock_rollouts(&commands).await.unwrap();
                    assert_eq!(locked.len(), commands.len());
                    assert!(locked.is_sorted_by_key(|one| one.command_id));
                    for mut one in locked {
                        one.plan.cursor += 1;
                        tx.save_rollout(&one, at(1)).await.unwrap();
                    }
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for locker in lockers {
        locker.await.unwrap();
    }
    let mut tx = stores[0].begin().await.unwrap();
    commands.push(CommandId::derived("unknown"));
    let locked = tx.lock_rollouts(&commands).await.unwrap();
    assert_eq!(locked.iter().map(|one| one.plan.cursor).collect::<Vec<_>>(), [40; 10]);
    assert_eq!(tx.lock_rollouts(&[]).await.unwrap(), []);
}

async fn a_dropped_transaction_leaves_no_trace(place: Place) {
    let store = place.open().await;
    let command = CommandId::derived("dropped");
    for _ in 0..20 {
        let mut tx = store.begin().await.unwrap();
        tx.nodes_connected(&[hello(1, "a", &[])], at(0)).await.unwrap();
        assert!(tx.add_command(&new_command(command, 0, at(0))).await.unwrap());
        drop(tx);
    }
    assert_eq!(store.command(command).await.unwrap(), None);
    assert_eq!(store.nodes().await.unwrap(), []);
    // Neither a connection nor a lock was lost with them.
    connect(&store, &[hello(1, "b", &[])], at(1)).await;
    assert_eq!(store.nodes().await.unwrap().len(), 1);
}

async fn uncommitted_changes_are_seen_by_nobody_else(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.nodes_connected(&[hello(1, "a", &[])], at(0)).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), []);
    tx.commit().await.unwrap();
    assert_eq!(store.nodes().await.unwrap().len(), 1);
}

async fn writers_of_two_processes_take_turns(place: Place) {
    let stores = [place.open().await, place.open().await];
    let writers: Vec<_> = (0..8_usize)
        .map(|writer| {
            let store = stores[writer % 2].clone();
            tokio::spawn(async move {
                for round in 0..10 {
                    connect(&store, &[hello(writer * 10 + round, "a", &[])], at(0)).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(stores[1].nodes().await.unwrap().len(), 80);
}

async fn a_finished_rollout_is_no_longer_open(place: Place) {
    let store = place.open().await;
    let (done, open) = (add_command(&store, "done", 0).await, add_command(&store, "open", 1).await);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.open_commands().await.unwrap().len(), 2);
    let mut locked = tx.lock_rollouts(&[done]).await.unwrap().remove(0);
    let (rollout, _) = locked.plan.rollout.step(&Event::Start).unwrap();
    assert!(rollout.is_finished(), "it has no targets");
    locked.plan.rollout = rollout;
    for now in [at(5), at(6)] {
        tx.save_rollout(&locked, now).await.unwrap();
    }
    assert_eq!(tx.open_commands().await.unwrap(), [open]);
    tx.commit().await.unwrap();
    let stored = store.command(done).await.unwrap().unwrap();
    assert_eq!((stored.finished_at, stored.rollout), (Some(at(5)), rollout));
    assert_eq!(store.command(open).await.unwrap().unwrap().finished_at, None);
}

async fn commands_are_listed_newest_first_page_by_page(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let mut expected = Vec::new();
    // Two of each second, so that pages end between equal instants.
    for number in 0..7 {
        let id = CommandId::derived(&number.to_string());
        tx.add_command(&new_command(id, 0, at(number / 2))).await.unwrap();
        expected.push((at(number / 2), id));
    }
    tx.commit().await.unwrap();
    expected.sort();
    expected.reverse();
    let mut seen = Vec::new();
    loop {
        let page = store.commands(seen.last().copied(), 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|command| (command.requested_at, command.command_id)));
        assert!(seen.len() <= expected.len(), "no command is listed twice");
    }
    assert_eq!(seen, expected);
}

async fn a_store_answers_to_a_ping_until_it_is_closed(place: Place) {
    let store = place.open().await;
    store.ping().await.unwrap();
    store.close().await;
    let error = store.ping().await.unwrap_err();
    assert_eq!(error.class(), patchwave_platform::Class::Transient);
}

/// SQLite rolls a transaction back by itself when its commit meets a full disk; a driver that does
/// not notice takes that connection for one in a transaction, and refuses the next one for ever.
#[tokio::test]
async fn a_transaction_that_sqlite_rolled_back_itself_holds_up_no_other() {
    let place = Place::sqlite();
    let store = place.open().await;
    for _ in 0..6 {
        let mut tx = store.begin().await.unwrap();
        // Behind the driver's back, as SQLite does it.
        sqlx::query("ROLLBACK").execute(tx.connection()).await.unwrap();
        assert!(tx.commit().await.is_err(), "there was nothing to commit");
    }
    connect(&store, &[hello(1, "a", &[])], at(0)).await;
    assert!(store.node(&node(1)).await.unwrap().is_some());
}
