//! What a managed node says about itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// SSM's `OperatingSystem` of a patch baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub enum OperatingSystem {
    Windows,
    AmazonLinux,
    #[serde(rename = "AMAZON_LINUX_2")]
    AmazonLinux2,
    #[serde(rename = "AMAZON_LINUX_2022")]
    AmazonLinux2022,
    #[serde(rename = "AMAZON_LINUX_2023")]
    AmazonLinux2023,
    Ubuntu,
    RedhatEnterpriseLinux,
    Suse,
    Centos,
    OracleLinux,
    Debian,
    Macos,
    Raspbian,
    RockyLinux,
    AlmaLinux,
}

/// SSM's `PlatformType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub enum PlatformType {
    Windows,
    Linux,
    #[serde(rename = "MacOS")]
    MacOs,
}

impl OperatingSystem {
    /// The platform type that documents' preconditions name.
    #[must_use]
    pub const fn platform_type(self) -> PlatformType {
        match self {
            Self::Windows => PlatformType::Windows,
            Self::Macos => PlatformType::MacOs,
            _ => PlatformType::Linux,
        }
    }
}

/// The facts an agent reports when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFacts {
    /// The node.
    pub node_id: NodeId,
    /// Host name.
    pub computer_name: String,
    /// Which baselines apply.
    pub operating_system: OperatingSystem,
    /// For people, for instance `Debian GNU/Linux`.
    pub platform_name: String,
    /// For instance `12`.
    pub platform_version: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Address on its network, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// A node made up by a simulator: nothing real happens on it.
    #[serde(default)]
    pub simulated: bool,
    /// Tags the node is enrolled with. Used when the node is first seen; afterwards the control
    /// plane's tags are the truth.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}
