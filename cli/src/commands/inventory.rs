//! `inventory`: what is known about nodes, beyond patches.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::pairs::{Pair, parse_pair};
use super::window::elements;
use crate::table;

/// Inventory.
#[derive(Debug, Subcommand)]
pub enum InventoryCommand {
    /// List nodes by what is known about them
    Nodes {
        /// Only nodes with this value, such as `AWS:InstanceInformation.PlatformVersion=12`
        #[arg(long = "where", value_name = "TYPE.ATTRIBUTE=VALUE", value_parser = parse_pair)]
        conditions: Vec<Pair>,
    },
    /// Count nodes' rows by the value of an attribute
    Count {
        /// Such as `AWS:InstanceInformation.PlatformName`
        attribute: String,
    },
    /// Print what is known of one type about a node
    Show {
        /// Id of the node
        node: String,
        /// Type, such as `Custom:Rack`
        #[arg(default_value = "AWS:InstanceInformation")]
        type_name: String,
    },
    /// List the types there are, with their attributes
    Types,
}

/// The type that every node has.
const OWN: &str = "AWS:InstanceInformation";

pub(super) async fn run(command: InventoryCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        InventoryCommand::Nodes { conditions } => {
            let filters: Vec<Value> = conditions
                .iter()
                .map(|pair| json!({"Key": pair.key, "Values": [pair.value], "Type": "Equal"}))
                .collect();
            let answer = cx.client.ssm_all("GetInventory", &json!({"Filters": filters}), "Entities", None).await?;
            let own = |name: &'static str| move |row: &Value| table::text(&row["Data"][OWN]["Content"][0][name]);
            let columns = [
                table::member("ID", "Id"),
                table::computed("NAME", own("ComputerName")),
                table::computed("PLATFORM", own("PlatformName")),
                table::computed("VERSION", own("PlatformVersion")),
                table::computed("AGENT", own("AgentVersion")),
                table::computed("ADDRESS", own("IpAddress")),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Entities")))?)
        }
        InventoryCommand::Count { attribute } => {
            let request = json!({"Aggregators": [{"Expression": attribute}]});
            let answer = cx.client.ssm("GetInventory", &request).await?;
            let (type_name, name) = attribute.split_once('.').unwrap_or((&attribute, ""));
            let rows = answer["Entities"][0]["Data"][type_name]["Content"].clone();
            let name = name.to_owned();
            let columns = [
                table::computed("VALUE", move |row| table::text(&row[name.as_str()])),
                table::member("COUNT", "Count"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, rows.as_array().into_iter().flatten()))?)
        }
        InventoryCommand::Show { node, type_name } => {
            let request = json!({"InstanceId": node, "TypeName": type_name});
            let answer = cx.client.ssm_all("ListInventoryEntries", &request, "Entries", None).await?;
            let shown = || elements(&answer, "Entries").map(table::details).collect::<Vec<_>>().join("\n\n");
            Ok(cx.output.either(&answer, shown)?)
        }
        InventoryCommand::Types => {
            let answer = cx.client.ssm_all("GetInventorySchema", &json!({}), "Schemas", None).await?;
            let columns = [
                table::member("TYPE", "TypeName"),
                table::member("VERSION", "Version"),
                table::computed("ATTRIBUTES", |row| {
                    let names = row["Attributes"].as_array().into_iter().flatten().map(|one| table::text(&one["Name"]));
                    names.collect::<Vec<_>>().join(", ")
                }),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Schemas")))?)
        }
    }
}
