//! What is measured against the yardstick: rollouts by size, the fan-out, the error threshold.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::{Bus, BusError, Consumer, HostQueue, Link, Outgoing, Published, Route};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::topics::redis::RedisTopics;
use patchwave_schemas::topology::WorkQueue;
use sqlx::Row as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bare::Driver;
use crate::figures::{Figures, median, say};
use crate::fleet::{Limits, Place, finished, register};
use crate::program::{Program, cpu_by_program};

/// Commands in flight in the compared rollouts.
const CONCURRENCY: usize = 1_000;

/// Starts the yardstick's echo beside a place.
fn echo(place: &Place, nodes: usize, shared: bool) -> anyhow::Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["echo", "--url", &place.bus_url, "--tag", "r1", "--nodes", &nodes.to_string()]);
    if shared {
        command.arg("--shared");
    }
    Program::spawn_ready(command)
}

/// Longest wait for a quiet broker, in looks of half a second.
const LOOKS_MAX: usize = 60;

/// Waits until the broker has done what the last round left behind: thousands of queues go to sleep
/// and publish statistics seconds after they were used, and none of it is to fall to the next round.
pub(crate) async fn broker_is_quiet() {
    let spent = || cpu_by_program().get("beam.smp").copied().unwrap_or_default();
    let (mut before, mut quiet) = (spent(), 0);
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = spent();
        // A tenth of one core. Queues fall asleep a second or so after use.
        quiet = if now - before < 0.05 { quiet + 1 } else { 0 };
        if quiet == 12 {
            return;
        }
        before = now;
    }
}

/// How a fleet is reached.
fn kind(shared: bool) -> &'static str {
    if shared { "one host queue" } else { "a queue per node" }
}

/// Rollouts over `nodes` against bare round trips over as many, in turn. Returns seconds per node.
pub(crate) async fn scale(figures: &mut Figures, nodes: usize, shared: bool, repeats: usize) -> anyhow::Result<f64> {
    let name = format!("{nodes} nodes, {}", kind(shared));
    say(&format!("rollout over {name}"));
    let place = Place::make(&format!("s{nodes}")).await?;
    let worker = place.worker()?;
    let started = Instant::now();
    let agents = place.agents(nodes, shared, &["--tag", "bench=1"]).await?;
    say(&format!("  nodes connected and known after {:.1} s", started.elapsed().as_secs_f64()));
    let _echo = echo(&place, nodes, shared)?;
    let mut driver = Driver::connect(&place.bus_url, "r1", nodes, shared).await?;
    let limit = CONCURRENCY.to_string();
    let (mut bare, mut ours, mut ratios, mut first) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        broker_is_quiet().await;
        let before = cpu_by_program();
        let round = driver.round(CONCURRENCY).await?;
        let bare_spent = cpu_by_program();
        broker_is_quiet().await;
        let between = cpu_by_program();
        let rollout = place.roll_out(&Limits { concurrency: &limit, errors: "100%" }).await?;
        ensure!(rollout.targets == nodes && rollout.succeeded == nodes, "not all nodes succeeded: {rollout:?}");
        let after = cpu_by_program();
        let rate = |elapsed: Duration| nodes as f64 / elapsed.as_secs_f64();
        let (bare_rate, our_rate) = (rate(round.elapsed), rate(rollout.elapsed));
        bare.push(bare_rate);
        ours.push(our_rate);
        ratios.push(our_rate / bare_rate);
        first.push(rollout.to_first_release.as_secs_f64() * 1_000.0);
        let spent = |from: &std::collections::BTreeMap<String, f64>, to: &std::collections::BTreeMap<String, f64>| {
            let differences =
                to.iter().map(|(program, seconds)| (program, seconds - from.get(program).unwrap_or(&0.0)));
            let texts: Vec<_> =
                differences.filter(|(_, seconds)| *seconds >= 0.01).map(|(p, s)| format!("{p} {s:.2}")).collect();
            texts.join(", ")
        };
        say(&format!("  bare {bare_rate:.0}/s, processor seconds: {}", spent(&before, &bare_spent)));
        say(&format!("  ours {our_rate:.0}/s, processor seconds: {}", spent(&between, &after)));
    }
    figures.add(format!("{name}: bare round trips"), "1/s", None, &bare);
    let median_rate = figures.add(format!("{name}: completions"), "1/s", None, &ours);
    let goal = (nodes == 10_000 && !shared).then_some("≥ 0.75");
    figures.add(format!("{name}: completions ÷ bare"), "ratio", goal, &ratios);
    figures.add(format!("{name}: window start → first release"), "ms", None, &first);
    figures.add(format!("{name}: worker, peak resident"), "MiB", None, &[worker.memory()?.peak as f64 / 1024.0]);
    figures.add(
        format!("{name}: simulating agent, peak resident"),
        "MiB",
        None,
        &agents.iter().map(|agent| Ok(agent.memory()?.peak as f64 / 1024.0)).collect::<anyhow::Result<Vec<_>>>()?,
    );
    Ok(1.0 / median_rate)
}

