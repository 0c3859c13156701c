//! Agents inside this process: for `up` and the demo.
//!
//! They are the agents of `patchwave-agent`; what is here is the glue between the embedded bus and
//! their transport, and which nodes they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use patchwave_agent::execute::HostRunner;
use patchwave_agent::journal::FileJournal;
use patchwave_agent::report::Report;
use patchwave_agent::simulate::{Simulation, SimulationOptions};
use patchwave_agent::transport::memory::{InProcessBus, InProcessTransport};
use patchwave_agent::{Agent, AgentNode, AgentOptions, Policy, identity, packages};
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::bus::{Bus as _, Outgoing, Route};
use patchwave_schemas::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::InProcessNodes;

/// Commands that may wait for one address in this process.
const INBOX: usize = 64;

/// The nodes that a configuration asks for. This machine keeps its id, journal and notes in
/// `state_dir`; simulated nodes keep nothing, and are the same again by their seed.
///
/// # Errors
/// When `state_dir` cannot be used, or this machine's operating system is none that baselines know.
pub fn nodes(config: &InProcessNodes, state_dir: &Path) -> anyhow::Result<Vec<AgentNode>> {
    let mut nodes = Simulation::new(SimulationOptions {
        count: config.simulated,
        seed: config.seed,
        patch_groups: config.patch_groups.clone(),
        ..SimulationOptions::default()
    })
    .nodes(Policy::default());
    if let Some(local) = &config.local {
        let id = local.id.clone().map_or_else(|| identity::node_id(state_dir), Ok)?;
        if local.may_install {
            warn!("this machine takes every command: whoever has an access key that may send commands commands it");
        }
        info!(node.id = %id, may_install = local.may_install, "this machine is a node");
        nodes.push(this_machine(id, local.tags.clone(), Policy::scan_only(!local.may_install), state_dir)?);
    }
    if config.simulated > 0 {
        info!(nodes = config.simulated, "simulated nodes run in this process; nothing real happens on them");
    }
    Ok(nodes)
}

/// This machine as a node. It is never restarted by its agent: this process, and what else it may
/// hold, would go with it. The directory is made.
///
/// # Errors
/// As [`nodes`].
pub fn this_machine(
    id: NodeId,
    tags: BTreeMap<String, String>,
    policy: Policy,
    state_dir: &Path,
) -> anyhow::Result<AgentNode> {
    let root = Path::new("/");
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("could not create the agent's directory {}", state_dir.display()))?;
    let facts = identity::facts(id.clone(), root, tags)?;
    let packages = packages::detect(root, state_dir).map(Arc::from);
    if packages.is_none() {
        warn!("no package manager that the agent knows; this node can only run scripts");
    }
    let runner = HostRunner {
        node_id: id,
        operating_system: facts.operating_system,
        can_reboot: false,
        packages,
        state_dir: state_dir.to_owned(),
    };
    Ok(AgentNode {
        facts,
        runner: Arc::new(runner),
        journal: Box::new(FileJournal::open(state_dir.join("journal.jsonl"))?),
        policy,
        fingerprint: None,
        online: true,
    })
}

/// Runs agents on the embedded bus until `stop`; then work in hand has `stop_grace` to end.
///
/// # Errors
/// When a journal cannot be read.
pub async fn run(
    nodes: Vec<AgentNode>,
    bus: Arc<EmbeddedBus>,
    stop_grace: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let transport = InProcessTransport::new(Arc::new(EmbeddedLink(bus)), false);
    let options = AgentOptions { stop_grace, ..AgentOptions::default() };
    Agent::new(nodes, options).run(Arc::new(transport), stop).await.context("the agents gave up")
}

/// The embedded bus as agents see it.
pub struct EmbeddedLink(pub Arc<EmbeddedBus>);

#[async_trait]
impl InProcessBus for EmbeddedLink {
    fn listen(&self, address: &str) -> mpsc::Receiver<Vec<u8>> {
        let mut inbox = self.0.listen(address);
        let (sender, receiver) = mpsc::channel(INBOX);
        tokio::spawn(async move {
            loop {
                let body = tokio::select! {
                    // The agent is gone: dropping the inbox takes the address off the bus.
                    () = sender.closed() => return,
                    body = inbox.recv() => body,
                };
                let Some(body) = body else { return };
                if sender.send(body).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    async fn report(&self, reports: &[Report]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let messages: Vec<_> = reports
            .iter()
            .map(|report| Outgoing {
                route: Route::Report { key: report.routing_key().to_owned() },
                message_id: report.id,
                message_type: report.message_type.to_owned(),
                body: report.body.clone(),
            })
            .collect();
        self.0.publish(&messages).await?;
        Ok(())
    }
}
