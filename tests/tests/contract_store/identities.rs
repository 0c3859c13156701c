//! Activations, identities of nodes, signing keys, and counts of refused reports.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use patchwave_engine::registration::{Allowance, NotAdmitted};
use patchwave_platform::proofs::ProofError;
use patchwave_platform::registration::{Kind, NotRebound, Outcome, RegistrationError, code_mac, deregister, register};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::{Signer, current, rotate};
use patchwave_platform::store::Store;
use patchwave_platform::store::activations::Activation;
use patchwave_platform::store::identities::Identity;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::proof::{login_proof, login_text, rebind_text};
use patchwave_schemas::registration::{Rebind, Registration};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use uuid::Uuid;

use crate::fixtures::{at, connect, facts, hello, node, tags};
use crate::launches::{launch_as, release_order, to_nodes};
use crate::place::Place;

contract! {
    an_activation_admits_machines_until_its_limit,
    a_repeated_registration_gives_the_same_node,
    a_wrong_code_and_an_expired_activation_admit_nobody,
    concurrent_registrations_never_exceed_the_limit,
    a_registered_node_carries_its_activations_tags_and_name,
    a_deregistered_node_is_gone_and_its_key_does_not_come_back,
    a_deregistered_nodes_commands_are_called_back,
    a_node_keeps_its_id_on_another_machine_only_with_proof_and_activation,
    of_two_machines_that_are_to_be_one_node_at_once_one_is,
    signing_keys_are_made_once_by_processes_that_start_together,
    refused_reports_are_counted_by_reason,
    nodes_that_are_away_come_last,
}

const CODE: &str = "an-activation-code-of-some-length";

fn master() -> MasterKey {
    MasterKey::from_bytes(&[3; 32])
}

async fn activate(store: &Store, limit: u32) -> Uuid {
    let activation_id = Uuid::new_v4();
    let activation = Activation {
        activation_id,
        code_mac: code_mac(&master(), activation_id, CODE),
        description: Some("it's here".to_owned()),
        default_instance_name: Some("web".to_owned()),
        iam_role: "role".to_owned(),
        allowance: Allowance { limit, used: 0, expires_at: at(1_000) },
        tags: tags(&[("Patch Group", "canary")]),
        created_at: at(0),
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_activation(&activation).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.activations().await.unwrap().contains(&activation));
    assert_eq!(store.activation(activation_id).await.unwrap(), Some(activation));
    assert_eq!(store.activation(Uuid::nil()).await.unwrap(), None);
    activation_id
}

fn key_pair(key: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[key; 32]).unwrap()
}

fn registration(activation: Uuid, key: u8) -> Registration {
    Registration {
        activation_id: activation.to_string(),
        activation_code: CODE.to_owned(),
        public_key: STANDARD.encode(key_pair(key).public_key()),
        fingerprint: format!("v1:{key}"),
        computer_name: format!("host-{key}"),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        rebind: None,
    }
}

async fn try_register(store: &Store, one: &Registration, now: i64) -> Result<Outcome, RegistrationError> {
    let mut tx = store.begin().await?;
    let outcome = register(&mut tx, &master(), one, at(now)).await?;
    tx.commit().await?;
    Ok(outcome)
}

async fn an_activation_admits_machines_until_its_limit(place: Place) {
    let store = place.open().await;
    let activation = activate(&store, 2).await;
    for key in [1, 2] {
        assert_eq!(try_register(&store, &registration(activation, key), 1).await.unwrap().kind, Kind::New);
    }
    let refused = try_register(&store, &registration(activation, 3), 1).await.unwrap_err();
    assert!(matches!(refused, RegistrationError::NotAdmitted(NotAdmitted::Exhausted { limit: 2 })), "{refused}");
    let kept = store.activations().await.unwrap().into_iter().find(|one| one.activation_id == activation).unwrap();
    assert_eq!(kept.allowance.used, 2);
    assert_eq!(store.nodes().await.unwrap().len(), 2);
}

