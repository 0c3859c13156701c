//! What a managed node says about itself.

use std::collections::{BTreeMap, BTreeSet};

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

/// Tags of a node at most (SSM).
pub const TAGS_MAX: usize = 50;
/// Characters of a tag's key, and of its value, at most (SSM).
pub const TAG_CHARS_MAX: (usize, usize) = (128, 256);

/// Characters of any other text about a node at most: what every store and screen takes. SSM's own
/// limits are 255 for a computer's name and less for the others.
pub const TEXT_CHARS_MAX: usize = 255;
/// Documents that a node's policy may name, and characters of a document's name, at most.
pub const POLICY_DOCUMENTS_MAX: (usize, usize) = (200, 128);

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

impl NodeFacts {
    /// Checks what the types do not: SSM's limits on tags, that no text is longer than
    /// [`TEXT_CHARS_MAX`], and that none holds a control character, which no database or terminal is to meet.
    ///
    /// # Errors
    /// A sentence that names the field, the value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if self.tags.len() > TAGS_MAX {
            return Err(format!("tags: {} were given; at most {TAGS_MAX} are allowed", self.tags.len()));
        }
        let (key_max, value_max) = TAG_CHARS_MAX;
        for (key, value) in &self.tags {
            if key.is_empty() || key.chars().count() > key_max {
                return Err(format!("tags: key {key:?}; allowed are 1 to {key_max} characters"));
            }
            if value.chars().count() > value_max {
                return Err(format!("tags: value {value:?} of {key:?}; allowed are up to {value_max} characters"));
            }
        }
        let named = [
            ("computer_name", &self.computer_name),
            ("platform_name", &self.platform_name),
            ("platform_version", &self.platform_version),
            ("agent_version", &self.agent_version),
        ];
        for (field, text) in named.into_iter().chain(self.ip_address.iter().map(|text| ("ip_address", text))) {
            is_short(field, text)?;
        }
        let texts = named.into_iter().map(|(_, text)| text);
        let tags = self.tags.iter().flat_map(|(key, value)| [key, value]);
        match texts.chain(&self.ip_address).chain(tags).find(|text| text.chars().any(char::is_control)) {
            Some(text) => Err(format!("{text:?} holds a control character; none is allowed")),
            None => Ok(()),
        }
    }
}

/// Checks the length of a text of [`TEXT_CHARS_MAX`] at most.
pub(crate) fn is_short(field: &str, text: &str) -> Result<(), String> {
    match text.chars().count() {
        count if count > TEXT_CHARS_MAX => {
            Err(format!("{field} has {count} characters; allowed are up to {TEXT_CHARS_MAX}"))
        }
        _ => Ok(()),
    }
}

/// What a node takes at all, whatever the control plane asks for. Set on the node alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePolicy {
    /// Which kinds of steps.
    #[serde(default)]
    pub accept: Accept,
    /// Names of the only documents that it takes; every one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<BTreeSet<String>>,
}

impl NodePolicy {
    /// Checks that the list of documents is one that can be stored with every node.
    ///
    /// # Errors
    /// A sentence that names the field, the value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let (count_max, chars_max) = POLICY_DOCUMENTS_MAX;
        let documents = self.documents.iter().flatten();
        if documents.clone().count() > count_max {
            return Err(format!("policy.documents has {} names; at most {count_max} are allowed", documents.count()));
        }
        match documents.clone().find(|name| name.chars().count() > chars_max) {
            Some(name) => Err(format!(
                "policy.documents has a name of {} characters; allowed are up to {chars_max}",
                name.chars().count()
            )),
            None => Ok(()),
        }
    }

    /// Whether it takes everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.accept == Accept::All && self.documents.is_none()
    }
}

/// Kinds of steps that a node takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Every step.
    #[default]
    All,
    /// Scans and installations of patches.
    Patch,
    /// Scans alone.
    Scan,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(tags: &[(&str, &str)]) -> NodeFacts {
        NodeFacts {
            node_id: NodeId::from_bits(1),
            computer_name: "web-1".to_owned(),
            operating_system: OperatingSystem::Debian,
            platform_name: "Debian GNU/Linux".to_owned(),
            platform_version: "12".to_owned(),
            agent_version: "0.1.0".to_owned(),
            ip_address: None,
            simulated: false,
            tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn texts_and_policies_that_are_too_long_are_refused() {
        let long = NodeFacts { platform_name: "x".repeat(TEXT_CHARS_MAX + 1), ..facts(&[]) };
        assert!(long.check().expect_err("long").contains("platform_name has 256"));
        let long = NodeFacts { ip_address: Some("1".repeat(TEXT_CHARS_MAX + 1)), ..facts(&[]) };
        assert!(long.check().expect_err("long").contains("ip_address has 256"));
        let policy =
            |names: Vec<String>| NodePolicy { documents: Some(names.into_iter().collect()), ..NodePolicy::default() };
        let (count_max, chars_max) = POLICY_DOCUMENTS_MAX;
        assert_eq!(policy((0..count_max).map(|one| one.to_string()).collect()).check(), Ok(()));
        let many = policy((0..=count_max).map(|one| one.to_string()).collect());
        assert!(many.check().expect_err("many").contains("at most 200"));
        assert!(policy(vec!["x".repeat(chars_max + 1)]).check().expect_err("long").contains("up to 128"));
    }

    #[test]
    fn tags_beyond_ssms_limits_and_control_characters_are_refused() {
        assert_eq!(facts(&[("Patch Group", "canary"), ("empty", "")]).check(), Ok(()));
        let long = "x".repeat(257);
        for (tags, needle) in
            [([("", "v")], "1 to 128"), ([("k", long.as_str())], "up to 256"), ([("k", "a\0b")], "control character")]
        {
            let error = facts(&tags).check().expect_err(needle);
            assert!(error.contains(needle), "{error}");
        }
    }
}
