//! Whose messages a node acts on: those that the control plane signed, and no others.
//!
//! The broker is not trusted with this. Whoever holds it can read, drop, delay and repeat what
//! passes, and can make nothing that a node runs: a message is verified before it is read, let alone
//! journaled. Which node, which invocation and which time span it is for is part of what is signed;
//! those are checked by [`crate::node`].
//!
//! Keys come from the registration. A later one is taken when a key that the node has vouches for
//! it, over any number of steps, and only from the server that the node registered with.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use patchwave_schemas::batch::{self, Hash};
use patchwave_schemas::envelope::DecodeError;
use patchwave_schemas::registration::LISTED_KEYS_MAX;
use patchwave_schemas::signing::{SignedMessage, VerificationKey, endorsed_text};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Batches whose signature is remembered as good. Messages of one batch come close together.
const BATCHES_REMEMBERED: usize = 32;

/// Whose messages a node acts on.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// Anybody's who reaches its queue. For simulated nodes, and for nodes inside the control
    /// plane's own process.
    #[default]
    Anyone,
    /// The holders' of these keys.
    Keys(Arc<KeyRing>),
}

/// Why a message is not acted on.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It carries no signature.
    #[error("message of type `{message_type}` is not signed")]
    Unsigned {
        /// What it says it is.
        message_type: String,
    },
    /// It names a key that this node does not have, or that has retired.
    #[error("message of type `{message_type}` is signed with key `{key_id}`, which this node does not trust")]
    UnknownKey {
        /// What it says it is.
        message_type: String,
        /// The key that it names.
        key_id: String,
    },
    /// The signature is of something else.
    #[error("the signature on a message of type `{message_type}` is not that of key `{key_id}`")]
    Forged {
        /// What it says it is.
        message_type: String,
        /// The key that it names.
        key_id: String,
    },
}

impl Trust {
    /// Checks that a message body was signed by a trusted key.
    ///
    /// # Errors
    /// [`Distrust`]; nothing of the message may be believed.
    pub fn check(&self, body: &[u8]) -> Result<(), Distrust> {
        let Self::Keys(ring) = self else { return Ok(()) };
        let message = SignedMessage::from_bytes(body)?;
        let message_type = || shown(message.message_type);
        let (Some(key_id), Some(signature)) = (message.keyid, message.signature) else {
            return Err(Distrust::Unsigned { message_type: message_type() });
        };
        let Some(key) = ring.key(key_id) else {
            return Err(Distrust::UnknownKey { message_type: message_type(), key_id: shown(key_id) });
        };
        let path = message.signaturepath.unwrap_or_default();
        if ring.vouches_for(&key, &message.text(), path, signature) {
            Ok(())
        } else {
            Err(Distrust::Forged { message_type: message_type(), key_id: shown(key_id) })
        }
    }
}

/// The keys that a node trusts; shared by all nodes of a process.
#[derive(Debug, Default)]
pub struct KeyRing {
    keys: RwLock<BTreeMap<String, [u8; 32]>>,
    /// Batches that were verified, the latest last: a process that serves many nodes is told the
    /// same root many times, and a signature takes a hundred times as long as a path.
    verified: Mutex<VecDeque<Batch>>,
}

/// A root, and the signature by which a key vouched for it.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    key: [u8; 32],
    root: Hash,
    signature: Vec<u8>,
}

/// A list of keys that a node does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// None of the valid keys is one of its own, or one that its own vouch for.
    #[error("none of the {listed} keys offered is trusted or vouched for by a trusted one; register again")]
    NoneVouchedFor {
        /// How many there were.
        listed: usize,
    },
    /// A key that is no key.
    #[error("verification key `{key_id}` is not 32 bytes of an Ed25519 key in base64")]
    Malformed {
        /// Its name.
        key_id: String,
    },
    /// Too many.
    #[error("{listed} verification keys were offered; allowed are up to {LISTED_KEYS_MAX}")]
    TooMany {
        /// How many there were.
        listed: usize,
    },
}

