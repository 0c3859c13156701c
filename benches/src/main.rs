//! The benchmark behind the README's figures: `make bench`.
//!
//! Needs the servers that `with-servers` starts, and the release builds of `patchwave` and
//! `patchwave-agent` beside it. Everything is measured in turn with its yardstick, because absolute
//! rates on a shared machine mean little.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod alone;
mod bare;
mod cases;
mod figures;
mod fleet;
mod lone_nodes;
mod preview;
mod program;
mod read;
mod reconnect;
mod signed;

use figures::{Figures, say};

/// Measures rollouts against the bare broker.
#[derive(Debug, Parser)]
struct Options {
    /// One repeat and no large fleets: about a minute instead of about ten
    #[arg(long)]
    quick: bool,
    /// Measure these alone; may be repeated
    #[arg(long)]
    only: Vec<Case>,
    /// Repeats of each measurement, 1 to 9 [default: 3, with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=9))]
    repeats: Option<u8>,
    /// Nodes of the case `reconnect` [default: 5000, with --quick 500]
    #[arg(long)]
    nodes: Option<usize>,
    /// Seconds that the broker of the case `reconnect` is away [default: 30]
    #[arg(long, default_value_t = 30)]
    away: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    /// 1,000 nodes with a queue each
    Nodes1k,
    /// 10,000 nodes with a queue each
    Nodes10k,
    /// 1,000, 10,000 and 100,000 nodes on one queue: how cost grows
    Growth,
    /// Window start to last command, without a limit
    Fanout,
    /// Error threshold to last release
    Threshold,
    /// Memory of an idle agent, size of the programs
    Agent,
    /// Scan of this machine
    Scan,
    /// The embedded default
    Embedded,
    /// 10,000 signed commands against as many unsigned ones
    Signed,
    /// Pages of a listing of 100,000 nodes
    Read,
    /// A changed baseline over 10,000 stored nodes; needs no server
    Preview,
    /// 5,000 registered agents whose broker restarts
    Reconnect,
}

/// Parts that run in a process of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// The yardstick's nodes
    #[command(hide = true)]
    Echo {
        #[arg(long)]
        url: String,
        #[arg(long)]
        tag: String,
        #[arg(long)]
        nodes: usize,
        #[arg(long)]
        shared: bool,
    },
    /// Registered nodes, each with a connection of its own
    #[command(hide = true)]
    LoneNodes {
        #[arg(long)]
        url: String,
        #[arg(long)]
        nodes: std::path::PathBuf,
        #[arg(long)]
        verification_key: String,
    },
    /// One scan of this machine
    #[command(hide = true)]
    ScanOnce,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("PATCHWAVE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,lapin=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let outcome = match &options.part {
        Some(Part::ScanOnce) => alone::scan_once().map(|peak| {
            let _ = std::io::Write::write_all(&mut std::io::stdout(), peak.as_bytes());
        }),
        _ => tokio::runtime::Runtime::new()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(run(options))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    if let Some(Part::Echo { url, tag, nodes, shared }) = &options.part {
        return bare::echo(url, tag, *nodes, *shared).await;
    }
    if let Some(Part::LoneNodes { url, nodes, verification_key }) = &options.part {
        return lone_nodes::run(url, nodes, verification_key).await;
    }
    let repeats = usize::from(options.repeats.unwrap_or(if options.quick { 1 } else { 3 }));
    let wanted = |case| options.only.is_empty() || options.only.contains(&case);
    let mut figures = Figures::default();
    if wanted(Case::Nodes1k) {
        cases::scale(&mut figures, 1_000, false, repeats).await?;
    }
    if wanted(Case::Nodes10k) {
        cases::scale(&mut figures, 10_000, false, repeats).await?;
    }
    if wanted(Case::Growth) {
        growth(&mut figures, options.quick, repeats).await?;
    }
    if wanted(Case::Fanout) && (!options.quick || !options.only.is_empty()) {
        cases::fan_out(&mut figures, 10_000, repeats).await?;
    }
    if wanted(Case::Threshold) {
        cases::threshold(&mut figures, 2_000, repeats).await?;
    }
    if wanted(Case::Agent) {
        alone::idle_agent(&mut figures, repeats).await?;
    }
    if wanted(Case::Scan) {
        alone::scan(&mut figures, repeats)?;
    }
    if wanted(Case::Embedded) {
        alone::embedded(&mut figures, 10_000, repeats).await?;
    }
    if wanted(Case::Signed) {
        signed::cost(&mut figures, if options.quick { 1_000 } else { 10_000 }, repeats).await?;
    }
    if wanted(Case::Read) && (!options.quick || !options.only.is_empty()) {
        read::pages(&mut figures, 100_000, repeats).await?;
    }
    if wanted(Case::Preview) {
        preview::fleet(&mut figures, if options.quick { 1_000 } else { 10_000 }, repeats).await?;
    }
    if wanted(Case::Reconnect) {
        let nodes = options.nodes.unwrap_or(if options.quick { 500 } else { 5_000 });
        reconnect::storm(&mut figures, nodes, std::time::Duration::from_secs(options.away), repeats).await?;
    }
    figures.finish()
}

/// Cost per node of a large fleet against small ones.
async fn growth(figures: &mut Figures, quick: bool, repeats: usize) -> anyhow::Result<()> {
    let small = cases::scale(figures, 1_000, true, repeats).await?;
    let middle = cases::scale(figures, 10_000, true, repeats).await?;
    figures.add("cost per node, 10,000 ÷ 1,000 (one host queue)", "ratio", None, &[middle / small]);
    if !quick {
        let large = cases::scale(figures, 100_000, true, repeats).await?;
        figures.add("cost per node, 100,000 ÷ 1,000 (one host queue)", "ratio", Some("≤ 1.1"), &[large / small]);
        figures.add("cost per node, 100,000 ÷ 10,000 (one host queue)", "ratio", None, &[large / middle]);
    }
    Ok(())
}
