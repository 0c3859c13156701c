//! Whose login proofs count.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use patchwave_platform::proofs::Identities;
use patchwave_platform::store::identities::Identity;

use crate::fixtures::{at, node};
use crate::place::Place;

contract! {
    a_node_has_its_key_until_it_is_deregistered,
}

async fn a_node_has_its_key_until_it_is_deregistered(place: Place) {
    let store = place.open().await;
    assert_eq!(store.active_key(&node(1)).await.unwrap(), None);
    let mut identity = Identity {
        node_id: node(1),
        public_key: BASE64.encode([7; 32]),
        fingerprint: "f".to_owned(),
        activation_id: uuid::Uuid::nil(),
        name: None,
        iam_role: "role".to_owned(),
        registered_at: at(0),
        deregistered_at: None,
    };
    let put = async |identity: &Identity| {
        let mut tx = store.begin().await.unwrap();
        tx.put_identity(identity).await.unwrap();
        tx.commit().await.unwrap();
    };
    put(&identity).await;
    assert_eq!(store.active_key(&node(1)).await.unwrap(), Some([7; 32]));
    assert_eq!(store.active_key(&node(2)).await.unwrap(), None);
    let keys = store.active_keys(&[node(1), node(2)]).await.unwrap();
    assert_eq!(keys, HashMap::from([(node(1), [7; 32])]));
    identity.public_key = BASE64.encode([7; 31]);
    put(&identity).await;
    assert!(store.active_key(&node(1)).await.is_err(), "a damaged key lets nobody in");
    identity.public_key = BASE64.encode([8; 32]);
    identity.deregistered_at = Some(at(1));
    put(&identity).await;
    assert_eq!(store.active_key(&node(1)).await.unwrap(), None);
    assert!(store.active_keys(&[node(1)]).await.unwrap().is_empty());
}
