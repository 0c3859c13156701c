//! The control plane's signature on what nodes are told.
//!
//! Every process that publishes to nodes has a [`Signer`]. Keys live in the store, their private
//! halves sealed with the master key; a signer reads them again every so often, and so learns of a
//! rotation without being told. A key signs from an instant on that lies after its making, and its
//! predecessor stays valid for a while after that: nodes accept both, and learn of the new one
//! because the old one vouches for it.
//!
//! Which text is signed is in [`patchwave_schemas::signing`].

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use patchwave_schemas::batch;
use patchwave_schemas::registration::LISTED_KEYS_MAX;
use patchwave_schemas::signing::{VerificationKey, endorsed_text, signed_text};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::Class;
use crate::secrets::{MasterKey, SecretError, hex};
use crate::store::signing_keys::StoredKey;
use crate::store::{self, Store, Tx};

/// How long a signer goes by what it read: well below the time between the making of a key and its
/// first signature.
const READ_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// Bytes of a public key of which the name is made.
const NAME_BYTES: usize = 8;

/// Time between the making of a key and its first signature, when nothing is said: nodes ask for
/// keys once an hour.
pub const SIGNS_AFTER_DEFAULT: SignedDuration = SignedDuration::from_hours(2);
/// Time for which the signatures of a predecessor stay valid, when nothing is said.
pub const RETIRES_AFTER_DEFAULT: SignedDuration = SignedDuration::from_hours(24);

/// Keys that may be valid at a time: more rotations than that within the time that a key takes to
/// retire are no rotations.
pub const VALID_KEYS_MAX: usize = 8;

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The keys could not be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A key could not be opened or made.
    #[error("signing key: {0}")]
    Secret(#[from] SecretError),
    /// What was sealed is no key.
    #[error("signing key `{key_id}` is not an Ed25519 key")]
    NotAKey {
        /// Its name.
        key_id: String,
    },
    /// No key may sign now.
    #[error("every signing key has retired; make one with `patchwave signing-key rotate`")]
    AllRetired,
    /// There is no key of that name.
    #[error("there is no signing key `{key_id}`")]
    Unknown {
        /// The name.
        key_id: String,
    },
    /// The key that signs now was to be retired.
    #[error("signing key `{key_id}` signs now; rotate first")]
    InUse {
        /// Its name.
        key_id: String,
    },
}

impl SigningError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Secret(_) | Self::NotAKey { .. } | Self::AllRetired => Class::Fatal,
            Self::Unknown { .. } | Self::InUse { .. } => Class::Rejected,
        }
    }
}

