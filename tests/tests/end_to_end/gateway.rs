//! A registered node that reaches the control plane over HTTPS alone, on either bus.

use patchwave_schemas::registration::NodeTransport::Gateway;
use patchwave_tests::fleet::{Agents, Program, Role, System, Urls, eventually};
use serde_json::json;

use crate::registered::{register, register_with_programs, run_on};

const TAG: &str = "Way=gateway";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_bus_serves_a_node_through_the_gateway_over_a_kill() {
    let mut system = System::start(Urls::embedded(), &[Role::Up]).await.unwrap();
    let endpoint = system.api().endpoint().to_owned();
    let (node, _store) = register(&system, &endpoint, None, Gateway).await;
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

    // Cut off, its stream ends, and it does not get in again.
    system.api().ok("DeregisterManagedInstance", json!({ "InstanceId": node.as_str() })).await;
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
    let node = register_with_programs(&system, &server, Some(&cert), TAG).await;
    let mut agent = Agents::registered(&system, node.as_str(), &[]).unwrap();
    system.online(1, TAG).await;
    assert_eq!(run_on(&system, &node).await.trim(), "done");

    // The new key signs at once: the node learns of it through its gateway, or cannot go on.
    let rotation = json!({ "SignsAfterSeconds": 0, "RetiresAfterSeconds": 3600 });
    system.api().ok("Patchwave.RotateSigningKey", rotation).await;
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

    // The gateway sees for itself whom another process cut off.
    system.api().ok("DeregisterManagedInstance", json!({ "InstanceId": node.as_str() })).await;
    eventually("the node is refused", async || {
        agent.program().log().contains("401 Unauthorized: no such node is registered with that key").then_some(())
    })
    .await;
}
