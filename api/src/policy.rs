//! Holding handlers to the caller's policy: which nodes a request may speak of.
//!
//! Operations of the classes `NodeRead` and `NodeChange` call these; all others are refused to keys
//! with a policy before they are reached.

use patchwave_platform::store::nodes::Node;
use patchwave_schemas::NodeId;

use crate::Api;
use crate::auth::Caller;
use crate::wire::Error;

impl Caller {
    /// Whether a node may be shown to the caller.
    pub(crate) fn sees(&self, node: &Node) -> bool {
        self.policy.as_ref().is_none_or(|policy| policy.allows(&node.facts.tags))
    }
}

impl Api {
    /// Checks that every node that is named is within the caller's policy. A node that does not
    /// exist is none of theirs either.
    pub(crate) async fn check_nodes(&self, caller: &Caller, nodes: &[NodeId]) -> Result<(), Error> {
        if caller.policy.is_none() || nodes.is_empty() {
            return Ok(());
        }
        let seen = self.visible(caller, nodes).await?;
        match nodes.iter().find(|node| !seen.contains(node)) {
            Some(node) => Err(Error::new(
                "AccessDeniedException",
                format!(
                    "access key {} is limited to nodes with certain tags, and {node} is none of them",
                    caller.access_key_id
                ),
            )),
            None => Ok(()),
        }
    }

    /// Those of the nodes that the caller may be shown.
    pub(crate) async fn visible(&self, caller: &Caller, nodes: &[NodeId]) -> Result<Vec<NodeId>, Error> {
        if caller.policy.is_none() {
            return Ok(nodes.to_vec());
        }
        let found = self.store.nodes_named(nodes).await?;
        Ok(found.into_iter().filter(|node| caller.sees(node)).map(|node| node.facts.node_id).collect())
    }
}
