//! A broker that asks, the control plane that answers, and nodes with keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use patchwave_api::broker_auth::{self, BrokerAuth};
use patchwave_platform::bus::amqp::{AmqpBus, Management};
use patchwave_platform::bus::{Bus as _, Link};
use patchwave_platform::proofs::Identities;
use patchwave_platform::store::Error;
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{login_proof, login_text};
use patchwave_tests::servers::Rabbit;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A node's own key.
pub(crate) struct Key {
    pub(crate) node: NodeId,
    pair: Ed25519KeyPair,
}

impl Key {
    pub(crate) fn new(bits: u128) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { node: NodeId::from_bits(bits), pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap() }
    }

    /// A proof made so many seconds ago.
    pub(crate) fn proof(&self, seconds_ago: i64) -> String {
        self.proof_for(&self.node, seconds_ago)
    }

    /// A proof that this key speaks for `node`.
    pub(crate) fn proof_for(&self, node: &NodeId, seconds_ago: i64) -> String {
        let at = Timestamp::now().as_second() - seconds_ago;
        login_proof(at, &URL_SAFE_NO_PAD.encode(self.pair.sign(&login_text(node, at))))
    }
}

/// Who is registered.
#[derive(Default)]
pub(crate) struct Registered(Mutex<HashMap<NodeId, [u8; 32]>>);

#[async_trait]
impl Identities for Registered {
    async fn active_key(&self, node: &NodeId) -> Result<Option<[u8; 32]>, Error> {
        Ok(self.0.lock().unwrap().get(node).copied())
    }

    async fn active_keys(&self, nodes: &[NodeId]) -> Result<HashMap<NodeId, [u8; 32]>, Error> {
        let known = self.0.lock().unwrap();
        Ok(nodes.iter().filter_map(|node| Some((node.clone(), *known.get(node)?))).collect())
    }
}

pub(crate) struct World {
    pub(crate) rabbit: Rabbit,
    /// The control plane's own connection, which has declared everything, as the deployed user.
    pub(crate) bus: AmqpBus,
    registered: Arc<Registered>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let registered = Arc::new(Registered::default());
        let auth = BrokerAuth::new(Arc::clone(&registered) as Arc<dyn Identities>, "/", SECRET).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, broker_auth::router(auth)).await });
        let rabbit = Rabbit::start_asking(&format!("http://127.0.0.1:{port}/broker-auth/{SECRET}")).unwrap();
        let management = Management::new(&rabbit.deployed_url("server/bus-management").unwrap()).unwrap();
        let bus = AmqpBus::connect(&rabbit.deployed_url("server/bus").unwrap(), "control-plane").await.unwrap();
        let bus = bus.managed_by(Some(management));
        bus.link().wait_for(|link| *link == Link::Up).await.unwrap();
        Self { rabbit, bus, registered }
    }

    pub(crate) fn register(&self, key: &Key) {
        let public = key.pair.public_key().as_ref().try_into().unwrap();
        self.registered.0.lock().unwrap().insert(key.node.clone(), public);
    }

    pub(crate) fn deregister(&self, key: &Key) {
        self.registered.0.lock().unwrap().remove(&key.node);
    }

    /// The broker's URL for a user and a virtual host.
    pub(crate) fn url(&self, user: &str, password: &str, vhost: &str) -> String {
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.rabbit.port())
    }

    pub(crate) async fn log_in(&self, user: &str, password: &str, vhost: &str) -> Result<Connection, lapin::Error> {
        Connection::connect(&self.url(user, password, vhost), ConnectionProperties::default()).await
    }

    /// Connects as a registered node.
    pub(crate) async fn connect(&self, key: &Key) -> Connection {
        self.log_in(key.node.as_str(), &key.proof(0), "%2f").await.unwrap()
    }
}

/// Publishes with a confirm, on a channel of its own: a refusal closes the channel.
pub(crate) async fn publish(
    connection: &Connection,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
) -> Result<(), lapin::Error> {
    let channel = channel(connection).await;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    channel.basic_publish(exchange.into(), key.into(), options, b"{}", properties).await?.await?;
    Ok(())
}

pub(crate) async fn channel(connection: &Connection) -> Channel {
    connection.create_channel().await.unwrap()
}

/// Fails unless the broker said no, in these words.
#[track_caller]
pub(crate) fn assert_refused<T>(what: &str, result: Result<T, lapin::Error>, words: &str) {
    match result {
        Ok(_) => panic!("{what}: was allowed"),
        Err(error) => assert!(error.to_string().contains(words), "{what}: {error}"),
    }
}
