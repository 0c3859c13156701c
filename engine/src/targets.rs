//! Which nodes a task or command is for.
//!
//! SSM's `Targets`: a list of keys with values. A node is meant if it satisfies every key; a key is
//! satisfied by any of its values (`tag-key`: by all of them together). Tags and groups are looked
//! at when the run happens, never at registration. `WindowTargetIds` name registered targets and
//! are replaced by those before anything reaches this file.

use std::collections::BTreeMap;

use patchwave_schemas::NodeId;
use patchwave_schemas::event::Target;
use patchwave_schemas::node::OperatingSystem;

mod groups;

pub use self::groups::{QueryError, ResourceGroup, ResourceGroups};

/// Most keys in one list of targets (SSM's limit).
pub const MAX_KEYS: usize = 5;
/// Most values of one key (SSM's limit).
pub const MAX_VALUES: usize = 50;
/// Most values of `tag-key`, all of which a node must carry (SSM's limit).
pub const MAX_TAG_KEYS: usize = 5;
/// Longest tag key, in characters (SSM's limit).
const MAX_TAG_KEY_LENGTH: usize = 128;
/// Longest tag value, in characters (SSM's limit).
const MAX_TAG_VALUE_LENGTH: usize = 256;

const ALLOWED_KEYS: &str =
    "`InstanceIds`, `tag:<key>`, `tag-key`, `resource-groups:Name` or `resource-groups:ResourceTypeFilters`";

/// Targets that are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Too few or too many keys. None at all is refused so that nothing can mean everything.
    #[error("Targets has {count} keys; expected 1 to {MAX_KEYS}")]
    KeyCount {
        /// The keys given.
        count: usize,
    },
    /// A key that is not known here.
    #[error("target key `{key}` is unknown; expected {ALLOWED_KEYS}")]
    UnknownKey {
        /// The key as given.
        key: String,
    },
    /// Too few or too many values.
    #[error("target key `{key}` has {count} values; expected 1 to {max}")]
    ValueCount {
        /// The key as given.
        key: String,
        /// The values given.
        count: usize,
        /// Most values that this key takes.
        max: usize,
    },
    /// A value that this key cannot have.
    #[error("target key `{key}` has the value `{value}`; expected {expected}")]
    Value {
        /// The key as given.
        key: String,
        /// The value as given.
        value: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A filter that narrows nothing.
    #[error("target key `{key}` stands alone; expected `resource-groups:Name` beside it")]
    FilterWithoutGroup {
        /// The key as given.
        key: String,
    },
}

/// What targeting looks at in a node.
#[derive(Debug, Clone, Copy)]
pub struct TargetNode<'a> {
    /// The node.
    pub id: &'a NodeId,
    /// Its tags, as the control plane has them.
    pub tags: &'a BTreeMap<String, String>,
    /// Its operating system.
    pub operating_system: OperatingSystem,
}

/// Targets that have been understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetSpec {
    conditions: Vec<Condition>,
}

/// One key with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    InstanceIds(Vec<NodeId>),
    Tag { key: String, values: Vec<String> },
    PatchGroup(Vec<String>),
    TagKeys(Vec<String>),
    ResourceGroup(String),
    ResourceTypes(Vec<String>),
}

impl TargetSpec {
    /// Understands `targets`.
    ///
    /// # Errors
    /// [`TargetError`] naming key and value; nothing of the list counts then.
    pub fn parse(targets: &[Target]) -> Result<Self, TargetError> {
        if !(1..=MAX_KEYS).contains(&targets.len()) {
            return Err(TargetError::KeyCount { count: targets.len() });
        }
        let conditions = targets.iter().map(Condition::parse).collect::<Result<Vec<_>, _>>()?;
        let has_group = conditions.iter().any(|condition| matches!(condition, Condition::ResourceGroup(_)));
        let filter = conditions.iter().position(|condition| matches!(condition, Condition::ResourceTypes(_)));
        match filter {
            Some(index) if !has_group => Err(TargetError::FilterWithoutGroup { key: targets[index].key.clone() }),
            _ => Ok(Self { conditions }),
        }
    }

    /// Whether `node` is meant. A group that does not exist (any more) has no members.
    #[must_use]
    pub fn matches(&self, node: &TargetNode<'_>, groups: &ResourceGroups) -> bool {
        self.conditions.iter().all(|condition| condition.matches(node, groups))
    }

    /// The nodes named by id, if the targets name any: no other node can match, so these are all
    /// that need be looked at.
    #[must_use]
    pub fn named_nodes(&self) -> Option<&[NodeId]> {
        self.conditions.iter().find_map(|condition| match condition {
            Condition::InstanceIds(ids) => Some(ids.as_slice()),
            _ => None,
        })
    }

