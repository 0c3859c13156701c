//! Who says so: signatures of messages, login proofs, registrations.

use patchwave_agent::trust::{KeyRing, Trust};
use patchwave_schemas::CloudEvent;
use patchwave_schemas::NodeId;
use patchwave_schemas::command::RunInvocation;
use patchwave_schemas::proof::{LOGIN_VERSION, login_proof, login_text, split_login_proof};
use patchwave_schemas::registration::{Registered, Registration, RegistrationRefused, VerificationKeys};
use patchwave_schemas::signing::{SignedMessage, VerificationKey};

use super::text;

/// The key that the messages in the corpus are signed with; its private half was thrown away.
const KEY: &str = "WOOaCbX3CMC30cqfzE+KSRGOPdBnaWmtipRzxRliAEo=";
const KEY_ID: &str = "sk-test";
/// The type and the payload of the one message that the key has signed for anybody: once alone, and
/// once with two others that are in no file.
const SIGNED: &str = include_str!("signed.txt");

fn ring() -> KeyRing {
    let key = VerificationKey {
        key_id: KEY_ID.to_owned(),
        public_key: KEY.to_owned(),
        endorsed_by: None,
        endorsement: None,
        valid: true,
    };
    KeyRing::first(&[key]).expect("the key is one")
}

/// A message to a node that trusts one key, which has signed one message.
///
/// Whatever is believed has the type and the payload that were signed, and whoever reads it as a
/// command afterwards reads that payload and no other.
///
/// # Panics
/// When that does not hold.
pub fn signed(data: &[u8]) {
    if let Err(distrust) = Trust::Keys(ring().into()).check(data) {
        return assert!(!distrust.to_string().is_empty());
    }
    let message = SignedMessage::from_bytes(data).expect("it was read a moment ago");
    assert_eq!(String::from_utf8_lossy(&message.text()), SIGNED, "another message is believed");
    if let Ok(event) = CloudEvent::<RunInvocation>::from_bytes(data) {
        let payload = SIGNED.rsplit('\n').next().expect("the payload is the last line");
        let signed: RunInvocation = serde_json::from_str(payload).expect("the signed payload is a command");
        assert_eq!(event.data, signed, "what is run is not what was signed");
    }
}

/// A login proof as a node sends it.
///
/// What comes apart can be put together again to something that comes apart the same.
///
/// # Panics
/// When that does not hold.
pub fn login(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some((seconds, signature)) = split_login_proof(text) else { return };
    assert!(text.starts_with(LOGIN_VERSION) && seconds >= 0, "{text}");
    let again = login_proof(seconds, signature);
    assert_eq!(split_login_proof(&again), Some((seconds, signature)));
    assert!(login_text(&NodeId::from_bits(7), seconds).ends_with(seconds.to_string().as_bytes()));
}

/// What a machine and its server tell each other when it registers, and lists of keys.
///
/// No list of keys makes a node trust one that its own do not vouch for: nothing here is signed.
///
/// # Panics
/// When that does not hold.
pub fn registration(data: &[u8]) {
    if let Ok(registration) = serde_json::from_slice::<Registration>(data) {
        let shown = format!("{registration:?}");
        let code = &registration.activation_code;
        let elsewhere = [&registration.activation_id, &registration.computer_name];
        let is_secret = code.len() > 8 && !elsewhere.iter().any(|text| text.contains(code.as_str()));
        assert!(!is_secret || !shown.contains(code.as_str()), "the activation's code is shown: {shown}");
    }
    let listed = serde_json::from_slice::<VerificationKeys>(data).map(|list| list.verification_keys);
    let listed = listed.or_else(|_| serde_json::from_slice::<Registered>(data).map(|all| all.verification_keys));
    if let Ok(keys) = listed {
        if let Ok(first) = KeyRing::first(&keys) {
            assert!(KeyRing::first(&first.to_list()).is_ok());
        }
        let ring = ring();
        let _ = ring.update(&keys);
        let kept = ring.to_list();
        assert!(kept.len() == 1 && kept[0].key_id == KEY_ID && kept[0].public_key == KEY, "{kept:?}");
    }
    drop(serde_json::from_slice::<RegistrationRefused>(data));
}
