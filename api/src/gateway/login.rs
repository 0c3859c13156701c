//! Who sends a request: `Authorization: Patchwave-Node <node id>:<login proof>`.

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use patchwave_platform::proofs::{LoginError, ProofError, log_in};
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::NodeId;

use super::Gateway;

/// The scheme of the header.
const SCHEME: &str = "Patchwave-Node";

/// The node that a request comes from.
pub(super) struct Caller(pub(super) NodeId);

impl FromRequestParts<Gateway> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Response> {
        let Some((node, proof)) = credentials(&parts.headers) else {
            let expected = format!("expected `Authorization: {SCHEME} <node id>:<login proof>`\n");
            return Err(refused(expected));
        };
        match log_in(&*gateway.inner.identities, &node, proof, Timestamp::now()).await {
            Ok(_key) => Ok(Self(node)),
            Err(error @ LoginError::Store { .. }) => {
                tracing::error!(reason = error_chain(&error), "a node could not be let in");
                Err(unavailable("nodes cannot be looked up"))
            }
            Err(error) => {
                tracing::info!(node.id = %node, reason = %error, "denied at the gateway");
                // Who is registered is nobody's business; a wrong clock is its owner's.
                Err(refused(match error {
                    LoginError::Proof(error @ (ProofError::Age { .. } | ProofError::Malformed)) => format!("{error}\n"),
                    _ => "no such node is registered with that key\n".to_owned(),
                }))
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

/// The gateway cannot serve anybody now.
pub(super) fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], format!("{reason}; try again later\n")).into_response()
}
