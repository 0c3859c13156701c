//! Nodes that are to be disconnected, until they are.

use patchwave_platform::store::Store;

use crate::fixtures::{at, node};
use crate::place::Place;

contract! {
    a_cut_off_is_due_until_it_is_settled_and_a_newer_one_stays,
}

async fn request(store: &Store, number: usize, seconds: i64) {
    let mut tx = store.begin().await.unwrap();
    tx.request_cut_off(&node(number), at(seconds)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_cut_off_is_due_until_it_is_settled_and_a_newer_one_stays(place: Place) {
    let store = place.open().await;
    request(&store, 1, 5).await;
    request(&store, 2, 0).await;
    assert_eq!(store.due_cut_offs(at(-1), 10).await.unwrap(), []);
    let due = store.due_cut_offs(at(5), 10).await.unwrap();
    assert_eq!(due.iter().map(|one| one.node_id.clone()).collect::<Vec<_>>(), [node(2), node(1)]);
    assert_eq!(store.due_cut_offs(at(5), 1).await.unwrap(), due[..1]);

    store.settle_cut_off(&due[0], Some(at(20))).await.unwrap();
    assert_eq!(store.due_cut_offs(at(19), 10).await.unwrap(), due[1..]);
    // Asked for again while the first is being done: settling that forgets nothing.
    request(&store, 1, 6).await;
    store.settle_cut_off(&due[1], None).await.unwrap();
    let again = store.due_cut_offs(at(20), 10).await.unwrap();
    assert_eq!(
        again.iter().map(|one| (one.node_id.clone(), one.requested_at)).collect::<Vec<_>>(),
        [(node(1), at(6)), (node(2), at(0)),]
    );
    for one in &again {
        store.settle_cut_off(one, None).await.unwrap();
    }
    assert_eq!(store.due_cut_offs(at(1_000), 10).await.unwrap(), []);
}