impl KeyRing {
    /// The keys of a registration, believed because its server was.
    ///
    /// # Errors
    /// [`KeyRefusal`].
    pub fn first(keys: &[VerificationKey]) -> Result<Self, KeyRefusal> {
        let mut valid = BTreeMap::new();
        for key in limited(keys)?.iter().filter(|key| key.valid) {
            valid.insert(key.key_id.clone(), bytes_of(key)?);
        }
        if valid.is_empty() {
            return Err(KeyRefusal::NoneVouchedFor { listed: keys.len() });
        }
        Ok(Self { keys: RwLock::new(valid), verified: Mutex::default() })
    }

    /// Takes over what the control plane lists now: valid keys that are trusted already or that
    /// trusted ones vouch for, and no others. Returns whether anything changed.
    ///
    /// # Errors
    /// [`KeyRefusal`]; nothing changed.
    pub fn update(&self, listed: &[VerificationKey]) -> Result<bool, KeyRefusal> {
        let mut trusted = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let before = trusted.clone();
        let listed = limited(listed)?;
        // Each round follows one step of a chain, so there are no more rounds than keys.
        for _ in 0..listed.len() {
            let mut grew = false;
            for key in listed.iter().filter(|key| !before.contains_key(&key.key_id)) {
                let public = bytes_of(key)?;
                if !trusted.contains_key(&key.key_id) && is_endorsed(key, &trusted) {
                    trusted.insert(key.key_id.clone(), public);
                    grew = true;
                }
            }
            if !grew {
                break;
            }
        }
        // A known name with another key is no key of ours.
        let same = |key: &VerificationKey| bytes_of(key).ok().as_ref() == trusted.get(&key.key_id);
        let now: BTreeMap<_, _> = listed
            .iter()
            .filter(|key| key.valid && same(key))
            .filter_map(|key| trusted.get_key_value(&key.key_id).map(|(id, bytes)| (id.clone(), *bytes)))
            .collect();
        if now.is_empty() {
            return Err(KeyRefusal::NoneVouchedFor { listed: listed.len() });
        }
        let changed = now != before;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(changed)
    }

    /// The keys as they are kept on disk.
    #[must_use]
    pub fn to_list(&self) -> Vec<VerificationKey> {
        let kept = |(key_id, bytes): (&String, &[u8; 32])| VerificationKey {
            key_id: key_id.clone(),
            public_key: BASE64.encode(bytes),
            endorsed_by: None,
            endorsement: None,
            valid: true,
        };
        self.keys.read().unwrap_or_else(PoisonError::into_inner).iter().map(kept).collect()
    }

    fn key(&self, key_id: &str) -> Option<[u8; 32]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key_id).copied()
    }

    /// Whether a key has signed the batch to which the path of a message leads.
    fn vouches_for(&self, key: &[u8; 32], text: &[u8], path: &str, signature: &str) -> bool {
        let (Ok(path), Ok(signature)) = (BASE64.decode(path), BASE64.decode(signature)) else { return false };
        let Some(root) = batch::root_of(batch::leaf(text, sha256), &path, sha256) else { return false };
        let batch = Batch { key: *key, root, signature };
        if self.verified.lock().unwrap_or_else(PoisonError::into_inner).contains(&batch) {
            return true;
        }
        let signed = UnparsedPublicKey::new(&ED25519, key).verify(&batch::root_text(&root), &batch.signature);
        if signed.is_err() {
            return false;
        }
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= BATCHES_REMEMBERED {
            verified.pop_front();
        }
        verified.push_back(batch);
        true
    }
}

fn limited(keys: &[VerificationKey]) -> Result<&[VerificationKey], KeyRefusal> {
    if keys.len() > LISTED_KEYS_MAX { Err(KeyRefusal::TooMany { listed: keys.len() }) } else { Ok(keys) }
}

