//! What it costs that commands are signed: the same rollout with and without, in turn.
//!
//! All nodes of a side are in one process, which verifies the signature of each batch once and the
//! path of every message; in a real fleet each node verifies a signature for each of its messages.

use std::sync::Arc;

use anyhow::ensure;
use jiff::Timestamp;
use patchwave_platform::bus::Bus;
use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::topics::redis::RedisTopics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cases::broker_is_quiet;
use crate::figures::{Figures, median, say};
use crate::fleet::{Limits, Place};
use crate::program::Program;

/// A fleet with its workers, who sign or do not.
struct Side {
    place: Place,
    _agents: Vec<Program>,
    shutdown: CancellationToken,
    workers: JoinHandle<()>,
}

impl Side {
    async fn make(name: &str, nodes: usize, signs: bool) -> anyhow::Result<Self> {
        let place = Place::make(&format!("{name}{nodes}")).await?;
        let master_key = Arc::new(MasterKey::ephemeral()?);
        let signer = Arc::new(Signer::new(place.store.clone(), Arc::clone(&master_key)));
        signer.key(Timestamp::now()).await?;
        let key = place.store.signing_keys().await?.remove(0);
        let bus: Arc<dyn Bus> = Arc::new(AmqpBus::connect(&place.bus_url, "bench-worker").await?);
        let context = patchwave_workers::Context {
            store: place.store.clone(),
            bus,
            topics: Arc::new(RedisTopics::connect(&place.redis_url).await?),
            master_key,
            signer: signs.then_some(signer),
            calls: None,
        };
        let shutdown = CancellationToken::new();
        let workers = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { patchwave_workers::run(context, &[], shutdown).await }
        });
        let trusted = format!("{}={}", key.key_id, key.public_key);
        let mut options = vec!["--tag", "bench=1"];
        if signs {
            options.extend(["--verification-key", &trusted]);
        }
        let agents = place.agents(nodes, false, &options).await?;
        Ok(Self { place, _agents: agents, shutdown, workers })
    }

    /// Milliseconds from the firing to the last result.
    async fn round(&self, nodes: usize) -> anyhow::Result<f64> {
        broker_is_quiet().await;
        let rollout = self.place.roll_out(&Limits { concurrency: "1000", errors: "100%" }).await?;
        ensure!(rollout.succeeded == nodes, "not all nodes succeeded: {rollout:?}");
        Ok(rollout.elapsed.as_secs_f64() * 1_000.0)
    }

    async fn end(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.workers.await?;
        Ok(())
    }
}

/// Rollouts with and without signatures, in turn.
pub(crate) async fn cost(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say(&format!("{nodes} signed commands against as many unsigned ones"));
    let unsigned = Side::make("u", nodes, false).await?;
    let signed = Side::make("v", nodes, true).await?;
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..repeats {
        // Whoever goes first meets colder caches: they take turns.
        let (first, second) = if round % 2 == 0 { (&unsigned, &signed) } else { (&signed, &unsigned) };
        let (one, other) = (first.round(nodes).await?, second.round(nodes).await?);
        let (plain, sealed) = if round % 2 == 0 { (one, other) } else { (other, one) };
        without.push(plain);
        with.push(sealed);
        ratios.push(sealed / plain);
    }
    say(&format!("  {:.0} ms without, {:.0} ms with", median(&without), median(&with)));
    unsigned.end().await?;
    signed.end().await?;
    figures.add(format!("{nodes} commands, unsigned"), "ms", None, &without);
    figures.add(format!("{nodes} commands, signed and verified"), "ms", None, &with);
    figures.add(format!("{nodes} commands, signed ÷ unsigned"), "ratio", Some("≤ 1.1"), &ratios);
    Ok(())
}
