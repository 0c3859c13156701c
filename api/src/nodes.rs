//! DescribeInstanceInformation, and finding nodes by filters.

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::launch::SILENT_FOR;
use patchwave_platform::store::baselines::os_name;
use patchwave_platform::store::identities::Identity;
use patchwave_platform::store::nodes::Node;
use patchwave_platform::store::reads::nodes::NodeFilter;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::{OperatingSystem, PlatformType};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::auth::Caller;
use crate::wire::{Comparison, Error, Filter, Paging, Request, epoch, present};

/// Silence after which nobody expects it back soon: SSM keeps histories that long.
const INACTIVE_AFTER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Rows read at a time while looking for nodes that pass the filters.
const SCAN_ROWS: u32 = 500;
/// Conditions that the database sees to; the handler sees to the rest.
const NARROWED_MAX: usize = 20;

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
    let conditions: Vec<Condition> = filters.into_iter().map(Condition::from).collect();
    let now = Timestamp::now();
    check_values(&conditions, "InvalidInstanceInformationFilterValue")?;
    let (nodes, next) = search(api, request.caller(), &conditions, &paging, now).await?;
    let list: Vec<Value> = nodes.iter().map(|(node, identity)| view(node, identity.as_ref(), now)).collect();
    Ok(present(json!({ "InstanceInformationList": list, "NextToken": next })))
}

/// A filter of nodes.
pub(crate) struct Condition {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
    pub(crate) comparison: Comparison,
}

impl From<Filter> for Condition {
    fn from(filter: Filter) -> Self {
        Self { key: filter.key, values: filter.values, comparison: Comparison::Equal }
    }
}

/// A page of the nodes that pass and that the caller may see, by id, with what they registered as, and the token of the next.
pub(crate) async fn search(
    api: &Api,
    caller: &Caller,
    conditions: &[Condition],
    paging: &Paging,
    now: Timestamp,
) -> Result<(Vec<(Node, Option<Identity>)>, Option<String>), Error> {
    check_keys(conditions)?;
    let (mut filter, is_whole) = narrowed(conditions, now)?;
    // Behind what was asked for, which is likely to say more.
    if let Some(policy) = &caller.policy {
        let tags = policy.tags().iter().map(|(key, values)| (key.clone(), values.iter().cloned().collect()));
        filter.tags.extend(tags);
    }
    // What the database cannot tell is found among more rows.
    let limit = if is_whole { paging.rows() } else { SCAN_ROWS };
    let mut found = Vec::new();
    let mut after = paging.after().unwrap_or_default().to_owned();
    while found.len() <= paging.size() {
        let nodes = api.store.nodes_matching(&filter, &after, limit).await?;
        let Some(last) = nodes.last() else { break };
        after = last.facts.node_id.to_string();
        let is_last = nodes.len() < limit as usize;
        let ids: Vec<_> = nodes.iter().map(|node| node.facts.node_id.clone()).collect();
        let mut identities = api.store.identities(&ids).await?;
        for node in nodes {
            let identity = identities.remove(&node.facts.node_id);
            if caller.sees(&node) && conditions.iter().all(|condition| condition.passes(&node, identity.as_ref(), now))
            {
                found.push((node, identity));
            }
        }
        if is_last {
            break;
        }
    }
    found.truncate(paging.size() + 1);
    Ok(paging.of_rows(found, |(node, _)| node.facts.node_id.to_string()))
}

/// What of the conditions the database can see to, and whether that is all of them.
fn narrowed(conditions: &[Condition], now: Timestamp) -> Result<(NodeFilter, bool), Error> {
    let mut filter = NodeFilter::default();
    let mut is_whole = true;
    for (index, condition) in conditions.iter().enumerate() {
        let values = &condition.values;
        // Each is a part of the statement, and databases bound those.
        if condition.comparison != Comparison::Equal || index >= NARROWED_MAX {
            is_whole = false;
            continue;
        }
        match condition.key.as_str() {
            "InstanceIds" if filter.ids.is_none() => {
                filter.ids = Some(values.iter().map(|id| node_id(id)).collect::<Result<_, _>>()?);
            }
            "ActivationIds" if filter.activation_ids.is_none() => filter.activation_ids = Some(values.clone()),
            "AgentVersion" if filter.agent_versions.is_none() => filter.agent_versions = Some(values.clone()),
            "PingStatus" if filter.online.is_none() => {
                let online = values.iter().any(|value| value == "Online");
                let away = values.iter().any(|value| value != "Online");
                if online != away {
                    filter.online = Some((now - SILENT_FOR, online));
                }
                is_whole &= !away;
            }
            "PlatformTypes" | "PlatformType" if filter.operating_systems.is_none() => {
                let systems = OPERATING_SYSTEMS
                    .iter()
                    .filter(|os| values.iter().any(|value| value == platform_type(os.platform_type())));
                filter.operating_systems = Some(systems.map(|os| os_name(*os)).collect());
            }
            "tag-key" if values.len() == 1 => filter.tags.push((values[0].clone(), Vec::new())),
            tag if tag.starts_with("tag:") && !values.is_empty() => {
                filter.tags.push((tag["tag:".len()..].to_owned(), values.clone()))
            }
            _ => is_whole = false,
        }
    }
    Ok((filter, is_whole))
}

