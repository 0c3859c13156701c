//! Who calls: every request but those for health is signed (AWS SigV4), and a handler knows by whom.
//!
//! - [`claim`]: what a request says about who sent it.
//! - [`canonical`], [`signature`]: whether that is true.
//! - [`limits`]: how often.
//! - [`strangers`]: what it may cost to find out that it is not.
//!
//! Any region is accepted: there are none here, and clients must name one. A read may be repeated
//! with its signature as long as that is valid; a change is made once with it, see `audited`.

pub(crate) mod canonical;
pub(crate) mod claim;
pub(crate) mod limits;
pub(crate) mod signature;
pub(crate) mod strangers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use patchwave_engine::access::{NodePolicy, Role};
use patchwave_platform::audit::{Entry, Outcome};
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::canonical::Parts;
use self::claim::Claim;
use self::limits::Buckets;
use self::strangers::{Network, Strangers, peer};
use crate::body::{Broken, whole};
use crate::shares::Shares;
use crate::wire::Error;
use crate::{Api, BODY_BYTES_MAX, protocol};

/// Requests that are answered at once. More only wait for the same connections to the store.
const IN_HAND_MAX: usize = 256;
/// Bytes of bodies that are being read or answered at once, and what one network may have of them.
/// Short bodies are not counted.
const BODIES_BYTES: (usize, usize) = (128 << 20, 32 << 20);

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) access_key_id: String,
    pub(crate) role: Role,
    /// The nodes the key is for; every node when absent.
    pub(crate) policy: Option<NodePolicy>,
    /// The address it came from.
    pub(crate) source: String,
    /// What it was signed with, and until when that is accepted.
    pub(crate) signature: String,
    pub(crate) signature_expires_at: Timestamp,
}

/// What is counted about callers; of this process.
#[derive(Debug)]
pub(crate) struct Gate {
    requests: Buckets,
    pub(crate) strangers: Strangers,
    pub(crate) keys_asked: Buckets,
    recorded: Buckets,
    /// Refusals since the last one that was recorded, of strangers and of holders of keys.
    unrecorded: [AtomicU64; 2],
    bodies: Arc<Shares>,
    in_hand: Semaphore,
    refused_total: AtomicU64,
    throttled_total: AtomicU64,
}

/// Who is refused. What is recorded of strangers takes no room from those who are known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refused {
    /// Nobody knows who: anybody can be one, as often as they like.
    Stranger,
    /// The holder of an access key.
    KeyHolder,
}

impl Refused {
    const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "strangers",
            Self::KeyHolder => "key holders",
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            requests: Buckets::new(limits::REQUESTS),
            strangers: Strangers::default(),
            keys_asked: Buckets::new(limits::KEYS),
            recorded: Buckets::new(limits::RECORDED_FAILURES),
            unrecorded: Default::default(),
            bodies: Shares::new(BODIES_BYTES.0, BODIES_BYTES.1),
            in_hand: Semaphore::new(IN_HAND_MAX),
            refused_total: AtomicU64::new(0),
            throttled_total: AtomicU64::new(0),
        }
    }
}

