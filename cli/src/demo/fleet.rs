//! The demo's nodes: sixty that are made up, and this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use patchwave_agent::simulate::{Simulation, SimulationOptions};
use patchwave_agent::{AgentNode, Policy, identity};
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_schemas::NodeId;
use tokio_util::sync::CancellationToken;

use super::scene::GROUPS;
use crate::in_process;

/// The package whose installation fails in staging.
pub(super) const BAD_PATCH: &str = "openssh-server";
/// The patch group of the real node.
pub(super) const REAL_GROUP: &str = "this-machine";
/// Time for work in hand to end with the demo; the audience has gone.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Everything that the demo patches or scans.
#[derive(Clone)]
pub(super) struct Fleet {
    simulations: Vec<Simulation>,
    simulated: usize,
    this_machine: NodeId,
    state_dir: PathBuf,
}

impl Fleet {
    /// Makes the fleet up. Its state is kept below `directory`.
    pub(super) fn make_up(directory: &Path) -> anyhow::Result<Self> {
        let state_dir = directory.join("agent");
        let mut first_id = 0;
        let mut simulations = Vec::new();
        for (seed, group) in (1..).zip(&GROUPS) {
            let simulation = Simulation::new(SimulationOptions {
                count: group.nodes,
                seed,
                duration: Duration::from_millis(250)..=Duration::from_millis(1_100),
                tags: BTreeMap::from([("Patch Group".to_owned(), group.name.to_owned())]),
                first_id,
                ..SimulationOptions::default()
            });
            if group.meets_bad_patch {
                simulation.set_bad_patch(Some(BAD_PATCH.to_owned()));
            }
            first_id += u64::try_from(group.nodes).context("more nodes than fit")?;
            simulations.push(simulation);
        }
        let simulated = GROUPS.iter().map(|group| group.nodes).sum();
        let this_machine = identity::node_id(&state_dir)?;
        Ok(Self { simulations, simulated, this_machine, state_dir })
    }

    /// Nodes in all.
    pub(super) fn size(&self) -> usize {
        self.simulated + 1
    }

    /// Nodes that are made up.
    pub(super) fn simulated(&self) -> usize {
        self.simulated
    }

    /// The node that is real.
    pub(super) fn this_machine(&self) -> &NodeId {
        &self.this_machine
    }

    /// Runs the agents until `stop`.
    pub(super) fn run(
        &self,
        bus: Arc<EmbeddedBus>,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let nodes = self.nodes();
        async move { in_process::run(nodes?, bus, STOP_GRACE, stop).await }
    }

    /// This machine's agent takes scans only, whatever it is told.
    fn nodes(&self) -> anyhow::Result<Vec<AgentNode>> {
        let mut nodes: Vec<_> =
            self.simulations.iter().flat_map(|simulation| simulation.nodes(Policy::default())).collect();
        let tags = BTreeMap::from([("Patch Group".to_owned(), REAL_GROUP.to_owned())]);
        let policy = Policy::scan_only(true);
        nodes.push(in_process::this_machine(self.this_machine.clone(), tags, policy, &self.state_dir)?);
        Ok(nodes)
    }
}
