//! Registering a machine as a node, and cutting a node off.
//!
//! Both are one transaction. A registration that is repeated because its answer was lost gives the
//! same node; a node that was cut off never comes back under its id or its key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use patchwave_engine::registration::NotAdmitted;
use patchwave_schemas::event::{CancelCause, RolloutCancelRequested};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::node::NodeFacts;
use patchwave_schemas::registration::{CODE_CHARS_MAX, FINGERPRINT_CHARS_MAX, Rebind, Registration};
use patchwave_schemas::{CommandId, NodeId};
use uuid::Uuid;

use crate::Class;
use crate::proofs::{ProofError, key_of, verify_rebind};
use crate::secrets::MasterKey;
use crate::store::activations::Activation;
use crate::store::identities::Identity;
use crate::store::outbox::OutboxMessage;
use crate::store::{self, Store, Tx};

/// Bytes of an Ed25519 public key.
const PUBLIC_KEY_BYTES: usize = 32;

/// Why a machine was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// There is no such activation, or the code is not its own. Which of both is not told.
    #[error("the activation id and code do not belong together, or the activation was deleted")]
    NoSuchActivation,
    /// The activation admits nobody any more.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// A field that cannot be used.
    #[error("{field} is {value}; allowed is {allowed}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What was given, shortened.
        value: String,
        /// What would have been accepted.
        allowed: &'static str,
    },
    /// The key is another node's, or one that was cut off.
    #[error("this public key was registered before; make a new one")]
    KeyInUse,
    /// The node that asks to keep its id is not registered, or did not prove that it is that node.
    #[error("node {node} cannot be bound to another machine")]
    NotRebound {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        reason: NotRebound,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl RegistrationError {
    /// What a caller can do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            _ => Class::Rejected,
        }
    }
}

/// Why a node does not keep its id under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRebound {
    /// There was never such a node.
    #[error("it never registered")]
    Unknown,
    /// It was cut off.
    #[error("it was deregistered")]
    Deregistered,
    /// The activation is the one by which it is registered now: a code that has lain on the machine
    /// since then admits no second machine.
    #[error("it takes another activation than the one that admitted it last")]
    SameActivation,
    /// It did not prove that it has the node's key.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The node's identity as it is stored.
    pub identity: Identity,
    /// What was done, for the record.
    pub kind: Kind,
}

/// What a registration did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new node.
    New,
    /// The same machine asked again: nothing changed.
    Repeated,
    /// A node keeps its id with another key and fingerprint.
    Rebound,
}

/// The MAC under which an activation's code is kept.
#[must_use]
pub fn code_mac(master: &MasterKey, activation: Uuid, code: &str) -> String {
    master.mac(&[b"activation code", activation.as_bytes(), code.as_bytes()])
}

/// Checks the form of a registration and its code, without a lock: whoever has no code must not take
/// the store's writer. [`register`] checks both again.
///
/// # Errors
/// [`RegistrationError`].
pub async fn check_code(
    store: &Store,
    master: &MasterKey,
    registration: &Registration,
) -> Result<(), RegistrationError> {
    check(registration)?;
    let id = activation_id(registration)?;
    belongs(store.activation(id).await?, master, registration).map(drop)
}

/// Registers a machine.
///
/// A node that is bound to another machine gets another key, fingerprint and activation; it stays
/// the node that it was in all else: name, role, tags and the time of its registration.
///
/// # Errors
/// [`RegistrationError`]; the caller drops the transaction.
pub async fn register(
    tx: &mut Tx,
    master: &MasterKey,
    registration: &Registration,
    now: Timestamp,
) -> Result<Outcome, RegistrationError> {
    check(registration)?;
    let activation = activation(tx, master, registration).await?;
    if let Some(known) = tx.lock_identity_by_key(&registration.public_key).await? {
        let same = known.is_registered()
            && known.activation_id == activation.activation_id
            && known.fingerprint == registration.fingerprint;
        return if same {
            Ok(Outcome { identity: known, kind: Kind::Repeated })
        } else {
            Err(RegistrationError::KeyInUse)
        };
    }
    activation.allowance.admit(now)?;
    let (identity, kind) = match &registration.rebind {
        None => (new_identity(registration, &activation, now), Kind::New),
        Some(rebind) => (rebound(tx, registration, rebind, &activation, now).await?, Kind::Rebound),
    };
    tx.put_identity(&identity).await?;
    if kind == Kind::Rebound {
        // The machine that had the id may be connected, by the key that it had.
        tx.request_cut_off(&identity.node_id, now).await?;
    }
    tx.count_registration(activation.activation_id).await?;
    if kind == Kind::New {
        tx.put_node(&facts(&identity.node_id, registration, &activation), now).await?;
    }
    Ok(Outcome { identity, kind })
}

fn new_identity(registration: &Registration, activation: &Activation, now: Timestamp) -> Identity {
    Identity {
        node_id: NodeId::random(),
        public_key: registration.public_key.clone(),
        fingerprint: registration.fingerprint.clone(),
        activation_id: activation.activation_id,
        name: activation.default_instance_name.clone(),
        iam_role: activation.iam_role.clone(),
        // As exact as it is stored: a repeated registration is answered the same.
        registered_at: Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now),
        deregistered_at: None,
    }
}

