//! Many registered nodes in one process, each an agent with a key and a connection of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use patchwave_agent::journal::MemoryJournal;
use patchwave_agent::simulate::{Simulation, SimulationOptions};
use patchwave_agent::transport::Proofs;
use patchwave_agent::transport::amqp::AmqpTransport;
use patchwave_agent::trust::{KeyRing, Trust};
use patchwave_agent::{Agent, AgentNode, AgentOptions, Policy};
use patchwave_schemas::NodeId;
use patchwave_schemas::proof::{login_proof, login_text};
use patchwave_schemas::signing::VerificationKey;
use ring::signature::Ed25519KeyPair;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What every node's machine looks like.
pub(crate) const FINGERPRINT: &str = "v1:bench";

/// Pause between two first connections: machines are not switched on all at once.
const START_EVERY: Duration = Duration::from_millis(8);

/// The key of the node with this number: who registers the nodes and who runs them make the same.
pub(crate) fn key(number: usize) -> anyhow::Result<Ed25519KeyPair> {
    let mut seed = *b"patchwave bench, key of a node: ";
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| anyhow::anyhow!("node {number} has no key"))
}

/// Runs the nodes whose ids are in the file `nodes`, one a line, for ever.
pub(crate) async fn run(url: &str, nodes: &Path, verification_key: &str) -> anyhow::Result<()> {
    let ids = std::fs::read_to_string(nodes).with_context(|| format!("could not read {}", nodes.display()))?;
    let ids: Vec<NodeId> = ids.lines().map(str::parse).collect::<Result<_, _>>()?;
    let simulation = Simulation::new(SimulationOptions { count: ids.len(), ..SimulationOptions::default() });
    let (key_id, public_key) = verification_key.split_once('=').context("the key has no id")?;
    let trusted = VerificationKey {
        key_id: key_id.to_owned(),
        public_key: public_key.to_owned(),
        endorsed_by: None,
        endorsement: None,
        valid: true,
    };
    let ring = Arc::new(KeyRing::first(&[trusted])?);
    let mut running = JoinSet::new();
    for (number, node_id) in ids.into_iter().enumerate() {
        let key = key(number)?;
        let proofs: Proofs = Arc::new(move |node| {
            let now = Timestamp::now().as_second();
            login_proof(now, &URL_SAFE_NO_PAD.encode(key.sign(&login_text(node, now))))
        });
        let transport = AmqpTransport::new(url, "bench-node", false)?.logging_in(node_id.clone(), proofs);
        let mut facts = simulation.facts(number);
        facts.node_id = node_id;
        let node = AgentNode {
            facts,
            runner: Arc::new(simulation.runner(number)),
            journal: Box::new(MemoryJournal::default()),
            policy: Policy { trust: Trust::Keys(Arc::clone(&ring)), ..Policy::default() },
            fingerprint: Some(FINGERPRINT.to_owned()),
            online: true,
        };
        let agent = Agent::new(vec![node], AgentOptions::default());
        running.spawn(agent.run(Arc::new(transport), CancellationToken::new()));
        tokio::time::sleep(START_EVERY).await;
    }
    let ended = running.join_next().await.context("there are no nodes")?;
    ended??;
    anyhow::bail!("an agent ended by itself")
}