impl Gate {
    /// Requests of this process that could not prove who sent them, and that came too often.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.refused_total.load(Ordering::Relaxed), self.throttled_total.load(Ordering::Relaxed))
    }

    /// Whether a refusal may take up a row of the audit log; if so, how many did not before it.
    pub(crate) fn may_record(&self, refused: Refused) -> Option<u64> {
        let unrecorded = &self.unrecorded[refused as usize];
        match self.recorded.take(refused.name(), Instant::now()) {
            Ok(()) => Some(unrecorded.swap(0, Ordering::Relaxed)),
            Err(_) => {
                unrecorded.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

/// Lets a signed request through, with its [`Caller`] among its extensions.
pub(crate) async fn require(State(api): State<Api>, request: Request, next: Next) -> Response {
    let request_id = Uuid::new_v4();
    answer(&api, request, next).await.unwrap_or_else(|error| protocol::finished(Err(error), request_id))
}

async fn answer(api: &Api, request: Request, next: Next) -> Result<Response, Error> {
    let (head, body) = request.into_parts();
    let network = Network::of(&head.extensions).0;
    // Held until the answer begins, as the place in hand is: a stream of events is neither.
    let (body, _share) = whole(body, BODY_BYTES_MAX, &api.gate.bodies, &network).await.map_err(|broken| {
        if matches!(broken, Broken::TooLate) {
            api.gate.strangers.failed(&network);
        }
        unread(api, &broken)
    })?;
    let look = api.gate.strangers.look(&network).await.map_err(|wait| throttled(api, wait))?;
    // Taken last: who sends slowly, or is looked at in turn, keeps nobody else waiting.
    let _place = api.gate.in_hand.try_acquire().map_err(|_| throttled(api, Duration::from_secs(1)))?;
    let request = authenticated(api, head, body, &network, look.wait).await?;
    drop(look);
    Ok(next.run(request).await)
}

/// As [`require`], but whoever is on this machine need not sign: for what a local scraper reads.
pub(crate) async fn require_from_afar(state: State<Api>, request: Request, next: Next) -> Response {
    let is_local = peer(request.extensions()).is_some_and(|address| address.to_canonical().is_loopback());
    if is_local && !request.headers().contains_key(axum::http::header::AUTHORIZATION) {
        return protocol::refuse_foreign_hosts(request, next).await.into_response();
    }
    require(state, request, next).await
}

/// The request with its caller. `suspected` is what somebody is answered whose network failed too
/// often, if this fails as well.
async fn authenticated(
    api: &Api,
    mut head: request::Parts,
    body: Bytes,
    network: &str,
    suspected: Option<Duration>,
) -> Result<Request, Error> {
    let now = Timestamp::now();
    let source =
        peer(&head.extensions).map_or_else(|| "unknown".to_owned(), |address| address.to_canonical().to_string());
    match caller(api, &head, &body, &source, now).await {
        Ok(caller) => {
            api.gate.requests.take(&caller.access_key_id, Instant::now()).map_err(|wait| throttled(api, wait))?;
            head.extensions.insert(caller);
            Ok(Request::from_parts(head, Body::from(body)))
        }
        Err(error) if error.status().is_server_error() => Err(error),
        Err(error) => {
            api.gate.strangers.failed(network);
            if let Some(wait) = suspected {
                return Err(throttled(api, wait));
            }
            refused(api, &head, &source, &error, now).await;
            Err(error)
        }
    }
}

/// What is answered to a request whose body there is not.
fn unread(api: &Api, broken: &Broken) -> Error {
    match broken {
        Broken::NoRoom => throttled(api, Duration::from_secs(1)),
        Broken::TooLate => Error::new("RequestTimeoutException", broken.to_string()),
        Broken::TooLong | Broken::Cut(_) => {
            Error::new("SerializationException", format!("{broken}; allowed are {BODY_BYTES_MAX} bytes of JSON"))
        }
    }
}

/// Checks the claim of a request against the access key that it names.
async fn caller(api: &Api, head: &request::Parts, body: &[u8], source: &str, now: Timestamp) -> Result<Caller, Error> {
    let parts = Parts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    };
    let claim = Claim::read(&parts, now)?;
    let unknown =
        || Error::new("UnrecognizedClientException", "The security token included in the request is invalid.");
    let id_may_exist = patchwave_platform::store::access_keys::check_id(&claim.access_key_id).is_ok();
    let found = if id_may_exist { api.store.access_key(&api.master_key, &claim.access_key_id).await? } else { None };
    let (key, secret) = found.ok_or_else(unknown)?;
    signature::check(&parts, body, &claim, secret.reveal())?;
    // Only the holder of the secret learns that its key is disabled.
    if !key.enabled {
        return Err(Error::new("UnrecognizedClientException", "this access key is disabled"));
    }
    // A note for people. A store that takes no changes now can still be read.
    if let Err(error) = api.store.access_key_used(&key, now).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, access_key.id = key.access_key_id, "could not note that an access key was used");
    }
    Ok(Caller {
        access_key_id: key.access_key_id,
        role: key.role,
        policy: key.policy,
        source: source.to_owned(),
        signature: claim.signature,
        signature_expires_at: claim.expires_at,
    })
}

/// Takes note of a request that could not prove who sent it.
async fn refused(api: &Api, head: &request::Parts, source: &str, error: &Error, now: Timestamp) {
    api.gate.refused_total.fetch_add(1, Ordering::Relaxed);
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    tracing::info!(source, target, code = error.code(), "refused a request");
    let Some(unrecorded) = api.gate.may_record(Refused::Stranger) else { return };
    let action = match target.split_once('.') {
        Some((_, operation)) => operation.to_owned(),
        None => format!("{} {}", head.method, head.uri.path()),
    };
    let entry = Entry {
        at: now,
        actor: "unknown".to_owned(),
        source: source.to_owned(),
        action: action.chars().filter(|c| !c.is_control()).collect(),
        subject: String::new(),
        detail: json!({ "Code": error.code(), "UnrecordedBefore": unrecorded }),
        outcome: Outcome::Denied,
    };
    if let Err(failure) = api.store.audit(&api.master_key, &entry).await {
        tracing::error!(error = &failure as &dyn std::error::Error, "a refusal could not be recorded");
    }
}

fn throttled(api: &Api, wait: Duration) -> Error {
    api.gate.throttled_total.fetch_add(1, Ordering::Relaxed);
    Error::throttled("Rate exceeded", wait)
}
