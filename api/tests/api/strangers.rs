//! What those who prove nothing can do to this process: send nothing, send wrong things, send often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use patchwave_api::broker_auth::{self, BrokerAuth};
use patchwave_api::{Serving, bind, serve};
use patchwave_platform::proofs::Identities;
use patchwave_platform::store::Error;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::registration::{Registered, Registration, RegistrationRefused};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::{Harness, signed};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// More sockets than requests are answered at once.
const MANY: usize = 300;

/// Longest time anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

struct Nobody;

#[async_trait]
impl Identities for Nobody {
    async fn active_key(&self, _: &NodeId) -> Result<Option<[u8; 32]>, Error> {
        Ok(None)
    }

    async fn active_keys(&self, _: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, Error> {
        Ok(HashMap::new())
    }
}

/// Serves the API and the broker's questions on a port, with this time for bodies.
async fn served(api: &Harness, body_within: Option<Duration>) -> (u16, DropGuard) {
    let beside: Router = broker_auth::router(BrokerAuth::new(Arc::new(Nobody), "/", SECRET).expect("a secret"));
    let serving = Serving { beside, body_within, ..Serving::default() };
    let listener = bind("127.0.0.1:0".parse().expect("an address"), &serving).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, api.api(), serving, stop.clone()));
    (port, stop.drop_guard())
}

