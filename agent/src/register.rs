//! Becoming a node, and keeping its id on a machine that has changed.
//!
//! The key is made and kept before anything is sent: a registration whose answer was lost is
//! repeated with the same key, and is then the same node.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use patchwave_schemas::registration::{Rebind, Registered, Registration, RegistrationRefused};
use reqwest::{Client, StatusCode, Url};
use tokio::time::timeout;

use crate::credentials::{Credentials, CredentialsError, NodeKey};
use crate::identity::{self, IdentityError};
use crate::transport::TransportError;
use crate::transport::https::{self, failed};
use crate::trust::{KeyRefusal, KeyRing};
use crate::{execute, fingerprint, private_file};

/// File that holds the key of a registration under way.
const PENDING_FILE: &str = "registration-key";
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Tries to reach the server, over half a minute or so.
const TRIES: usize = 6;
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// What a machine registers with.
pub struct Request {
    /// `https://host:port`, the control plane's API.
    pub server: String,
    /// PEM file of the authority that vouches for it, where the system's own do not.
    pub ca_cert: Option<PathBuf>,
    /// From CreateActivation.
    pub activation_id: String,
    /// From CreateActivation.
    pub activation_code: String,
    /// The system that is registered.
    pub root: PathBuf,
    /// Where the credentials go.
    pub state_dir: PathBuf,
    /// Keep the id of the node that registered here before.
    pub rebind: bool,
}

/// Why a machine did not register.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It is registered.
    #[error("this machine is registered as {node_id}; to keep that id on a machine that has changed use --rebind, to register as a new node remove `{}`", path.display())]
    Already {
        /// As which node.
        node_id: String,
        /// Its credentials.
        path: PathBuf,
    },
    /// It is not, and was to be rebound.
    #[error("--rebind was given, but this machine has no credentials of a node")]
    NothingToRebind,
    /// The server said no.
    #[error("the server refused: {message} ({code})")]
    Refused {
        /// A name to match on.
        code: String,
        /// Why.
        message: String,
    },
    /// The server could not be reached, or is no Patchwave.
    #[error(transparent)]
    Server(#[from] TransportError),
    /// The keys that the server lists are not to be trusted.
    #[error(transparent)]
    Keys(#[from] KeyRefusal),
    /// The state directory.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The machine does not know what it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl RegisterError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Server(TransportError::Link { .. }) => true,
            Self::Refused { code, .. } => code == "ServiceUnavailable" || code == "ThrottlingException",
            _ => false,
        }
    }
}

/// Registers this machine and keeps what it is given.
///
/// # Errors
/// [`RegisterError`]; it may be tried again with the same activation.
pub async fn register(request: &Request) -> Result<Credentials, RegisterError> {
    let (server, client) = https::client(&request.server, request.ca_cert.as_deref())?;
    let before = Credentials::load(&request.state_dir)?;
    let rebind = match (&before, request.rebind) {
        (None, true) => return Err(RegisterError::NothingToRebind),
        (Some(known), false) => {
            return Err(RegisterError::Already {
                node_id: known.node_id.to_string(),
                path: Credentials::path(&request.state_dir),
            });
        }
        (Some(known), true) => Some(known),
        (None, false) => None,
    };
    let key = pending_key(&request.state_dir)?;
    let fingerprint = fingerprint::of_machine(&request.root);
    let system = identity::system(&request.root)?;
    let asked = || async {
        let registration = Registration {
            activation_id: request.activation_id.clone(),
            activation_code: request.activation_code.clone(),
            public_key: key.public_key(),
            fingerprint: fingerprint.clone(),
            computer_name: identity::computer_name(),
            operating_system: system.operating_system,
            platform_name: system.platform_name.clone(),
            platform_version: system.platform_version.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            rebind: rebind.map(|known| Rebind {
                node_id: known.node_id.clone(),
                proof: known.key.rebind_proof(&known.node_id, &key, &fingerprint, Timestamp::now()),
            }),
        };
        ask_to_register(&client, &server, &registration).await
    };
    let registered: Registered = asked
        .retry(ExponentialBuilder::default().with_jitter().with_max_times(TRIES))
        .when(RegisterError::is_transient)
        .notify(|error, pause| {
            let error = execute::error_chain(error);
            tracing::warn!(error, pause_ms = pause.as_millis(), "could not register; trying again");
        })
        .await?;
    // Nothing is kept that could not be used.
    let verification_keys = KeyRing::first(&registered.verification_keys)?.to_list();
    let credentials = Credentials {
        node_id: registered.node_id,
        key,
        fingerprint,
        server: request.server.clone(),
        ca_cert: request.ca_cert.clone(),
        transport: registered.transport,
        verification_keys,
    };
    credentials.store(&request.state_dir)?;
    match fs::remove_file(request.state_dir.join(PENDING_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the key of the registration could not be removed beside the credentials");
        }
        _ => {}
    }
    Ok(credentials)
}

async fn ask_to_register(
    client: &Client,
    server: &Url,
    registration: &Registration,
) -> Result<Registered, RegisterError> {
    let url = server.join("/node/v1/register").map_err(failed("make the server's URL"))?;
    let answer = timeout(ANSWER_WITHIN, client.post(url).json(registration).send())
        .await
        .map_err(failed("hear the server in time"))?
        .map_err(failed("reach the server"))?;
    let status = answer.status();
    let body = https::body(answer, ANSWER_BYTES_MAX, ANSWER_WITHIN).await?;
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body).map_err(failed("read the server's answer"))?);
    }
    match serde_json::from_slice::<RegistrationRefused>(&body) {
        Ok(RegistrationRefused { code, message }) => Err(RegisterError::Refused { code, message }),
        Err(_) => Err(RegisterError::Refused {
            code: status.as_str().to_owned(),
            message: "what answered is not Patchwave's API; check --server".to_owned(),
        }),
    }
}

/// The key of this registration: made at the first try, the same at every further one.
fn pending_key(state_dir: &Path) -> Result<NodeKey, CredentialsError> {
    let path = state_dir.join(PENDING_FILE);
    // One that was damaged is made anew: nobody can have seen its public half.
    if let Some(key) = private_file::read(&path)?.as_deref().and_then(NodeKey::from_text) {
        return Ok(key);
    }
    let key = NodeKey::generate()?;
    private_file::write(&path, &key.to_text())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_repeated_registration_has_the_same_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let first = pending_key(&state).expect("made").public_key();
        assert_eq!(pending_key(&state).expect("found").public_key(), first);
        fs::write(state.join(PENDING_FILE), "half").expect("written");
        let second = pending_key(&state).expect("made anew").public_key();
        assert_ne!(second, first);
        fs::set_permissions(state.join(PENDING_FILE), fs::Permissions::from_mode(0o644)).expect("chmod");
        let error = pending_key(&state).expect_err("somebody else may have it").to_string();
        assert!(error.contains("644"), "{error}");
    }
}
