//! Machines that register, and nodes that keep their id under another key.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{login_proof, login_text, rebind_text};
use patchwave_schemas::registration::{LISTED_KEYS_MAX, VerificationKeys};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use crate::support::{Harness, id};

/// A machine's key.
struct Key(Ed25519KeyPair);

impl Key {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
    }

    fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }

    fn login(&self, node: &NodeId) -> String {
        let at = Timestamp::now().as_second();
        login_proof(at, &URL_SAFE_NO_PAD.encode(self.0.sign(&login_text(node, at))))
    }

    /// A proof, so many seconds old, that this node is to have that key and fingerprint.
    fn rebind(&self, node: &NodeId, to: &Self, fingerprint: &str, seconds_ago: i64) -> String {
        let at = Timestamp::now().as_second() - seconds_ago;
        login_proof(at, &URL_SAFE_NO_PAD.encode(self.0.sign(&rebind_text(node, at, &to.public(), fingerprint))))
    }
}

/// Id and code of a new activation.
async fn activation(api: &Harness) -> (String, String) {
    let made = api.ok("CreateActivation", json!({ "IamRole": "role", "RegistrationLimit": 9 })).await;
    (id(&made, "ActivationId"), id(&made, "ActivationCode"))
}

async fn register(
    api: &Harness,
    (activation_id, code): &(String, String),
    key: &Key,
    fingerprint: &str,
    rebind: Option<(&NodeId, String)>,
) -> (StatusCode, Value) {
    let mut body = json!({
        "activation_id": activation_id, "activation_code": code, "public_key": key.public(),
        "fingerprint": fingerprint, "computer_name": "web-1", "operating_system": "DEBIAN",
        "platform_name": "Debian GNU/Linux", "platform_version": "12", "agent_version": "0.1.0",
    });
    if let Some((node, proof)) = rebind {
        body["rebind"] = json!({ "node_id": node, "proof": proof });
    }
    let request = Request::post("/node/v1/register").header("host", "localhost");
    let request = request.header("content-type", "application/json").body(Body::from(body.to_string()));
    let (status, body) = api.send(request.expect("a request")).await;
    (status, serde_json::from_slice(&body).expect("a JSON answer"))
}

fn node_of(answer: &Value) -> NodeId {
    id(answer, "node_id").parse().expect("a node's id")
}

#[tokio::test]
async fn a_login_proof_does_not_rebind() {
    let api = Harness::new().await;
    let (first, second) = (activation(&api).await, activation(&api).await);
    let (key, thief) = (Key::new(), Key::new());
    let (status, node) = register(&api, &first, &key, "v1:a", None).await;
    assert_eq!(status, StatusCode::OK, "{node}");
    let node = node_of(&node);
    // The broker's holder has seen it: it is the password of the node's connection.
    let seen = key.login(&node);
    let (status, answer) = register(&api, &second, &thief, "v1:b", Some((&node, seen))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let identity = api.store.identity(&node).await.expect("read").expect("there");
    assert_eq!(identity.public_key, key.public());
}

#[tokio::test]
async fn a_rebind_proof_is_good_for_its_key_and_fingerprint_and_minutes() {
    let api = Harness::new().await;
    let (first, second) = (activation(&api).await, activation(&api).await);
    let (key, next, thief) = (Key::new(), Key::new(), Key::new());
    let registered = register(&api, &first, &key, "v1:a", None).await.1;
    let node = node_of(&registered);
    let proof = |seconds_ago| key.rebind(&node, &next, "v1:b", seconds_ago);
    for (what, new_key, fingerprint, proof, needle) in [
        ("another key", &thief, "v1:b", proof(0), "not signed"),
        ("another fingerprint", &next, "v1:c", proof(0), "not signed"),
        ("by another key", &next, "v1:b", thief.rebind(&node, &next, "v1:b", 0), "not signed"),
        ("for another node", &next, "v1:b", key.rebind(&NodeId::from_bits(1), &next, "v1:b", 0), "not signed"),
        ("a clock that is slow", &next, "v1:b", proof(400), "set the node's clock"),
        ("a clock that is fast", &next, "v1:b", proof(-400), "set the node's clock"),
        ("no proof", &next, "v1:b", String::new(), "not a proof"),
    ] {
        let (status, answer) = register(&api, &second, new_key, fingerprint, Some((&node, proof))).await;
        assert_eq!((status, &answer["code"]), (StatusCode::BAD_REQUEST, &json!("ValidationException")), "{what}");
        assert!(answer["message"].as_str().is_some_and(|text| text.contains(needle)), "{what}: {answer}");
    }
    // Neither does the activation that admitted it before.
    let (status, answer) = register(&api, &first, &next, "v1:b", Some((&node, proof(0)))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("another activation")), "{answer}");

    // The second time its answer was lost.
    for _ in 0..2 {
        let (status, answer) = register(&api, &second, &next, "v1:b", Some((&node, proof(0)))).await;
        assert_eq!((status, &answer["node_id"]), (StatusCode::OK, &json!(node)), "{answer}");
        assert_eq!(answer["registered_at"], registered["registered_at"], "it is the node that it was");
    }
    let identity = api.store.identity(&node).await.expect("read").expect("there");
    assert_eq!((identity.public_key, identity.fingerprint.as_str()), (next.public(), "v1:b"));
    let (status, answer) = register(&api, &activation(&api).await, &Key::new(), "v1:d", Some((&node, proof(0)))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "the key that it had is nobody's: {answer}");

    let entries = api.ok("Patchwave.ListAuditEntries", json!({})).await;
    let of_node: Vec<_> = entries["AuditEntries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|entry| entry["Subject"] == json!(node) && entry["Outcome"] == "succeeded")
        .map(|entry| (id(entry, "Action"), id(entry, "Actor"), entry["Detail"]["Fingerprint"].clone()))
        .collect();
    let expected = |action: &str, activation: &str, fingerprint: &str| {
        (action.to_owned(), format!("activation {activation}"), json!(fingerprint))
    };
    assert_eq!(of_node.len(), 2, "{of_node:?}");
    assert!(of_node.contains(&expected("RegisterManagedInstance", &first.0, "v1:a")), "{of_node:?}");
    assert!(of_node.contains(&expected("RebindManagedInstance", &second.0, "v1:b")), "{of_node:?}");
}

#[tokio::test]
async fn whoever_asks_is_shown_the_keys_that_nodes_need_and_not_all_there_ever_were() {
    let api = Harness::new().await;
    for _ in 0..70 {
        let input = json!({ "SignsAfterSeconds": 0, "RetiresAfterSeconds": 0 });
        api.ok("Patchwave.RotateSigningKey", input).await;
    }
    let signs = api.pages("Patchwave.ListSigningKeys", json!({}), 50, "SigningKeys").await.concat();
    let signs: Vec<_> = signs.iter().filter(|key| key["State"] == "Signing").collect();
    let request = Request::get("/node/v1/keys").header("host", "localhost").body(Body::empty());
    let (status, body) = api.send(request.expect("a request")).await;
    assert_eq!(status, StatusCode::OK);
    let listed: VerificationKeys = serde_json::from_slice(&body).expect("a list of keys");
    let listed = listed.verification_keys;
    assert_eq!(listed.len(), LISTED_KEYS_MAX);
    let last = listed.last().expect("there are some");
    assert!(last.valid && signs.len() == 1 && signs[0]["KeyId"] == json!(last.key_id), "{last:?}");
}
