//! `health`: whether a server role can do its work.

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::failure::Failure;
use crate::table;

/// Arguments of `health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Only ask whether the process answers, not what it stands on
    #[arg(long)]
    live: bool,
}

/// Prints what a process stands on; fails unless all of it answers.
pub(super) async fn run(args: HealthArgs, cx: &Context) -> anyhow::Result<()> {
    let (is_well, answer) = cx.client.health(if args.live { "livez" } else { "readyz" }).await?;
    if cx.output.is_json() {
        cx.output.json(&answer)?;
    } else if args.live {
        cx.output.line("live")?;
    } else {
        for (name, check) in answer["checks"].as_object().into_iter().flatten() {
            let state = if check["ok"] == true { "ok".to_owned() } else { table::text(&check["reason"]) };
            cx.output.line(&format!("{name}: {state}"))?;
        }
        for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            cx.output.note(&format!("warning: {warning}"));
        }
    }
    if is_well { Ok(()) } else { Err(Failure::failed("not ready: see which of them does not answer").into()) }
}