/// Every operating system there is.
const OPERATING_SYSTEMS: [OperatingSystem; 15] = [
    OperatingSystem::Windows,
    OperatingSystem::AmazonLinux,
    OperatingSystem::AmazonLinux2,
    OperatingSystem::AmazonLinux2022,
    OperatingSystem::AmazonLinux2023,
    OperatingSystem::Ubuntu,
    OperatingSystem::RedhatEnterpriseLinux,
    OperatingSystem::Suse,
    OperatingSystem::Centos,
    OperatingSystem::OracleLinux,
    OperatingSystem::Debian,
    OperatingSystem::Macos,
    OperatingSystem::Raspbian,
    OperatingSystem::RockyLinux,
    OperatingSystem::AlmaLinux,
];

/// A node id of a request.
pub(crate) fn node_id(text: &str) -> Result<NodeId, Error> {
    text.parse().map_err(|_| {
        Error::new("InvalidInstanceId", format!("instance id is `{text}`; allowed is `mi-` and 17 hex digits"))
    })
}

fn check_keys(conditions: &[Condition]) -> Result<(), Error> {
    let known = [
        "InstanceIds",
        "PingStatus",
        "PlatformTypes",
        "PlatformType",
        "AgentVersion",
        "ActivationIds",
        "IamRole",
        "ResourceType",
        "tag-key",
    ];
    let unknown = conditions.iter().find(|one| !known.contains(&one.key.as_str()) && !one.key.starts_with("tag:"));
    match unknown {
        Some(condition) => Err(Error::new(
            "InvalidFilterKey",
            format!("filter key is `{}`; allowed are {} and tag:<key>", condition.key, known.join(", ")),
        )),
        None => Ok(()),
    }
}

/// Refuses values that no node can have, of what is an enumeration. Comparisons with parts of values
/// may name anything.
pub(crate) fn check_values(conditions: &[Condition], code: &'static str) -> Result<(), Error> {
    for condition in conditions {
        let allowed: &[&str] = match (condition.key.as_str(), condition.comparison) {
            ("PingStatus", Comparison::Equal | Comparison::NotEqual) => &["Online", "ConnectionLost", "Inactive"],
            ("PlatformTypes" | "PlatformType", Comparison::Equal | Comparison::NotEqual) => {
                &["Windows", "Linux", "MacOS"]
            }
            ("ResourceType", Comparison::Equal | Comparison::NotEqual) => &["ManagedInstance", "EC2Instance"],
            _ => continue,
        };
        if let Some(value) = condition.values.iter().find(|value| !allowed.contains(&value.as_str())) {
            let message =
                format!("filter {} has the value `{value}`; allowed are {}", condition.key, allowed.join(", "));
            return Err(Error::new(code, message));
        }
    }
    Ok(())
}

impl Condition {
    fn passes(&self, node: &Node, identity: Option<&Identity>, now: Timestamp) -> bool {
        let facts = &node.facts;
        let accepts = |value: &str| self.comparison.accepts(value, &self.values);
        // What is not there is equal to nothing.
        let absent = self.comparison == Comparison::NotEqual;
        match self.key.as_str() {
            "InstanceIds" => accepts(facts.node_id.as_str()),
            "PingStatus" => accepts(ping_status(node, now)),
            "PlatformTypes" | "PlatformType" => accepts(platform_type(facts.operating_system.platform_type())),
            "AgentVersion" => accepts(&facts.agent_version),
            "ResourceType" => accepts("ManagedInstance"),
            "ActivationIds" => identity.map_or(absent, |identity| accepts(&identity.activation_id.to_string())),
            "IamRole" => identity.map_or(absent, |identity| accepts(&identity.iam_role)),
            "tag-key" if absent => facts.tags.keys().all(|key| accepts(key)),
            "tag-key" => facts.tags.keys().any(|key| accepts(key)),
            tag => {
                let value = tag.strip_prefix("tag:").and_then(|key| facts.tags.get(key));
                value.map_or(absent, |value| accepts(value))
            }
        }
    }
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
pub(crate) fn view(node: &Node, identity: Option<&Identity>, now: Timestamp) -> Value {
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
