//! `state-machine`: definitions of the Amazon States Language, checked and run here, without a server.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use patchwave_engine::states::{DEFINITION_BYTES_MAX, Machine};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::Output;

mod local;
mod mocks;

/// State machines.
#[derive(Debug, Subcommand)]
pub enum StateMachineCommand {
    /// Check a definition; fails if it has a fault, and prints each with line and column
    Validate {
        /// The definition (JSON)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Run a definition here and print its output
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
}

const RUN_HELP: &str = "\
Tasks reach nothing unless they are answered by --mock, a JSON file that says by the names of
states what each try returns or throws, the last one for all that follow:
  {\"Fetch\": [{\"Throw\": {\"Error\": \"Busy\", \"Cause\": \"later\"}}, {\"Return\": {\"n\": 3}}]}

Examples:
  patchwave state-machine run rollout.asl.json --input '{\"Group\": \"canary\"}' --mock answers.json
  patchwave state-machine run rollout.asl.json --input @input.json --skip-waits --history";

/// Arguments of `state-machine run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The definition (JSON)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The input: JSON, or a file of it
    #[arg(long, value_name = "JSON|FILE", default_value = "{}")]
    input: String,
    /// What tasks are answered with, by the names of their states
    #[arg(long, value_name = "FILE")]
    mock: Option<PathBuf>,
    /// Wait states and pauses between retries take no time
    #[arg(long)]
    skip_waits: bool,
    /// Print the history in the output's place
    #[arg(long)]
    history: bool,
}

pub(super) async fn run(command: StateMachineCommand, output: Output) -> anyhow::Result<()> {
    match command {
        StateMachineCommand::Validate { file } => validate(&file, output),
        StateMachineCommand::Run(args) => run_here(args, output).await,
    }
}

fn validate(file: &Path, output: Output) -> anyhow::Result<()> {
    let text = read(file, DEFINITION_BYTES_MAX)?;
    let faults = Machine::parse(&text).err().unwrap_or_default();
    if output.is_json() {
        let shown = |fault: &patchwave_engine::states::Fault| {
            json!({
                "code": fault.code,
                "path": fault.path,
                "line": fault.line,
                "column": fault.column,
                "problem": fault.problem,
            })
        };
        output.json(&faults.iter().map(shown).collect::<Vec<Value>>())?;
    } else {
        for fault in &faults {
            let path = if fault.path.is_empty() { "/" } else { &fault.path };
            let place = format!("{}:{}:{}", file.display(), fault.line, fault.column);
            output.line(&format!("{place}: {path}: {}", fault.problem))?;
        }
    }
    match faults.len() {
        0 => Ok(()),
        1 => Err(Failure::failed(format!("{} has a fault", file.display())).into()),
        count => Err(Failure::failed(format!("{} has {count} faults", file.display())).into()),
    }
}

async fn run_here(args: RunArgs, output: Output) -> anyhow::Result<()> {
    let text = read(&args.file, DEFINITION_BYTES_MAX)?;
    let machine = Machine::parse(&text).map_err(|faults| {
        let first = faults.first().map_or_else(String::new, ToString::to_string);
        Failure::usage(format!("{}: {first}", args.file.display()))
            .with_hint("`patchwave state-machine validate` prints every fault")
    })?;
    let input = input(&args.input)?;
    let mocks = match &args.mock {
        Some(file) => mocks::Mocks::parse(&read(file, DEFINITION_BYTES_MAX)?)
            .map_err(|problem| Failure::usage(format!("{}: {problem}", file.display())))?,
        None => mocks::Mocks::default(),
    };
    let name = args.file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut execution = local::Execution::new(&machine, &name, input, mocks, args.skip_waits);
    let outcome = execution.run().await;
    if args.history {
        output.json(&execution.into_history())?;
    } else if let Ok(value) = &outcome {
        output.json(value)?;
    }
    outcome.map(|_| ()).map_err(|failure| {
        let name = if failure.error.is_empty() { "an error without a name" } else { &failure.error };
        Failure::failed(format!("the execution failed with {name}: {}", failure.cause)).into()
    })
}

/// The input: JSON as it is, or a file of it, with or without `@` before its name.
fn input(given: &str) -> anyhow::Result<Value> {
    let is_json = |text: &str| serde_json::from_str::<Value>(text);
    if let Ok(value) = is_json(given) {
        return Ok(value);
    }
    let path = Path::new(given.strip_prefix('@').unwrap_or(given));
    let looks_like_json = given.trim_start().starts_with(['{', '[', '"']);
    if looks_like_json {
        let problem = is_json(given).err().map_or_else(String::new, |error| error.to_string());
        return Err(Failure::usage(format!("--input is not JSON: {problem}")).into());
    }
    let text = read(path, patchwave_engine::states::PAYLOAD_BYTES_MAX)?;
    is_json(&text).map_err(|error| Failure::usage(format!("{} is not JSON: {error}", path.display())).into())
}

/// Reads a file of at most so many bytes.
fn read(file: &Path, bytes_max: usize) -> anyhow::Result<String> {
    let at = || format!("reading {}", file.display());
    if std::fs::metadata(file).with_context(at)?.len() > bytes_max as u64 {
        return Err(Failure::usage(format!("{} is larger than {bytes_max} bytes", file.display())).into());
    }
    std::fs::read_to_string(file).with_context(at)
}
