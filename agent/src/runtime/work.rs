//! Work in tasks of its own: executions that take time, and the restart of the node.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use patchwave_schemas::CommandId;
use patchwave_schemas::report::InvocationProgressed;
use tokio::sync::mpsc::UnboundedSender;

use crate::execute::{Control, Execution, Job, StepRunner, run_document};

/// What is short reports once, at its end; what lasts says so after this.
const FIRST_PROGRESS: Duration = Duration::from_secs(3);

/// And then this often: a message costs the broker as much as a quarter of a whole command.
const NEXT_PROGRESS: Duration = Duration::from_secs(60);

/// A node that has been told to restart is gone within this time, or will not go.
const REBOOT_WITHIN: Duration = Duration::from_secs(15 * 60);

/// News from a task, with the index of the node.
#[derive(Debug)]
pub(super) enum News {
    Progress(InvocationProgressed),
    Ended(Execution),
    RebootFailed(CommandId, String),
}

/// Executes a job, telling of its progress and its end.
pub(super) async fn execute(
    index: usize,
    runner: Arc<dyn StepRunner>,
    job: Job,
    control: Control,
    news: UnboundedSender<(usize, News)>,
) {
    // A mistake of ours in one step must not leave the run unfinished for ever.
    let mut running = std::pin::pin!(AssertUnwindSafe(run_document(&*runner, &job, &control)).catch_unwind());
    let mut pause = FIRST_PROGRESS;
    let execution = loop {
        tokio::select! {
            end = &mut running => break end.unwrap_or_else(|_| Execution::defect(&job, "the agent failed while it ran the command")),
            () = tokio::time::sleep(pause) => {
                // Nobody listens any more only when the agent stops.
                let _ = news.send((index, News::Progress(control.progress.report(&job.invocation))));
                pause = NEXT_PROGRESS;
            }
        }
    };
    let _ = news.send((index, News::Ended(execution)));
}

/// Restarts the node after a wait. Returns only by telling why that failed.
pub(super) async fn reboot(
    index: usize,
    command: CommandId,
    (wait, reboot_command): (Duration, Option<String>),
    news: UnboundedSender<(usize, News)>,
) {
    tokio::time::sleep(wait).await;
    let why = match &reboot_command {
        None => "the agent was given no command for it".to_owned(),
        Some(line) => match tokio::process::Command::new("sh").arg("-c").arg(line).status().await {
            Ok(status) if status.success() => {
                tokio::time::sleep(REBOOT_WITHIN).await;
                format!("`{line}` succeeded, but the node is still running after {} min", REBOOT_WITHIN.as_secs() / 60)
            }
            Ok(status) => format!("`{line}` ended with {status}"),
            Err(error) => format!("could not run `{line}`: {error}"),
        },
    };
    let _ = news.send((index, News::RebootFailed(command, why)));
}
