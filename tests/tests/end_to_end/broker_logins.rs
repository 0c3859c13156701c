//! Registered nodes on a broker that asks the control plane who they are.

use jiff::Timestamp;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use patchwave_agent::credentials::Credentials;
use patchwave_agent::report::Report;
use patchwave_platform::store::refused_reports::Refusal;
use patchwave_schemas::registration::NodeTransport;
use patchwave_schemas::topology::REPORTS_EXCHANGE;
use patchwave_tests::fleet::{Agents, Role, System, Urls, eventually};
use patchwave_tests::servers::{Rabbit, free_port};
use serde_json::json;

use crate::registered::{deregister, register, run_on};

const TAG: &str = "Way=broker";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A broker as it is deployed, and every role behind it.
async fn start() -> (Rabbit, System) {
    let port = free_port().unwrap();
    let rabbit = Rabbit::start_asking(&format!("http://127.0.0.1:{port}/broker-auth/{SECRET}")).unwrap();
    let file = rabbit.directory().join("broker-auth");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let urls = Urls { bus: rabbit.deployed_url("server/bus").unwrap(), ..Urls::embedded() };
    let listen = format!("127.0.0.1:{port}");
    let (file, management) = (file.display().to_string(), rabbit.deployed_url("server/bus-management").unwrap());
    let options =
        [["--broker-auth-listen", &listen], ["--broker-auth-secret-file", &file], ["--bus-management", &management]];
    let system = System::start_with(urls, &[Role::Up], options.as_flattened()).await.unwrap();
    (rabbit, system)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_node_logs_in_to_the_broker_as_itself_until_it_is_deregistered() {
    let (rabbit, system) = start().await;
    let url = format!("amqp://127.0.0.1:{}/%2f", rabbit.port());
    let (node, store) = register(&system, "https://unused.example", None, NodeTransport::Amqp { url }).await;
    let mut agent = Agents::registered(&system, node.as_str(), &["--tag", TAG]).unwrap();
    system.online(1, TAG).await;
    run_on(&system, &node).await;

    // Each connection has a proof of its own.
    agent.program().kill().unwrap();
    agent.program().restart().unwrap();
    run_on(&system, &node).await;

    deregister(&system, &store, &node, Timestamp::now()).await;
    agent.program().kill().unwrap();
    agent.program().restart().unwrap();
    eventually("the broker refuses the node", async || agent.program().log().contains("ACCESS_REFUSED").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deregistered_node_is_not_believed_and_is_disconnected_at_once() {
    let (rabbit, system) = start().await;
    let place = format!("127.0.0.1:{}/%2f", rabbit.port());
    let transport = NodeTransport::Amqp { url: format!("amqp://{place}") };
    let (node, store) = register(&system, "https://unused.example", None, transport).await;
    let mut agent = Agents::registered(&system, node.as_str(), &["--tag", TAG]).unwrap();
    system.online(1, TAG).await;
    run_on(&system, &node).await;
    // Whoever has the key, with any client.
    let credentials = Credentials::load(&system.directory().join(node.as_str())).unwrap().unwrap();
    let log_in = async || {
        let url = format!("amqp://{node}:{}@{place}", credentials.proof(Timestamp::now()));
        Connection::connect(&url, ConnectionProperties::default()).await
    };
    let connection = log_in().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();

    let say = async || {
        let report = Report::heartbeat(&node, "session", Timestamp::now());
        let said = BasicProperties::default().with_user_id(node.as_str().into());
        let (key, options) = (report.routing_key(), BasicPublishOptions::default());
        let confirm = channel.basic_publish(REPORTS_EXCHANGE.into(), key.into(), options, &report.body, said).await;
        confirm.unwrap().await.unwrap();
    };
    // What it did before, the broker lets it do for some seconds without asking.
    let (started, contact) = (Timestamp::now(), async || store.node(&node).await.unwrap().unwrap().last_contact_at);
    say().await;
    eventually("it is heard", async || (contact().await > started).then_some(())).await;

    // Between the decision and the end of its connections it may still talk: that is counted, and
    // changes nothing.
    deregister(&system, &store, &node, Timestamp::now()).await;
    let before = contact().await;
    say().await;
    eventually("the report is counted", async || {
        store.refused_reports().await.unwrap().contains(&(Refusal::NotRegistered, 1)).then_some(())
    })
    .await;
    assert_eq!(contact().await, before);
    assert!(connection.status().connected());

    system.api().ok("DeregisterManagedInstance", json!({ "InstanceId": node.as_str() })).await;

    eventually("the connection is closed", async || (!connection.status().connected()).then_some(())).await;
    assert!(log_in().await.unwrap_err().to_string().contains("ACCESS_REFUSED"));
    // The agent was disconnected as well, tries again by itself, and is refused.
    eventually("the agent is refused", async || agent.program().log().contains("ACCESS_REFUSED").then_some(())).await;
}
