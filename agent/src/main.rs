//! The `patchwave-agent` program: one real node, or many simulated ones.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use patchwave_agent::credentials::Credentials;
use patchwave_agent::execute::HostRunner;
use patchwave_agent::journal::FileJournal;
use patchwave_agent::keys::{Keeper, Pace};
use patchwave_agent::simulate::Simulation;
use patchwave_agent::trust::{KeyRing, Trust};
use patchwave_agent::{
    Agent, AgentNode, AgentOptions, Policy, fingerprint, identity, keys, packages, policy_file, register, run_baseline,
};
use patchwave_schemas::command::PatchOperation;
use patchwave_schemas::node::Accept;
use patchwave_schemas::report::Outcome;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

mod options;
mod way;

use options::{Action, LogFormat, Operation, Options, Output, Register, RunBaseline};

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
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<ExitCode> {
    match &options.action {
        Some(Action::Register(asked)) => return register_here(asked).await.map(|()| ExitCode::SUCCESS),
        Some(Action::RunBaseline(asked)) => return run_baseline_here(asked).await,
        None => {}
    }
    let state_dir = std::path::absolute(&options.state_dir).context("could not tell the current directory")?;
    let is_simulated = options.simulation.simulate.is_some();
    let credentials = if is_simulated { None } else { Credentials::load(&state_dir)? };
    let ring = key_ring(&options, &state_dir, credentials.as_ref())?;
    let trust = ring.clone().map_or(Trust::Anyone, Trust::Keys);
    let nodes = if is_simulated {
        simulated(&options, trust)
    } else {
        if let Some(credentials) = &credentials {
            check_fingerprint(credentials, &options.root)?;
        }
        vec![this_node(&options, state_dir.clone(), credentials.as_ref(), trust)?]
    };
    let name = match nodes.as_slice() {
        [node] => format!("patchwave-agent {}", node.facts.node_id),
        nodes => format!("patchwave-agent, {} nodes", nodes.len()),
    };
    let keeper = credentials.as_ref().zip(ring).map(|(credentials, ring)| {
        Keeper::new(credentials, options.server.clone(), options.ca_cert.clone(), state_dir, ring)
    });
    let transport = way::transport(&options, credentials, name)?;
    let ask_for_keys = Arc::new(Notify::new());
    let stop = CancellationToken::new();
    if let Some(keeper) = keeper {
        tokio::spawn(keeper.run(Pace::default(), Arc::clone(&ask_for_keys), stop.clone()));
    }
    tracing::info!(
        nodes = nodes.len(),
        first_node.id = nodes.first().map(|node| node.facts.node_id.as_str()),
        "starting"
    );
    let agent_options = AgentOptions {
        stop_grace: std::time::Duration::from_secs(options.stop_grace_seconds),
        reboot_command: options.reboot_command(),
        reboot_jitter: Duration::from_secs(options.reboot_jitter_seconds),
        reconnect_max: std::time::Duration::from_secs(options.reconnect_max_seconds),
        ask_for_keys,
        ..AgentOptions::default()
    };
    tokio::spawn(stop_on_signal(stop.clone()));
    Agent::new(nodes, agent_options).run(transport, stop).await.context("could not take up the journal")?;
    Ok(ExitCode::SUCCESS)
}

/// Nothing of the node's identity is needed, and nothing is reported anywhere.
async fn run_baseline_here(asked: &RunBaseline) -> anyhow::Result<ExitCode> {
    let request = run_baseline::Request {
        operation: match asked.operation {
            Operation::Scan => PatchOperation::Scan,
            Operation::Install => PatchOperation::Install,
        },
        baseline: asked.baseline.clone(),
        install_override_list: asked.install_override_list.clone(),
        root: std::path::absolute(&asked.root).context("--root")?,
        state_dir: std::path::absolute(&asked.state_dir).context("--state-dir")?,
    };
    let report = run_baseline::run_baseline(&request).await?;
    let text = match asked.output {
        Output::Text => report.to_text(),
        Output::Json => serde_json::to_string_pretty(&report).context("could not write the report")? + "\n",
    };
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, text.as_bytes())?;
    Ok(if report.outcome == Outcome::Success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn register_here(asked: &Register) -> anyhow::Result<()> {
    let state_dir = std::path::absolute(&asked.state_dir).context("could not tell the current directory")?;
    let request = register::Request {
        server: asked.server.clone(),
        ca_cert: asked.ca_cert.as_deref().map(std::path::absolute).transpose().context("--ca-cert")?,
        activation_id: asked.activation_id.clone(),
        activation_code: asked.code().context("could not read the activation's code")?,
        root: asked.root.clone(),
        state_dir,
        rebind: asked.rebind,
    };
    let credentials = register::register(&request).await?;
    tracing::info!(node.id = %credentials.node_id, "registered");
    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, format!("{}\n", credentials.node_id).as_bytes())?;
    Ok(())
}

/// Whose commands are taken: those signed with the keys of the registration, or with keys that were
/// named; anybody's only where that is asked for in so many words, or where nothing is real.
fn key_ring(
    options: &Options,
    state_dir: &Path,
    credentials: Option<&Credentials>,
) -> anyhow::Result<Option<Arc<KeyRing>>> {
    let keys = match credentials {
        Some(credentials) => keys::kept(state_dir, credentials)?,
        None => options.verification_keys.clone(),
    };
    if credentials.is_some() || !keys.is_empty() {
        anyhow::ensure!(!options.trust_anyone, "--trust-anyone is for nodes without keys, and this one has some");
        return Ok(Some(Arc::new(KeyRing::first(&keys)?)));
    }
    anyhow::ensure!(
        options.trust_anyone || options.simulation.simulate.is_some(),
        "this node is not registered and has no key to know the control plane by: run `patchwave-agent register`, \
         or give --verification-key"
    );
    if options.trust_anyone {
        tracing::warn!("commands are taken without a signature: whoever reaches the broker commands this machine");
    }
    Ok(None)
}

/// A copied disk is not a second machine with the first one's identity.
fn check_fingerprint(credentials: &Credentials, root: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        fingerprint::of_machine(root) == credentials.fingerprint,
        "this is not the machine that registered as {}: a copied disk registers as a node of its own (remove its \
         credentials first), a machine that has changed keeps its id with `patchwave-agent register --rebind`",
        credentials.node_id
    );
    Ok(())
}

fn this_node(
    options: &Options,
    state_dir: PathBuf,
    credentials: Option<&Credentials>,
    trust: Trust,
) -> anyhow::Result<AgentNode> {
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
        policy: own_policy(options, trust)?,
        fingerprint: credentials.map(|credentials| credentials.fingerprint.clone()),
        online: true,
    })
}

/// What the node's owner allows: the policy file, and scans alone where the option says so.
fn own_policy(options: &Options, trust: Trust) -> anyhow::Result<Policy> {
    let mut rules = policy_file::read(options.policy.as_deref())?;
    if options.scan_only {
        rules.accept = Accept::Scan;
    }
    if !rules.is_open() {
        tracing::info!(accept = ?rules.accept, documents = ?rules.documents, "this node takes not everything");
    }
    Ok(Policy { rules, trust })
}

fn simulated(options: &Options, trust: Trust) -> Vec<AgentNode> {
    let simulation = Simulation::new(options.simulation.to_options(&options.tags));
    simulation.set_bad_patch(options.simulation.bad_patch.clone());
    simulation.nodes(Policy { trust, ..Policy::scan_only(options.scan_only) })
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
