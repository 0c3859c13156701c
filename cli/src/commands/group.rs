//! `group`: resource groups, which are named tag queries.

use clap::Subcommand;
use serde_json::{Value, json};

use super::Context;
use super::pairs::{Pair, key_values, parse_pair, split};
use super::request::Request;
use super::window::elements;
use crate::table;

/// Resource groups.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Create a group of the nodes that a tag query finds, whenever it is used
    Create {
        /// Name
        name: String,
        /// Nodes with this tag; several values with commas; several tags must all be there
        #[arg(long = "tag", required = true, value_name = "KEY=VALUE,…", value_parser = parse_pair)]
        tags: Vec<Pair>,
        /// Description
        #[arg(long)]
        description: Option<String>,
    },
    /// List the groups
    List,
    /// Delete groups; their nodes stay
    Delete {
        /// Names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

pub(super) async fn run(command: GroupCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        GroupCommand::Create { name, tags, description } => {
            let filters = key_values(tags.into_iter().map(|pair| (pair.key, split(&pair.value))));
            let query = json!({"ResourceTypeFilters": ["AWS::AllSupported"], "TagFilters": filters});
            let request = Request::new()
                .set("Name", name.as_str())
                .maybe("Description", description)
                .set("ResourceQuery", json!({"Type": "TAG_FILTERS_1_0", "Query": query.to_string()}))
                .done();
            let answer = cx.client.patchwave("CreateResourceGroup", &request).await?;
            Ok(cx.output.either(&answer, || name)?)
        }
        GroupCommand::List => {
            let list = "ResourceGroups";
            let answer = cx.client.patchwave_all("ListResourceGroups", &json!({}), list, None).await?;
            let columns = [
                table::member("NAME", "Name"),
                table::computed("TAGS", tags_of),
                table::member("DESCRIPTION", "Description"),
            ];
            Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
        }
        GroupCommand::Delete { names } => {
            for name in names {
                let answer = cx.client.patchwave("DeleteResourceGroup", &json!({"Name": name})).await?;
                cx.output.either(&answer, || name)?;
            }
            Ok(())
        }
    }
}

/// The tags of a group's query, which is JSON in a string, as AWS has it.
fn tags_of(group: &Value) -> String {
    let query = &group["ResourceQuery"]["Query"];
    match query.as_str().and_then(|query| serde_json::from_str::<Value>(query).ok()) {
        Some(parsed) => table::text(&parsed["TagFilters"]),
        None => table::text(query),
    }
}
