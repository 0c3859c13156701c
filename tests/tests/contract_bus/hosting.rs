//! A queue of one process for many nodes.

use patchwave_platform::bus::{BusError, Published};

use crate::backend::Backend;
use crate::fixtures::to_node;

contract! {
    a_host_gets_what_is_sent_to_its_address_in_order,
    hosts_do_not_share_commands,
    a_host_that_left_gets_nothing_and_the_publisher_knows,
    a_closed_bus_has_no_host,
}

async fn a_host_gets_what_is_sent_to_its_address_in_order(backend: Backend) {
    let mut host = backend.bus().host().await.unwrap();
    let address = host.address().to_owned();
    // More than is handed out in advance or acknowledged at once.
    for round in 0..15 {
        let bodies: Vec<String> = (0..100).map(|number| format!("{round}.{number}")).collect();
        let messages: Vec<_> = bodies.iter().map(|body| to_node(&address, body)).collect();
        assert_eq!(backend.bus().publish(&messages).await.unwrap(), [Published::Confirmed; 100]);
        for body in bodies {
            // Waiting may be given up at any time.
            if let Ok(early) = tokio::time::timeout(std::time::Duration::ZERO, host.next()).await {
                assert_eq!(early.unwrap(), body.into_bytes());
            } else {
                assert_eq!(host.next().await.unwrap(), body.into_bytes());
            }
        }
    }
}

async fn hosts_do_not_share_commands(backend: Backend) {
    let (mut one, mut two) = (backend.bus().host().await.unwrap(), backend.bus().host().await.unwrap());
    assert_ne!(one.address(), two.address());
    let messages = [to_node(one.address(), "one"), to_node(two.address(), "two")];
    assert_eq!(backend.bus().publish(&messages).await.unwrap(), [Published::Confirmed; 2]);
    assert_eq!(one.next().await.unwrap(), b"one");
    assert_eq!(two.next().await.unwrap(), b"two");
}

async fn a_host_that_left_gets_nothing_and_the_publisher_knows(backend: Backend) {
    let host = backend.bus().host().await.unwrap();
    let address = host.address().to_owned();
    drop(host);
    // A broker takes a moment to see that nobody reads it any more.
    while backend.bus().publish(&[to_node(&address, "late")]).await.unwrap() != [Published::Returned] {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn a_closed_bus_has_no_host(backend: Backend) {
    let mut host = backend.bus().host().await.unwrap();
    backend.bus().close().await;
    assert_eq!(host.next().await, None);
    assert!(matches!(backend.bus().host().await, Err(BusError::Closed)));
}
