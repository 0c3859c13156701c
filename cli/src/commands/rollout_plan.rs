//! `rollout-plan`: how rollouts are cut into waves, by name.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::request::Request;
use super::window::elements;
use crate::failure::Failure;
use crate::table;

/// Bytes of a plan's file at most.
const FILE_BYTES_MAX: u64 = 65_536;

/// Rollout plans.
#[derive(Debug, Subcommand)]
pub enum RolloutPlanCommand {
    /// Create a plan from a file
    Create {
        /// Name
        name: String,
        /// The plan as JSON: `{"TagKey": …, "Waves": [{"Name": …, "Size": …, "TagValues": […],
        /// "BakeSeconds": …, "Gate": {"MinSuccessPercent": …, "MaxFailed": …, "ApprovalWithinSeconds": …}}]}`
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Description
        #[arg(long)]
        description: Option<String>,
    },
    /// List the plans
    List,
    /// Delete plans; commands that are under way keep what they said
    Delete {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) async fn run(command: RolloutPlanCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        RolloutPlanCommand::Create { name, file, description } => {
            let request = Request::new()
                .set("Name", name.as_str())
                .maybe("Description", description)
                .set("Plan", read(&file)?)
                .done();
            let answer = cx.client.patchwave("CreateRolloutPlan", &request).await?;
            Ok(cx.output.either(&answer, || name)?)
        }
        RolloutPlanCommand::List => {
            let list = "RolloutPlans";
            let answer = cx.client.patchwave_all("ListRolloutPlans", &json!({}), list, None).await?;
            let columns = [
                table::member("NAME", "Name"),
                table::computed("BY", |row| match &row["Plan"]["TagKey"] {
                    Value::String(key) => format!("tag {key}"),
                    _ => "hash of the node".to_owned(),
                }),
                table::computed("WAVES", waves),
                table::member("DESCRIPTION", "Description"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        RolloutPlanCommand::Delete { names } => {
            for name in names {
                let answer = cx.client.patchwave("DeleteRolloutPlan", &json!({"Name": name})).await?;
                cx.output.either(&answer, || name)?;
            }
            Ok(())
        }
    }
}

/// Reads a plan's file; what it says is checked by the API.
pub(super) fn read(file: &std::path::Path) -> anyhow::Result<Value> {
    let at = || format!("reading {}", file.display());
    if std::fs::metadata(file).with_context(at)?.len() > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("{} is larger than 64 KiB", file.display())).into());
    }
    let text = std::fs::read_to_string(file).with_context(at)?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{} is no JSON: {error}", file.display())).into())
}

/// The waves of a plan in one line: size or tag values.
fn waves(row: &Value) -> String {
    let waves = row["Plan"]["Waves"].as_array().into_iter().flatten();
    let texts = waves.map(|wave| match (&wave["Size"], &wave["TagValues"]) {
        (Value::String(size), _) => size.clone(),
        (_, Value::Array(values)) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
        _ => "rest".to_owned(),
    });
    texts.collect::<Vec<_>>().join(", ")
}
