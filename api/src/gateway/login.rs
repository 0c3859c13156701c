//! Who sends a request: `Authorization: Patchwave-Node <node id>:<login proof>`.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use patchwave_platform::proofs::{LoginError, ProofError, log_in};
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::NodeId;

use super::Gateway;
use super::streams::Key;
use crate::auth::strangers::Network;

/// The scheme of the header.
const SCHEME: &str = "Patchwave-Node";

/// The node that a request comes from, and the key that it proved that by.
pub(super) struct Caller {
    pub(super) node: NodeId,
    pub(super) key: Key,
}

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Response> {
        let Some((node, proof)) = credentials(&parts.headers) else {
            let expected = format!("expected `Authorization: {SCHEME} <node id>:<login proof>`\n");
            return Err(refused(expected));
        };
        let network = Network::of(&parts.extensions).0;
        let strangers = &gateway.inner.strangers;
        let look = strangers.look(&network).await.map_err(too_often)?;
        match log_in(&*gateway.inner.identities, &node, proof, Timestamp::now()).await {
            Ok(key) => Ok(Self { node, key }),
            Err(error @ LoginError::Store { .. }) => {
                tracing::error!(reason = error_chain(&error), "a node could not be let in");
                Err(unavailable("nodes cannot be looked up"))
            }
            // A wrong clock is its owner's business, and cost nothing to see.
            Err(LoginError::Proof(error @ (ProofError::Age { .. } | ProofError::Malformed))) => {
                tracing::info!(node.id = %node, reason = %error, "denied at the gateway");
                Err(refused(format!("{error}\n")))
            }
            // Who is registered is nobody else's.
            Err(error) => {
                strangers.failed(&network);
                if let Some(wait) = look.wait {
                    return Err(too_often(wait));
                }
                tracing::info!(node.id = %node, reason = %error, "denied at the gateway");
                Err(refused("no such node is registered with that key\n".to_owned()))
            }
        }
    }
}

fn credentials(headers: &HeaderMap) -> Option<(NodeId, &str)> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let (node, proof) = rest.trim().split_once(':')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some((node.parse().ok()?, proof))
}

fn refused(text: String) -> Response {
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, SCHEME)], text).into_response()
}

/// Whoever comes from there has failed too often, and so did this.
fn too_often(wait: Duration) -> Response {
    let seconds = HeaderValue::from(wait.as_secs() + 1);
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds)], "too many failed logins from this address\n")
        .into_response()
}

/// The gateway cannot serve anybody now.
pub(super) fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], format!("{reason}; try again later\n")).into_response()
}
