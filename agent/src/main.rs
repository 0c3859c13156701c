//! The `patchwave-agent` program: one real node, or many simulated ones.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use patchwave_agent::credentials::Credentials;
use patchwave_agent::execute::HostRunner;
use patchwave_agent::journal::FileJournal;
use patchwave_agent::simulate::Simulation;
use patchwave_agent::{Agent, AgentNode, AgentOptions, Policy, identity, packages};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

mod options;
mod way;

use options::{LogFormat, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let registry = tracing_subscriber::registry().with(options.log.clone());
    match options.log_format {
        LogFormat::Text => registry.with(log).init(),
        LogFormat::Json => registry.with(log.json()).init(),
    }
    // One thread: an idle agent is to be small, and one node's work is in other processes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.context("could not start").and_then(|runtime| {
        let outcome = runtime.block_on(run(options));
        // A scan in a blocking thread cannot be stopped, and nobody waits for it any more.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let (nodes, credentials) = if options.simulation.simulate.is_some() {
        (simulated(&options), None)
    } else {
        let state_dir = std::path::absolute(&options.state_dir).context("could not tell the current directory")?;
        let credentials = Credentials::load(&state_dir)?;
        (vec![this_node(&options, state_dir, credentials.as_ref())?], credentials)
    };
    let name = match nodes.as_slice() {
        [node] => format!("patchwave-agent {}", node.facts.node_id),
        nodes => format!("patchwave-agent, {} nodes", nodes.len()),
    };
    let transport = way::transport(&options, credentials, name)?;
    tracing::info!(
        nodes = nodes.len(),
        first_node.id = nodes.first().map(|node| node.facts.node_id.as_str()),
        "starting"
    );
    let agent_options = AgentOptions {
        stop_grace: std::time::Duration::from_secs(options.stop_grace_seconds),
        reboot_command: options.reboot_command(),
        reconnect_max: std::time::Duration::from_secs(options.reconnect_max_seconds),
        ..AgentOptions::default()
    };
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    Agent::new(nodes, agent_options).run(transport, stop).await.context("could not take up the journal")
}

fn this_node(options: &Options, state_dir: PathBuf, credentials: Option<&Credentials>) -> anyhow::Result<AgentNode> {
    let node_id = match (credentials, &options.node_id) {
        (Some(credentials), None) => credentials.node_id.clone(),
        (Some(credentials), Some(id)) => {
            anyhow::ensure!(
                credentials.node_id == *id,
                "--node-id is {id}, but this node registered as {}",
                credentials.node_id
            );
            id.clone()
        }
        (None, Some(id)) => id.clone(),
        (None, None) => identity::node_id(&state_dir)?,
    };
    let facts = identity::facts(node_id.clone(), &options.root, options.tags.iter().cloned().collect())?;
    let packages = packages::detect(&options.root, &state_dir).map(Arc::from);
    if packages.is_none() {
        tracing::warn!(root = %options.root.display(), "no package manager that this agent knows; it can only run scripts");
    }
    let runner = HostRunner {
        node_id,
        operating_system: facts.operating_system,
        can_reboot: options.reboot_command().is_some(),
        packages,
        state_dir: state_dir.clone(),
    };
    Ok(AgentNode {
        facts,
        runner: Arc::new(runner),
        journal: Box::new(FileJournal::open(state_dir.join("journal.jsonl"))?),
        policy: Policy::scan_only(options.scan_only),
        fingerprint: credentials.map(|credentials| credentials.fingerprint.clone()),
        online: true,
    })
}

fn simulated(options: &Options) -> Vec<AgentNode> {
    let simulation = Simulation::new(options.simulation.to_options(&options.tags));
    simulation.set_bad_patch(options.simulation.bad_patch.clone());
    simulation.nodes(Policy::scan_only(options.scan_only))
}

async fn stop_on_signal(stop: CancellationToken) {
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals; stop the agent by killing it")
        }
    }
}
