//! Keeping up with the control plane's keys: a node asks for them over HTTPS, and takes those that
//! its own vouch for.
//!
//! They are kept in a file of their own beside the credentials. Those are written by a registration
//! and by nothing else, so that an agent that still runs cannot undo one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use patchwave_schemas::NodeId;
use patchwave_schemas::registration::VerificationKeys;
use patchwave_schemas::signing::VerificationKey;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::credentials::{Credentials, CredentialsError};
use crate::execute::error_chain;
use crate::private_file;
use crate::transport::TransportError;
use crate::transport::https::{self, failed};
use crate::trust::{KeyRefusal, KeyRing};

/// File in the state directory.
const FILE: &str = "verification-keys.json";
/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How often a node asks. Each wait is drawn anew, because all nodes of a fleet start together, and
/// all of them hear a new key within a moment.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Longest wait before the first time.
    pub first_within: Duration,
    /// Longest time between two, unless somebody is heard whose key is not known; at least half of it.
    pub every: Duration,
    /// Least time between two in any case: whoever can make messages with unknown keys must not make
    /// the fleet ask all the time.
    pub at_most_every: Duration,
    /// Longest further wait when somebody is heard whose key is not known.
    pub spread: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_within: Duration::from_secs(10),
            every: Duration::from_secs(3_600),
            at_most_every: Duration::from_secs(60),
            spread: Duration::from_secs(20),
        }
    }
}

impl Pace {
    /// How long to wait when somebody was heard whose key is not known: `since` is the time since it
    /// asked last, `share` of the further wait is drawn.
    fn when_asked(&self, since: Option<Duration>, share: f64) -> Duration {
        let rest = since.map_or(Duration::ZERO, |since| self.at_most_every.saturating_sub(since));
        rest + self.spread.mul_f64(share)
    }
}

/// Why a node has no new keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The server could not be reached, or is no Patchwave.
    #[error(transparent)]
    Server(#[from] TransportError),
    /// The keys that it lists are not to be trusted.
    #[error(transparent)]
    Refused(#[from] KeyRefusal),
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Whose they are: another node's, or those of another registration, are not read.
    node_id: NodeId,
    public_key: String,
    verification_keys: Vec<VerificationKey>,
}

/// The keys that a node trusts as it starts: the last ones that were kept, else the registration's.
///
/// # Errors
/// [`CredentialsError`].
pub fn kept(state_dir: &Path, credentials: &Credentials) -> Result<Vec<VerificationKey>, CredentialsError> {
    let path = state_dir.join(FILE);
    let Some(text) = private_file::read(&path)? else { return Ok(credentials.verification_keys.clone()) };
    let kept: Kept = serde_json::from_str(&text).map_err(|error| CredentialsError::Bad {
        path,
        reason: format!("{error}; remove it, and the keys are asked for again"),
    })?;
    let is_own = kept.node_id == credentials.node_id && kept.public_key == credentials.key.public_key();
    Ok(if is_own { kept.verification_keys } else { credentials.verification_keys.clone() })
}

/// Asks the server for the control plane's keys, and keeps what is vouched for.
#[derive(Debug)]
pub struct Keeper {
    server: String,
    ca_cert: Option<PathBuf>,
    state_dir: PathBuf,
    node_id: NodeId,
    public_key: String,
    ring: Arc<KeyRing>,
}

impl Keeper {
    /// For a registered node, which asks `server`, by default the one that it registered with.
    #[must_use]
    pub fn new(
        credentials: &Credentials,
        server: Option<String>,
        ca_cert: Option<PathBuf>,
        state_dir: PathBuf,
        ring: Arc<KeyRing>,
    ) -> Self {
        Self {
            server: server.unwrap_or_else(|| credentials.server.clone()),
            ca_cert: ca_cert.or_else(|| credentials.ca_cert.clone()),
            state_dir,
            node_id: credentials.node_id.clone(),
            public_key: credentials.key.public_key(),
            ring,
        }
    }

    /// Asks at this pace, and when `asked` says that somebody was heard whose key is not known.
    /// Ends with `stop`.
    pub async fn run(self, pace: Pace, asked: Arc<Notify>, stop: CancellationToken) {
        let mut wait = pace.first_within.mul_f64(drawn(0.0));
        let mut last: Option<Instant> = None;
        loop {
            let due = async {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = asked.notified() => {
                        sleep(pace.when_asked(last.map(|last| last.elapsed()), drawn(0.0))).await;
                    }
                }
            };
            if stop.run_until_cancelled(due).await.is_none() {
                return;
            }
            last = Some(Instant::now());
            match stop.run_until_cancelled(self.look()).await {
                None => return,
                Some(Ok(false)) => {}
                Some(Ok(true)) => self.keep(),
                Some(Err(error)) => {
                    tracing::warn!(error = error_chain(&error), "the control plane's keys could not be read");
                }
            }
            wait = pace.every.mul_f64(drawn(0.5));
        }
    }

    /// Asks once. Returns whether the keys have changed.
    ///
    /// # Errors
    /// [`KeysError`]; nothing changed.
    pub async fn look(&self) -> Result<bool, KeysError> {
        let (server, client) = https::client(&self.server, self.ca_cert.as_deref())?;
        let url = server.join("/node/v1/keys").map_err(failed("make the server's URL"))?;
        let answer = timeout(ANSWER_WITHIN, client.get(url).send())
            .await
            .map_err(failed("hear the server in time"))?
            .map_err(failed("reach the server"))?
            .error_for_status()
            .map_err(failed("read the control plane's keys"))?;
        let body = https::body(answer, ANSWER_BYTES_MAX, ANSWER_WITHIN).await?;
        let listed: VerificationKeys =
            serde_json::from_slice(&body).map_err(failed("read the control plane's keys"))?;
        Ok(self.ring.update(&listed.verification_keys)?)
    }

    fn keep(&self) {
        let kept = Kept {
            node_id: self.node_id.clone(),
            public_key: self.public_key.clone(),
            verification_keys: self.ring.to_list(),
        };
        let text = serde_json::to_string_pretty(&kept).expect("plain values always serialise");
        match private_file::write(&self.state_dir.join(FILE), &text) {
            Ok(()) => tracing::info!(keys = kept.verification_keys.len(), "the control plane's keys changed"),
            // They are in use all the same, and are asked for again at the next start.
            Err(error) => tracing::warn!(error = error_chain(&error), "new keys could not be kept"),
        }
    }
}

