//! Where machines become nodes: `POST /node/v1/register`, and `GET /node/v1/keys`.
//!
//! Not part of SSM's API: the activation's id and code are the credential of a registration, and
//! keys are public. Whoever has no valid activation changes nothing here, and holds nothing up:
//! the code is looked at before anything is locked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use patchwave_platform::audit::{Entry, Outcome};
use patchwave_platform::registration::{Kind, RegistrationError, check_code, register};
use patchwave_platform::signing::verification_keys;
use patchwave_platform::store;
use patchwave_platform::telemetry::error_chain;
use patchwave_platform::{Class, cut_off};
use patchwave_schemas::registration::{Registered, Registration, RegistrationRefused, VerificationKeys};
use serde_json::json;

use crate::Api;
use crate::auth::Refused;
use crate::auth::strangers::Network;

/// Bytes of a registration at most: its fields are short.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The nodes' endpoints that need no registered node.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/node/v1/register", post(register_node))
        .route("/node/v1/keys", get(keys))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

async fn register_node(
    State(api): State<Api>,
    network: Network,
    registration: Result<Json<Registration>, JsonRejection>,
) -> Result<Json<Registered>, Refusal> {
    let Json(registration) = registration.map_err(|rejection| {
        api.gate.strangers.failed(&network.0);
        // The body holds a code; what serde says of it names fields only where it is not text.
        Refusal(rejection.status(), "ValidationException", "the body is not a registration in JSON".to_owned())
    })?;
    let now = Timestamp::now();
    check_claim(&api, &network, &registration, now).await?;
    let mut tx = api.store.begin().await?;
    let outcome = match register(&mut tx, &api.master_key, &registration, now).await {
        Ok(outcome) => outcome,
        Err(error) => {
            // The store takes one writer at a time.
            drop(tx);
            return Err(refused(&api, &network, &registration, error, now));
        }
    };
    let identity = &outcome.identity;
    if outcome.kind != Kind::Repeated {
        let action = if outcome.kind == Kind::Rebound { "RebindManagedInstance" } else { "RegisterManagedInstance" };
        let entry = Entry {
            at: now,
            actor: format!("activation {}", identity.activation_id),
            source: "/node/v1/register".to_owned(),
            action: action.to_owned(),
            subject: identity.node_id.to_string(),
            detail: json!({ "ComputerName": registration.computer_name, "Fingerprint": identity.fingerprint }),
            outcome: Outcome::Succeeded,
        };
        tx.audit(&api.master_key, &entry).await?;
    }
    tx.commit().await?;
    tracing::info!(node.id = %identity.node_id, kind = ?outcome.kind, "a node registered");
    if outcome.kind == Kind::Rebound {
        // The machine that it was has another key.
        api.cut_off(&identity.node_id);
        // Before the new one hears of it, and so before it connects.
        cut_off::at_once(&api.store, api.bus.as_ref(), &identity.node_id, now).await;
    }
    let keys = listed_keys(&api, now).await?;
    Ok(Json(Registered {
        node_id: identity.node_id.clone(),
        verification_keys: keys,
        transport: api.node_transport.clone(),
        registered_at: identity.registered_at,
    }))
}

/// Checks the code before anything is locked, and how often that may fail.
async fn check_claim(api: &Api, network: &Network, registration: &Registration, now: Timestamp) -> Result<(), Refusal> {
    let strangers = &api.gate.strangers;
    let look = strangers.look(&network.0).await.map_err(Refusal::too_often)?;
    let Err(error) = check_code(&api.store, &api.master_key, registration).await else { return Ok(()) };
    if error.class() == Class::Transient {
        return Err(error.into());
    }
    strangers.failed(&network.0);
    match look.wait {
        Some(wait) => Err(Refusal::too_often(wait)),
        None => Err(refused(api, network, registration, error, now)),
    }
}

/// Takes note of a machine that is refused, as far as strangers may fill the log.
fn refused(
    api: &Api,
    network: &Network,
    registration: &Registration,
    error: RegistrationError,
    now: Timestamp,
) -> Refusal {
    let claimed: String = registration.activation_id.chars().filter(|c| !c.is_control()).take(64).collect();
    tracing::warn!(activation.id = claimed, error = %error_chain(&error), "a registration is refused");
    if error.class() == Class::Transient {
        return error.into();
    }
    let Some(unrecorded) = api.gate.may_record(Refused::Stranger) else { return error.into() };
    let rebound = registration.rebind.as_ref();
    let entry = Entry {
        at: now,
        // It is not known whether the activation is theirs.
        actor: "unknown".to_owned(),
        source: network.0.clone(),
        action: if rebound.is_some() { "RebindManagedInstance" } else { "RegisterManagedInstance" }.to_owned(),
        subject: rebound.map(|rebind| rebind.node_id.to_string()).unwrap_or_default(),
        detail: json!({
            "ActivationId": claimed,
            "Message": error.to_string(),
            "UnrecordedBefore": unrecorded,
        }),
        outcome: Outcome::Denied,
    };
    // Whoever is refused waits for nobody who holds the log's end, and holds nothing up; the rate of
    // what may be recorded bounds how many of these there are.
    let (store, master_key) = (api.store.clone(), Arc::clone(&api.master_key));
    tokio::spawn(async move {
        if let Err(failure) = store.audit(&master_key, &entry).await {
            tracing::error!(error = %error_chain(&failure), "a refused registration could not be recorded");
        }
    });
    error.into()
}

async fn keys(State(api): State<Api>, network: Network) -> Result<Json<VerificationKeys>, Refusal> {
    api.gate.keys_asked.take(&network.0, Instant::now()).map_err(Refusal::too_often)?;
    Ok(Json(VerificationKeys { verification_keys: listed_keys(&api, Timestamp::now()).await? }))
}

async fn listed_keys(api: &Api, now: Timestamp) -> Result<Vec<patchwave_schemas::signing::VerificationKey>, Refusal> {
    // The first registration may come before the first command: there must be a key by then.
    if let Err(error) = api.signer.key(now).await {
        tracing::error!(error = %error_chain(&error), "no key can sign");
        return Err(Refusal::unavailable());
    }
    Ok(verification_keys(&api.store.signing_keys().await?, now))
}

/// What a machine is told that is not registered.
struct Refusal(StatusCode, &'static str, String);

impl Refusal {
    fn too_often(wait: Duration) -> Self {
        let text = format!("too many requests from this address; try again in {} s", wait.as_secs() + 1);
        Self(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException", text)
    }

    fn unavailable() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", "try again later".to_owned())
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        tracing::error!(error = %error_chain(&error), "the store could not do as asked");
        Self::unavailable()
    }
}

impl From<RegistrationError> for Refusal {
    fn from(error: RegistrationError) -> Self {
        let code = match error {
            RegistrationError::Store(error) => return error.into(),
            RegistrationError::NoSuchActivation | RegistrationError::NotAdmitted(_) => "InvalidActivation",
            _ => "ValidationException",
        };
        // With its causes: what is wrong with a proof is for its maker to mend.
        Self(StatusCode::BAD_REQUEST, code, error_chain(&error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, code, message) = self;
        (status, Json(RegistrationRefused { code: code.to_owned(), message })).into_response()
    }
}
