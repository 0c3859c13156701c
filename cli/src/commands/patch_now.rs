//! `patch-now`: scans or patches nodes at once, with limits by the size of the fleet.

use clap::Args;
use serde_json::Value;

use super::request::Request;
use super::targets::TargetArgs;
use super::window_task::notification_config;
use super::{Context, watch};
use crate::failure::Failure;
use crate::table;

/// Arguments of `patch-now`.
#[derive(Debug, Args)]
pub struct PatchNowArgs {
    /// What to do: `Scan` reports, `Install` installs what is approved and missing
    #[arg(long, value_name = "OPERATION", value_parser = ["Scan", "Install"], default_value = "Scan")]
    operation: String,
    /// Every node there is
    #[arg(long = "all", help_heading = "Which nodes")]
    all: bool,
    #[command(flatten)]
    targets: TargetArgs,
    /// Whether a node may reboot when what was installed needs it: `RebootIfNeeded` or `NoReboot`
    /// [default: RebootIfNeeded]
    #[arg(long, value_name = "CHOICE", value_parser = ["RebootIfNeeded", "NoReboot"], hide_possible_values = true)]
    reboot: Option<String>,
    /// Document to run on each node before the installation
    #[arg(long, value_name = "DOCUMENT")]
    pre_install_hook: Option<String>,
    /// Document to run on each node after the installation
    #[arg(long, value_name = "DOCUMENT")]
    post_install_hook: Option<String>,
    /// Document to run on each node at the end, whatever became of the rest
    #[arg(long, value_name = "DOCUMENT")]
    on_exit_hook: Option<String>,
    /// Nodes at work at the same time: a number or a percentage [default: by the number of nodes]
    #[arg(long, value_name = "N|N%")]
    max_concurrency: Option<String>,
    /// Failures that are allowed: the one after them stops the command [default: by the number of nodes]
    #[arg(long, value_name = "N|N%")]
    max_errors: Option<String>,
    /// How failures are counted: `ssm` or `strict`, as for `command send` [default: ssm]
    #[arg(long, value_name = "MODE", value_parser = ["ssm", "strict"])]
    error_mode: Option<String>,
    /// Seconds a node has to take the command, 30 to 2592000 [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Comment, at most 100 characters
    #[arg(long)]
    comment: Option<String>,
    /// Topic that changes are published to
    #[arg(long, value_name = "TOPIC")]
    notify: Option<String>,
    /// Rollout plan that cuts it into waves, by its name
    #[arg(long, value_name = "PLAN")]
    rollout_plan: Option<String>,
    /// Print the command's id and do not follow it
    #[arg(long)]
    no_wait: bool,
}

pub(super) async fn run(args: PatchNowArgs, cx: &Context) -> anyhow::Result<()> {
    if args.all != args.targets.is_empty() {
        let problem = if args.all { "--all was given beside other nodes" } else { "no node was given" };
        return Err(Failure::usage(problem)
            .with_hint("say which nodes with --all, or with --node, --tag, --patch-group, --group or --target")
            .into());
    }
    let request = Request::new()
        .set("Operation", args.operation)
        .flag("AllNodes", args.all)
        .unless_empty("Targets", args.targets.targets())
        .maybe("RebootOption", args.reboot)
        .maybe("PreInstallHookDocName", args.pre_install_hook)
        .maybe("PostInstallHookDocName", args.post_install_hook)
        .maybe("OnExitHookDocName", args.on_exit_hook)
        .maybe("MaxConcurrency", args.max_concurrency)
        .maybe("MaxErrors", args.max_errors)
        .maybe("ErrorMode", args.error_mode)
        .maybe("TimeoutSeconds", args.timeout)
        .maybe("RolloutPlan", args.rollout_plan)
        .maybe("Comment", args.comment)
        .maybe("NotificationConfig", args.notify.as_deref().map(notification_config))
        .done();
    let answer = cx.client.patchwave("PatchNow", &request).await?;
    let command = table::text(&answer["Command"]["CommandId"]);
    if !cx.output.is_json() {
        cx.output.note(&chosen(&answer["RateControl"]));
    }
    if args.no_wait {
        return Ok(cx.output.either(&answer, || command)?);
    }
    cx.output.note(&format!("command {command}"));
    watch::follow_to_success(&command, cx).await
}

/// The limits in force and why these, for people.
fn chosen(control: &Value) -> String {
    let text = |name: &str| table::text(&control[name]);
    format!(
        "{} nodes; at work at once: {} ({}); failures allowed: {} ({})",
        text("NodeCount"),
        text("MaxConcurrency"),
        text("MaxConcurrencyReason"),
        text("MaxErrors"),
        text("MaxErrorsReason")
    )
}
