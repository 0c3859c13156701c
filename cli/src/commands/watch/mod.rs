//! `watch`: follows an execution or a command until it ends.
//!
//! It asks the API again and again and shows what changed: live bars for a person at a terminal,
//! a line for each change otherwise. The state is the API's; a lost connection is retried, as the
//! work goes on without anybody watching.

mod board;
mod snapshot;

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::mpsc;

pub use self::board::Board;
pub use self::snapshot::{Rollout, Snapshot};
use super::Context;
use crate::client::Client;
use crate::failure::Failure;

/// Failures in a row after which watching gives up. With the usual interval, half a minute.
const FAILURES_MAX: u32 = 60;

/// Time between two looks unless another is asked for.
const INTERVAL: Duration = Duration::from_millis(500);

/// Arguments of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Id of a window execution or of a command
    id: String,
    /// Milliseconds between two looks
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    interval: u64,
}

pub(super) async fn run(args: WatchArgs, cx: &Context) -> anyhow::Result<()> {
    let last = follow(&args.id, Duration::from_millis(args.interval), cx).await?;
    demand_success(&last)
}

/// Follows `id` to its end.
///
/// # Errors
/// As [`follow`], and when it ended otherwise than with success.
pub(super) async fn follow_to_success(id: &str, cx: &Context) -> anyhow::Result<()> {
    let last = follow(id, INTERVAL, cx).await?;
    demand_success(&last)
}

/// Shows what becomes of the execution or command `id` until it has ended, and returns that state.
///
/// # Errors
/// When there is no such id, or when the API does not answer for long.
pub async fn follow(id: &str, interval: Duration, cx: &Context) -> anyhow::Result<Snapshot> {
    let (_, silent) = mpsc::unbounded_channel();
    let ended = follow_on(Board::new(cx.output), &[id.to_owned()], interval, &cx.client, silent).await?;
    ended.into_iter().next().context("one id has one state")
}

/// Shows what becomes of several executions and commands on one board until all have ended, with
/// the notes that come in meanwhile, and returns their last states in the same order.
///
/// # Errors
/// As [`follow`].
pub async fn follow_on(
    mut board: Board,
    ids: &[String],
    interval: Duration,
    client: &Client,
    mut notes: mpsc::UnboundedReceiver<String>,
) -> anyhow::Result<Vec<Snapshot>> {
    let mut watched = Vec::with_capacity(ids.len());
    for id in ids {
        watched.push((snapshot::find(id, client).await?, None));
    }
    let mut failures = 0;
    loop {
        for (kind, ended) in watched.iter_mut().filter(|(_, ended)| ended.is_none()) {
            match kind.look(client).await {
                Ok(snapshot) => {
                    failures = 0;
                    board.update(&snapshot)?;
                    if snapshot.is_terminal() {
                        board.finish(&snapshot)?;
                        *ended = Some(snapshot);
                    }
                }
                Err(error) if error.is_transient() && failures < FAILURES_MAX => {
                    if failures == 0 {
                        board.note(&format!("{error}; trying again"));
                    }
                    failures += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        while let Ok(note) = notes.try_recv() {
            board.note(&note);
        }
        if watched.iter().all(|(_, ended)| ended.is_some()) {
            return Ok(watched.into_iter().filter_map(|(_, ended)| ended).collect());
        }
        tokio::time::sleep(interval).await;
    }
}

fn demand_success(last: &Snapshot) -> anyhow::Result<()> {
    if last.is_success() {
        return Ok(());
    }
    Err(Failure::failed(format!("{} ended {}", last.label, last.status_text()))
        .with_hint(format!("see why with `{}`", last.show_command()))
        .into())
}