async fn a_repeated_registration_gives_the_same_node(place: Place) {
    let store = place.open().await;
    let activation = activate(&store, 1).await;
    let first = try_register(&store, &registration(activation, 1), 1).await.unwrap();
    // Its answer was lost; by now the activation has expired.
    let again = try_register(&store, &registration(activation, 1), 2_000).await.unwrap();
    assert_eq!((again.kind, again.identity), (Kind::Repeated, first.identity));
    // The same key from a machine that looks otherwise is somebody else.
    let copied = Registration { fingerprint: "v1:other".to_owned(), ..registration(activation, 1) };
    let refused = try_register(&store, &copied, 2).await.unwrap_err();
    assert!(matches!(refused, RegistrationError::KeyInUse), "{refused}");
}

async fn a_wrong_code_and_an_expired_activation_admit_nobody(place: Place) {
    let store = place.open().await;
    let (activation, other) = (activate(&store, 9).await, activate(&store, 9).await);
    for wrong in [
        Registration { activation_code: "guessed".to_owned(), ..registration(activation, 1) },
        Registration { activation_id: Uuid::new_v4().to_string(), ..registration(activation, 1) },
        Registration { activation_id: "no uuid".to_owned(), ..registration(activation, 1) },
    ] {
        let refused = try_register(&store, &wrong, 1).await.unwrap_err();
        assert!(matches!(refused, RegistrationError::NoSuchActivation), "{refused}");
    }
    let late = try_register(&store, &registration(activation, 1), 1_000).await.unwrap_err();
    assert!(matches!(late, RegistrationError::NotAdmitted(NotAdmitted::Expired { .. })), "{late}");
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_activation(other).await.unwrap());
    assert!(!tx.delete_activation(other).await.unwrap());
    tx.commit().await.unwrap();
    assert!(try_register(&store, &registration(other, 1), 1).await.is_err());
    assert!(store.nodes().await.unwrap().is_empty());
}

async fn concurrent_registrations_never_exceed_the_limit(place: Place) {
    let store = place.open().await;
    let activation = activate(&store, 3).await;
    let tries = (1..=8).map(|key| {
        let store = store.clone();
        tokio::spawn(async move { try_register(&store, &registration(activation, key), 1).await.is_ok() })
    });
    let mut admitted = 0;
    for one in tries.collect::<Vec<_>>() {
        admitted += usize::from(one.await.unwrap());
    }
    assert_eq!((admitted, store.nodes().await.unwrap().len()), (3, 3));
}

async fn a_registered_node_carries_its_activations_tags_and_name(place: Place) {
    let store = place.open().await;
    let activation = activate(&store, 1).await;
    let identity = try_register(&store, &registration(activation, 1), 1).await.unwrap().identity;
    let node = store.node(&identity.node_id).await.unwrap().unwrap();
    assert_eq!((node.facts.tags, node.facts.computer_name), (tags(&[("Patch Group", "canary")]), "host-1".to_owned()));
    assert_eq!((identity.name.as_deref(), identity.iam_role.as_str()), (Some("web"), "role"));
    let found = store.identities(std::slice::from_ref(&identity.node_id)).await.unwrap();
    assert_eq!(found.get(&identity.node_id), Some(&identity));
    let mut tx = store.begin().await.unwrap();
    assert!(tx.set_iam_role(&identity.node_id, "another").await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.identity(&identity.node_id).await.unwrap().unwrap().iam_role, "another");
}

async fn a_deregistered_node_is_gone_and_its_key_does_not_come_back(place: Place) {
    let store = place.open().await;
    let activation = activate(&store, 5).await;
    let identity = try_register(&store, &registration(activation, 1), 1).await.unwrap().identity;
    let id = identity.node_id;
    for _ in 0..2 {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(deregister(&mut tx, &id, at(5)).await.unwrap(), Some(Vec::new()));
        tx.commit().await.unwrap();
    }
    assert_eq!(store.node(&id).await.unwrap(), None);
    assert_eq!(store.identity(&id).await.unwrap().unwrap().deregistered_at, Some(at(5)));
    assert_eq!(to_disconnect(&store).await, [(id.clone(), at(5))]);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.deregistered(&[id.clone(), node(7)]).await.unwrap(), [id].into());
    assert_eq!(deregister(&mut tx, &node(7), at(5)).await.unwrap(), None, "never heard of");
    drop(tx);
    let refused = try_register(&store, &registration(activation, 1), 6).await.unwrap_err();
    assert!(matches!(refused, RegistrationError::KeyInUse), "{refused}");
}

