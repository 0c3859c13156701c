//! An API on a store of its own, and ports that record what they are given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use patchwave_api::access_keys::{NewAccessKey, create_offline};
use patchwave_api::sign::Credentials;
use patchwave_api::{Api, router};
use patchwave_engine::access::{NodePolicy, Role};
use patchwave_platform::artifacts::Artifacts;
use patchwave_platform::bus::{Bus, BusError, Consumer, HostQueue, Link, Outgoing, Published};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::{Durability, Store};
use patchwave_platform::topics::{News, Topics, TopicsError};
use patchwave_schemas::NodeId;
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::report::NodeConnected;
use patchwave_schemas::topology::WorkQueue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

/// What ARNs name.
pub(crate) const ACCOUNT: &str = "123456789012";

/// A bus that confirms and remembers everything.
pub(crate) struct RecordingBus {
    pub(crate) published: Mutex<Vec<Outgoing>>,
    link: watch::Sender<Link>,
}

impl RecordingBus {
    pub(crate) fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Types of what was published, in order.
    pub(crate) fn types(&self) -> Vec<String> {
        self.published.lock().expect("no test panics with it").iter().map(|one| one.message_type.clone()).collect()
    }
}

#[async_trait]
impl Bus for RecordingBus {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        self.published.lock().expect("no test panics with it").extend_from_slice(messages);
        Ok(vec![Published::Confirmed; messages.len()])
    }

    async fn consume(&self, _: WorkQueue) -> Result<Box<dyn Consumer>, BusError> {
        Err(BusError::Closed)
    }

    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError> {
        Ok(Box::new(SilentQueue))
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    async fn depth(&self, queue: WorkQueue) -> Option<u64> {
        (queue == WorkQueue::Dead).then_some(4)
    }

    async fn close(&self) {}
}

/// A gateway's queue that no command comes by.
struct SilentQueue;

#[async_trait]
impl HostQueue for SilentQueue {
    fn address(&self) -> &str {
        "patchwave.host.1"
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        std::future::pending().await
    }
}

/// Topics with one subscriber at a time.
#[derive(Default)]
pub(crate) struct OneSubscriber {
    pub(crate) sender: Mutex<Option<mpsc::Sender<News>>>,
}

#[async_trait]
impl Topics for OneSubscriber {
    async fn publish(&self, _: &[(String, String)]) -> Result<(), TopicsError> {
        Ok(())
    }

    async fn subscribe(&self, _: &str) -> Result<mpsc::Receiver<News>, TopicsError> {
        let (sender, receiver) = mpsc::channel(8);
        *self.sender.lock().expect("no test panics with it") = Some(sender);
        Ok(receiver)
    }
}

pub(crate) struct Harness {
    pub(crate) store: Store,
    pub(crate) bus: Arc<RecordingBus>,
    pub(crate) topics: Arc<OneSubscriber>,
    pub(crate) master_key: Arc<MasterKey>,
    /// Signs whatever a test does not sign itself.
    pub(crate) admin: Credentials,
    pub(crate) router: Router,
    _directory: TempDir,
}

