//! The clock: timers, and the sweeps for what was left behind.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_workers::effects::Effects;
use rand::RngExt as _;

use super::World;

impl World {
    pub(super) async fn pass_time(&mut self) -> anyhow::Result<()> {
        let step = match self.rng.random_range(0..10) {
            0..6 => self.rng.random_range(1..20),
            6..9 => self.rng.random_range(20..300),
            _ => self.rng.random_range(300..4_000),
        };
        self.now += SignedDuration::from_secs(step);
        self.say(|| format!("{step} s pass"));
        let messages = patchwave_scheduler::tick(&self.context.store, self.now).await?;
        // A scheduler that dies here leaves its events to the outbox.
        if self.rng.random_bool(0.9) {
            self.flush(messages).await?;
        } else {
            self.summary.crashes += 1;
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self, messages: Vec<OutboxMessage>) -> anyhow::Result<()> {
        self.carry_out(Effects { outbox: messages, ..Effects::default() }).await;
        Ok(())
    }

    pub(super) async fn sweep(&self) -> anyhow::Result<()> {
        self.sweep_as_of(self.now).await
    }

    /// What is due for a sweep is due within a minute at the latest.
    pub(super) async fn sweep_as_of(&self, when: Timestamp) -> anyhow::Result<()> {
        let context = patchwave_scheduler::Context {
            store: self.context.store.clone(),
            bus: Arc::clone(&self.context.bus),
            topics: Arc::clone(&self.context.topics),
        };
        patchwave_scheduler::sweep(&context, when).await.map_err(|error| anyhow::anyhow!(error.to_string()))?;
        Ok(())
    }
}
