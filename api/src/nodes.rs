//! DescribeInstanceInformation.

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::store::identities::Identity;
use patchwave_platform::store::nodes::Node;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::PlatformType;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Filter, Request, epoch, present};

/// Silence after which a node counts as lost: three heartbeats of five minutes.
const SILENT_FOR: SignedDuration = SignedDuration::from_mins(15);
/// Silence after which nobody expects it back soon: SSM keeps histories that long.
const INACTIVE_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Rows read at a time while looking for nodes that pass the filters.
const SCAN_ROWS: u32 = 500;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    filters: Vec<Filter>,
    /// The older form: the same with `key` and `valueSet`.
    #[serde(default)]
    instance_information_filter_list: Vec<Filter>,
}

/// DescribeInstanceInformation.
pub(crate) async fn describe(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let paging = request.paging(5..=50)?;
    if !input.filters.is_empty() && !input.instance_information_filter_list.is_empty() {
        return Err(Error::validation("Filters and InstanceInformationFilterList are given; allowed is one of them"));
    }
    let filters = [input.filters, input.instance_information_filter_list].concat();
    check_keys(&filters)?;
    let now = Timestamp::now();
    let caller = request.caller();

    let mut found: Vec<Node> = Vec::new();
    let named = filters.iter().find(|filter| filter.key == "InstanceIds");
    if let Some(named) = named {
        let ids = named.values.iter().map(|id| node_id(id)).collect::<Result<Vec<_>, _>>()?;
        let after = paging.after().unwrap_or_default();
        found = api.store.nodes_named(&ids).await?;
        found
            .retain(|node| node.facts.node_id.as_str() > after && caller.sees(node) && passes_all(node, &filters, now));
    } else {
        let mut after = paging.after().unwrap_or_default().to_owned();
        while found.len() <= paging.size() {
            let rows = api.store.nodes_after(&after, SCAN_ROWS).await?;
            let Some(last) = rows.last() else { break };
            after = last.facts.node_id.to_string();
            found.extend(rows.into_iter().filter(|node| caller.sees(node) && passes_all(node, &filters, now)));
        }
        found.truncate(paging.size() + 1);
    }
    let (nodes, next) = paging.of_rows(found, |node| node.facts.node_id.to_string());
    let ids: Vec<_> = nodes.iter().map(|node| node.facts.node_id.clone()).collect();
    let identities = api.store.identities(&ids).await?;
    let list: Vec<Value> = nodes.iter().map(|node| view(node, identities.get(&node.facts.node_id), now)).collect();
    Ok(present(json!({ "InstanceInformationList": list, "NextToken": next })))
}

/// A node id of a request.
pub(crate) fn node_id(text: &str) -> Result<NodeId, Error> {
    text.parse().map_err(|_| {
        Error::new("InvalidInstanceId", format!("instance id is `{text}`; allowed is `mi-` and 17 hex digits"))
    })
}

fn check_keys(filters: &[Filter]) -> Result<(), Error> {
    let known =
        ["InstanceIds", "PingStatus", "PlatformTypes", "PlatformType", "AgentVersion", "ResourceType", "tag-key"];
    let unknown = filters.iter().find(|f| !known.contains(&f.key.as_str()) && !f.key.starts_with("tag:"));
    match unknown {
        Some(filter) => Err(Error::new(
            "InvalidFilterKey",
            format!("filter key is `{}`; allowed are {} and tag:<key>", filter.key, known.join(", ")),
        )),
        None => Ok(()),
    }
}

fn passes_all(node: &Node, filters: &[Filter], now: Timestamp) -> bool {
    let facts = &node.facts;
    filters.iter().all(|filter| match filter.key.as_str() {
        "InstanceIds" => filter.accepts(facts.node_id.as_str()),
        "PingStatus" => filter.accepts(ping_status(node, now)),
        "PlatformTypes" | "PlatformType" => filter.accepts(platform_type(facts.operating_system.platform_type())),
        "AgentVersion" => filter.accepts(&facts.agent_version),
        "ResourceType" => filter.accepts("ManagedInstance"),
        "tag-key" => filter.values.iter().any(|key| facts.tags.contains_key(key)),
        tag => {
            let value = tag.strip_prefix("tag:").and_then(|key| facts.tags.get(key));
            value.is_some_and(|value| filter.accepts(value))
        }
    })
}

/// Whether a node is there.
pub(crate) fn ping_status(node: &Node, now: Timestamp) -> &'static str {
    match now.duration_since(node.last_contact_at) {
        silence if silence > INACTIVE_AFTER => "Inactive",
        silence if silence <= SILENT_FOR && node.address.is_some() => "Online",
        _ => "ConnectionLost",
    }
}

/// SSM's name of a platform.
pub(crate) fn platform_type(kind: PlatformType) -> &'static str {
    match kind {
        PlatformType::Windows => "Windows",
        PlatformType::Linux => "Linux",
        PlatformType::MacOs => "MacOS",
    }
}

/// SSM's `InstanceInformation`, with the tags and whether the node is simulated.
fn view(node: &Node, identity: Option<&Identity>, now: Timestamp) -> Value {
    let facts = &node.facts;
    present(json!({
        "InstanceId": facts.node_id,
        "PingStatus": ping_status(node, now),
        "LastPingDateTime": epoch(node.last_contact_at),
        "AgentVersion": facts.agent_version,
        "PlatformType": platform_type(facts.operating_system.platform_type()),
        "PlatformName": facts.platform_name,
        "PlatformVersion": facts.platform_version,
        "RegistrationDate": epoch(node.registered_at),
        "ResourceType": "ManagedInstance",
        "IPAddress": facts.ip_address,
        "ComputerName": facts.computer_name,
        "OperatingSystem": facts.operating_system,
        "Simulated": facts.simulated,
        "Tags": facts.tags,
        "Name": identity.and_then(|identity| identity.name.as_deref()),
        "ActivationId": identity.map(|identity| identity.activation_id),
        "IamRole": identity.map(|identity| identity.iam_role.as_str()),
        "AgentPolicy": node.policy,
    }))
}
