//! Inventory: what agents say of themselves, as `AWS:InstanceInformation`, and what other programs
//! put about nodes.

mod delete;
mod put;
mod query;
mod schema;

pub(crate) use delete::delete;
pub(crate) use put::put;
pub(crate) use query::{entries, get};
pub(crate) use schema::schemas;

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchwave_platform::store::inventory::InventoryItem;
use patchwave_platform::store::nodes::Node;

use crate::nodes;

/// The type that comes from agents themselves.
const INSTANCE_INFORMATION: &str = "AWS:InstanceInformation";

/// What an agent said of itself, as inventory. It was found when the node was last heard of.
fn instance_information(node: &Node, now: Timestamp) -> InventoryItem {
    let facts = &node.facts;
    let status = if nodes::ping_status(node, now) == "Online" { "Active" } else { "ConnectionLost" };
    let mut entry: BTreeMap<String, String> = [
        ("AgentType", "patchwave-agent"),
        ("AgentVersion", &facts.agent_version),
        ("ComputerName", &facts.computer_name),
        ("InstanceId", facts.node_id.as_str()),
        ("InstanceStatus", status),
        ("PlatformName", &facts.platform_name),
        ("PlatformType", nodes::platform_type(facts.operating_system.platform_type())),
        ("PlatformVersion", &facts.platform_version),
        ("ResourceType", "ManagedInstance"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    entry.extend(facts.ip_address.clone().map(|address| ("IpAddress".to_owned(), address)));
    InventoryItem {
        node_id: facts.node_id.clone(),
        type_name: INSTANCE_INFORMATION.to_owned(),
        schema_version: "1.0".to_owned(),
        capture_time: node.last_contact_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        content_hash: None,
        content: vec![entry],
    }
}
