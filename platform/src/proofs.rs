//! Who a node is: checking its login proofs against the key that it registered.
//!
//! The broker's questions and the gateway's requests are both answered by this. A proof names an
//! instant and is good for some minutes around it, by the control plane's clock; it carries no
//! secret, so a database that was stolen lets nobody log in as a node.

use std::collections::HashMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{LOGIN_SKEW_SECONDS, login_text, rebind_text, split_login_proof};
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::store::identities::Identity;
use crate::store::{Error, Store};

/// Bytes of an Ed25519 public key.
pub const PUBLIC_KEY_BYTES: usize = 32;

/// Characters of a proof at most: `v1.`, twelve digits, a dot, 64 bytes in base64.
const PROOF_CHARS_MAX: usize = 128;

/// Who is registered, by which key.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// The Ed25519 public key of a node that may work now; `None` for one that never registered or
    /// was deregistered.
    ///
    /// # Errors
    /// The store's; the caller lets nobody in.
    async fn active_key(&self, node: &NodeId) -> Result<Option<[u8; PUBLIC_KEY_BYTES]>, Error>;

    /// The keys of those of some nodes that may work now; the others are absent.
    ///
    /// # Errors
    /// As [`Identities::active_key`].
    async fn active_keys(&self, nodes: &[NodeId]) -> Result<HashMap<NodeId, [u8; PUBLIC_KEY_BYTES]>, Error>;
}

#[async_trait]
impl Identities for Store {
    async fn active_key(&self, node: &NodeId) -> Result<Option<[u8; PUBLIC_KEY_BYTES]>, Error> {
        self.identity(node).await?.filter(Identity::is_registered).as_ref().map(key_of).transpose()
    }

    async fn active_keys(&self, nodes: &[NodeId]) -> Result<HashMap<NodeId, [u8; PUBLIC_KEY_BYTES]>, Error> {
        let identities = self.identities(nodes).await?;
        let registered = identities.into_iter().filter(|(_, identity)| identity.is_registered());
        registered.map(|(node, identity)| Ok((node, key_of(&identity)?))).collect()
    }
}

/// The public key that a node is registered with.
///
/// # Errors
/// [`Error::Corrupt`] when what is stored is no key.
pub(crate) fn key_of(identity: &Identity) -> Result<[u8; PUBLIC_KEY_BYTES], Error> {
    let corrupt = "node_identities.public_key";
    let key = BASE64.decode(&identity.public_key).map_err(Error::corrupt(corrupt))?;
    key.as_slice().try_into().map_err(Error::corrupt::<std::array::TryFromSliceError>(corrupt))
}

/// Why somebody is not the node that they say they are. Tells nothing of keys or proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not a proof.
    #[error("not a proof; expected `v1.<seconds since 1970>.<signature in base64url>`")]
    Malformed,
    /// Made too long ago, or by a clock that is too far ahead.
    #[error(
        "the proof is {seconds} s old by this clock; allowed are {LOGIN_SKEW_SECONDS} s either way: set the node's clock"
    )]
    Age {
        /// Its age in seconds; negative when it comes from the future.
        seconds: i64,
    },
    /// Signed with another key, for another node, or for another purpose.
    #[error("the proof is not signed with the key that the node registered, or is of something else")]
    Signature,
}

/// Checks that whoever made `proof` had the private half of `public_key`, meant this node, and made
/// it within [`LOGIN_SKEW_SECONDS`] of `now`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_login(
    public_key: &[u8; PUBLIC_KEY_BYTES],
    node: &NodeId,
    proof: &str,
    now: Timestamp,
) -> Result<(), ProofError> {
    Proof::read(proof, now)?.verify(public_key, |at| login_text(node, at))
}

/// Checks that whoever made `proof` had the private half of `public_key`, and wanted this node to
/// have that new key and that fingerprint, within [`LOGIN_SKEW_SECONDS`] of `now`.
///
/// # Errors
/// [`ProofError`].
pub fn verify_rebind(
    public_key: &[u8; PUBLIC_KEY_BYTES],
    node: &NodeId,
    (new_key, fingerprint): (&str, &str),
    proof: &str,
    now: Timestamp,
) -> Result<(), ProofError> {
    Proof::read(proof, now)?.verify(public_key, |at| rebind_text(node, at, new_key, fingerprint))
}

/// A proof that is well-formed and of this time; by whom it was made is not known.
struct Proof {
    at: i64,
    signature: Vec<u8>,
}

impl Proof {
    fn read(text: &str, now: Timestamp) -> Result<Self, ProofError> {
        let (at, signature) = Some(text)
            .filter(|text| text.len() <= PROOF_CHARS_MAX)
            .and_then(split_login_proof)
            .ok_or(ProofError::Malformed)?;
        let age = now.as_second() - at;
        if age.abs() > LOGIN_SKEW_SECONDS {
            return Err(ProofError::Age { seconds: age });
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ProofError::Malformed)?;
        Ok(Self { at, signature })
    }

