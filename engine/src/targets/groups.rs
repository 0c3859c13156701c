//! Resource groups: stored tag queries that targets may name.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{TargetNode, is_tag_key};

/// Resource types that mean our nodes; compared without regard to case, as SSM writes them both ways.
const NODE_TYPES: [&str; 3] = ["AWS::AllSupported", "AWS::EC2::Instance", "AWS::SSM::ManagedInstance"];

/// Whether one of the resource types is that of our nodes.
pub(super) fn includes_nodes(types: &[String]) -> bool {
    types.iter().any(|kind| NODE_TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)))
}

/// A stored tag query that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "resource group query is refused: {reason}; expected {{\"ResourceTypeFilters\":[…],\"TagFilters\":[{{\"Key\":…,\"Values\":[…]}}]}}"
)]
pub struct QueryError {
    /// What is wrong with it.
    pub reason: String,
}

/// A resource group: a named tag query (SSM's type `TAG_FILTERS_1_0`).
///
/// A node belongs to it if it satisfies every tag filter; a filter without values asks for the key
/// alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ResourceGroup {
    #[serde(default)]
    resource_type_filters: Vec<String>,
    tag_filters: Vec<TagFilter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TagFilter {
    key: String,
    #[serde(default)]
    values: Vec<String>,
}

impl ResourceGroup {
    /// Understands the stored query.
    ///
    /// # Errors
    /// [`QueryError`] if it is not JSON of that shape, or names no tag: a query without filters
    /// would mean every node.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let group: Self = serde_json::from_str(query).map_err(|error| QueryError { reason: error.to_string() })?;
        if group.tag_filters.is_empty() {
            return Err(QueryError { reason: "TagFilters is empty".to_owned() });
        }
        match group.tag_filters.iter().find(|filter| !is_tag_key(&filter.key)) {
            Some(filter) => Err(QueryError { reason: format!("`{}` is not a tag key", filter.key) }),
            None => Ok(group),
        }
    }

    /// Whether `node` belongs to the group.
    #[must_use]
    pub fn matches(&self, node: &TargetNode<'_>) -> bool {
        let types = &self.resource_type_filters;
        (types.is_empty() || includes_nodes(types))
            && self.tag_filters.iter().all(|filter| {
                node.tags
                    .get(&filter.key)
                    .is_some_and(|value| filter.values.is_empty() || filter.values.contains(value))
            })
    }
}

/// The resource groups there are, by name.
#[derive(Debug, Clone, Default)]
pub struct ResourceGroups {
    groups: BTreeMap<String, ResourceGroup>,
}

impl ResourceGroups {
    /// The group of that name; names are compared exactly.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ResourceGroup> {
        self.groups.get(name)
    }
}

impl FromIterator<(String, ResourceGroup)> for ResourceGroups {
    fn from_iter<I: IntoIterator<Item = (String, ResourceGroup)>>(groups: I) -> Self {
        Self { groups: groups.into_iter().collect() }
    }
}
