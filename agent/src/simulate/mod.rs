//! Made-up nodes that go through the agent's real path.
//!
//! Journal, run rules, queue, document and patch steps are the agent's own; only what a step does
//! is made up, from a seed: the same options give the same fleet with the same behaviour. Nothing
//! real happens on a simulated node, and it says that it is simulated wherever it speaks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use patchwave_schemas::NodeId;
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::node::{NodeFacts, OperatingSystem};

use crate::journal::MemoryJournal;
use crate::node::Policy;
use crate::runtime::AgentNode;

mod packages;
mod runner;
#[cfg(test)]
mod tests;

pub use packages::CATALOGUE;
pub use runner::SimulatedRunner;

/// The tag whose value is a node's patch group.
const PATCH_GROUP_TAG: &str = "Patch Group";

/// A system that simulated nodes pretend to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedSystem {
    /// Which baselines apply.
    pub operating_system: OperatingSystem,
    /// For people, for instance `Debian GNU/Linux`.
    pub platform_name: String,
    /// As in os-release, for instance `12`.
    pub version: String,
    /// As in os-release, for instance `bookworm`.
    pub codename: String,
}

impl SimulatedSystem {
    fn new(operating_system: OperatingSystem, platform_name: &str, version: &str, codename: &str) -> Self {
        Self {
            operating_system,
            platform_name: platform_name.to_owned(),
            version: version.to_owned(),
            codename: codename.to_owned(),
        }
    }
}

/// What fleet is made up.
#[derive(Debug, Clone)]
pub struct SimulationOptions {
    /// Number of nodes.
    pub count: usize,
    /// Decides everything that differs between nodes.
    pub seed: u64,
    /// Share of commands that fail on a node, 0..=1.
    pub failure_rate: f64,
    /// Share of nodes that do not connect, 0..=1.
    pub offline_share: f64,
    /// How long a step takes. Nodes whose steps take no time need no task of their own.
    pub duration: RangeInclusive<Duration>,
    /// Systems with their weights.
    pub systems: Vec<(SimulatedSystem, u32)>,
    /// Patch groups with their weights. Without any, nodes have none.
    pub patch_groups: Vec<(String, u32)>,
    /// Tags of every node.
    pub tags: BTreeMap<String, String>,
    /// Index of the first node, so that several processes can simulate parts of one fleet.
    pub first_id: u64,
    /// The catalogue's release dates count back from here.
    pub released_before: Timestamp,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        let systems = vec![
            (SimulatedSystem::new(OperatingSystem::Debian, "Debian GNU/Linux", "12", "bookworm"), 4),
            (SimulatedSystem::new(OperatingSystem::Ubuntu, "Ubuntu", "22.04", "jammy"), 3),
            (SimulatedSystem::new(OperatingSystem::Ubuntu, "Ubuntu", "24.04", "noble"), 2),
            (SimulatedSystem::new(OperatingSystem::Raspbian, "Raspbian GNU/Linux", "12", "bookworm"), 1),
        ];
        Self {
            count: 0,
            seed: 1,
            failure_rate: 0.0,
            offline_share: 0.0,
            duration: Duration::ZERO..=Duration::ZERO,
            systems,
            patch_groups: Vec::new(),
            tags: BTreeMap::new(),
            first_id: 0,
            released_before: Timestamp::now(),
        }
    }
}

/// A fleet of simulated nodes, and the handle by which its behaviour is changed while it runs.
#[derive(Clone)]
pub struct Simulation {
    options: Arc<SimulationOptions>,
    behaviour: Arc<Behaviour>,
}

/// What may change while the fleet runs. Read by every node, written by whoever directs the scene.
struct Behaviour {
    seed: u64,
    duration: RangeInclusive<Duration>,
    /// Bits of an `f64`.
    failure_rate: AtomicU64,
    bad_patch: RwLock<Option<String>>,
    clock: Clock,
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl Behaviour {
    fn failure_rate(&self) -> f64 {
        f64::from_bits(self.failure_rate.load(Ordering::Relaxed))
    }

    fn is_bad(&self, package: &str) -> bool {
        self.bad_patch.read().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(package)
    }
}

impl Simulation {
    /// A fleet by these options, on the system's clock.
    #[must_use]
    pub fn new(options: SimulationOptions) -> Self {
        Self::with_clock(options, Arc::new(Timestamp::now))
    }

