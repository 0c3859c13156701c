//! `activation`: which machines may become nodes.

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Context;
use super::pairs::{Pair, parse_pair, tags};
use super::request::Request;
use super::window::elements;
use crate::table;

/// Activations: permissions to register machines as nodes.
#[derive(Debug, Subcommand)]
pub enum ActivationCommand {
    /// Create an activation, and show its id and its code, which is shown this once
    Create {
        /// Machines that it admits, 1 to 1000
        #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Hours until it admits none any more, 1 to 720
        #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=720))]
        hours: u32,
        /// A tag of every node that it admits, such as `Patch Group=canary`; repeatable
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
        tags: Vec<Pair>,
        /// Name of every node that it admits
        #[arg(long)]
        name: Option<String>,
        /// Description
        #[arg(long)]
        description: Option<String>,
        /// SSM's service role: recorded and shown, of no effect
        #[arg(long, default_value = "patchwave")]
        iam_role: String,
    },
    /// List the activations
    List,
    /// Delete activations; the nodes that they admitted stay
    Delete {
        /// Ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

pub(super) async fn run(command: ActivationCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        ActivationCommand::Create { limit, hours, tags: pairs, name, description, iam_role } => {
            // A minute less than the server allows at most: the clocks may differ.
            let expires = Timestamp::now() + SignedDuration::from_hours(hours.into()) - SignedDuration::from_mins(1);
            let request = Request::new()
                .set("IamRole", iam_role)
                .set("RegistrationLimit", limit)
                .set("ExpirationDate", expires.as_second())
                .maybe("DefaultInstanceName", name)
                .maybe("Description", description)
                .unless_empty("Tags", tags(&pairs))
                .done();
            let answer = cx.client.ssm("CreateActivation", &request).await?;
            let (id, code) = (table::text(&answer["ActivationId"]), table::text(&answer["ActivationCode"]));
            cx.output.either(&answer, || format!("activation id    {id}\nactivation code  {code}"))?;
            cx.output.note(&format!(
                "the code is not shown again; on {} run: patchwave-agent register --activation-id {id} \
                 --activation-code-file FILE --server URL",
                if limit == 1 { "the machine".to_owned() } else { format!("up to {limit} machines") },
            ));
            Ok(())
        }
        ActivationCommand::List => {
            let list = "ActivationList";
            let answer = cx.client.ssm_all("DescribeActivations", &json!({}), list, None).await?;
            let columns = [
                table::member("ID", "ActivationId"),
                table::member("NAME", "DefaultInstanceName"),
                table::computed("USED", |row| {
                    format!("{} of {}", table::text(&row["RegistrationsCount"]), table::text(&row["RegistrationLimit"]))
                }),
                table::member("EXPIRED", "Expired"),
                table::ago("EXPIRES", "ExpirationDate"),
                table::member("DESCRIPTION", "Description"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        ActivationCommand::Delete { ids } => {
            for id in ids {
                let answer = cx.client.ssm("DeleteActivation", &json!({"ActivationId": id})).await?;
                cx.output.either(&answer, || id)?;
            }
            Ok(())
        }
    }
}
