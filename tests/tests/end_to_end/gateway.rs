//! A registered node that reaches the control plane over HTTPS alone, on either bus.

use jiff::Timestamp;
use patchwave_schemas::registration::NodeTransport::Gateway;
use patchwave_tests::fleet::{Agents, Program, Role, System, Urls, eventually};

use crate::registered::{deregister, register, run_on};

const TAG: &str = "Way=gateway";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_bus_serves_a_node_through_the_gateway_over_a_kill() {
    let mut system = System::start(Urls::embedded(), &[Role::Up]).await.unwrap();
    let endpoint = system.api().endpoint().to_owned();
    let (node, store) = register(&system, &endpoint, None, Gateway).await;
    let mut agent = Agents::registered(&system, node.as_str(), &["--tag", TAG]).unwrap();
    system.online(1, TAG).await;
    assert_eq!(run_on(&system, &node).await.trim(), "done");

    let program = system.programs(Role::Up).next().unwrap();
    program.kill().unwrap();
    program.restart().unwrap();
    let api = system.api().clone();
    eventually("the API is ready", async || api.is_ready().await.then_some(())).await;
    // Sent perhaps before the node is back: it waits for it.
    assert_eq!(run_on(&system, &node).await.trim(), "done");
    assert!(agent.program().is_running());

    // Cut off, it does not get in again.
    deregister(&system, &store, &node, Timestamp::now()).await;
    let program = system.programs(Role::Up).next().unwrap();
    program.kill().unwrap();
    program.restart().unwrap();
    eventually("the node is refused", async || {
        agent.program().log().contains("401 Unauthorized: no such node is registered with that key").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_its_own_serves_a_node_over_tls_and_the_broker() {
    let mut system = System::start(Urls::shared("gateway").unwrap(), &[Role::Up]).await.unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (system.directory().join("cert.pem"), system.directory().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (mut gateway, port) = system.gateway(&cert, &key).unwrap();
    let server = format!("https://localhost:{port}");
    let (node, _store) = register(&system, &server, Some(&cert), Gateway).await;
    let mut agent = Agents::registered(&system, node.as_str(), &["--tag", TAG]).unwrap();
    system.online(1, TAG).await;
    assert_eq!(run_on(&system, &node).await.trim(), "done");

    for breakage in [Program::kill, |gateway: &mut Program| gateway.stop().map(drop)] {
        breakage(&mut gateway).unwrap();
        gateway.restart().unwrap();
        assert_eq!(run_on(&system, &node).await.trim(), "done");
    }
    assert!(agent.program().is_running() && system.is_running());

    // Who is not vouched for by that certificate is nobody's gateway.
    let (stranger, _store) = register(&system, &server, None, Gateway).await;
    let mut distrustful = Agents::registered(&system, stranger.as_str(), &[]).unwrap();
    eventually("the agent distrusts the gateway", async || {
        distrustful.program().log().contains("certificate").then_some(())
    })
    .await;
}