/// A share from `least` to 1, drawn at random.
fn drawn(least: f64) -> f64 {
    rand::rng().random_range(least..1.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use patchwave_schemas::registration::{LISTED_KEYS_MAX, NodeTransport};
    use patchwave_schemas::signing::endorsed_text;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::credentials::NodeKey;

    /// A control plane whose every key is vouched for by the one before.
    fn chain(length: usize) -> Vec<VerificationKey> {
        let mut listed: Vec<VerificationKey> = Vec::new();
        let mut before: Option<Ed25519KeyPair> = None;
        for number in 0..length {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
            let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
            let (key_id, public_key) = (format!("sk-{number}"), BASE64.encode(pair.public_key()));
            let text = endorsed_text(&key_id, &public_key);
            listed.push(VerificationKey {
                endorsed_by: listed.last().map(|key| key.key_id.clone()),
                endorsement: before.map(|before| BASE64.encode(before.sign(&text))),
                valid: true,
                key_id,
                public_key,
            });
            before = Some(pair);
        }
        listed
    }

    /// A server that lists keys, and counts who asks.
    #[derive(Clone, Default)]
    struct Server {
        listed: Arc<Mutex<Vec<VerificationKey>>>,
        asked: Arc<AtomicUsize>,
    }

    impl Server {
        async fn serve(self, listener: TcpListener) {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await.expect("a request");
                self.asked.fetch_add(1, Ordering::SeqCst);
                let verification_keys = self.listed.lock().expect("no test panics with it").clone();
                let body = serde_json::to_string(&VerificationKeys { verification_keys }).expect("plain values");
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                stream.write_all((head + &body).as_bytes()).await.expect("sent");
            }
        }
    }

    fn registered(server: &str, keys: &[VerificationKey]) -> Credentials {
        Credentials {
            node_id: NodeId::from_bits(7),
            key: NodeKey::generate().expect("randomness"),
            fingerprint: "v1:0".to_owned(),
            server: server.to_owned(),
            ca_cert: None,
            transport: NodeTransport::Gateway,
            verification_keys: keys.to_vec(),
        }
    }

    struct World {
        server: Server,
        listener: TcpListener,
        credentials: Credentials,
        ring: Arc<KeyRing>,
        state: TempDir,
    }

    impl World {
        /// A node that knows the first of these keys, and a server that lists all of them.
        async fn new(keys: Vec<VerificationKey>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = format!("http://{}", listener.local_addr().expect("bound"));
            let credentials = registered(&address, &keys[..1]);
            let ring = Arc::new(KeyRing::first(&keys[..1]).expect("a key"));
            let server = Server { listed: Arc::new(Mutex::new(keys)), ..Server::default() };
            let state = tempfile::tempdir().expect("a directory");
            credentials.store(state.path()).expect("stored");
            Self { server, listener, credentials, ring, state }
        }

        fn keeper(&self, server: Option<String>) -> Keeper {
            let state = self.state.path().to_owned();
            Keeper::new(&self.credentials, server, None, state, Arc::clone(&self.ring))
        }
    }

    fn names(keys: &[VerificationKey]) -> Vec<&str> {
        keys.iter().map(|key| key.key_id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_node_goes_by_its_keys_while_the_server_is_away() {
        let world = World::new(chain(2)).await;
        let address = world.listener.local_addr().expect("bound");
        // Nobody listens there.
        let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let elsewhere = format!("http://{}", nobody.local_addr().expect("bound"));
        drop(nobody);
        let away = world.keeper(Some(elsewhere)).look().await.expect_err("it is away");
        assert!(matches!(away, KeysError::Server(TransportError::Link { .. })), "{away}");
        assert_eq!(names(&world.ring.to_list()), ["sk-0"]);

        tokio::spawn(world.server.clone().serve(world.listener));
        let state = world.state.path().to_owned();
        let keeper = Keeper::new(&world.credentials, None, None, state, Arc::clone(&world.ring));
        assert!(keeper.look().await.expect("it is back"), "{address}");
        assert_eq!(names(&world.ring.to_list()), ["sk-0", "sk-1"]);
        assert!(!keeper.look().await.expect("asked"), "nothing new");
    }

    #[tokio::test]
    async fn a_list_that_is_too_long_changes_nothing() {
        let world = World::new(chain(LISTED_KEYS_MAX + 1)).await;
        let keeper = world.keeper(None);
        let listed = Arc::clone(&world.server.listed);
        tokio::spawn(world.server.serve(world.listener));
        let refused = keeper.look().await.expect_err("too many");
        assert!(matches!(refused, KeysError::Refused(KeyRefusal::TooMany { listed: 65 })), "{refused}");
        assert_eq!(names(&world.ring.to_list()), ["sk-0"]);
        listed.lock().expect("no test panics with it").pop();
        assert!(keeper.look().await.expect("as many as are allowed"));
        assert_eq!(world.ring.to_list().len(), LISTED_KEYS_MAX);
    }

    #[tokio::test]
    async fn new_keys_are_kept_and_undo_no_registration() {
        let world = World::new(chain(2)).await;
        let keeper = world.keeper(None);
        tokio::spawn(world.server.serve(world.listener));
        let state = world.state.path();
        // Another program rebinds the node while this one runs.
        let rebound = registered("https://patchwave.example", &chain(1));
        rebound.store(state).expect("stored");
        let stop = CancellationToken::new();
        let pace = Pace { first_within: Duration::ZERO, ..Pace::default() };
        let running = tokio::spawn(keeper.run(pace, Arc::default(), stop.clone()));
        let kept_for = |credentials: &Credentials| {
            let keys = kept(state, credentials).expect("read");
            keys.iter().map(|key| (key.key_id.clone(), key.public_key.clone())).collect::<Vec<_>>()
        };
        let started = Instant::now();
        while kept_for(&world.credentials).len() < 2 {
            assert!(started.elapsed() < Duration::from_secs(30), "the keys were not kept");
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        running.await.expect("it ends");
        let found = Credentials::load(state).expect("read").expect("there");
        assert_eq!(found.key.public_key(), rebound.key.public_key(), "the new key is still there");
        let own: Vec<_> =
            rebound.verification_keys.iter().map(|key| (key.key_id.clone(), key.public_key.clone())).collect();
        assert_eq!(kept_for(&found), own, "keys of another registration are not taken");
    }

    #[tokio::test]
    async fn whoever_makes_messages_with_unknown_keys_does_not_make_the_node_ask_all_the_time() {
        let world = World::new(chain(1)).await;
        let (keeper, count) = (world.keeper(None), Arc::clone(&world.server.asked));
        tokio::spawn(world.server.serve(world.listener));
        let (asked, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let pace = Pace { first_within: Duration::ZERO, at_most_every: Duration::from_millis(200), ..Pace::default() };
        let pace = Pace { spread: Duration::from_millis(50), ..pace };
        let running = tokio::spawn(keeper.run(pace, Arc::clone(&asked), stop.clone()));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            asked.notify_one();
            sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
        running.await.expect("it ends");
        let times = count.load(Ordering::SeqCst);
        assert!((2..=6).contains(&times), "it asked {times} times in a second");
    }

    #[test]
    fn a_fleet_that_hears_a_new_key_does_not_ask_as_one() {
        let pace = Pace::default();
        assert_eq!(pace.when_asked(None, 0.0), Duration::ZERO);
        assert_eq!(pace.when_asked(Some(Duration::from_secs(20)), 0.0), Duration::from_secs(40));
        assert_eq!(pace.when_asked(Some(Duration::from_secs(20)), 0.5), Duration::from_secs(50));
        assert_eq!(pace.when_asked(Some(Duration::from_secs(3_000)), 0.5), Duration::from_secs(10));
    }
}
