//! `patch-group`: patch groups and the baselines registered for them.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::window::elements;
use crate::table;

/// Patch groups.
#[derive(Debug, Subcommand)]
pub enum PatchGroupCommand {
    /// Register a baseline for a patch group
    Register {
        /// The group: a value of the nodes' tag `Patch Group`
        group: String,
        /// Id of the baseline
        baseline: String,
    },
    /// Take a baseline's registration for a patch group back
    Deregister {
        /// The group
        group: String,
        /// Id of the baseline
        baseline: String,
    },
    /// List the patch groups with a registered baseline
    List,
    /// Show how many nodes of a patch group are in which state
    State {
        /// The group
        group: String,
    },
}

pub(super) async fn run(command: PatchGroupCommand, cx: &Context) -> anyhow::Result<()> {
    let answer = match command {
        PatchGroupCommand::Register { group, baseline } => {
            let request = json!({"PatchGroup": group, "BaselineId": baseline});
            cx.client.ssm("RegisterPatchBaselineForPatchGroup", &request).await?
        }
        PatchGroupCommand::Deregister { group, baseline } => {
            let request = json!({"PatchGroup": group, "BaselineId": baseline});
            cx.client.ssm("DeregisterPatchBaselineForPatchGroup", &request).await?
        }
        PatchGroupCommand::List => {
            let answer = cx.client.ssm_all("DescribePatchGroups", &json!({}), "Mappings", None).await?;
            let columns = [
                table::member("PATCH GROUP", "PatchGroup"),
                table::computed("OPERATING SYSTEM", |row| table::text(&row["BaselineIdentity"]["OperatingSystem"])),
                table::computed("BASELINE", |row| table::text(&row["BaselineIdentity"]["BaselineId"])),
                table::computed("NAME", |row| table::text(&row["BaselineIdentity"]["BaselineName"])),
            ];
            return Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Mappings")))?);
        }
        PatchGroupCommand::State { group } => {
            cx.client.ssm("DescribePatchGroupState", &json!({"PatchGroup": group})).await?
        }
    };
    Ok(cx.output.either(&answer, || table::details(&answer))?)
}
