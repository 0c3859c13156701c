//! The seeded simulation: the real scheduler, handlers, store and agent core in one process, on a
//! bus that duplicates, delays, reorders and loses, with crashes between any two steps.
//!
//! Everything random comes from the seed and everything happens one after the other, so a seed
//! that breaks an invariant breaks it again: `make simulate SEED=<n>`.
//!
//! - [`network`]: the bus that misbehaves within its contract.
//! - [`fleet`]: nodes that fall silent, connect, vanish, crash and come back; work that takes time.
//! - [`world`]: what may happen next, and the clock.
//! - [`invariants`]: what must hold after every step, and at the end.

pub mod fleet;
pub mod invariants;
pub mod network;
pub mod world;

use anyhow::Context as _;

use world::World;

/// Steps of disorder before everything heals.
const STEPS: usize = 140;

/// What a run did, to show that seeds are worth running.
#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    /// Steps taken, healing included.
    pub steps: usize,
    /// Processes that died.
    pub crashes: usize,
    /// Messages that were lost or delivered again.
    pub faults: usize,
    /// Commands that nodes executed.
    pub executions: usize,
    /// Waves that were followed by another one.
    pub gates: usize,
    /// Commands whose rollout ended.
    pub commands: usize,
    /// Window executions, skipped ones included.
    pub window_executions: usize,
}

/// Runs one seed to its end.
///
/// # Errors
/// The first invariant that did not hold, with the step at which it broke.
pub async fn run(seed: u64, trace: bool) -> anyhow::Result<Summary> {
    let mut world = World::new(seed, trace).await.context("setting up")?;
    for step in 0..STEPS {
        if step == STEPS / 3 || step == STEPS * 2 / 3 {
            world.lull().await.with_context(|| format!("seed {seed}, in a lull before step {step}"))?;
        }
        world.step().await.with_context(|| format!("seed {seed}, step {step}"))?;
    }
    world.heal().await.with_context(|| format!("seed {seed}, while healing"))?;
    Ok(world.summary())
}
