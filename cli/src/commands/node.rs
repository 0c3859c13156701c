//! `node`: managed nodes, their tags and patches.

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::Context;
use super::pairs::{Pair, key_values, parse_pair, tags};
use super::request::Request;
use super::window::elements;
use crate::failure::Failure;
use crate::table;

/// Managed nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes
    List {
        /// Only nodes with this tag; repeatable
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
        tags: Vec<Pair>,
        /// Only nodes in this state
        #[arg(long, value_name = "STATUS", value_parser = ["Online", "ConnectionLost", "Inactive"])]
        ping_status: Option<String>,
    },
    /// Show a node with its tags and the counts of its last scan
    Show {
        /// Id of the node
        node: String,
    },
    /// List the patches of a node as its last scan or installation left them
    Patches {
        /// Id of the node
        node: String,
        /// Only patches in this state, such as `Missing`; repeatable
        #[arg(long = "state", value_name = "STATE", ignore_case = true, value_parser = patch_states())]
        states: Vec<String>,
    },
    /// Set tags of a node
    Tag {
        /// Id of the node
        node: String,
        /// The tags, such as `Patch Group=canary`
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_pair)]
        tags: Vec<Pair>,
    },
    /// Remove tags of a node
    Untag {
        /// Id of the node
        node: String,
        /// Keys of the tags
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Cut nodes off at once: nothing is sent to them, and nothing that they say counts
    Deregister {
        /// Ids of the nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
}

pub(super) async fn run(command: NodeCommand, cx: &Context) -> anyhow::Result<()> {
    match command {
        NodeCommand::List { tags, ping_status } => list(&tags, ping_status, cx).await,
        NodeCommand::Show { node } => show(&node, cx).await,
        NodeCommand::Patches { node, states } => patches(&node, states, cx).await,
        NodeCommand::Tag { node, tags: pairs } => {
            let request = json!({"ResourceType": "ManagedInstance", "ResourceId": node, "Tags": tags(&pairs)});
            cx.client.ssm("AddTagsToResource", &request).await?;
            show_tags(&node, cx).await
        }
        NodeCommand::Untag { node, keys } => {
            let request = json!({"ResourceType": "ManagedInstance", "ResourceId": node, "TagKeys": keys});
            cx.client.ssm("RemoveTagsFromResource", &request).await?;
            show_tags(&node, cx).await
        }
        NodeCommand::Deregister { nodes } => {
            for node in nodes {
                let answer = cx.client.ssm("DeregisterManagedInstance", &json!({"InstanceId": node})).await?;
                cx.output.either(&answer, || node)?;
            }
            Ok(())
        }
    }
}

async fn list(tags: &[Pair], ping_status: Option<String>, cx: &Context) -> anyhow::Result<()> {
    let is_filtered = !tags.is_empty() || ping_status.is_some();
    let tags = tags.iter().map(|pair| (format!("tag:{}", pair.key), vec![pair.value.clone()]));
    let ping_status = ping_status.map(|status| ("PingStatus".to_owned(), vec![status]));
    let request = Request::new().unless_empty("Filters", key_values(tags.chain(ping_status))).done();
    let list = "InstanceInformationList";
    let answer = cx.client.ssm_all("DescribeInstanceInformation", &request, list, None).await?;
    let columns = [
        table::member("ID", "InstanceId"),
        table::member("NAME", "ComputerName"),
        table::computed("PLATFORM", platform),
        table::computed("PATCH GROUP", |row| {
            let tags = &row["Tags"];
            table::text(if tags["PatchGroup"].is_string() { &tags["PatchGroup"] } else { &tags["Patch Group"] })
        }),
        table::member("PING", "PingStatus"),
        table::ago("LAST CONTACT", "LastPingDateTime"),
        table::member("ADDRESS", "IPAddress"),
        table::member("AGENT", "AgentVersion"),
    ];
    if !is_filtered && elements(&answer, list).next().is_none() {
        cx.output.note(
            "no node has registered yet: `patchwave activation create`, then `patchwave-agent register` on it, or `patchwave up` with --local-node or --simulate",
        );
    }
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, list)))?)
}

