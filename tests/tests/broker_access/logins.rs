//! Who gets in.

use crate::world::{Key, World, assert_refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_logs_in_with_a_fresh_proof_of_its_own_and_with_nothing_else() {
    let world = World::new().await;
    let (node, other, stranger) = (Key::new(1), Key::new(2), Key::new(3));
    world.register(&node);
    world.register(&other);
    let id = node.node.as_str();
    world.log_in(id, &node.proof(0), "%2f").await.unwrap();
    world.log_in(id, &node.proof(200), "%2f").await.unwrap();
    for (what, user, password) in [
        ("an old proof", id, node.proof(400)),
        ("a proof from the future", id, node.proof(-400)),
        ("another's proof", id, other.proof(0)),
        ("another's key", id, other.proof_for(&node.node, 0)),
        ("its own proof as another", other.node.as_str(), node.proof(0)),
        ("a node that never registered", stranger.node.as_str(), stranger.proof(0)),
        ("no proof", id, String::new()),
        ("a password", id, "guest".to_owned()),
        ("no node", "admin", node.proof(0)),
        ("a user of the broker with another password", "guest", node.proof(0)),
    ] {
        assert_refused(what, world.log_in(user, &password, "%2f").await, "ACCESS_REFUSED");
    }

    world.rabbit.vhost("other").unwrap();
    let elsewhere = world.log_in(id, &node.proof(0), "other").await;
    assert_refused("another virtual host", elsewhere, "NOT_ALLOWED");

    world.deregister(&node);
    for proof in [node.proof(0), node.proof(200)] {
        assert_refused("a deregistered node", world.log_in(id, &proof, "%2f").await, "ACCESS_REFUSED");
    }
    world.log_in(other.node.as_str(), &other.proof(0), "%2f").await.unwrap();
}