/// Sends the beginning of a request on a connection of its own.
async fn begin(port: u16, head: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let kind = if head.contains("broker-auth") { "application/x-www-form-urlencoded" } else { "application/json" };
    let text =
        format!("{head} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

/// Everything that is answered until the connection is closed.
pub(crate) async fn to_the_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A connection that is cut with unread bytes on it ends in a reset.
    let _ = read.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request as it goes over the wire.
pub(crate) async fn over_the_wire(port: u16, request: Request<Body>) -> String {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let mut text =
        format!("{} {} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", head.method, head.uri, body.len());
    for (name, value) in &head.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().expect("text")));
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.write_all(format!("{text}\r\n").as_bytes()).await.expect("sent");
    stream.write_all(&body).await.expect("sent");
    to_the_end(stream).await
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_waiting() {
    let api = Harness::new().await;
    let (port, _stop) = served(&api, None).await;
    let mut silent = Vec::new();
    for _ in 0..MANY {
        silent.push(begin(port, "POST /", 10).await);
    }
    let request = signed(&api.admin, "POST", "/", Some("AmazonSSM.DescribeMaintenanceWindows"), b"{}".to_vec());
    let answer = over_the_wire(port, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn every_body_has_a_deadline_and_what_is_late_counts_as_a_failure() {
    let api = Harness::new().await;
    let (port, _stop) = served(&api, Some(Duration::from_millis(50))).await;
    let question = format!("POST /broker-auth/{SECRET}/user");
    for (head, expected) in [
        ("POST /", "RequestTimeoutException"),
        ("POST /node/v1/register", "ValidationException"),
        (question.as_str(), "HTTP/1.1 4"),
    ] {
        let answer = to_the_end(begin(port, head, 10).await).await;
        assert!(answer.contains(expected), "{head}: {answer}");
    }
    let mut late = Vec::new();
    for _ in 0..60 {
        late.push(begin(port, "POST /", 10).await);
    }
    for stream in late {
        to_the_end(stream).await;
    }
    let unsigned = Request::post("/").header("host", "localhost").body(Body::from("{}")).expect("a request");
    let answer = over_the_wire(port, unsigned).await;
    assert!(answer.contains("ThrottlingException"), "{answer}");
}

#[tokio::test]
async fn failures_of_others_behind_an_address_do_not_lock_its_keys_out() {
    let api = Harness::new().await;
    let unsigned = || Request::post("/").header("host", "localhost").body(Body::from("{}")).expect("a request");
    for _ in 0..80 {
        api.send(unsigned()).await;
    }
    let (_, body) = api.send(unsigned()).await;
    assert!(String::from_utf8_lossy(&body).contains("ThrottlingException"));
    api.ok("DescribeMaintenanceWindows", json!({})).await;
    let (_, body) = api.send(unsigned()).await;
    assert!(String::from_utf8_lossy(&body).contains("ThrottlingException"), "nor do its keys let others in");
}

async fn register(api: &Harness, registration: &Registration) -> (StatusCode, Vec<u8>) {
    let body = serde_json::to_vec(registration).expect("JSON");
    let request = Request::post("/node/v1/register").header("content-type", "application/json").body(Body::from(body));
    api.send(request.expect("a request")).await
}

#[tokio::test]
async fn wrong_codes_take_no_lock_and_are_throttled_without_locking_right_ones_out() {
    let api = Harness::new().await;
    let activation = api.ok("CreateActivation", json!({ "IamRole": "role" })).await;
    let text = |member: &str| activation[member].as_str().expect("a text").to_owned();
    let right = Registration {
        activation_id: text("ActivationId"),
        activation_code: text("ActivationCode"),
        public_key: BASE64.encode([7; 32]),
        fingerprint: "0123".to_owned(),
        computer_name: "host".to_owned(),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        rebind: None,
    };
    let wrong = Registration { activation_code: "x".repeat(20), ..right.clone() };
    let writing = api.store.begin().await.expect("the writer");
    let refused = |body: &[u8]| serde_json::from_slice::<RegistrationRefused>(body).expect("a refusal").code;
    let (status, body) = tokio::time::timeout(PATIENCE, register(&api, &wrong)).await.expect("nothing to wait for");
    assert_eq!((status, refused(&body).as_str()), (StatusCode::BAD_REQUEST, "InvalidActivation"));
    drop(writing);
    for _ in 0..60 {
        register(&api, &wrong).await;
    }
    let (status, body) = register(&api, &wrong).await;
    assert_eq!((status, refused(&body).as_str()), (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"));
    let (status, body) = register(&api, &right).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    let registered: Registered = serde_json::from_slice(&body).expect("registered");
    assert!(!registered.verification_keys.is_empty());
}

/// One registered node.
struct One(NodeId, [u8; 32]);

#[async_trait]
impl Identities for One {
    async fn active_key(&self, node: &NodeId) -> Result<Option<[u8; 32]>, Error> {
        Ok((*node == self.0).then_some(self.1))
    }

    async fn active_keys(&self, _: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, Error> {
        Ok(HashMap::from([(self.0.clone(), self.1)]))
    }
}

#[tokio::test]
async fn the_broker_may_ask_in_a_query_or_in_a_body() {
    let node = NodeId::from_bits(1);
    let auth = BrokerAuth::new(Arc::new(One(node.clone(), [7; 32])), "/", SECRET).expect("a secret");
    let ask = async |get: bool, secret: &str, question: &str, fields: String| {
        let path = format!("/broker-auth/{secret}/{question}");
        let request = if get {
            Request::get(format!("{path}?{fields}")).body(Body::empty())
        } else {
            let form = "application/x-www-form-urlencoded";
            Request::post(path).header("content-type", form).body(Body::from(fields))
        };
        let router = broker_auth::router(auth.clone());
        let answer =
            tower::ServiceExt::oneshot(router, request.expect("a request")).await.expect("the router cannot fail");
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1_024).await.expect("a body");
        (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    };
    let stranger = NodeId::from_bits(2);
    for get in [true, false] {
        let answer = |text: &str| (200, text.to_owned());
        let vhost = |node: &NodeId| format!("username={node}&vhost=%2F");
        assert_eq!(ask(get, SECRET, "vhost", vhost(&node)).await, answer("allow"), "by GET: {get}");
        assert_eq!(ask(get, SECRET, "vhost", vhost(&stranger)).await, answer("deny"));
        let other = format!("username={node}&vhost=other");
        assert_eq!(ask(get, SECRET, "vhost", other).await, answer("deny"));
        let login = format!("username={node}&password=guest");
        assert_eq!(ask(get, SECRET, "user", login).await, answer("deny"));
        assert_eq!(ask(get, SECRET, "user", String::new()).await, answer("deny"));
        assert_eq!(ask(get, "another", "vhost", vhost(&node)).await.0, 404);
        assert_eq!(ask(get, SECRET, "secrets", vhost(&node)).await.0, 404);
    }
}
