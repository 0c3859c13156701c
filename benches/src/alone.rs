//! What is measured without the yardstick: the idle agent, a scan, the embedded default.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use patchwave::in_process::EmbeddedLink;
use patchwave_agent::simulate::{Simulation, SimulationOptions};
use patchwave_agent::transport::memory::InProcessTransport;
use patchwave_agent::{Agent, AgentOptions, Policy};
use patchwave_engine::baseline::predefined;
use patchwave_platform::bus::Bus;
use patchwave_platform::bus::embedded::EmbeddedBus;
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::topics::embedded::EmbeddedTopics;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::{BaselineId, NodeId};
use tokio_util::sync::CancellationToken;

use crate::figures::{Figures, say};
use crate::fleet::{Limits, Place, agent, finished, register};
use crate::program::{Program, built, memory};

/// How long an agent settles before its memory is read.
const SETTLE: Duration = Duration::from_secs(6);

/// Memory of a connected agent that has nothing to do, and the size of the programs.
pub(crate) async fn idle_agent(figures: &mut Figures, repeats: usize) -> anyhow::Result<()> {
    say("idle agent");
    let place = Place::make("idle").await?;
    let _worker = place.worker()?;
    let mut agents = Vec::new();
    for _ in 0..repeats {
        let directory = tempfile::tempdir()?;
        let mut command = agent(&place.bus_url, directory.path())?;
        command.arg("--trust-anyone");
        command.args(["--node-id", NodeId::random().as_str()]);
        agents.push((Program::spawn(command)?, directory));
    }
    tokio::time::sleep(SETTLE).await;
    let connected = place.store.figures(Timestamp::now()).await?.nodes_connected;
    ensure!(connected as usize == repeats, "only {connected} of {repeats} agents connected");
    let memories = agents.iter().map(|(agent, _)| agent.memory()).collect::<anyhow::Result<Vec<_>>>()?;
    let column = |of: fn(&crate::program::Memory) -> u64, divisor: f64| -> Vec<f64> {
        memories.iter().map(|memory| of(memory) as f64 / divisor).collect()
    };
    figures.add("idle agent: resident (VmRSS)", "MiB", Some("≤ 8"), &column(|memory| memory.rss, 1024.0));
    figures.add("idle agent: proportional (Pss)", "MiB", None, &column(|memory| memory.pss, 1024.0));
    figures.add("idle agent: threads", "threads", None, &column(|memory| memory.threads, 1.0));
    for name in ["patchwave-agent", "patchwave"] {
        let bytes = std::fs::metadata(built(name)?)?.len() as f64;
        figures.add(format!("size of `{name}`"), "MiB", None, &[bytes / f64::from(1 << 20)]);
    }
    Ok(())
}

/// A scan of this machine, in a process of its own, against `apt-get -s upgrade`.
pub(crate) fn scan(figures: &mut Figures, repeats: usize) -> anyhow::Result<()> {
    let lists = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten().flatten();
    if !lists.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.contains("_Packages")) {
        say("scan: left out, as this machine has no apt lists");
        return Ok(());
    }
    say("scan of this machine");
    let (mut ours, mut peaks, mut apts, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let started = Instant::now();
        let output = Command::new(std::env::current_exe()?).arg("scan-once").output()?;
        let scan = started.elapsed().as_secs_f64() * 1_000.0;
        ensure!(output.status.success(), "the scan failed: {}", String::from_utf8_lossy(&output.stderr));
        let peak: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("the scan prints its peak")?;
        let started = Instant::now();
        let apt = Command::new("apt-get").args(["-s", "upgrade"]).env("LC_ALL", "C").output()?;
        ensure!(apt.status.success(), "apt-get failed: {}", String::from_utf8_lossy(&apt.stderr));
        let apt = started.elapsed().as_secs_f64() * 1_000.0;
        ours.push(scan);
        apts.push(apt);
        peaks.push(peak / 1024.0);
        ratios.push(scan / apt);
    }
    figures.add("scan of this machine", "ms", None, &ours);
    figures.add("`apt-get -s upgrade`", "ms", None, &apts);
    figures.add("scan ÷ `apt-get -s upgrade`", "ratio", Some("≤ 0.1"), &ratios);
    figures.add("scan: peak resident", "MiB", Some("≤ 24"), &peaks);
    Ok(())
}

/// Scans this machine and prints the peak of resident memory in KiB.
pub(crate) fn scan_once() -> anyhow::Result<String> {
    let state = tempfile::tempdir()?;
    let packages = patchwave_agent::packages::detect(std::path::Path::new("/"), state.path())
        .context("this machine has no package manager that the agent knows")?;
    let (name, rules) = predefined(OperatingSystem::Debian);
    let snapshot = BaselineSnapshot::new("", BaselineId::random(), name, rules);
    let scanned = packages.scan(&snapshot, Timestamp::now())?;
    ensure!(!scanned.patches.is_empty(), "nothing is installed here");
    Ok(memory("self")?.peak.to_string())
}

/// The embedded default: everything in this process, on one SQLite file.
pub(crate) async fn embedded(figures: &mut Figures, nodes: usize, repeats: usize) -> anyhow::Result<()> {
    say(&format!("embedded default, {nodes} nodes"));
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(".")?;
    let file = directory.path().join("patchwave.db");
    let store = Store::open(&format!("sqlite://{}", file.display())).await?;
    let bus = Arc::new(EmbeddedBus::open(Some(&file)).await?);
    let context = patchwave_workers::Context {
        store: store.clone(),
        bus: Arc::clone(&bus) as Arc<dyn Bus>,
        topics: Arc::new(EmbeddedTopics::new()),
        master_key: Arc::new(MasterKey::ephemeral()?),
        signer: None,
        calls: None,
    };
    let shutdown = CancellationToken::new();
    let workers = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { patchwave_workers::run(context, &[], shutdown).await }
    });
    let tags = [("bench".to_owned(), "1".to_owned())].into();
    let simulation = Simulation::new(SimulationOptions { count: nodes, tags, ..SimulationOptions::default() });
    let transport = InProcessTransport::new(Arc::new(EmbeddedLink(Arc::clone(&bus))), true);
    let agents = Agent::new(simulation.nodes(Policy::default()), AgentOptions::default());
    let stop = CancellationToken::new();
    let agents = tokio::spawn({
        let stop = stop.clone();
        async move { agents.run(Arc::new(transport), stop).await }
    });
    let started = Instant::now();
    while (store.figures(Timestamp::now()).await?.nodes_connected as usize) < nodes {
        ensure!(started.elapsed() < Duration::from_secs(60), "the simulated nodes did not connect");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut rates = Vec::new();
    for _ in 0..repeats {
        let firing = register(&store, &Limits { concurrency: "1000", errors: "100%" }).await?;
        let at = Timestamp::now();
        bus.publish(&[firing.outgoing()]).await?;
        let rollout = finished(&store, &firing.window, at).await?;
        ensure!(rollout.succeeded == nodes, "not all nodes succeeded: {rollout:?}");
        rates.push(nodes as f64 / rollout.elapsed.as_secs_f64());
    }
    stop.cancel();
    agents.await??;
    shutdown.cancel();
    workers.await?;
    figures.add(format!("{nodes} nodes, embedded SQLite, one process: completions"), "1/s", None, &rates);
    Ok(())
}