    /// A fleet on another clock, for simulated time.
    #[must_use]
    pub fn with_clock(mut options: SimulationOptions, clock: Clock) -> Self {
        if options.systems.is_empty() {
            options.systems = SimulationOptions::default().systems;
        }
        let behaviour = Behaviour {
            seed: options.seed,
            duration: options.duration.clone(),
            failure_rate: AtomicU64::new(options.failure_rate.to_bits()),
            bad_patch: RwLock::default(),
            clock,
        };
        Self { options: Arc::new(options), behaviour: Arc::new(behaviour) }
    }

    /// Makes the installation of a package fail on every node from now on; `None` makes all good.
    ///
    /// The names are those of [`CATALOGUE`].
    pub fn set_bad_patch(&self, package: Option<String>) {
        *self.behaviour.bad_patch.write().unwrap_or_else(PoisonError::into_inner) = package;
    }

    /// Changes the share of commands that fail, 0..=1.
    pub fn set_failure_rate(&self, rate: f64) {
        self.behaviour.failure_rate.store(rate.to_bits(), Ordering::Relaxed);
    }

    /// The ids of the fleet, in order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        (0..self.options.count).map(|offset| self.node_id(offset))
    }

    /// Whether a node is among the offline share.
    #[must_use]
    pub fn is_offline(&self, offset: usize) -> bool {
        self.chance(offset, "offline") < self.options.offline_share
    }

    /// What a node reports about itself.
    #[must_use]
    pub fn facts(&self, offset: usize) -> NodeFacts {
        let system = self.system(offset);
        let mut tags = self.options.tags.clone();
        if let Some(group) = weighted(&self.options.patch_groups, self.chance(offset, "group")) {
            tags.insert(PATCH_GROUP_TAG.to_owned(), group.clone());
        }
        NodeFacts {
            node_id: self.node_id(offset),
            computer_name: format!("simulated-{:05}", self.index(offset)),
            operating_system: system.operating_system,
            platform_name: system.platform_name.clone(),
            platform_version: system.version.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            ip_address: None,
            simulated: true,
            tags,
        }
    }

    /// What a node's steps do.
    #[must_use]
    pub fn runner(&self, offset: usize) -> SimulatedRunner {
        let system = self.system(offset);
        let packages = packages::Packages::new(system, self.options.released_before, |package| {
            self.chance(offset, package) < packages::UP_TO_DATE_SHARE
        });
        SimulatedRunner::new(self.node_id(offset), system.operating_system, packages, Arc::clone(&self.behaviour))
    }

    /// The fleet, for an [`Agent`](crate::Agent).
    #[must_use]
    pub fn nodes(&self, policy: Policy) -> Vec<AgentNode> {
        let node = |offset| AgentNode {
            facts: self.facts(offset),
            runner: Arc::new(self.runner(offset)),
            journal: Box::new(MemoryJournal::default()),
            policy: policy.clone(),
            fingerprint: None,
            online: !self.is_offline(offset),
        };
        (0..self.options.count).map(node).collect()
    }

    fn index(&self, offset: usize) -> u64 {
        self.options.first_id.saturating_add(offset as u64)
    }

    fn node_id(&self, offset: usize) -> NodeId {
        let cause = format!("{}/{}", self.options.seed, self.index(offset));
        NodeId::from_bits(derived_uuid("simulated-node:", &cause).as_u128())
    }

    fn system(&self, offset: usize) -> &SimulatedSystem {
        weighted(&self.options.systems, self.chance(offset, "system")).unwrap_or(&self.options.systems[0].0)
    }

    fn chance(&self, offset: usize, what: &str) -> f64 {
        chance(self.options.seed, &format!("{}/{what}", self.index(offset)))
    }
}

/// A number in 0..1 that depends on nothing but its arguments.
fn chance(seed: u64, cause: &str) -> f64 {
    let bits = derived_uuid("simulated-chance:", &format!("{seed}/{cause}")).as_u128();
    // The low 53 bits of a UUIDv5 are all hash, and as many as an `f64` holds.
    (bits & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
}

/// The choice on which `at` (0..1) falls when the choices share 0..1 by weight.
fn weighted<T>(choices: &[(T, u32)], at: f64) -> Option<&T> {
    let total: u32 = choices.iter().map(|(_, weight)| weight).sum();
    let mut rest = at * f64::from(total);
    for (choice, weight) in choices {
        rest -= f64::from(*weight);
        if rest < 0.0 {
            return Some(choice);
        }
    }
    choices.last().map(|(choice, _)| choice)
}
