//! How many nodes may restart at once, and which rollout uses how many.

use patchwave_schemas::CommandId;

use crate::place::Place;

contract! {
    a_fleet_has_no_limit_until_it_is_set,
    slots_are_counted_over_all_other_rollouts,
    whoever_releases_waits_for_whoever_is_at_it,
}

async fn a_fleet_has_no_limit_until_it_is_set(place: Place) {
    let store = place.open().await;
    for limit in [0, 7, 0] {
        let mut tx = store.begin().await.unwrap();
        tx.set_reboot_limit(limit).await.unwrap();
        assert_eq!(tx.lock_reboot_limit().await.unwrap(), (limit > 0).then_some(limit));
        tx.commit().await.unwrap();
        assert_eq!(store.reboot_limit().await.unwrap(), limit);
    }
}

async fn slots_are_counted_over_all_other_rollouts(place: Place) {
    let store = place.open().await;
    let commands = ["a", "b", "c"].map(CommandId::derived);
    let mut tx = store.begin().await.unwrap();
    for (command, used) in commands.into_iter().zip([2, 3, 4]) {
        tx.put_reboot_slots(command, used).await.unwrap();
    }
    assert_eq!(tx.reboot_slots_beside(commands[0]).await.unwrap(), 7);
    tx.put_reboot_slots(commands[1], 1).await.unwrap();
    tx.put_reboot_slots(commands[2], 0).await.unwrap();
    assert_eq!(tx.reboot_slots_beside(commands[0]).await.unwrap(), 1);
    assert_eq!(tx.reboot_slots_beside(CommandId::derived("d")).await.unwrap(), 3);
    tx.commit().await.unwrap();
}

/// Two that look at once would each give away the last slot.
async fn whoever_releases_waits_for_whoever_is_at_it(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.set_reboot_limit(1).await.unwrap();
    tx.commit().await.unwrap();
    let take = async |name: &str| {
        let command = CommandId::derived(name);
        let mut tx = store.begin().await.unwrap();
        let limit = tx.lock_reboot_limit().await.unwrap().unwrap();
        let free = limit - tx.reboot_slots_beside(command).await.unwrap().min(limit);
        tokio::task::yield_now().await;
        tx.put_reboot_slots(command, free).await.unwrap();
        tx.commit().await.unwrap();
        free
    };
    let (a, b) = tokio::join!(take("a"), take("b"));
    assert_eq!(a + b, 1);
}