impl Harness {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite://{}", directory.path().join("api.db").display());
        let store = Store::open_with(&url, Durability::None).await.expect("a new store");
        store.ensure_predefined_baselines(Timestamp::now()).await.expect("predefined baselines");
        let bus = Arc::new(RecordingBus { published: Mutex::default(), link: watch::Sender::new(Link::Up) });
        let topics = Arc::new(OneSubscriber::default());
        let master_key = Arc::new(MasterKey::ephemeral().expect("randomness"));
        let admin = key(&store, &master_key, Role::Admin, None).await;
        let api = Api::new(store.clone(), bus.clone(), topics.clone(), master_key.clone());
        let router = router(api.with_account_id(ACCOUNT));
        Self { store, bus, topics, master_key, admin, router, _directory: directory }
    }

    /// With a store for reports.
    pub(crate) fn with_artifacts(mut self, artifacts: Artifacts) -> Self {
        self.router = router(self.api().with_account_id(ACCOUNT).with_artifacts(artifacts));
        self
    }

    /// A further API on the same store and ports.
    pub(crate) fn api(&self) -> Api {
        Api::new(self.store.clone(), self.bus.clone(), self.topics.clone(), self.master_key.clone())
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.expect("the router cannot fail");
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 22).await.expect("a whole body");
        (status, body.to_vec())
    }

    /// Calls an operation as the admin.
    pub(crate) async fn target(&self, target: &str, body: impl Into<Vec<u8>>) -> (StatusCode, Value) {
        self.target_as(&self.admin, target, body).await
    }

    /// Calls an operation as somebody.
    pub(crate) async fn target_as(
        &self,
        key: &Credentials,
        target: &str,
        body: impl Into<Vec<u8>>,
    ) -> (StatusCode, Value) {
        let (status, body) = self.send(signed(key, "POST", "/", Some(target), body.into())).await;
        (status, serde_json::from_slice(&body).expect("a JSON answer"))
    }

    /// Reads a path as the admin.
    pub(crate) fn get(&self, path: &str) -> Request<Body> {
        signed(&self.admin, "GET", path, None, Vec::new())
    }

    /// A further access key.
    pub(crate) async fn key(&self, role: Role, tags: Option<(&str, &str)>) -> Credentials {
        let policy = tags.map(|(key, value)| {
            let values = BTreeSet::from([value.to_owned()]);
            NodePolicy::new(BTreeMap::from([(key.to_owned(), values)])).expect("a policy")
        });
        key(&self.store, &self.master_key, role, policy).await
    }

    /// A call that must succeed.
    pub(crate) async fn ok(&self, operation: &str, input: Value) -> Value {
        let (status, body) = self.target(&target_of(operation), input.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{operation} {input}: {body}");
        body
    }

    /// A call that must be refused with this error; returns its message.
    pub(crate) async fn refused(&self, operation: &str, input: Value, code: &str) -> String {
        let (status, body) = self.target(&target_of(operation), input.to_string()).await;
        assert_eq!(body["__type"], code, "{operation} {input}: {body}");
        assert_eq!(status, StatusCode::BAD_REQUEST, "{operation}: {body}");
        body["message"].as_str().expect("a message").to_owned()
    }

    /// Every item of a list operation, a page of `size` at a time; at most ten pages.
    pub(crate) async fn pages(&self, operation: &str, mut input: Value, size: u32, member: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        input["MaxResults"] = json!(size);
        for _ in 0..10 {
            let page = self.ok(operation, input.clone()).await;
            pages.push(page[member].as_array().expect("a list").clone());
            match page.get("NextToken") {
                Some(token) => input["NextToken"] = token.clone(),
                None => return pages,
            }
        }
        panic!("{operation} does not come to its end");
    }

    pub(crate) async fn window(&self) -> String {
        id(&self.ok("CreateMaintenanceWindow", window_input()).await, "WindowId")
    }

    /// Adds connected Debian nodes with the given numbers and tags.
    pub(crate) async fn nodes(&self, numbers: std::ops::Range<u32>, tags: &[(&str, &str)]) -> Vec<String> {
        let hellos: Vec<NodeConnected> = numbers
            .map(|number| NodeConnected {
                facts: NodeFacts {
                    node_id: NodeId::from_bits(u128::from(number)),
                    computer_name: format!("host-{number}"),
                    operating_system: OperatingSystem::Debian,
                    platform_name: "Debian GNU/Linux".to_owned(),
                    platform_version: "12".to_owned(),
                    agent_version: "0.1.0".to_owned(),
                    ip_address: None,
                    simulated: true,
                    tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
                },
                address: format!("patchwave.node.{number}"),
                session: "s".to_owned(),
                fingerprint: None,
                policy: None,
            })
            .collect();
        let mut tx = self.store.begin().await.expect("a transaction");
        tx.nodes_connected(&hellos, Timestamp::now()).await.expect("stored nodes");
        tx.commit().await.expect("a commit");
        hellos.iter().map(|hello| hello.facts.node_id.to_string()).collect()
    }
}

/// A request as a client of SSM sends it.
pub(crate) fn signed(
    key: &Credentials,
    method: &str,
    path: &str,
    target: Option<&str>,
    body: Vec<u8>,
) -> Request<Body> {
    let mut headers = HeaderMap::new();
    if let Some(target) = target {
        headers.insert("x-amz-target", target.parse().expect("a header"));
        headers.insert("content-type", "application/x-amz-json-1.1".parse().expect("a header"));
    }
    let added = key.sign(method, "localhost", (path, ""), &headers, &body, Timestamp::now());
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    let all = request.headers_mut().expect("valid so far");
    all.extend(headers);
    all.extend(added);
    request.body(Body::from(body)).expect("a valid request")
}

async fn key(store: &Store, master_key: &MasterKey, role: Role, policy: Option<NodePolicy>) -> Credentials {
    let new = NewAccessKey { role, policy, description: String::new(), credentials: None };
    create_offline(store, master_key, new, "test", false).await.expect("stored").expect("made")
}

/// `AmazonSSM.` unless the operation names its service.
fn target_of(operation: &str) -> String {
    if operation.contains('.') { operation.to_owned() } else { format!("AmazonSSM.{operation}") }
}

pub(crate) fn id(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

pub(crate) fn window_input() -> Value {
    json!({
        "Name": "nightly",
        "Schedule": "cron(0 3 * * ? *)",
        "ScheduleTimezone": "Europe/Berlin",
        "Duration": 3,
        "Cutoff": 1,
        "AllowUnassociatedTargets": false,
    })
}