fn bytes_of(key: &VerificationKey) -> Result<[u8; 32], KeyRefusal> {
    let bytes = BASE64.decode(&key.public_key).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| KeyRefusal::Malformed { key_id: shown(&key.key_id) })
}

fn is_endorsed(key: &VerificationKey, trusted: &BTreeMap<String, [u8; 32]>) -> bool {
    let (Some(by), Some(endorsement)) = (&key.endorsed_by, &key.endorsement) else { return false };
    let Some(endorser) = trusted.get(by) else { return false };
    is_signed(endorser, &endorsed_text(&key.key_id, &key.public_key), endorsement)
}

fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn is_signed(key: &[u8; 32], text: &[u8], signature: &str) -> bool {
    let Ok(signature) = BASE64.decode(signature) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(text, &signature).is_ok()
}

/// A name out of a message that nobody vouches for, cut to what a log line bears.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::signing::signed_text;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    struct Key {
        id: &'static str,
        pair: Ed25519KeyPair,
    }

    impl Key {
        fn new(id: &'static str) -> Self {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
            Self { id, pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key") }
        }

        fn listed(&self, endorser: Option<&Self>) -> VerificationKey {
            let public_key = BASE64.encode(self.pair.public_key());
            let text = endorsed_text(self.id, &public_key);
            VerificationKey {
                key_id: self.id.to_owned(),
                endorsed_by: endorser.map(|key| key.id.to_owned()),
                endorsement: endorser.map(|key| BASE64.encode(key.pair.sign(&text))),
                public_key,
                valid: true,
            }
        }

        fn message(&self, data: &str) -> String {
            let alone = batch::leaf(&signed_text("t.v1", data.as_bytes()), sha256);
            let signature = BASE64.encode(self.pair.sign(&batch::root_text(&alone)));
            format!(
                r#"{{"specversion":"1.0","type":"t.v1","keyid":"{}","signature":"{signature}","data":{data}}}"#,
                self.id
            )
        }
    }

    /// Messages that one signature vouches for.
    fn messages(key: &Key, data: &[&str]) -> Vec<String> {
        let leaf = |data: &&str| batch::leaf(&signed_text("t.v1", data.as_bytes()), sha256);
        let (root, paths) = batch::tree(&data.iter().map(leaf).collect::<Vec<_>>(), sha256).expect("some");
        let (id, signature) = (key.id, BASE64.encode(key.pair.sign(&batch::root_text(&root))));
        let message = |(data, path): (&&str, &Vec<u8>)| {
            let path = BASE64.encode(path);
            format!(
                r#"{{"specversion":"1.0","type":"t.v1","keyid":"{id}","signature":"{signature}","signaturepath":"{path}","data":{data}}}"#
            )
        };
        data.iter().zip(&paths).map(message).collect()
    }

    fn trusting(keys: &[&Key]) -> (Arc<KeyRing>, Trust) {
        let listed: Vec<_> = keys.iter().map(|key| key.listed(None)).collect();
        let ring = Arc::new(KeyRing::first(&listed).expect("keys"));
        (Arc::clone(&ring), Trust::Keys(ring))
    }

    #[test]
    fn a_signed_message_is_taken_and_one_that_was_altered_is_not() {
        let key = Key::new("a");
        let (_, trust) = trusting(&[&key]);
        let message = key.message(r#"{"command":1}"#);
        trust.check(message.as_bytes()).expect("signed");
        for (from, to) in [
            (r#"{"command":1}"#, r#"{"command":2}"#),
            (r#"{"command":1}"#, r#"{"command": 1}"#),
            (r#""t.v1""#, r#""u.v1""#),
        ] {
            let altered = message.replacen(from, to, 1);
            assert!(matches!(trust.check(altered.as_bytes()), Err(Distrust::Forged { .. })), "{altered}");
        }
    }

    #[test]
    fn messages_that_were_signed_together_are_taken_each_by_itself() {
        let (key, other) = (Key::new("a"), Key::new("b"));
        let (ring, trust) = trusting(&[&key, &other]);
        let signed = messages(&key, &["[0]", "[1]", "[2]"]);
        // The second time its batch is known, and nothing else is different.
        for message in signed.iter().chain(&signed) {
            trust.check(message.as_bytes()).expect("signed");
            for (from, to) in [
                (r#""data":["#, r#""data":[1"#),
                (r#""keyid":"a""#, r#""keyid":"b""#),
                (r#""signaturepath":""#, r#""signaturepath":"A"#),
                (r#""signature":""#, r#""signature":"AAAA"#),
            ] {
                let altered = message.replacen(from, to, 1);
                assert!(matches!(trust.check(altered.as_bytes()), Err(Distrust::Forged { .. })), "{altered}");
            }
        }
        for count in 0..2 * BATCHES_REMEMBERED {
            trust.check(key.message(&format!("[{count}]")).as_bytes()).expect("signed");
        }
        assert_eq!(ring.verified.lock().expect("nobody panicked").len(), BATCHES_REMEMBERED);
    }

    #[test]
    fn unsigned_messages_and_those_of_other_keys_are_not_taken() {
        let (key, other) = (Key::new("a"), Key::new("b"));
        let impostor = Key::new("a");
        let (_, trust) = trusting(&[&key]);
        let unsigned = r#"{"specversion":"1.0","type":"t.v1","data":{}}"#;
        assert!(matches!(trust.check(unsigned.as_bytes()), Err(Distrust::Unsigned { .. })));
        assert!(matches!(trust.check(other.message("{}").as_bytes()), Err(Distrust::UnknownKey { .. })));
        assert!(matches!(trust.check(impostor.message("{}").as_bytes()), Err(Distrust::Forged { .. })));
        assert!(matches!(trust.check(b"junk"), Err(Distrust::Unreadable(_))));
        Trust::Anyone.check(unsigned.as_bytes()).expect("nobody is asked");
    }

    #[test]
    fn a_successor_is_taken_when_it_is_vouched_for_over_any_number_of_steps() {
        let (a, b, c) = (Key::new("a"), Key::new("b"), Key::new("c"));
        let (ring, trust) = trusting(&[&a]);
        let retired = |key: VerificationKey| VerificationKey { valid: false, ..key };
        let list = [c.listed(Some(&b)), retired(b.listed(Some(&a))), retired(a.listed(None))];
        assert_eq!(ring.update(&list), Ok(true));
        trust.check(c.message("{}").as_bytes()).expect("vouched for");
        assert!(matches!(trust.check(a.message("{}").as_bytes()), Err(Distrust::UnknownKey { .. })), "retired");
        assert!(matches!(trust.check(b.message("{}").as_bytes()), Err(Distrust::UnknownKey { .. })), "retired");
        assert_eq!(ring.update(&list), Ok(false), "nothing new");
    }

    #[test]
    fn keys_that_nobody_vouches_for_are_not_taken() {
        let (a, b, thief) = (Key::new("a"), Key::new("b"), Key::new("t"));
        let (ring, trust) = trusting(&[&a]);
        let forged = VerificationKey { endorsed_by: Some("a".to_owned()), ..b.listed(Some(&thief)) };
        let renamed = VerificationKey { key_id: "a".to_owned(), ..thief.listed(None) };
        for list in
            [vec![b.listed(None)], vec![forged], vec![b.listed(Some(&thief)), thief.listed(None)], vec![renamed]]
        {
            assert!(matches!(ring.update(&list), Err(KeyRefusal::NoneVouchedFor { .. })), "{list:?}");
        }
        // Beside a key that is trusted the others are passed over.
        assert_eq!(ring.update(&[a.listed(None), b.listed(None)]), Ok(false));
        trust.check(a.message("{}").as_bytes()).expect("still trusted");
    }
}