async fn to_disconnect(store: &Store) -> Vec<(NodeId, jiff::Timestamp)> {
    let due = store.due_cut_offs(at(1_000), 10).await.unwrap();
    due.into_iter().map(|one| (one.node_id, one.requested_at)).collect()
}

async fn a_deregistered_nodes_commands_are_called_back(place: Place) {
    let store = place.open().await;
    connect(&store, &[hello(1, "s", &[]), hello(2, "s", &[])], at(0)).await;
    launch_as(&store, "both", to_nodes(&[1, 2])).await.unwrap();
    launch_as(&store, "other", to_nodes(&[2])).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    // A node that never registered can be cut off, too.
    let messages = deregister(&mut tx, &node(1), at(1)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(messages.len(), 1, "one command was open for it");
}

/// A registration of key `to` that keeps `node`'s id, proved with key `from`.
fn moved(activation: Uuid, node: &NodeId, from: u8, to: u8, now: i64) -> Registration {
    let new = registration(activation, to);
    let seconds = at(now).as_second();
    let text = rebind_text(node, seconds, &new.public_key, &new.fingerprint);
    let proof = login_proof(seconds, &URL_SAFE_NO_PAD.encode(key_pair(from).sign(&text)));
    Registration { rebind: Some(Rebind { node_id: node.clone(), proof }), ..new }
}

fn assert_not_rebound(outcome: Result<Outcome, RegistrationError>, expected: NotRebound) {
    match outcome {
        Err(RegistrationError::NotRebound { reason, .. }) => assert_eq!(reason, expected),
        other => panic!("{expected:?} was expected: {other:?}"),
    }
}

async fn a_node_keeps_its_id_on_another_machine_only_with_proof_and_activation(place: Place) {
    let store = place.open().await;
    let (first, second) = (activate(&store, 3).await, activate(&store, 3).await);
    let before = try_register(&store, &registration(first, 1), 1).await.unwrap().identity;
    let id = before.node_id.clone();
    let mut tx = store.begin().await.unwrap();
    assert!(tx.set_iam_role(&id, "another").await.unwrap());
    tx.commit().await.unwrap();

    let seconds = at(2).as_second();
    let login = login_proof(seconds, &URL_SAFE_NO_PAD.encode(key_pair(1).sign(&login_text(&id, seconds))));
    let with_login =
        Registration { rebind: Some(Rebind { node_id: id.clone(), proof: login }), ..registration(second, 2) };
    let other_key = Registration { rebind: moved(second, &id, 1, 2, 2).rebind, ..registration(second, 3) };
    let elsewhere = Registration { fingerprint: "v1:else".to_owned(), ..moved(second, &id, 1, 2, 2) };
    for refused in [with_login, other_key, elsewhere, moved(second, &id, 3, 2, 2)] {
        assert_not_rebound(try_register(&store, &refused, 2).await, NotRebound::Proof(ProofError::Signature));
    }
    let old = moved(second, &id, 1, 2, 2);
    assert_not_rebound(try_register(&store, &old, 303).await, NotRebound::Proof(ProofError::Age { seconds: 301 }));
    assert_not_rebound(try_register(&store, &moved(second, &node(9), 1, 2, 2), 2).await, NotRebound::Unknown);
    assert_not_rebound(try_register(&store, &moved(first, &id, 1, 2, 2), 2).await, NotRebound::SameActivation);
    assert_eq!(store.identity(&id).await.unwrap().unwrap().public_key, before.public_key);

    let rebound = try_register(&store, &moved(second, &id, 1, 2, 2), 2).await.unwrap();
    let kept = Identity {
        public_key: registration(second, 2).public_key,
        fingerprint: "v1:2".to_owned(),
        activation_id: second,
        iam_role: "another".to_owned(),
        ..before
    };
    assert_eq!((rebound.kind, &rebound.identity), (Kind::Rebound, &kept));
    assert_eq!(store.identity(&id).await.unwrap().as_ref(), Some(&kept), "what is answered is what is stored");
    assert_eq!(to_disconnect(&store).await, [(id.clone(), at(2))], "the machine that had the id is to go");
    // Its answer was lost; it is still the same request.
    let again = try_register(&store, &moved(second, &id, 1, 2, 3), 3).await.unwrap();
    assert_eq!((again.kind, again.identity), (Kind::Repeated, kept));
    let activations = store.activations().await.unwrap();
    let used = activations.iter().find(|one| one.activation_id == second).unwrap().allowance.used;
    assert_eq!(used, 1, "it takes a registration of its activation");

    let mut tx = store.begin().await.unwrap();
    deregister(&mut tx, &id, at(5)).await.unwrap();
    tx.commit().await.unwrap();
    assert_not_rebound(try_register(&store, &moved(first, &id, 2, 4, 6), 6).await, NotRebound::Deregistered);
}

async fn of_two_machines_that_are_to_be_one_node_at_once_one_is(place: Place) {
    let store = place.open().await;
    let first = activate(&store, 1).await;
    let id = try_register(&store, &registration(first, 1), 1).await.unwrap().identity.node_id;
    let mut tries = Vec::new();
    for key in 2..=6 {
        let (store, one) = (store.clone(), moved(activate(&store, 1).await, &id, 1, key, 2));
        tries.push(tokio::spawn(async move { try_register(&store, &one, 2).await }));
    }
    let mut rebound = Vec::new();
    for one in tries {
        match one.await.unwrap() {
            Ok(outcome) => rebound.push(outcome.identity),
            refused => assert_not_rebound(refused, NotRebound::Proof(ProofError::Signature)),
        }
    }
    assert_eq!(rebound.len(), 1);
    assert_eq!(store.identity(&id).await.unwrap().as_ref(), rebound.first());
}

async fn signing_keys_are_made_once_by_processes_that_start_together(place: Place) {
    let store = place.open().await;
    let master = std::sync::Arc::new(master());
    let starts = (0..4).map(|_| {
        let signer = Signer::new(store.clone(), std::sync::Arc::clone(&master));
        tokio::spawn(async move { signer.key(at(0)).await.unwrap().key_id().to_owned() })
    });
    let mut names = Vec::new();
    for one in starts.collect::<Vec<_>>() {
        names.push(one.await.unwrap());
    }
    names.dedup();
    assert_eq!((names.len(), store.signing_keys().await.unwrap().len()), (1, 1));
    let mut tx = store.begin().await.unwrap();
    let hour = SignedDuration::from_hours(1);
    let second = rotate(&mut tx, &master, hour, hour, at(0)).await.unwrap();
    tx.commit().await.unwrap();
    let keys = store.signing_keys().await.unwrap();
    assert_eq!(keys[1], second);
    assert_eq!(keys[0].retires_at, Some(at(7_200)));
    assert_eq!(current(&keys, at(0)).unwrap().key_id, names[0]);
}

async fn refused_reports_are_counted_by_reason(place: Place) {
    let store = place.open().await;
    let count = |reason, number| BTreeMap::from([(reason, number)]);
    for (reason, number) in [(Refusal::Finished, 2), (Refusal::Finished, 3), (Refusal::NotRegistered, 1)] {
        let mut tx = store.begin().await.unwrap();
        tx.count_refused_reports(&count(reason, number)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let counts: BTreeMap<_, _> = store.refused_reports().await.unwrap().into_iter().collect();
    assert_eq!((counts[&Refusal::Finished], counts[&Refusal::NotRegistered]), (5, 1));
    assert_eq!(counts.len(), Refusal::ALL.len(), "reasons that never occurred are there, too");
}

async fn nodes_that_are_away_come_last(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    for number in 1..=3 {
        tx.put_node(&facts(number, &[]), at(0)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let silent_since = at(-1_000);
    connect(&store, &[hello(4, "s", &[])], silent_since).await;
    connect(&store, &[hello(5, "s", &[]), hello(6, "s", &[]), hello(7, "s", &[])], at(0)).await;
    for cause in ["a", "b", "c", "d"] {
        launch_as(&store, cause, to_nodes(&[1, 2, 3, 4, 5, 6, 7])).await.unwrap();
        let mut first = release_order(&store, cause).await;
        first.truncate(3);
        first.sort();
        assert_eq!(first, [node(5), node(6), node(7)], "{cause}");
    }
}