    /// Whether it is of the text that is to be signed at its instant.
    fn verify(&self, public_key: &[u8; PUBLIC_KEY_BYTES], text: impl FnOnce(i64) -> Vec<u8>) -> Result<(), ProofError> {
        UnparsedPublicKey::new(&ED25519, public_key)
            .verify(&text(self.at), &self.signature)
            .map_err(|_| ProofError::Signature)
    }
}

/// Why a login was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Nobody with that id is registered, or it was deregistered.
    #[error("no node `{node}` is registered")]
    Unknown {
        /// The id that was given.
        node: NodeId,
    },
    /// Somebody else.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It could not be found out.
    #[error("could not look up node `{node}`")]
    Store {
        /// The id that was given.
        node: NodeId,
        /// Why not.
        #[source]
        source: Error,
    },
}

/// Checks that `proof` was made by the registered node `node`, which is not deregistered. Returns
/// the key that it was made with. What is no proof of this time costs no look into the store.
///
/// # Errors
/// [`LoginError`].
pub async fn log_in(
    identities: &dyn Identities,
    node: &NodeId,
    proof: &str,
    now: Timestamp,
) -> Result<[u8; PUBLIC_KEY_BYTES], LoginError> {
    let proof = Proof::read(proof, now)?;
    let key = identities.active_key(node).await.map_err(|source| LoginError::Store { node: node.clone(), source })?;
    let key = key.ok_or_else(|| LoginError::Unknown { node: node.clone() })?;
    proof.verify(&key, |at| login_text(node, at))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::proof::login_proof;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn key_pair() -> (Ed25519KeyPair, [u8; 32]) {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random bytes");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("just made");
        let public = pair.public_key().as_ref().try_into().expect("32 bytes");
        (pair, public)
    }

    fn proof(pair: &Ed25519KeyPair, node: &NodeId, at: i64) -> String {
        login_proof(at, &URL_SAFE_NO_PAD.encode(pair.sign(&login_text(node, at))))
    }

    #[test]
    fn a_proof_is_good_for_its_node_and_its_minutes() {
        let (pair, public) = key_pair();
        let (node, other) = (NodeId::from_bits(1), NodeId::from_bits(2));
        let now = Timestamp::from_second(1_800_000_000).expect("an instant");
        let made = proof(&pair, &node, now.as_second());
        assert_eq!(verify_login(&public, &node, &made, now), Ok(()));
        assert_eq!(verify_login(&public, &other, &made, now), Err(ProofError::Signature));
        assert_eq!(verify_login(&key_pair().1, &node, &made, now), Err(ProofError::Signature));
        for (age, expected) in [
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(ProofError::Age { seconds: 301 })),
            (-301, Err(ProofError::Age { seconds: -301 })),
        ] {
            assert_eq!(verify_login(&public, &node, &proof(&pair, &node, now.as_second() - age), now), expected);
        }
    }

    #[test]
    fn altered_and_misshapen_proofs_are_refused() {
        let (pair, public) = key_pair();
        let node = NodeId::from_bits(1);
        let now = Timestamp::from_second(1_800_000_000).expect("an instant");
        let made = proof(&pair, &node, now.as_second());
        let (head, signature) = made.rsplit_once('.').expect("three parts");
        let later = format!("v1.{}.{signature}", now.as_second() + 1);
        assert_eq!(verify_login(&public, &node, &later, now), Err(ProofError::Signature));
        assert_eq!(verify_login(&public, &node, &format!("{head}."), now), Err(ProofError::Signature));
        for bad in [
            String::new(),
            "password".to_owned(),
            format!("{made}="),
            made.replace("v1", "v2"),
            format!("{head}.{}", "A".repeat(1_000_000)),
        ] {
            assert_eq!(verify_login(&public, &node, &bad, now), Err(ProofError::Malformed), "{bad:.60}");
        }
    }

    struct Nobody(std::sync::atomic::AtomicUsize);

    #[async_trait]
    impl Identities for Nobody {
        async fn active_key(&self, _: &NodeId) -> Result<Option<[u8; 32]>, Error> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(None)
        }

        async fn active_keys(&self, _: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, Error> {
            Ok(HashMap::new())
        }
    }

    #[tokio::test]
    async fn what_is_no_proof_of_this_time_is_not_looked_up() {
        let nobody = Nobody(0.into());
        let (node, now) = (NodeId::from_bits(1), Timestamp::from_second(1_800_000_000).expect("an instant"));
        let (pair, _) = key_pair();
        for bad in ["".to_owned(), "guest".to_owned(), proof(&pair, &node, now.as_second() - 301)] {
            assert!(matches!(log_in(&nobody, &node, &bad, now).await, Err(LoginError::Proof(_))), "{bad}");
        }
        assert_eq!(nobody.0.load(std::sync::atomic::Ordering::Relaxed), 0);
        let good = proof(&pair, &node, now.as_second());
        assert!(matches!(log_in(&nobody, &node, &good, now).await, Err(LoginError::Unknown { .. })));
        assert_eq!(nobody.0.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}
