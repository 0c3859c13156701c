//! What a registered node keeps: its id, its private key, and whom it trusts.
//!
//! One file in the state directory, readable by its owner alone. The private key never leaves it:
//! the node proves itself by signing, see [`patchwave_schemas::proof`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{login_proof, login_text, rebind_text};
use patchwave_schemas::registration::NodeTransport;
use patchwave_schemas::signing::VerificationKey;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};

use crate::private_file;

/// File in the state directory.
const FILE: &str = "credentials.json";

/// Why a node's credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written.
    #[error("could not {attempted} `{}`", path.display())]
    Io {
        /// What was attempted.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The file holds something else, or is open to others.
    #[error("`{}`: {reason}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// No key could be made.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// A node's own key.
pub struct NodeKey {
    pair: Ed25519KeyPair,
    /// As it is kept: PKCS #8.
    document: Vec<u8>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

impl NodeKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`CredentialsError::NoRandomness`].
    pub fn generate() -> Result<Self, CredentialsError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| CredentialsError::NoRandomness)?;
        Self::from_document(document.as_ref()).ok_or(CredentialsError::NoRandomness)
    }

    fn from_document(document: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(document).ok()?;
        Some(Self { pair, document: document.to_vec() })
    }

    /// The key as it is kept: for a file that only its owner reads.
    pub(crate) fn to_text(&self) -> String {
        BASE64.encode(&self.document)
    }

    /// A key from the text that it was kept as.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        BASE64.decode(text.trim()).ok().and_then(|document| Self::from_document(&document))
    }

    /// The public half, in base64.
    #[must_use]
    pub fn public_key(&self) -> String {
        BASE64.encode(self.pair.public_key())
    }

    /// A login proof for this instant: the password of a connection that is made now.
    #[must_use]
    pub fn proof(&self, node: &NodeId, now: Timestamp) -> String {
        self.signed(now, |seconds| login_text(node, seconds))
    }

    /// A proof that the node is to have another key and fingerprint from now on; good for those alone.
    #[must_use]
    pub fn rebind_proof(&self, node: &NodeId, to: &Self, fingerprint: &str, now: Timestamp) -> String {
        self.signed(now, |seconds| rebind_text(node, seconds, &to.public_key(), fingerprint))
    }

    fn signed(&self, now: Timestamp, text: impl FnOnce(i64) -> Vec<u8>) -> String {
        let seconds = now.as_second();
        login_proof(seconds, &URL_SAFE_NO_PAD.encode(self.pair.sign(&text(seconds))))
    }
}

/// Everything that a registration gave.
#[derive(Debug)]
pub struct Credentials {
    /// Who the node is.
    pub node_id: NodeId,
    /// What it proves that with.
    pub key: NodeKey,
    /// What the machine looked like when it registered.
    pub fingerprint: String,
    /// The server that it registered with, `https://…`.
    pub server: String,
    /// PEM file of the authority that vouches for the server, where the system's own do not.
    pub ca_cert: Option<PathBuf>,
    /// How it reaches the control plane.
    pub transport: NodeTransport,
    /// Whose messages it acts on, as the registration said; later ones are kept by [`crate::keys`].
    pub verification_keys: Vec<VerificationKey>,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    node_id: NodeId,
    private_key: String,
    fingerprint: String,
    server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_cert: Option<PathBuf>,
    transport: NodeTransport,
    verification_keys: Vec<VerificationKey>,
}

impl Credentials {
    /// Where they are kept.
    #[must_use]
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(FILE)
    }

    /// Reads them; `None` when the node never registered.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn load(state_dir: &Path) -> Result<Option<Self>, CredentialsError> {
        let path = Self::path(state_dir);
        let bad = |reason: String| CredentialsError::Bad { path: path.clone(), reason };
        let Some(text) = private_file::read(&path)? else { return Ok(None) };
        // What serde says may quote the file, which holds the key.
        let kept: Kept = serde_json::from_str(&text)
            .map_err(|error| bad(format!("line {} is not as it was written; register again", error.line())))?;
        let key = NodeKey::from_text(&kept.private_key);
        Ok(Some(Self {
            node_id: kept.node_id,
            key: key.ok_or_else(|| bad("the private key is damaged; register again".to_owned()))?,
            fingerprint: kept.fingerprint,
            server: kept.server,
            ca_cert: kept.ca_cert,
            transport: kept.transport,
            verification_keys: kept.verification_keys,
        }))
    }

    /// Keeps them, replacing those that were there, whole or not at all.
    ///
    /// # Errors
    /// [`CredentialsError::Io`].
    pub fn store(&self, state_dir: &Path) -> Result<(), CredentialsError> {
        let kept = Kept {
            node_id: self.node_id.clone(),
            private_key: self.key.to_text(),
            fingerprint: self.fingerprint.clone(),
            server: self.server.clone(),
            ca_cert: self.ca_cert.clone(),
            transport: self.transport.clone(),
            verification_keys: self.verification_keys.clone(),
        };
        let text = serde_json::to_string_pretty(&kept).expect("plain values always serialise");
        private_file::write(&Self::path(state_dir), &text)
    }

    /// A login proof for this instant.
    #[must_use]
    pub fn proof(&self, now: Timestamp) -> String {
        self.key.proof(&self.node_id, now)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use patchwave_schemas::proof::split_login_proof;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            node_id: NodeId::from_bits(7),
            key: NodeKey::generate().expect("randomness"),
            fingerprint: "v1:0".to_owned(),
            server: "https://patchwave.example".to_owned(),
            ca_cert: None,
            transport: NodeTransport::Gateway,
            verification_keys: Vec::new(),
        }
    }

    #[test]
    fn credentials_are_kept_for_their_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        assert!(Credentials::load(&state).expect("nothing yet").is_none());
        let first = credentials();
        first.store(&state).expect("stored");
        first.store(&state).expect("stored again");
        let found = Credentials::load(&state).expect("read").expect("there");
        assert_eq!((found.node_id, found.key.public_key()), (first.node_id.clone(), first.key.public_key()));

        let path = Credentials::path(&state);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = Credentials::load(&state).expect_err("open to others").to_string();
        assert!(error.contains("640"), "{error}");
    }

    #[test]
    fn what_is_damaged_is_refused_without_being_quoted() {
        let directory = tempfile::tempdir().expect("a directory");
        credentials().store(directory.path()).expect("stored");
        let path = Credentials::path(directory.path());
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.replace("\"private_key\": \"", "\"private_key\": \"SECRET")).expect("written");
        let error = format!("{:?}", Credentials::load(directory.path()).expect_err("damaged"));
        assert!(error.contains("register again") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn a_proof_verifies_with_the_public_key_for_its_node_and_instant() {
        let credentials = credentials();
        let now = Timestamp::from_second(1_700_000_000).expect("an instant");
        let proof = credentials.proof(now);
        let (seconds, signature) = split_login_proof(&proof).expect("a proof");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let public = BASE64.decode(credentials.key.public_key()).expect("base64");
        let verifies = |node: &NodeId, seconds| {
            UnparsedPublicKey::new(&ED25519, &public).verify(&login_text(node, seconds), &signature).is_ok()
        };
        assert!(verifies(&credentials.node_id, seconds));
        assert!(!verifies(&NodeId::from_bits(8), seconds) && !verifies(&credentials.node_id, seconds + 1));
    }
}
