//! Registered nodes on a broker that asks the control plane who they are.

use jiff::Timestamp;
use patchwave_schemas::registration::NodeTransport;
use patchwave_tests::fleet::{Agents, Role, System, Urls, eventually};
use patchwave_tests::servers::{Rabbit, free_port};

use crate::registered::{deregister, register, run_on};

const TAG: &str = "Way=broker";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_node_logs_in_to_the_broker_as_itself_until_it_is_deregistered() {
    let port = free_port().unwrap();
    let rabbit = Rabbit::start_asking(&format!("http://127.0.0.1:{port}/broker-auth/{SECRET}")).unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let file = secrets.path().join("broker-auth");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let urls = Urls { bus: rabbit.url(), ..Urls::embedded() };
    let listen = format!("127.0.0.1:{port}");
    let options = ["--broker-auth-listen", &listen, "--broker-auth-secret-file", &file.display().to_string()];
    let system = System::start_with(urls, &[Role::Up], &options).await.unwrap();

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
