//! Becoming a node, and keeping up with the control plane's keys: what an agent asks over HTTPS
//! besides its commands.
//!
//! The key is made and kept before anything is sent: a registration whose answer was lost is
//! repeated with the same key, and is then the same node.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use jiff::Timestamp;
use patchwave_schemas::registration::{Rebind, Registered, Registration, RegistrationRefused, VerificationKeys};
use rand::RngExt as _;
use reqwest::{Client, StatusCode, Url};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::credentials::{Credentials, CredentialsError, NodeKey};
use crate::identity::{self, IdentityError};
use crate::transport::TransportError;
use crate::transport::gateway;
use crate::trust::{KeyRefusal, KeyRing};
use crate::{execute, fingerprint};

/// File that holds the key of a registration under way.
const PENDING_FILE: &str = "registration-key";
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Tries to reach the server, over half a minute or so.
const TRIES: usize = 6;
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Time between two looks at the control plane's keys.
const KEYS_EVERY: Duration = Duration::from_secs(3_600);
/// Time between two looks that messages with unknown keys may cause: whoever can make those must
/// not make the fleet ask all the time.
const KEYS_AT_MOST_EVERY: Duration = Duration::from_secs(60);

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

/// Why a machine did not register, or a node has no new keys.
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
    let (server, client) = gateway::client(&request.server, request.ca_cert.as_deref())?;
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
    let url = server.join("/node/v1/register").map_err(link("make the server's URL"))?;
    let answer = timeout(ANSWER_WITHIN, client.post(url).json(registration).send())
        .await
        .map_err(link("hear the server in time"))?
        .map_err(link("reach the server"))?;
    let status = answer.status();
    let body = body(answer).await?;
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body).map_err(link("read the server's answer"))?);
    }
    match serde_json::from_slice::<RegistrationRefused>(&body) {
        Ok(RegistrationRefused { code, message }) => Err(RegisterError::Refused { code, message }),
        Err(_) => Err(RegisterError::Refused {
            code: status.as_str().to_owned(),
            message: "what answered is not Patchwave's API; check --server".to_owned(),
        }),
    }
}

async fn body(mut answer: reqwest::Response) -> Result<Vec<u8>, RegisterError> {
    let reading = async {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(link("read the server's answer"))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                let reason = io::Error::other(format!("it is longer than {ANSWER_BYTES_MAX} bytes"));
                return Err(link("read the server's answer")(reason));
            }
        }
        Ok(body)
    };
    timeout(ANSWER_WITHIN, reading).await.map_err(link("hear the server in time"))?.map_err(RegisterError::from)
}

fn link<E>(attempted: &'static str) -> impl FnOnce(E) -> TransportError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| TransportError::Link { attempted: attempted.to_owned(), source: Box::new(source) }
}

/// The key of this registration: made at the first try, the same at every further one.
fn pending_key(state_dir: &Path) -> Result<NodeKey, CredentialsError> {
    let path = state_dir.join(PENDING_FILE);
    let failed = |attempted| {
        let path = path.clone();
        move |source| CredentialsError::Io { attempted, path, source }
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            if let Some(key) = NodeKey::from_text(&text) {
                return Ok(key);
            }
            // Written in part only: nobody can have seen its public half.
            fs::remove_file(&path).map_err(failed("remove"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let key = NodeKey::generate()?;
    fs::create_dir_all(state_dir).map_err(failed("create the directory of"))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed("create"))?;
    file.write_all(key.to_text().as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    Ok(key)
}

/// Asks the server for the control plane's keys every hour, and when somebody was heard whose key is
/// not known; keeps what is vouched for. Ends with `stop`.
pub async fn keep_keys(
    mut credentials: Credentials,
    ring: Arc<KeyRing>,
    state_dir: PathBuf,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    loop {
        let since = Instant::now();
        match fetch_keys(&credentials, &ring).await {
            Ok(false) => {}
            Ok(true) => {
                credentials.verification_keys = ring.to_list();
                match credentials.store(&state_dir) {
                    Ok(()) => {
                        tracing::info!(keys = credentials.verification_keys.len(), "the control plane's keys changed")
                    }
                    Err(error) => tracing::warn!(error = execute::error_chain(&error), "new keys could not be kept"),
                }
            }
            Err(error) => {
                tracing::warn!(error = execute::error_chain(&error), "the control plane's keys could not be read");
            }
        }
        // A fleet that started together does not ask together.
        let wait = KEYS_EVERY.mul_f64(drawn(0.5));
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
            () = asked.notified() => {
                let rest = KEYS_AT_MOST_EVERY.saturating_sub(since.elapsed());
                if stop.run_until_cancelled(sleep(rest.mul_f64(drawn(0.0)))).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// A share from `least` to 1, drawn at random.
fn drawn(least: f64) -> f64 {
    rand::rng().random_range(least..1.0)
}

async fn fetch_keys(credentials: &Credentials, ring: &KeyRing) -> Result<bool, RegisterError> {
    let (server, client) = gateway::client(&credentials.server, credentials.ca_cert.as_deref())?;
    let url = server.join("/node/v1/keys").map_err(link("make the server's URL"))?;
    let answer = timeout(ANSWER_WITHIN, client.get(url).send())
        .await
        .map_err(link("hear the server in time"))?
        .map_err(link("reach the server"))?
        .error_for_status()
        .map_err(link("read the control plane's keys"))?;
    let listed: VerificationKeys =
        serde_json::from_slice(&body(answer).await?).map_err(link("read the control plane's keys"))?;
    Ok(ring.update(&listed.verification_keys)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_registration_has_the_same_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let first = pending_key(&state).expect("made").public_key();
        assert_eq!(pending_key(&state).expect("found").public_key(), first);
        fs::write(state.join(PENDING_FILE), "half").expect("written");
        assert_ne!(pending_key(&state).expect("made anew").public_key(), first);
    }
}