/// A key that may sign.
pub struct SigningKey {
    key_id: String,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Its name, for the attribute `keyid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs messages, each a type and the bytes of its `data`, together; answers in their order.
    #[must_use]
    pub fn sign(&self, messages: &[(&str, &[u8])]) -> Vec<Signature> {
        let leaf = |(message_type, data): &(&str, &[u8])| batch::leaf(&signed_text(message_type, data), sha256);
        let leaves: Vec<_> = messages.iter().map(leaf).collect();
        let mut signatures = Vec::with_capacity(leaves.len());
        for leaves in leaves.chunks(batch::LEAVES_MAX) {
            let Some((root, paths)) = batch::tree(leaves, sha256) else { continue };
            let signature = BASE64.encode(self.pair.sign(&batch::root_text(&root)));
            signatures.extend(paths.iter().map(|path| Signature {
                signature: signature.clone(),
                path: (!path.is_empty()).then(|| BASE64.encode(path)),
            }));
        }
        signatures
    }
}

/// What makes a message a signed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// For the attribute `signature`.
    pub signature: String,
    /// For the attribute `signaturepath`; none when the message was signed alone.
    pub path: Option<String>,
}

fn sha256(bytes: &[u8]) -> batch::Hash {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Signs with whichever key is to sign now.
#[derive(Debug)]
pub struct Signer {
    store: Store,
    master: Arc<MasterKey>,
    read: RwLock<Option<(Timestamp, Arc<SigningKey>)>>,
}

impl Signer {
    /// A signer with the keys of this store.
    #[must_use]
    pub fn new(store: Store, master: Arc<MasterKey>) -> Self {
        Self { store, master, read: RwLock::default() }
    }

    /// The key that signs now. The first caller of all makes the first key.
    ///
    /// # Errors
    /// [`SigningError`]. A store that is away is no reason to stop signing: what was read stays in
    /// use until it is back.
    pub async fn key(&self, now: Timestamp) -> Result<Arc<SigningKey>, SigningError> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, key)) = &read
            && now.duration_since(*at) < READ_EVERY
        {
            return Ok(Arc::clone(key));
        }
        let fresh = match self.read_keys(now).await {
            Ok(fresh) => fresh,
            Err(error) if error.class() == Class::Transient => match read {
                Some((_, key)) => return Ok(key),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        *self.read.write().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&fresh)));
        Ok(fresh)
    }

    async fn read_keys(&self, now: Timestamp) -> Result<Arc<SigningKey>, SigningError> {
        let mut keys = self.store.signing_keys().await?;
        if keys.is_empty() {
            let mut tx = self.store.begin().await?;
            keys = tx.lock_signing_keys().await?;
            if keys.is_empty() {
                let first = new_key(&self.master, None, now, now)?;
                tx.add_signing_key(&first).await?;
                tx.commit().await?;
                keys.push(first);
            }
        }
        let current = current(&keys, now).ok_or(SigningError::AllRetired)?;
        Ok(Arc::new(opened(&self.master, current)?))
    }
}

/// The key that signs at an instant: of those whose time has come, the one that was made last. A key
/// that was announced earlier for a later time does not take over from one that was made since.
#[must_use]
pub fn current(keys: &[StoredKey], now: Timestamp) -> Option<&StoredKey> {
    newest(keys.iter().filter(|key| key.signs_from <= now && key.is_valid(now)))
}

fn newest<'a>(keys: impl Iterator<Item = &'a StoredKey>) -> Option<&'a StoredKey> {
    // Of two that were made together it is the one that is not being retired.
    keys.max_by_key(|key| (key.created_at, key.signs_from, key.retires_at.is_none()))
}

/// Keys as nodes see them, the oldest first: the valid ones, and as many that retired last as a list
/// may have, for the sake of those that they vouch for. A node that has not asked for more rotations
/// than that has to register again.
#[must_use]
pub fn verification_keys(keys: &[StoredKey], now: Timestamp) -> Vec<VerificationKey> {
    let seen = |key: &StoredKey| VerificationKey {
        key_id: key.key_id.clone(),
        public_key: key.public_key.clone(),
        endorsed_by: key.endorsed_by.clone(),
        endorsement: key.endorsement.clone(),
        valid: key.is_valid(now),
    };
    let mut listed: Vec<&StoredKey> = keys.iter().collect();
    listed.sort_by_key(|key| (key.is_valid(now), key.created_at, key.signs_from));
    listed.drain(..listed.len().saturating_sub(LISTED_KEYS_MAX));
    listed.sort_by_key(|key| (key.created_at, key.signs_from));
    listed.into_iter().map(seen).collect()
}

/// Makes a key that signs from `now + signs_after` on, and lets every other one retire
/// `retires_after` later. Two keys are valid in between, and nothing is refused.
///
/// A key that was announced and would not have signed by then retires at once, and so do the oldest
/// ones where more than [`VALID_KEYS_MAX`] would be valid.
///
/// Where no key is left to vouch for the new one, nodes accept it only by registering again.
///
/// # Errors
/// [`SigningError`]; the caller drops the transaction.
pub async fn rotate(
    tx: &mut Tx,
    master: &MasterKey,
    signs_after: SignedDuration,
    retires_after: SignedDuration,
    now: Timestamp,
) -> Result<StoredKey, SigningError> {
    let keys = tx.lock_signing_keys().await?;
    let signs_from = later(now, signs_after);
    let valid = || keys.iter().filter(|key| key.is_valid(now));
    // The one that nodes know best: that which signs.
    let signing = current(&keys, now);
    let endorser = signing.or_else(|| newest(valid()));
    let mut new = new_key(master, endorser, signs_from, now)?;
    // Which key was made last is what counts, whatever the clocks of those who made them said.
    let after_all = keys.iter().map(|key| later(key.created_at, SignedDuration::from_millis(1))).max();
    new.created_at = after_all.map_or(now, |after_all| after_all.max(now));
    tx.add_signing_key(&new).await?;
    let retires_at = later(signs_from, retires_after);
    let mut kept: Vec<&StoredKey> = valid().collect();
    // The one that signs now comes last: it goes on until the new one's time has come.
    kept.sort_by_key(|key| (signing == Some(*key), key.created_at, key.signs_from));
    let excess = (kept.len() + 1).saturating_sub(VALID_KEYS_MAX);
    for (place, key) in kept.into_iter().enumerate() {
        let is_superseded = key.signs_from > now && key.signs_from >= signs_from;
        let at = if is_superseded || place < excess { now } else { retires_at };
        if key.retires_at.is_none_or(|before| before > at) {
            tx.retire_signing_key(&key.key_id, at).await?;
        }
    }
    Ok(new)
}

/// Ends the validity of a key at once: one that somebody else may have.
///
/// # Errors
/// [`SigningError::Unknown`], [`SigningError::InUse`], [`SigningError::Store`].
pub async fn retire(tx: &mut Tx, key_id: &str, now: Timestamp) -> Result<(), SigningError> {
    let keys = tx.lock_signing_keys().await?;
    if !keys.iter().any(|key| key.key_id == key_id) {
        return Err(SigningError::Unknown { key_id: key_id.to_owned() });
    }
    if current(&keys, now).is_some_and(|key| key.key_id == key_id) {
        return Err(SigningError::InUse { key_id: key_id.to_owned() });
    }
    tx.retire_signing_key(key_id, now).await?;
    Ok(())
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn purpose(key_id: &str) -> String {
    format!("signing key {key_id}")
}

fn opened(master: &MasterKey, key: &StoredKey) -> Result<SigningKey, SigningError> {
    let document = master.open(&purpose(&key.key_id), &key.sealed)?;
    let not_a_key = |_| SigningError::NotAKey { key_id: key.key_id.clone() };
    Ok(SigningKey { key_id: key.key_id.clone(), pair: Ed25519KeyPair::from_pkcs8(&document).map_err(not_a_key)? })
}

fn new_key(
    master: &MasterKey,
    endorser: Option<&StoredKey>,
    signs_from: Timestamp,
    now: Timestamp,
) -> Result<StoredKey, SigningError> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SecretError::NoRandomness)?;
    let not_a_key = |_| SigningError::NotAKey { key_id: "of its own making".to_owned() };
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(not_a_key)?;
    let public = pair.public_key().as_ref();
    let digest = ring::digest::digest(&ring::digest::SHA256, public);
    let key_id = format!("sk-{}", hex(&digest.as_ref()[..NAME_BYTES]));
    let public_key = BASE64.encode(public);
    let endorsement = match endorser {
        Some(endorser) => {
            let signature = opened(master, endorser)?.pair.sign(&endorsed_text(&key_id, &public_key));
            Some((endorser.key_id.clone(), BASE64.encode(signature)))
        }
        None => None,
    };
    let (endorsed_by, endorsement) = endorsement.unzip();
    Ok(StoredKey {
        sealed: master.seal(&purpose(&key_id), document.as_ref())?,
        key_id,
        public_key,
        endorsed_by,
        endorsement,
        created_at: now,
        signs_from,
        retires_at: None,
    })
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a small number")
    }

    fn verifies(public_key: &str, text: &[u8], signature: &str) -> bool {
        let (key, signature) = (BASE64.decode(public_key).expect("base64"), BASE64.decode(signature).expect("base64"));
        UnparsedPublicKey::new(&ED25519, key).verify(text, &signature).is_ok()
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let url = format!("sqlite://{}/store.db", directory.path().display());
        (directory, Store::open(&url).await.expect("a store"))
    }

    #[tokio::test]
    async fn what_is_signed_verifies_with_the_published_key() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        let key = Signer::new(store.clone(), Arc::clone(&master)).key(at(10)).await.expect("the first key");
        let published = verification_keys(&store.signing_keys().await.expect("keys"), at(10));
        assert_eq!(published.len(), 1);
        assert!(published[0].valid && published[0].key_id == key.key_id());
        let bodies: Vec<_> = (0..=batch::LEAVES_MAX).map(|number| format!("[{number}]")).collect();
        let messages: Vec<_> = bodies.iter().map(|body| ("t.v1", body.as_bytes())).collect();
        let signatures = key.sign(&messages);
        assert_eq!(signatures.len(), messages.len());
        let root_of = |(message_type, data): &(&str, &[u8]), path: &Option<String>| {
            let path = BASE64.decode(path.as_deref().unwrap_or_default()).expect("base64");
            batch::root_of(batch::leaf(&signed_text(message_type, data), sha256), &path, sha256).expect("a path")
        };
        for (message, Signature { signature, path }) in messages.iter().zip(&signatures) {
            let verifies = |root| verifies(&published[0].public_key, &batch::root_text(&root), signature);
            assert!(verifies(root_of(message, path)));
            assert!(!verifies(root_of(&(message.0, b"{ }"), path)));
        }
        let of = |at: usize| (&signatures[at].signature, signatures[at].path.is_some());
        assert_eq!((of(0), of(1).1), (of(1), true), "signed together");
        assert_ne!(of(0), of(batch::LEAVES_MAX), "of more than one batch each has a signature of its own");
        assert!(!of(batch::LEAVES_MAX).1, "the last was alone");
        assert_eq!(key.sign(&[]), []);
        let again = Signer::new(store.clone(), master).key(at(10)).await.expect("the same key");
        assert_eq!(again.key_id(), key.key_id());
    }

    #[tokio::test]
    async fn keys_rotate_without_a_gap() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        let first = Signer::new(store.clone(), Arc::clone(&master)).key(at(0)).await.expect("a key");
        let mut tx = store.begin().await.expect("a transaction");
        let hour = SignedDuration::from_hours(1);
        let second = rotate(&mut tx, &master, hour, hour, at(0)).await.expect("rotated");
        tx.commit().await.expect("committed");

        let keys = store.signing_keys().await.expect("keys");
        let endorsement = second.endorsement.as_deref().expect("the first vouches for it");
        assert_eq!(second.endorsed_by.as_deref(), Some(first.key_id()));
        assert!(verifies(&keys[0].public_key, &endorsed_text(&second.key_id, &second.public_key), endorsement));
        for (second_of_time, signs, valid) in [
            (0, first.key_id(), 2),
            (3_599, first.key_id(), 2),
            (3_600, second.key_id.as_str(), 2),
            (7_199, second.key_id.as_str(), 2),
            (7_200, second.key_id.as_str(), 1),
        ] {
            let now = at(second_of_time);
            assert_eq!(current(&keys, now).map(|key| key.key_id.as_str()), Some(signs), "at {second_of_time}");
            assert_eq!(verification_keys(&keys, now).iter().filter(|key| key.valid).count(), valid);
        }
    }

    #[tokio::test]
    async fn a_new_key_supersedes_those_that_were_announced() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        let first = Signer::new(store.clone(), Arc::clone(&master)).key(at(0)).await.expect("a key");
        let (hour, day) = (SignedDuration::from_hours(1), SignedDuration::from_hours(24));
        let mut tx = store.begin().await.expect("a transaction");
        let announced = rotate(&mut tx, &master, hour * 2, day, at(0)).await.expect("rotated");
        let emergency = rotate(&mut tx, &master, SignedDuration::ZERO, day, at(3_600)).await.expect("rotated");
        let next = rotate(&mut tx, &master, hour, day, at(3_600)).await.expect("rotated at the same time");
        tx.commit().await.expect("committed");
        assert_eq!(emergency.endorsed_by.as_deref(), Some(first.key_id()), "the key that nodes have");
        let keys = store.signing_keys().await.expect("keys");
        let signs = |seconds| current(&keys, at(seconds)).map(|key| key.key_id.as_str());
        assert_eq!(signs(3_599), Some(first.key_id()));
        for seconds in [3_600, 7_199] {
            assert_eq!(signs(seconds), Some(emergency.key_id.as_str()), "at {seconds}");
        }
        for seconds in [7_200, 100_000, 1_000_000] {
            assert_eq!(signs(seconds), Some(next.key_id.as_str()), "at {seconds}");
        }
        let kept = keys.iter().find(|key| key.key_id == announced.key_id).expect("still there");
        assert!(!kept.is_valid(at(3_600)), "it never signs");
    }

    #[tokio::test]
    async fn a_list_of_keys_has_an_end_and_its_valid_keys_are_in_it() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        Signer::new(store.clone(), Arc::clone(&master)).key(at(0)).await.expect("a key");
        let mut tx = store.begin().await.expect("a transaction");
        for number in 1..=70 {
            // All within the day in which a key retires.
            rotate(&mut tx, &master, SignedDuration::ZERO, RETIRES_AFTER_DEFAULT, at(number)).await.expect("rotated");
        }
        tx.commit().await.expect("committed");
        let keys = store.signing_keys().await.expect("keys");
        let listed = verification_keys(&keys, at(70));
        assert_eq!((keys.len(), listed.len()), (71, LISTED_KEYS_MAX));
        assert_eq!(listed.iter().filter(|key| key.valid).count(), VALID_KEYS_MAX);
        let signs = current(&keys, at(70)).expect("one signs").key_id.clone();
        assert!(listed.iter().any(|key| key.valid && key.key_id == signs));
        drop(keys);
        // Keys that are announced for later and later leave the one that signs alone.
        let mut tx = store.begin().await.expect("a transaction");
        for number in 1..=20 {
            let signs_after = SignedDuration::from_hours(number);
            rotate(&mut tx, &master, signs_after, RETIRES_AFTER_DEFAULT, at(71)).await.expect("rotated");
        }
        tx.commit().await.expect("committed");
        let later = store.signing_keys().await.expect("keys");
        assert_eq!(current(&later, at(72)).map(|key| &key.key_id), Some(&signs));
        // Each is vouched for by the one before: a node that has any of them reaches the last.
        for pair in listed.windows(2) {
            assert_eq!(pair[1].endorsed_by.as_deref(), Some(pair[0].key_id.as_str()));
        }
    }

    #[tokio::test]
    async fn the_key_in_use_cannot_be_retired_and_others_can_at_once() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        let first = Signer::new(store.clone(), Arc::clone(&master)).key(at(0)).await.expect("a key");
        let mut tx = store.begin().await.expect("a transaction");
        assert!(matches!(retire(&mut tx, first.key_id(), at(0)).await, Err(SigningError::InUse { .. })));
        assert!(matches!(retire(&mut tx, "sk-0", at(0)).await, Err(SigningError::Unknown { .. })));
        rotate(&mut tx, &master, SignedDuration::ZERO, SignedDuration::from_hours(1), at(0)).await.expect("rotated");
        retire(&mut tx, first.key_id(), at(1)).await.expect("retired");
        tx.commit().await.expect("committed");
        let keys = store.signing_keys().await.expect("keys");
        assert!(!keys.iter().any(|key| key.key_id == first.key_id() && key.is_valid(at(1))));
    }

    #[tokio::test]
    async fn another_master_key_signs_nothing() {
        let (_directory, store) = store().await;
        let master = Arc::new(MasterKey::from_bytes(&[1; 32]));
        Signer::new(store.clone(), master).key(at(0)).await.expect("a key");
        let other = Signer::new(store, Arc::new(MasterKey::from_bytes(&[2; 32])));
        assert!(matches!(other.key(at(0)).await, Err(SigningError::Secret(_))));
    }
}