    /// Every node id that is written in the targets, whether or not it can match.
    pub fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.conditions.iter().flat_map(|condition| match condition {
            Condition::InstanceIds(ids) => ids.as_slice(),
            _ => &[],
        })
    }

    /// The resource groups that the targets name.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().filter_map(|condition| match condition {
            Condition::ResourceGroup(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Condition {
    fn parse(target: &Target) -> Result<Self, TargetError> {
        let Target { key, values } = target;
        let check_count = |max: usize| {
            if (1..=max).contains(&values.len()) {
                Ok(())
            } else {
                Err(TargetError::ValueCount { key: key.clone(), count: values.len(), max })
            }
        };
        let refuse =
            |value: &str, expected: String| TargetError::Value { key: key.clone(), value: value.to_owned(), expected };

        // SSM's own examples write `InstanceIds` in several ways.
        if key.eq_ignore_ascii_case("InstanceIds") {
            check_count(MAX_VALUES)?;
            let ids = values
                .iter()
                .map(|value| value.parse().map_err(|_| refuse(value, "`mi-` and 17 hex digits".to_owned())));
            return Ok(Self::InstanceIds(ids.collect::<Result<_, _>>()?));
        }
        if let Some(tag) = key.strip_prefix("tag:") {
            if !is_tag_key(tag) {
                return Err(refuse(tag, format!("a tag key of 1 to {MAX_TAG_KEY_LENGTH} characters after `tag:`")));
            }
            check_count(MAX_VALUES)?;
            if let Some(long) = values.iter().find(|value| value.chars().count() > MAX_TAG_VALUE_LENGTH) {
                return Err(refuse(long, format!("at most {MAX_TAG_VALUE_LENGTH} characters")));
            }
            return Ok(if PATCH_GROUP_KEYS.contains(&tag) {
                Self::PatchGroup(values.clone())
            } else {
                Self::Tag { key: tag.to_owned(), values: values.clone() }
            });
        }
        match key.as_str() {
            "tag-key" => {
                check_count(MAX_TAG_KEYS)?;
                if let Some(value) = values.iter().find(|value| !is_tag_key(value)) {
                    return Err(refuse(value, format!("a tag key of 1 to {MAX_TAG_KEY_LENGTH} characters")));
                }
                Ok(Self::TagKeys(values.clone()))
            }
            "resource-groups:Name" => {
                check_count(1)?;
                if values[0].is_empty() {
                    return Err(refuse("", "the name of a resource group".to_owned()));
                }
                Ok(Self::ResourceGroup(values[0].clone()))
            }
            "resource-groups:ResourceTypeFilters" => {
                check_count(MAX_VALUES)?;
                Ok(Self::ResourceTypes(values.clone()))
            }
            _ => Err(TargetError::UnknownKey { key: key.clone() }),
        }
    }

    fn matches(&self, node: &TargetNode<'_>, known: &ResourceGroups) -> bool {
        match self {
            Self::InstanceIds(ids) => ids.contains(node.id),
            Self::Tag { key, values } => node.tags.get(key).is_some_and(|value| values.contains(value)),
            Self::PatchGroup(values) => patch_group(node.tags).is_some_and(|group| values.iter().any(|v| v == group)),
            Self::TagKeys(keys) => keys.iter().all(|key| node.tags.contains_key(key)),
            Self::ResourceGroup(name) => known.get(name).is_some_and(|group| group.matches(node)),
            Self::ResourceTypes(types) => groups::includes_nodes(types),
        }
    }
}

fn is_tag_key(key: &str) -> bool {
    (1..=MAX_TAG_KEY_LENGTH).contains(&key.chars().count())
}

/// The two spellings of the patch group's tag, the one that counts first.
const PATCH_GROUP_KEYS: [&str; 2] = ["PatchGroup", "Patch Group"];

/// The patch group of a node with these tags: `PatchGroup`, else `Patch Group`.
///
/// Targets treat the two keys alike: `tag:Patch Group` finds a node whose tag is `PatchGroup`.
#[must_use]
pub fn patch_group(tags: &BTreeMap<String, String>) -> Option<&str> {
    PATCH_GROUP_KEYS.iter().find_map(|key| tags.get(*key)).map(String::as_str)
}

/// A node's place in the order in which a rollout reaches its targets.
///
/// Depends on node and salt alone: the same everywhere and for ever, so it may be stored. A salt for
/// each rollout keeps one node from being the first to meet every patch. Sort by this, then by id.
#[must_use]
pub fn stable_order(node_id: &NodeId, salt: &str) -> u64 {
    // FNV-1a over salt, a separator and id …
    let bytes = salt.bytes().chain([0]).chain(node_id.as_str().bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // … then mixed (the finaliser of SplitMix64), as FNV's high bits hardly see the last digits.
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
