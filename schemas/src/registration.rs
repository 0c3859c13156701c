//! How a machine becomes a node: what it says over HTTPS, and what it is answered.
//!
//! The activation's id and code are the credential of a registration; from then on the node proves
//! itself with the key it made. See `crate::proof` for the texts it signs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::NodeId;
use crate::node::OperatingSystem;
use crate::signing::VerificationKey;

/// Characters of an activation code at most (SSM).
pub const CODE_CHARS_MAX: usize = 250;
/// Keys of one control plane that are listed at most, those that retired included.
pub const LISTED_KEYS_MAX: usize = 64;
/// Characters of a fingerprint at most.
pub const FINGERPRINT_CHARS_MAX: usize = 128;

/// `POST /node/v1/register`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// From CreateActivation.
    pub activation_id: String,
    /// From CreateActivation, shown there once.
    pub activation_code: String,
    /// 32 bytes of the Ed25519 public key that the machine made, in base64.
    pub public_key: String,
    /// A hash of facts about the machine that differ between machines and stay the same on one.
    pub fingerprint: String,
    /// Host name.
    pub computer_name: String,
    /// Which baselines apply.
    pub operating_system: OperatingSystem,
    /// For people, for instance `Debian GNU/Linux`.
    pub platform_name: String,
    /// For instance `12`.
    pub platform_version: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Present where a node that is registered asks to keep its id on a machine that has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebind: Option<Rebind>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The code is a secret as long as the activation lasts.
        f.debug_struct("Registration")
            .field("activation_id", &self.activation_id)
            .field("computer_name", &self.computer_name)
            .finish_non_exhaustive()
    }
}

/// The wish of a registered node to keep its id under another fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rebind {
    /// The node.
    pub node_id: NodeId,
    /// A rebind proof by the key it is registered with, for the key and the fingerprint of this
    /// registration: see `crate::proof::rebind_text`.
    pub proof: String,
}

/// What a registered node is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// Its id.
    pub node_id: NodeId,
    /// The keys that commands may be signed with.
    pub verification_keys: Vec<VerificationKey>,
    /// How it is to reach the control plane.
    pub transport: NodeTransport,
    /// When it was registered first, by the control plane's clock.
    pub registered_at: Timestamp,
}

/// The way between a node and the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum NodeTransport {
    /// Straight to the broker.
    Amqp {
        /// `amqp[s]://host:port/vhost`, without credentials: the node logs in with its id and a proof.
        url: String,
    },
    /// Through the HTTPS gateway of the server that it registered with.
    Gateway,
}

/// `GET /node/v1/keys`: public, as its content is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerificationKeys {
    /// The valid ones, and those that retired last; the oldest first, up to [`LISTED_KEYS_MAX`].
    pub verification_keys: Vec<VerificationKey>,
}

/// Why a registration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistrationRefused {
    /// A name to match on: `InvalidActivation`, `ValidationException`, `ThrottlingException`,
    /// `ServiceUnavailable`.
    pub code: String,
    /// One sentence.
    pub message: String,
}
