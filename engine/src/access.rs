//! Who may do what: roles, classes of operations, and policies on the tags of nodes.
//!
//! An access key has a role and perhaps a policy. [`permit`] is the whole rule; whether a node is
//! within a policy is [`NodePolicy::allows`]. Nothing here knows how a caller proves who it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Tags that a policy names at most: each is compared for each node.
const POLICY_TAGS_MAX: usize = 10;
/// Values of one tag in a policy at most.
const POLICY_VALUES_MAX: usize = 50;
/// Characters of a tag's key (SSM).
const TAG_KEY_CHARS: std::ops::RangeInclusive<usize> = 1..=128;
/// Characters of a tag's value at most (SSM).
const TAG_VALUE_CHARS_MAX: usize = 256;

/// What an access key may do. Each may what the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes windows, baselines, tags; runs commands.
    Operator,
    /// Decides who may do what: access keys, activations, signing keys, service settings, audit.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is stored and spoken of.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no role, or a policy that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; allowed is {allowed}")]
pub struct AccessError {
    /// What was being read.
    pub field: &'static str,
    /// What was found.
    pub value: String,
    /// What would have been accepted.
    pub allowed: &'static str,
}

impl FromStr for Role {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        let refused =
            || AccessError { field: "Role", value: text.to_owned(), allowed: "`viewer`, `operator` or `admin`" };
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(refused)
    }
}

/// What an operation does, as far as the right to call it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads what speaks of no node: windows, baselines, documents.
    Read,
    /// Reads nodes, or what happened on them, and leaves out those that the caller's policy does.
    NodeRead,
    /// Reads nodes, or what happened on them, without leaving any out.
    FleetRead,
    /// Acts on nodes, and on those alone that the caller's policy allows.
    NodeChange,
    /// Changes anything else that an operator may.
    Change,
    /// Reads what decides who may do what, or was recorded about it.
    AdminRead,
    /// Changes what decides who may do what.
    Admin,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::NodeRead, Self::FleetRead, Self::NodeChange, Self::Change, Self::AdminRead, Self::Admin];

    /// The least role that may call such an operation.
    #[must_use]
    pub const fn role(self) -> Role {
        match self {
            Self::Read | Self::NodeRead | Self::FleetRead => Role::Viewer,
            Self::NodeChange | Self::Change => Role::Operator,
            Self::AdminRead | Self::Admin => Role::Admin,
        }
    }

    /// Whether something is different afterwards.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(self, Self::NodeChange | Self::Change | Self::Admin)
    }

    /// Whether the operation looks at the caller's policy itself, or speaks of no node.
    #[must_use]
    pub const fn heeds_policy(self) -> bool {
        matches!(self, Self::Read | Self::NodeRead | Self::NodeChange)
    }
}

/// Why a caller may not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role is too small.
    #[error("it needs the role {needed}, and this access key has the role {held}")]
    Role {
        /// The least role that may.
        needed: Role,
        /// The caller's.
        held: Role,
    },
    /// A key with a policy may only what can be held to the policy.
    #[error("this access key is limited to nodes with certain tags, and this operation reaches beyond them")]
    Policy,
}

/// Whether a caller with `role`, limited to some nodes or not, may call an operation of `class`.
///
/// # Errors
/// [`Denied`], which completes a sentence that names the operation.
pub fn permit(role: Role, is_limited: bool, class: Class) -> Result<(), Denied> {
    if role < class.role() {
        return Err(Denied::Role { needed: class.role(), held: role });
    }
    if is_limited && !class.heeds_policy() {
        return Err(Denied::Policy);
    }
    Ok(())
}

/// The nodes that an access key is for: those that have every tag named here, with one of its values.
///
/// Names at least one tag, and at least one value of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, BTreeSet<String>>", into = "BTreeMap<String, BTreeSet<String>>")]
pub struct NodePolicy(BTreeMap<String, BTreeSet<String>>);

