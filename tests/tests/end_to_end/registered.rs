//! Nodes with credentials, as a registration gives them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchwave_agent::credentials::{Credentials, NodeKey};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::{Signer, verification_keys};
use patchwave_platform::store::Store;
use patchwave_platform::store::identities::Identity;
use patchwave_schemas::NodeId;
use patchwave_schemas::registration::NodeTransport;
use patchwave_tests::fleet::{Program, Rollout, System, eventually};
use serde_json::json;

/// Registers a node as the control plane and the agent would, with the node's state in a directory
/// of the system.
pub(crate) async fn register(
    system: &System,
    server: &str,
    ca_cert: Option<&Path>,
    transport: NodeTransport,
) -> (NodeId, Store) {
    let store = Store::open(&system.store_url()).await.unwrap();
    let master = Arc::new(MasterKey::load(&system.directory().join("data/master.key")).unwrap());
    let now = Timestamp::now();
    Signer::new(store.clone(), master).key(now).await.unwrap();
    let keys = verification_keys(&store.signing_keys().await.unwrap(), now);
    let credentials = Credentials {
        node_id: NodeId::random(),
        key: NodeKey::generate().unwrap(),
        fingerprint: patchwave_agent::fingerprint::of_machine(Path::new("/")),
        server: server.to_owned(),
        ca_cert: ca_cert.map(Path::to_owned),
        transport,
        verification_keys: keys,
    };
    credentials.store(&system.directory().join(credentials.node_id.as_str())).unwrap();
    put(&store, &credentials, None).await;
    (credentials.node_id, store)
}

/// Registers this machine as a node with an activation and the agent's program, as people do. The
/// node gets the tag (`KEY=VALUE`) of its activation.
pub(crate) async fn register_with_programs(system: &System, server: &str, ca_cert: Option<&Path>, tag: &str) -> NodeId {
    let (key, value) = tag.split_once('=').unwrap();
    let asked = json!({ "IamRole": "patchwave", "Tags": [{ "Key": key, "Value": value }] });
    let activation = system.api().ok("CreateActivation", asked).await;
    let (code, state) = (system.directory().join("code"), system.directory().join("registering"));
    std::fs::write(&code, activation["ActivationCode"].as_str().unwrap()).unwrap();
    let mut arguments = vec!["register".to_owned(), "--server".to_owned(), server.to_owned()];
    for (option, value) in [
        ("--activation-id", activation["ActivationId"].as_str().unwrap()),
        ("--activation-code-file", &code.display().to_string()),
        ("--state-dir", &state.display().to_string()),
    ] {
        arguments.extend([option.to_owned(), value.to_owned()]);
    }
    arguments.extend(ca_cert.iter().flat_map(|path| ["--ca-cert".to_owned(), path.display().to_string()]));
    let _registering = Program::start("patchwave-agent", arguments, system.directory(), "register").unwrap();
    let credentials =
        eventually("the machine registered", async || Credentials::load(&state).unwrap_or_default()).await;
    assert_eq!(credentials.server.trim_end_matches('/'), server);
    std::fs::rename(&state, system.directory().join(credentials.node_id.as_str())).unwrap();
    credentials.node_id
}

/// Cuts a node off.
pub(crate) async fn deregister(system: &System, store: &Store, node: &NodeId, at: Timestamp) {
    let credentials = Credentials::load(&system.directory().join(node.as_str())).unwrap().unwrap();
    put(store, &credentials, Some(at)).await;
}

async fn put(store: &Store, credentials: &Credentials, deregistered_at: Option<Timestamp>) {
    let identity = Identity {
        node_id: credentials.node_id.clone(),
        public_key: credentials.key.public_key(),
        fingerprint: credentials.fingerprint.clone(),
        activation_id: uuid::Uuid::nil(),
        name: None,
        iam_role: "role".to_owned(),
        registered_at: Timestamp::now(),
        deregistered_at,
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_identity(&identity).await.unwrap();
    tx.commit().await.unwrap();
}

/// Runs a script on a node and returns what it wrote.
pub(crate) async fn run_on(system: &System, node: &NodeId) -> String {
    let input = json!({ "DocumentName": "AWS-RunShellScript", "InstanceIds": [node.as_str()],
        "Parameters": { "commands": ["echo done"] } });
    let rollout = Rollout::send(system.api(), input).await;
    let watched = rollout.finish(Duration::from_secs(60)).await;
    assert_eq!(watched.nodes[node.as_str()], "Success", "{watched:?}");
    let invocation = json!({ "CommandId": rollout.command_id(), "InstanceId": node.as_str() });
    let answer = system.api().ok("GetCommandInvocation", invocation).await;
    answer["StandardOutputContent"].as_str().unwrap().to_owned()
}
