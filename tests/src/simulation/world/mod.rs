//! What may happen next, at random.

mod calm;
mod messages;
mod nodes;
mod time;
mod users;

use std::path::Path;
use std::sync::Arc;

use anyhow::ensure;
use jiff::Timestamp;
use patchwave_agent::trust::{KeyRing, Trust};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::{Signer, verification_keys};
use patchwave_platform::store::{Durability, Store};
use patchwave_platform::topics::embedded::EmbeddedTopics;
use patchwave_schemas::WindowId;
use patchwave_workers::Context;
use patchwave_workers::effects::{Effects, NodeDelivery};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::Summary;
use super::fleet::{Deeds, SimNode};
use super::invariants::Invariants;
use super::network::Network;

/// Where the clock starts: a Monday.
const START: &str = "2026-03-02T00:00:00Z";

/// A store in which nothing has happened yet: made once, and copied for every seed.
static EMPTY: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn empty_store() -> anyhow::Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("empty.db");
    let store = open_store(&path).await?;
    store.ensure_predefined_baselines(START.parse()?).await?;
    store.close().await;
    Ok(std::fs::read(&path)?)
}

async fn open_store(path: &Path) -> anyhow::Result<Store> {
    Ok(Store::open_with(&format!("sqlite://{}", path.display()), Durability::None).await?)
}

/// What kind of a world it is: rare things are only seen where they are common.
#[derive(Debug, Clone, Copy)]
struct Temper {
    /// How often work fails: 0 to 1.
    failing: f64,
    /// How often a node falls silent after it was given a command: 0 to 1.
    silent: f64,
    /// Whether rollouts have one or two slots and next to no budget.
    tight: bool,
    /// How many nodes may restart at once; 0 is no limit.
    restarts: u32,
}

impl Temper {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            failing: [0.1, 0.2, 0.8][rng.random_range(0..3)],
            silent: [0.0, 0.05, 0.3][rng.random_range(0..3)],
            tight: rng.random_bool(0.5),
            restarts: [0, 0, 1, 3][rng.random_range(0..4)],
        }
    }
}

/// Everything there is.
pub struct World {
    rng: ChaCha8Rng,
    now: Timestamp,
    context: Context,
    network: Network,
    nodes: Vec<SimNode>,
    deeds: Deeds,
    invariants: Invariants,
    windows: Vec<WindowId>,
    temper: Temper,
    /// What follows from batches whose publisher is slow.
    delayed: Vec<Effects>,
    /// Commands that came back from the bus, and are not handled yet.
    returned: Vec<Vec<NodeDelivery>>,
    summary: Summary,
    trace: bool,
    _directory: tempfile::TempDir,
}

impl World {
    /// Sets a world up from a seed.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub async fn new(seed: u64, trace: bool) -> anyhow::Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("simulation.db");
        std::fs::write(&path, EMPTY.get_or_try_init(empty_store).await?)?;
        let store = open_store(&path).await?;
        let network = Network::new(ChaCha8Rng::seed_from_u64(rng.random()));
        // Always the same: a replay must not differ.
        let master_key = Arc::new(MasterKey::from_bytes(&[7; 32]));
        let context = Context {
            signer: Some(Arc::new(Signer::new(store.clone(), Arc::clone(&master_key)))),
            calls: None,
            master_key,
            store,
            bus: Arc::new(network.clone()),
            topics: Arc::new(EmbeddedTopics::new()),
        };
        let count = rng.random_range(2..=10);
        let temper = Temper::new(&mut rng);
        let group = |index| ["canary", "production"][index as usize % 2];
        let now = START.parse()?;
        // Nodes act on what is signed alone; the first to sign makes the key.
        if let Some(signer) = &context.signer {
            signer.key(now).await?;
        }
        let mut tx = context.store.begin().await?;
        tx.set_reboot_limit(temper.restarts).await?;
        tx.commit().await?;
        let keys = verification_keys(&context.store.signing_keys().await?, now);
        let trust = Trust::Keys(Arc::new(KeyRing::first(&keys)?));
        let nodes = (0..count)
            .map(|index| SimNode::new(index, group(index), trust.clone(), temper.failing, temper.silent))
            .collect();
        let mut world = Self {
            rng,
            now,
            context,
            network,
            nodes,
            deeds: Deeds::default(),
            invariants: Invariants::default(),
            windows: Vec::new(),
            temper,
            delayed: Vec::new(),
            returned: Vec::new(),
            summary: Summary::default(),
            trace,
            _directory: directory,
        };
        for index in 0..world.nodes.len() {
            // Known from the start; whether they are connected is another matter.
            let facts = world.nodes[index].facts.clone();
            let mut tx = world.context.store.begin().await?;
            tx.put_node(&facts, world.now).await?;
            tx.commit().await?;
            if world.rng.random_bool(0.8) {
                world.connect(index);
            }
        }
        for _ in 0..world.rng.random_range(1..=2) {
            world.create_window().await?;
        }
        Ok(world)
    }

    /// What has happened so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary { faults: self.network.wires().faults, executions: self.deeds.executed.len(), ..self.summary }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>5} {} {}", self.summary.steps, self.now, what());
        }
    }

    /// Lets one thing happen, chosen at random, and checks the invariants.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub async fn step(&mut self) -> anyhow::Result<()> {
        self.summary.steps += 1;
        let mut stored = true;
        match self.rng.random_range(0..100) {
            0..32 => self.deliver().await?,
            32..38 => {
                self.take_back().await?;
            }
            38..40 => {
                self.catch_up().await;
            }
            40..62 => {
                self.some_node()?;
                stored = false;
            }
            62..74 => self.pass_time().await?,
            74..77 => self.sweep().await?,
            77..88 => {
                self.node_trouble()?;
                stored = false;
            }
            88..92 => self.request_command().await?,
            92..94 => self.request_window()?,
            94..96 => self.cancel().await?,
            96 => self.answer().await?,
            97 if self.rng.random_bool(0.3) => self.lose_the_broker(),
            _ => self.edit_window().await?,
        }
        // What nodes do is seen in the store, or at the next look at it.
        if stored {
            self.invariants.check(&self.context.store, &self.deeds, self.now).await?;
        }
        Ok(())
    }

    fn uuid(&mut self) -> Uuid {
        Uuid::from_u128(self.rng.random())
    }
}

/// A guard against a world in which nothing happens.
///
/// # Errors
/// When the seeds together did too little to mean anything.
pub fn ensure_eventful(total: &Summary, seeds: usize) -> anyhow::Result<()> {
    ensure!(total.executions > seeds, "{} executions in {seeds} seeds", total.executions);
    ensure!(total.crashes > seeds, "{} crashes in {seeds} seeds", total.crashes);
    ensure!(total.gates > seeds / 4, "{} gates passed in {seeds} seeds", total.gates);
    ensure!(total.faults > seeds, "{} faults in {seeds} seeds", total.faults);
    ensure!(total.window_executions > seeds, "{} window executions in {seeds} seeds", total.window_executions);
    Ok(())
}
