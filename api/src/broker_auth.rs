//! What RabbitMQ asks about nodes: who logs in, and what they may do (`rabbitmq_auth_backend_http`).
//!
//! Each question is a request to `/broker-auth/<secret>/{user,vhost,resource,topic}`, by POST or by
//! GET, and is answered with `allow` or `deny`. The rule is `engine::broker_access`; who a node is,
//! its login proof says. Every answer looks the node up, so one that was deregistered is denied with
//! the next question that reaches this; how long RabbitMQ keeps answers is set on its side.
//!
//! Whoever could answer in place of this would let anybody in. The secret in the path keeps others
//! from asking; it is TLS, or a network that no one else is on, that keeps others from answering.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Form, FromRequest as _, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
use patchwave_engine::broker_access::{Request, allows};
use patchwave_platform::proofs::{Identities, LoginError, log_in};
use patchwave_platform::telemetry::error_chain;
use patchwave_schemas::NodeId;
use ring::digest::{Digest, SHA256, digest};

/// Bytes of a question at most. The longest have a queue's name and a routing key of 255 each.
const BODY_BYTES_MAX: usize = 16 << 10;

/// Characters of the secret at least: what nobody guesses.
pub const SECRET_CHARS_MIN: usize = 32;

/// Answers RabbitMQ; clones share it.
#[derive(Clone)]
pub struct BrokerAuth {
    inner: Arc<Inner>,
}

struct Inner {
    identities: Arc<dyn Identities>,
    /// The virtual host that the control plane works in.
    vhost: String,
    /// Compared by its hash, so that the time of a comparison tells nothing.
    secret: Digest,
}

/// A secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the broker's secret has {chars} characters or such as do not stand in a URL's path; allowed are at least \
     {SECRET_CHARS_MIN} of a-z A-Z 0-9 - _"
)]
pub struct SecretError {
    /// Its length.
    pub chars: usize,
}

impl BrokerAuth {
    /// Answers for nodes of `identities` in one virtual host, to whoever knows `secret`.
    ///
    /// # Errors
    /// [`SecretError`] for a secret that could be guessed or is no part of a path.
    pub fn new(identities: Arc<dyn Identities>, vhost: impl Into<String>, secret: &str) -> Result<Self, SecretError> {
        let fits = secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if secret.len() < SECRET_CHARS_MIN || !fits {
            return Err(SecretError { chars: secret.len() });
        }
        let secret = digest(&SHA256, secret.as_bytes());
        Ok(Self { inner: Arc::new(Inner { identities, vhost: vhost.into(), secret }) })
    }
}

impl std::fmt::Debug for BrokerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerAuth").field("vhost", &self.inner.vhost).finish_non_exhaustive()
    }
}

/// The routes, for a listener that the broker reaches.
pub fn router(auth: BrokerAuth) -> Router {
    Router::new()
        .route("/broker-auth/{secret}/{question}", get(answer).post(answer))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(auth)
}

/// An answer: whether it is allowed, and for the log why not.
type Answer = Result<(), Refused>;

enum Refused {
    /// No.
    Denied(String),
    /// It could not be found out. RabbitMQ takes that for a no and asks again next time.
    Unknown(LoginError),
}

async fn answer(
    State(auth): State<BrokerAuth>,
    Path((secret, question)): Path<(String, String)>,
    request: axum::extract::Request,
) -> Response {
    if digest(&SHA256, secret.as_bytes()).as_ref() != auth.inner.secret.as_ref() {
        tracing::warn!(question, "somebody asked as the broker without its secret");
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(question) = question.parse() else { return StatusCode::NOT_FOUND.into_response() };
    // In the query or the body, which nobody else's is read for.
    let fields = match Form::<HashMap<String, String>>::from_request(request, &()).await {
        Ok(Form(fields)) => fields,
        Err(rejection) => return rejection.into_response(),
    };
    let user = fields.get("username").map_or("", String::as_str);
    match auth.inner.judge(question, user, &fields).await {
        // No tags: a node has no part in managing the broker.
        Ok(()) => "allow".into_response(),
        Err(Refused::Denied(reason)) => {
            tracing::info!(user = %user.escape_default(), question = question.name(), reason, "denied on the broker");
            "deny".into_response()
        }
        Err(Refused::Unknown(error)) => {
            tracing::error!(reason = error_chain(&error), "the broker's question could not be answered");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// What is asked; the last part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    User,
    Vhost,
    Resource,
    Topic,
}

impl Question {
    const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Vhost => "vhost",
            Self::Resource => "resource",
            Self::Topic => "topic",
        }
    }
}

impl std::str::FromStr for Question {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::User, Self::Vhost, Self::Resource, Self::Topic].into_iter().find(|one| one.name() == text).ok_or(())
    }
}

impl Inner {
    async fn judge(&self, question: Question, user: &str, fields: &HashMap<String, String>) -> Answer {
        let node: NodeId = user.parse().map_err(|_| Refused::Denied("not the id of a node".to_owned()))?;
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let request = match question {
            Question::User => return self.log_in(&node, field("password")).await,
            Question::Vhost => Request::Vhost { vhost: field("vhost") },
            Question::Resource => Request::Resource {
                vhost: field("vhost"),
                kind: field("resource"),
                name: field("name"),
                permission: field("permission"),
            },
            Question::Topic => Request::Topic {
                vhost: field("vhost"),
                exchange: field("name"),
                permission: field("permission"),
                routing_key: field("routing_key"),
            },
        };
        if !allows(&node, &self.vhost, request) {
            return Err(Refused::Denied(format!("not for nodes: {request:?}")));
        }
        match self.identities.active_key(&node).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refused::Denied(LoginError::Unknown { node }.to_string())),
            Err(source) => Err(Refused::Unknown(LoginError::Store { node, source })),
        }
    }

    async fn log_in(&self, node: &NodeId, proof: &str) -> Answer {
        match log_in(&*self.identities, node, proof, Timestamp::now()).await {
            Ok(_key) => Ok(()),
            Err(error @ LoginError::Store { .. }) => Err(Refused::Unknown(error)),
            Err(error) => Err(Refused::Denied(error.to_string())),
        }
    }
}