/// Name and version; nodes that a simulator made up say so.
fn platform(row: &Value) -> String {
    let name = format!("{} {}", table::text(&row["PlatformName"]), table::text(&row["PlatformVersion"]));
    if row["Simulated"] == true { format!("{name} (simulated)") } else { name }
}

/// A node as `DescribeInstanceInformation` has it.
async fn find(node: &str, cx: &Context) -> anyhow::Result<Value> {
    let request = json!({"Filters": key_values([("InstanceIds".to_owned(), vec![node.to_owned()])])});
    let list = "InstanceInformationList";
    let answer = cx.client.ssm_all("DescribeInstanceInformation", &request, list, None).await?;
    let found = elements(&answer, list).next().cloned();
    Ok(found.ok_or_else(|| {
        Failure::failed(format!("there is no node `{node}`")).with_hint("list the nodes with `patchwave node list`")
    })?)
}

async fn show(node: &str, cx: &Context) -> anyhow::Result<()> {
    let mut found = find(node, cx).await?;
    let request = json!({"InstanceIds": [node]});
    let states = cx.client.ssm_all("DescribeInstancePatchStates", &request, "InstancePatchStates", None).await?;
    let state = elements(&states, "InstancePatchStates").next();
    if cx.output.is_json() {
        found["PatchState"] = state.cloned().unwrap_or(Value::Null);
        return Ok(cx.output.json(&found)?);
    }
    let state = state.map_or_else(|| "never scanned".to_owned(), table::details);
    Ok(cx.output.line(&format!("{}\n\n{state}", table::details(&found)))?)
}

/// SSM's states of a patch, in any case: one that no patch can be in would look like compliance.
fn patch_states() -> impl TypedValueParser<Value = String> {
    const STATES: [&str; 8] = [
        "Installed",
        "InstalledOther",
        "InstalledPendingReboot",
        "InstalledRejected",
        "Missing",
        "NotApplicable",
        "Failed",
        "AvailableSecurityUpdate",
    ];
    let canonical =
        |text: String| STATES.into_iter().find(|state| state.eq_ignore_ascii_case(&text)).map(str::to_owned);
    PossibleValuesParser::new(STATES).map(move |text| canonical(text.clone()).unwrap_or(text))
}

async fn patches(node: &str, states: Vec<String>, cx: &Context) -> anyhow::Result<()> {
    let is_filtered = !states.is_empty();
    let states = is_filtered.then(|| ("State".to_owned(), states));
    let request = Request::new().set("InstanceId", node).unless_empty("Filters", key_values(states)).done();
    let answer = cx.client.ssm_all("DescribeInstancePatches", &request, "Patches", None).await?;
    if elements(&answer, "Patches").next().is_none() {
        // SSM has no error for a node that does not exist; a typo would look like compliance.
        find(node, cx).await?;
        if !is_filtered {
            cx.output.note(&format!("nothing is known of the patches of `{node}`: it has reported no scan yet"));
        }
    }
    let columns = [
        table::member("PATCH", "KBId"),
        table::member("STATE", "State"),
        table::member("CLASSIFICATION", "Classification"),
        table::member("SEVERITY", "Severity"),
        table::member("TITLE", "Title"),
        table::member("REASON", "Reason"),
    ];
    Ok(cx.output.either(&answer, || table::rows(&columns, elements(&answer, "Patches")))?)
}

async fn show_tags(node: &str, cx: &Context) -> anyhow::Result<()> {
    let request = json!({"ResourceType": "ManagedInstance", "ResourceId": node});
    let tags = cx.client.ssm("ListTagsForResource", &request).await?;
    let columns = [table::member("TAG", "Key"), table::member("VALUE", "Value")];
    Ok(cx.output.either(&tags, || table::rows(&columns, elements(&tags, "TagList")))?)
}