/// The identity that the node is to have. Its proof is checked against the key that it has while
/// nobody else can change that: of two who rebind one node at once the later one has no proof.
async fn rebound(
    tx: &mut Tx,
    registration: &Registration,
    rebind: &Rebind,
    activation: &Activation,
    now: Timestamp,
) -> Result<Identity, RegistrationError> {
    let node = &rebind.node_id;
    let refused = |reason| RegistrationError::NotRebound { node: node.clone(), reason };
    let known = tx.lock_identity(node).await?.ok_or_else(|| refused(NotRebound::Unknown))?;
    if !known.is_registered() {
        return Err(refused(NotRebound::Deregistered));
    }
    let admitted = (registration.public_key.as_str(), registration.fingerprint.as_str());
    verify_rebind(&key_of(&known)?, node, admitted, &rebind.proof, now).map_err(|error| refused(error.into()))?;
    if known.activation_id == activation.activation_id {
        return Err(refused(NotRebound::SameActivation));
    }
    Ok(Identity {
        public_key: registration.public_key.clone(),
        fingerprint: registration.fingerprint.clone(),
        activation_id: activation.activation_id,
        ..known
    })
}

/// Cuts a node off: from the commit on nothing that it says changes anything, nothing is sent to it,
/// and what it has in hand counts as cancelled. What runs there runs to its end, as in SSM, and
/// nobody is told of it. `None` when there is no such node; cutting off twice is harmless.
///
/// Returns what is to be flushed after the commit; then the node is to be disconnected, see
/// [`crate::cut_off`].
///
/// # Errors
/// [`store::Error`].
pub async fn deregister(
    tx: &mut Tx,
    node: &NodeId,
    now: Timestamp,
) -> Result<Option<Vec<OutboxMessage>>, store::Error> {
    let identity = tx.lock_identity(node).await?;
    let known = identity.is_some();
    if let Some(identity) = identity.filter(Identity::is_registered) {
        tx.put_identity(&Identity { deregistered_at: Some(now), ..identity }).await?;
    }
    if known {
        tx.request_cut_off(node, now).await?;
    }
    let touched = tx.commands_of_node(node).await?;
    if !tx.remove_node(node).await? && !known {
        return Ok(None);
    }
    let cancel = |command_id: CommandId| {
        let id = derived_uuid("deregistered node's command:", &format!("{command_id}/{node}"));
        let request = RolloutCancelRequested {
            command_id,
            node_ids: vec![node.clone()],
            cause: CancelCause::Requested,
            reason: "the node was deregistered".to_owned(),
        };
        OutboxMessage::event(id, "/patchwave/api", now, request)
    };
    let messages: Vec<_> = touched.into_iter().map(cancel).collect();
    tx.enqueue(&messages, now).await?;
    Ok(Some(messages))
}

async fn activation(
    tx: &mut Tx,
    master: &MasterKey,
    registration: &Registration,
) -> Result<Activation, RegistrationError> {
    let id = activation_id(registration)?;
    belongs(tx.lock_activation(id).await?, master, registration)
}

fn activation_id(registration: &Registration) -> Result<Uuid, RegistrationError> {
    registration.activation_id.parse().map_err(|_| RegistrationError::NoSuchActivation)
}

/// The activation, if the code is its own.
fn belongs(
    found: Option<Activation>,
    master: &MasterKey,
    registration: &Registration,
) -> Result<Activation, RegistrationError> {
    let found = found.ok_or(RegistrationError::NoSuchActivation)?;
    let given = code_mac(master, found.activation_id, &registration.activation_code);
    // Both are MACs: how far they agree says nothing about the code.
    if given == found.code_mac { Ok(found) } else { Err(RegistrationError::NoSuchActivation) }
}

fn facts(node: &NodeId, registration: &Registration, activation: &Activation) -> NodeFacts {
    NodeFacts {
        node_id: node.clone(),
        computer_name: registration.computer_name.clone(),
        operating_system: registration.operating_system,
        platform_name: registration.platform_name.clone(),
        platform_version: registration.platform_version.clone(),
        agent_version: registration.agent_version.clone(),
        ip_address: None,
        simulated: false,
        tags: activation.tags.clone(),
    }
}

fn check(registration: &Registration) -> Result<(), RegistrationError> {
    let bad = |field, value: String, allowed| Err(RegistrationError::Field { field, value, allowed });
    let key = BASE64.decode(&registration.public_key).unwrap_or_default();
    if key.len() != PUBLIC_KEY_BYTES {
        return bad("public_key", format!("{} bytes", key.len()), "32 bytes of an Ed25519 key in base64");
    }
    // The code itself is never told.
    if registration.activation_code.len() > CODE_CHARS_MAX {
        return bad("activation_code", format!("{} bytes", registration.activation_code.len()), "up to 250 bytes");
    }
    let length = registration.fingerprint.chars().count();
    if length == 0 || length > FINGERPRINT_CHARS_MAX || registration.fingerprint.chars().any(char::is_control) {
        return bad("fingerprint", format!("{length} characters"), "1 to 128 characters without control characters");
    }
    let texts = [
        ("computer_name", &registration.computer_name),
        ("platform_name", &registration.platform_name),
        ("platform_version", &registration.platform_version),
        ("agent_version", &registration.agent_version),
    ];
    for (field, text) in texts {
        if text.chars().count() > 256 || text.chars().any(char::is_control) {
            let shown: String = text.chars().take(40).collect();
            return bad(field, format!("{shown:?}"), "up to 256 characters without control characters");
        }
    }
    Ok(())
}
