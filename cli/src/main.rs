//! The `patchwave` program.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use patchwave::args::Cli;
use patchwave::{commands, failure};

fn main() -> ExitCode {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return failure::report_usage(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return failure::report_usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("could not start the runtime")),
    };
    let outcome = runtime.block_on(Box::pin(commands::run(cli, &matches)));
    // A scan in a blocking thread cannot be stopped, and nobody waits for it any more.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