impl NodePolicy {
    /// A policy of these tags and their allowed values.
    ///
    /// # Errors
    /// [`AccessError`] for no tag, a tag without values, and more or longer ones than tags can be.
    pub fn new(tags: BTreeMap<String, BTreeSet<String>>) -> Result<Self, AccessError> {
        let refused = |value: String, allowed| Err(AccessError { field: "Tags", value, allowed });
        if !(1..=POLICY_TAGS_MAX).contains(&tags.len()) {
            return refused(format!("{} tags", tags.len()), "1 to 10 tags");
        }
        for (key, values) in &tags {
            if !TAG_KEY_CHARS.contains(&key.chars().count()) || key.contains('\0') {
                return refused(key.clone(), "keys of 1 to 128 characters");
            }
            if !(1..=POLICY_VALUES_MAX).contains(&values.len()) {
                return refused(format!("{} values of `{key}`", values.len()), "1 to 50 values for each tag");
            }
            if let Some(long) = values.iter().find(|value| value.chars().count() > TAG_VALUE_CHARS_MAX) {
                return refused(long.clone(), "values of up to 256 characters");
            }
            if values.iter().any(|value| value.contains('\0')) {
                return refused(key.clone(), "values without NUL");
            }
        }
        Ok(Self(tags))
    }

    /// Whether a node with these tags is within the policy.
    #[must_use]
    pub fn allows(&self, tags: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(key, values)| tags.get(key).is_some_and(|value| values.contains(value)))
    }

    /// The tags and their allowed values.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.0
    }
}

impl TryFrom<BTreeMap<String, BTreeSet<String>>> for NodePolicy {
    type Error = AccessError;

    fn try_from(tags: BTreeMap<String, BTreeSet<String>>) -> Result<Self, AccessError> {
        Self::new(tags)
    }
}

impl From<NodePolicy> for BTreeMap<String, BTreeSet<String>> {
    fn from(policy: NodePolicy) -> Self {
        policy.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    fn policy(tags: &[(&str, &[&str])]) -> Result<NodePolicy, AccessError> {
        NodePolicy::new(
            tags.iter()
                .map(|(key, values)| ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
                .collect(),
        )
    }

    #[test]
    fn every_pair_of_role_and_class_is_decided() {
        use Class::{Change, FleetRead, NodeChange, NodeRead, Read};
        for (role, whole, limited) in [
            (Role::Viewer, &[Read, NodeRead, FleetRead][..], &[Read, NodeRead][..]),
            (Role::Operator, &[Read, NodeRead, FleetRead, NodeChange, Change], &[Read, NodeRead, NodeChange]),
            (Role::Admin, &Class::ALL[..], &[Read, NodeRead, NodeChange]),
        ] {
            for class in Class::ALL {
                assert_eq!(permit(role, false, class).is_ok(), whole.contains(&class), "{role} {class:?}");
                assert_eq!(permit(role, true, class).is_ok(), limited.contains(&class), "{role} {class:?} limited");
            }
        }
        let denied = permit(Role::Viewer, true, Change).expect_err("too small a role");
        assert_eq!(denied.to_string(), "it needs the role operator, and this access key has the role viewer");
    }

    #[test]
    fn a_node_is_within_a_policy_when_every_tag_fits() {
        let limited = policy(&[("Site", &["Berlin", "Bonn"]), ("Patch Group", &["web"])]).expect("a policy");
        for (tags, expected) in [
            (map(&[("Site", "Bonn"), ("Patch Group", "web"), ("Other", "x")]), true),
            (map(&[("Site", "Bonn"), ("Patch Group", "db")]), false),
            (map(&[("Patch Group", "web")]), false),
            (map(&[]), false),
        ] {
            let tags = tags.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
            assert_eq!(limited.allows(&tags), expected, "{tags:?}");
        }
    }

    #[test]
    fn a_policy_that_would_allow_every_node_is_none() {
        for (tags, needle) in [
            (policy(&[]), "1 to 10 tags"),
            (policy(&[("Site", &[])]), "1 to 50 values"),
            (policy(&[("", &["x"])]), "1 to 128"),
            (policy(&[("Site", &["a\0"])]), "NUL"),
        ] {
            assert!(tags.expect_err("refused").to_string().contains(needle));
        }
        let stored = serde_json::to_string(&policy(&[("Site", &["Bonn"])]).expect("a policy")).expect("JSON");
        assert_eq!(stored, r#"{"Site":["Bonn"]}"#);
        assert!(serde_json::from_str::<NodePolicy>("{}").is_err(), "a stored policy is checked as well");
    }

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