/// A bus that notes when the last command was answered for.
struct Watched {
    bus: Arc<dyn Bus>,
    last: Arc<Mutex<Instant>>,
}

#[async_trait]
impl Bus for Watched {
    async fn publish(&self, messages: &[Outgoing]) -> Result<Vec<Published>, BusError> {
        let published = self.bus.publish(messages).await?;
        if messages.iter().any(|message| matches!(message.route, Route::Node { .. })) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Ok(published)
    }

    async fn consume(&self, queue: WorkQueue) -> Result<Box<dyn Consumer>, BusError> {
        self.bus.consume(queue).await
    }

    async fn host(&self) -> Result<Box<dyn HostQueue>, BusError> {
        self.bus.host().await
    }

    fn link(&self) -> watch::Receiver<Link> {
        self.bus.link()
    }

    async fn depth(&self, queue: WorkQueue) -> Option<u64> {
        self.bus.depth(queue).await
    }

    async fn close(&self) {
        self.bus.close().await;
    }
}

/// Window start to the last confirmed command, without a limit, against the bare fan-out.
pub(crate) async fn fan_out(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say(&format!("fan-out to {nodes} nodes, no limit"));
    let place = Place::make(&format!("f{nodes}")).await?;
    let bus: Arc<dyn Bus> =
        Arc::new(patchwave_platform::bus::amqp::AmqpBus::connect(&place.bus_url, "bench-worker").await?);
    let last = Arc::new(Mutex::new(Instant::now()));
    let context = patchwave_workers::Context {
        store: place.store.clone(),
        bus: Arc::new(Watched { bus, last: Arc::clone(&last) }),
        topics: Arc::new(RedisTopics::connect(&place.redis_url).await?),
        master_key: Arc::new(MasterKey::ephemeral()?),
        signer: None,
        calls: None,
    };
    let shutdown = CancellationToken::new();
    let workers = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { patchwave_workers::run(context, &[], shutdown).await }
    });
    let _agents = place.agents(nodes, false, &["--tag", "bench=1"]).await?;
    let _echo = echo(&place, nodes, false)?;
    let mut driver = Driver::connect(&place.bus_url, "r1", nodes, false).await?;
    let (mut bare, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        broker_is_quiet().await;
        bare.push(driver.round(nodes).await?.published.as_secs_f64() * 1_000.0);
        broker_is_quiet().await;
        let firing = register(&place.store, &Limits { concurrency: "100%", errors: "100%" }).await?;
        let (at, started) = (Timestamp::now(), Instant::now());
        place.publish(firing.outgoing()).await?;
        finished(&place.store, &firing.window, at).await?;
        let published = last.lock().unwrap_or_else(PoisonError::into_inner).duration_since(started);
        ours.push(published.as_secs_f64() * 1_000.0);
        ratios.push(median(&ours[ours.len() - 1..]) / median(&bare[bare.len() - 1..]));
    }
    shutdown.cancel();
    workers.await?;
    figures.add(format!("{nodes} nodes: bare fan-out, first publish → last confirm"), "ms", None, &bare);
    figures.add(format!("{nodes} nodes: window start → last command confirmed, no limit"), "ms", None, &ours);
    figures.add(format!("{nodes} nodes: fan-out ÷ bare"), "ratio", Some("≤ 1.4"), &ratios);
    Ok(())
}

/// Releases after the failure that crossed the error threshold.
pub(crate) async fn threshold(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say("error threshold");
    let place = Place::make("threshold").await?;
    let _worker = place.worker()?;
    let _agents = place.agents(nodes, true, &["--tag", "bench=1", "--failure-rate", "0.05"]).await?;
    const MAX_ERRORS: i64 = 10;
    let (mut after, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let rollout = place.roll_out(&Limits { concurrency: "100", errors: &MAX_ERRORS.to_string() }).await?;
        let row = sqlx::query(
            "SELECT finished_at FROM invocations WHERE command_id = $1 AND state = 'Failed'
             ORDER BY finished_at OFFSET $2 LIMIT 1",
        )
        .bind(&rollout.command)
        .bind(MAX_ERRORS)
        .fetch_one(place.store.reader())
        .await?;
        let crossed: i64 = row.try_get("finished_at")?;
        let row = sqlx::query(
            "SELECT COUNT(CASE WHEN released_at >= $2 THEN 1 END) AS late, MAX(released_at) AS last,
                 COUNT(CASE WHEN released_at IS NULL THEN 1 END) AS never
             FROM invocations WHERE command_id = $1",
        )
        .bind(&rollout.command)
        .bind(crossed)
        .fetch_one(place.store.reader())
        .await?;
        let (late, last, never): (i64, i64, i64) = (row.try_get("late")?, row.try_get("last")?, row.try_get("never")?);
        ensure!(never > 0, "the threshold was crossed too late to stop anything");
        after.push(late as f64);
        gaps.push((last - crossed) as f64);
    }
    figures.add("releases after the crossing of the error threshold", "invocations", Some("0"), &after);
    figures.add("error threshold crossed → last release", "ms", Some("≤ 0"), &gaps);
    Ok(())
}
