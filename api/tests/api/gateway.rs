//! What nodes can do at the gateway, registered ones and those that were: over sockets of their own,
//! beside the API in one process. The way of a whole agent is in `tests/tests/end_to_end/gateway.rs`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use patchwave_api::gateway::Gateway;
use patchwave_api::{Serving, bind, serve};
use patchwave_platform::store::identities::Identity;
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{login_proof, login_text};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::strangers::{over_the_wire, to_the_end};
use crate::support::{Harness, signed};

/// Longest time anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// As good as never.
const NEVER: Duration = Duration::from_secs(3_600);

/// Bytes of a request at the gateway at most.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A node with the key that it registered.
struct Node {
    id: NodeId,
    pair: Ed25519KeyPair,
}

impl Node {
    async fn registered(api: &Harness, bits: u128) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random bytes");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("just made");
        let node = Self { id: NodeId::from_bits(bits), pair };
        let identity = Identity {
            node_id: node.id.clone(),
            public_key: BASE64.encode(node.pair.public_key().as_ref()),
            fingerprint: "v1:1".to_owned(),
            activation_id: uuid::Uuid::nil(),
            name: None,
            iam_role: "role".to_owned(),
            registered_at: Timestamp::now(),
            deregistered_at: None,
        };
        let mut tx = api.store.begin().await.expect("a transaction");
        tx.put_identity(&identity).await.expect("stored");
        tx.commit().await.expect("a commit");
        node
    }

    fn authorization(&self) -> String {
        let at = Timestamp::now().as_second();
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(&login_text(&self.id, at)));
        format!("Patchwave-Node {}:{}", self.id, login_proof(at, &signature))
    }

    /// A heartbeat of this node, with this as its source.
    fn report(&self, source: &str, kind: &str) -> String {
        json!({
            "specversion": "1.0", "id": uuid::Uuid::now_v7(), "source": source, "type": kind,
            "time": Timestamp::now(), "datacontenttype": "application/json", "data": {},
        })
        .to_string()
    }

    fn heartbeat(&self) -> String {
        self.report(&format!("/node/{}", self.id), "patchwave.node.heartbeat.v1")
    }

    /// Begins a post of so many bytes.
    async fn post(&self, port: u16, length: usize) -> TcpStream {
        let head = format!(
            "POST /node/v1/reports HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {}\r\n\
             Content-Length: {length}\r\n\r\n",
            self.authorization()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream
    }

    async fn posts(&self, port: u16, body: &str) -> String {
        let mut stream = self.post(port, body.len()).await;
        // Refused before its end, where it is too long.
        let _ = stream.write_all(body.as_bytes()).await;
        to_the_end(stream).await
    }

    /// Opens a stream of commands and reads its greeting, once the gateway has its queue.
    async fn listens(&self, port: u16) -> TcpStream {
        let listening = async {
            loop {
                match self.asks_for_commands(port).await {
                    (stream, answer) if answer.starts_with("HTTP/1.1 200") => return stream,
                    (_, answer) => assert!(answer.starts_with("HTTP/1.1 503"), "{answer}"),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("let in in time")
    }

    /// Asks for commands and reads until there is a greeting, or the answer ends.
    async fn asks_for_commands(&self, port: u16) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        let head = format!(
            "GET /node/v1/commands HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {}\r\n\r\n",
            self.authorization()
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains("\"session\"") {
            if stream.read_buf(&mut read).await.expect("read") == 0 {
                break;
            }
        }
        (stream, String::from_utf8_lossy(&read).into_owned())
    }
}

/// The API with a gateway on one port, which looks this often at who is still registered.
async fn served(api: &Harness, look_every: Duration) -> (u16, Gateway, DropGuard) {
    let gateway = Gateway::new(api.bus.clone(), Arc::new(api.store.clone()), 10).looking_every(look_every);
    let serving = Serving { beside: gateway.router(), ..Serving::default() };
    let listener = bind("127.0.0.1:0".parse().expect("an address"), &serving).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let stop = CancellationToken::new();
    let (running, stopped) = (gateway.clone(), stop.clone());
    tokio::spawn(async move { running.run(stopped).await });
    tokio::spawn(serve(listener, api.api().beside(gateway.clone()), serving, stop.clone()));
    (port, gateway, stop.drop_guard())
}

async fn until_connected(gateway: &Gateway, count: usize) {
    let seen = async {
        while gateway.connected() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{} are connected", gateway.connected()));
}

#[tokio::test]
async fn reports_that_are_none_of_the_node_s_are_refused_whole() {
    let api = Harness::new().await;
    let (port, _gateway, _stop) = served(&api, NEVER).await;
    let node = Node::registered(&api, 1).await;
    let good = node.heartbeat();
    let other = node.report(&format!("/node/{}", NodeId::from_bits(2)), "patchwave.node.heartbeat.v1");
    let command = node.report(&format!("/node/{}", node.id), "patchwave.command.requested.v1");
    for (what, body, status) in [
        ("no JSON", format!("{good}\nnonsense"), 400),
        ("no event", format!("{good}\n{{}}"), 400),
        ("not text", format!("{good}\n\0"), 400),
        ("another's", format!("{good}\n{other}"), 400),
        ("no report", format!("{good}\n{command}"), 400),
        ("too many", format!("{good}\n").repeat(1_025), 400),
        ("too long", " ".repeat(BODY_BYTES_MAX + 1), 413),
    ] {
        let answer = node.posts(port, &body).await;
        // Of a body that was not read to its end the answer may be lost with the connection.
        let lost = status == 413 && answer.is_empty();
        assert!(lost || answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
    }
    assert!(api.bus.types().is_empty(), "{:?}", api.bus.types());
    let answer = node.posts(port, &format!("{good}\n\n{}\n", node.heartbeat())).await;
    assert!(answer.ends_with(r#"{"confirmed":2}"#), "{answer}");
    assert_eq!(api.bus.types().len(), 2);
}

#[tokio::test]
async fn a_node_has_one_post_at_a_time_and_the_newest_counts() {
    let api = Harness::new().await;
    let (port, _gateway, _stop) = served(&api, NEVER).await;
    let (node, other) = (Node::registered(&api, 1).await, Node::registered(&api, 2).await);
    // Their lengths differ: an instant has as many digits as it needs.
    let (body, others_body) = (node.heartbeat(), other.heartbeat());
    let mut others = other.post(port, others_body.len()).await;
    // Each but the last byte: the peer is gone, or holds this process's memory.
    let begin = async || {
        let mut stream = node.post(port, body.len()).await;
        stream.write_all(&body.as_bytes()[..body.len() - 1]).await.expect("sent");
        stream
    };
    let superseded = async |stream: TcpStream| {
        let answer = to_the_end(stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 409"), "{answer}");
    };
    let mut held = begin().await;
    for _ in 0..10 {
        let next = begin().await;
        // Of two that log in at once either may be the newer one.
        let next_stays = tokio::select! {
            _ = held.readable() => true,
            _ = next.readable() => false,
        };
        let (stays, ends) = if next_stays { (next, held) } else { (held, next) };
        superseded(ends).await;
        held = stays;
    }
    let answer = node.posts(port, &body).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    superseded(held).await;
    others.write_all(others_body.as_bytes()).await.expect("sent");
    assert!(to_the_end(others).await.starts_with("HTTP/1.1 200"), "another node's post goes on");
}

#[tokio::test]
async fn a_node_is_cut_off_at_once_where_it_is_connected() {
    let api = Harness::new().await;
    let (port, gateway, _stop) = served(&api, NEVER).await;
    let (node, other) = (Node::registered(&api, 1).await, Node::registered(&api, 2).await);
    let (stream, others) = (node.listens(port).await, other.listens(port).await);
    assert_eq!(gateway.connected(), 2);
    let input = json!({ "InstanceId": node.id }).to_string().into_bytes();
    let request = signed(&api.admin, "POST", "/", Some("AmazonSSM.DeregisterManagedInstance"), input);
    let answer = over_the_wire(port, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    to_the_end(stream).await;
    until_connected(&gateway, 1).await;
    let refused = node.posts(port, &node.heartbeat()).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    drop(others);
    until_connected(&gateway, 0).await;
}

#[tokio::test]
async fn a_stream_ends_when_another_process_cut_its_node_off_or_bound_it_to_another_key() {
    let api = Harness::new().await;
    let (port, gateway, _stop) = served(&api, Duration::from_millis(20)).await;
    let (gone, moved, stays) =
        (Node::registered(&api, 1).await, Node::registered(&api, 2).await, Node::registered(&api, 3).await);
    let streams = (gone.listens(port).await, moved.listens(port).await, stays.listens(port).await);
    assert_eq!(gateway.connected(), 3);
    api.ok("DeregisterManagedInstance", json!({ "InstanceId": gone.id })).await;
    let rebound = Node::registered(&api, 2).await;
    to_the_end(streams.0).await;
    to_the_end(streams.1).await;
    until_connected(&gateway, 1).await;
    let _new = rebound.listens(port).await;
    assert_eq!(gateway.connected(), 2, "the new machine has the node's stream");
}

#[tokio::test]
async fn failed_logins_are_throttled_and_lock_no_node_out() {
    let api = Harness::new().await;
    let (port, _gateway, _stop) = served(&api, NEVER).await;
    let node = Node::registered(&api, 1).await;
    let stranger = Node { id: NodeId::from_bits(9), ..Node::registered(&api, 2).await };
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(stranger.posts(port, "").await);
    }
    assert!(answers[0].starts_with("HTTP/1.1 401"), "{}", answers[0]);
    assert!(answers[59].starts_with("HTTP/1.1 429") && answers[59].contains("retry-after"), "{}", answers[59]);
    let answer = node.posts(port, &node.heartbeat()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
