//! `patchwave demo`: the whole system in one process, at work on a fleet that is made up.
//!
//! Nothing here is staged but the fleet: the roles, the API and the agents are those that run in
//! production, on the embedded default, in a temporary directory. Nodes that are simulated are
//! called so wherever they are shown; the one real node, this machine, is only ever scanned.

mod fleet;
mod scene;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use patchwave_api::Serving;
use tokio::signal;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::commands::compliance;
use crate::commands::watch::{Board, follow_on};
use crate::config::Config;
use crate::first_key;
use crate::output::{Format, Output};
use crate::roles::Platform;
use fleet::Fleet;
use scene::Scene;

/// Time between two looks at the rollouts.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Time for the whole cast to appear on stage, and for the last report to be stored.
const APPEAR_WITHIN: Duration = Duration::from_secs(30);

/// What the demo is asked to do.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// Leave everything running at the end, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Where the demo's API listens; a free port of this machine by default
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub demo_listen: SocketAddr,
}

/// Runs the demo to its end.
///
/// # Errors
/// When a part of it does not do as expected.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let output = Output::new(Format::Table);
    let directory = tempfile::tempdir().context("could not create a temporary directory")?;
    let serving = Serving::default();
    let listener = patchwave_api::bind(options.demo_listen, &serving).await?;
    let address = listener.local_addr().context("could not tell the API's address")?;
    let config = Config::embedded_in(directory.path(), address);
    let platform = Platform::open(&config, "patchwave-demo").await?;
    let bus = platform.embedded.clone().context("the demo's bus is embedded")?;

    let shutdown = CancellationToken::new();
    let key = first_key::make(&platform.store, &platform.master_key).await?;
    let client = Client::new(&format!("http://{address}"), key.clone(), None)?;
    let fleet = Fleet::make_up(directory.path())?;
    let agents = tokio::spawn(fleet.run(bus, shutdown.clone()));
    let roles = platform.run_all(listener, serving, shutdown.clone());
    let story = async {
        let told = tokio::select! {
            told = tell(&client, &fleet, output) => told,
            stopped = signal::ctrl_c() => stopped.context("could not listen for Ctrl-C"),
        };
        if told.is_ok() && !options.keep {
            output.line("\nTry next: `patchwave demo --keep`, then from another terminal `patchwave node list`, `patchwave window create --help`.")?;
        }
        if told.is_ok() && options.keep {
            output.note(&format!("\nkept running; in another terminal:\nexport PATCHWAVE_ENDPOINT=http://{address}"));
            if let Some(key) = &key {
                let secret = key.secret_access_key.reveal();
                output.note(&format!(
                    "export PATCHWAVE_ACCESS_KEY_ID={} PATCHWAVE_SECRET_ACCESS_KEY={secret}",
                    key.access_key_id
                ));
            }
            output.note("then for instance `patchwave node list`; Ctrl-C here ends it");
            signal::ctrl_c().await.context("could not listen for Ctrl-C")?;
        }
        shutdown.cancel();
        told
    };
    let (roles, told) = tokio::join!(roles, story);
    agents.await.context("the agents ended unexpectedly")??;
    platform.close().await;
    told.and(roles)
}

async fn tell(client: &Client, fleet: &Fleet, output: Output) -> anyhow::Result<()> {
    output.line("Patchwave demo: every role in this process, on SQLite and the embedded bus.")?;
    let scene = Scene { client, output };
    scene.wait_for_nodes(fleet.size(), APPEAR_WITHIN).await?;
    output.line(&format!(
        "{} simulated nodes in patch groups canary, staging and production have enrolled; this machine is {} and will only be scanned.\n",
        fleet.simulated(),
        fleet.this_machine()
    ))?;

    scene.create_baselines().await?;
    let windows = scene.create_windows().await?;
    output.line("")?;
    output.line(&format!("Firing all three now. {} meets a bad patch in staging.\n", fleet::BAD_PATCH))?;

    let news = scene.subscribe().await?;
    let mut ids = Vec::new();
    for window in &windows {
        ids.push(scene.start(window).await?);
    }
    ids.push(scene.scan_this_machine(fleet.this_machine()).await?);
    let board = Board::new(output);
    follow_on(board, &ids, LOOK_EVERY, client, news).await?;

    scene.wait_for_reports(fleet.this_machine(), APPEAR_WITHIN).await?;
    output.line("\nCompliance by patch group:")?;
    output.line(&compliance::render(&compliance::gather(client, None).await?))?;
    scene.show_this_machine(fleet.this_machine()).await?;
    Ok(())
}
