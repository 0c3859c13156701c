//! `window target`: what a maintenance window works on.

use clap::{Args, Subcommand};

use super::Context;
use super::request::Request;
use super::targets::TargetArgs;
use super::window::{elements, id};
use crate::failure::Failure;
use crate::table;

/// What a window works on.
#[derive(Debug, Subcommand)]
pub enum WindowTargetCommand {
    /// Register a target; prints its id
    Add(AddArgs),
    /// List the targets of a window
    List {
        /// Id of the window
        window: String,
    },
    /// Remove a target
    Remove {
        /// Id of the window
        window: String,
        /// Id of the target
        target: String,
        /// Refuse if a task uses it
        #[arg(long)]
        safe: bool,
    },
}

/// Arguments of `window target add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Id of the window
    window: String,
    /// Name of the target
    #[arg(long)]
    name: Option<String>,
    /// Description
    #[arg(long)]
    description: Option<String>,
    /// Text that is copied into the records of every run
    #[arg(long, value_name = "TEXT")]
    owner_information: Option<String>,
    #[command(flatten)]
    targets: TargetArgs,
}

pub(super) async fn run(command: WindowTargetCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        WindowTargetCommand::Add(args) => add(args, cx).await,
        WindowTargetCommand::List { window } => {
            let answer = cx.client.ssm_all("DescribeMaintenanceWindowTargets", &id(&window), "Targets", None).await?;
            let columns = [
                table::member("ID", "WindowTargetId"),
                table::member("NAME", "Name"),
                table::member("TYPE", "ResourceType"),
                table::member("TARGETS", "Targets"),
                table::member("OWNER", "OwnerInformation"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Targets")))?)
        }
        WindowTargetCommand::Remove { window, target, safe } => {
            let request =
                Request::new().set("WindowId", window).set("WindowTargetId", target).flag("Safe", safe).done();
            let answer = cx.client.ssm("DeregisterTargetFromMaintenanceWindow", &request).await?;
            Ok(cx.output.either(&answer, || table::text(&answer["WindowTargetId"]))?)
        }
    }
}

async fn add(args: AddArgs, cx: &Context) -> anyhow::Result<()> {
    if args.targets.is_empty() {
        return Err(Failure::usage("no target was given")
            .with_hint("say which nodes with --node, --tag, --patch-group, --group or --target")
            .into());
    }
    let request = Request::new()
        .set("WindowId", args.window)
        .set("ResourceType", if args.targets.has_group() { "RESOURCE_GROUP" } else { "INSTANCE" })
        .set("Targets", args.targets.targets())
        .maybe("Name", args.name)
        .maybe("Description", args.description)
        .maybe("OwnerInformation", args.owner_information)
        .done();
    let answer = cx.client.ssm("RegisterTargetWithMaintenanceWindow", &request).await?;
    Ok(cx.output.either(&answer, || table::text(&answer["WindowTargetId"]))?)
}
