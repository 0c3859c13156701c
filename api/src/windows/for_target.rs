//! DescribeMaintenanceWindowsForTarget: which windows touch a node, tag or group.

use std::collections::BTreeSet;

use patchwave_engine::targets::{ResourceGroups, TargetNode, TargetSpec};
use patchwave_platform::store::windows::WindowTarget;
use patchwave_schemas::event::Target;
use patchwave_schemas::{NodeId, WindowId};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::auth::Caller;
use crate::wire::{Error, Request, present, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    targets: Option<Vec<Target>>,
    resource_type: Option<String>,
}

pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let targets = required("targets", input.targets)?;
    let resource_type = required("resourceType", input.resource_type)?;
    let paging = request.paging(1..=100)?;
    let touching = windows_touching(api, request.caller(), &targets, &resource_type).await?;
    let mut windows = api.store.windows().await?;
    windows.retain(|window| touching.contains(&window.window_id));
    let (windows, next) = paging.of_list(windows, |window| window.window_id.to_string());
    let identities: Vec<Value> =
        windows.iter().map(|window| json!({ "WindowId": window.window_id, "Name": window.name })).collect();
    Ok(present(json!({ "WindowIdentities": identities, "NextToken": next })))
}

/// The windows with a registered target that names one of `targets`, or that one of the nodes
/// named in them satisfies. A caller with a policy may name only the nodes that it allows: which
/// windows touch a node says what tags it has.
pub(super) async fn windows_touching(
    api: &Api,
    caller: &Caller,
    targets: &[Target],
    resource_type: &str,
) -> Result<BTreeSet<WindowId>, Error> {
    let spec = TargetSpec::parse(targets).map_err(|error| Error::validation(error.to_string()))?;
    let named: Vec<NodeId> = spec.ids().cloned().collect();
    api.check_nodes(caller, &named).await?;
    let nodes = if named.is_empty() { Vec::new() } else { api.store.nodes_named(&named).await? };
    let mut tx = api.store.begin().await?;
    let groups = tx.resource_groups().await?;
    drop(tx);

    let registered = api.store.window_targets(None).await?;
    let touches = |target: &WindowTarget| {
        let is_named = || target.targets.iter().any(|one| targets.iter().any(|asked| overlap(one, asked)));
        let has_node = || {
            let Ok(spec) = TargetSpec::parse(&target.targets) else { return false };
            nodes.iter().any(|node| satisfies(&spec, node, &groups))
        };
        target.resource_type == resource_type && is_named() || has_node()
    };
    Ok(registered.into_iter().filter(touches).map(|target| target.window_id).collect())
}

fn satisfies(spec: &TargetSpec, node: &patchwave_platform::store::nodes::Node, groups: &ResourceGroups) -> bool {
    let facts = &node.facts;
    let node = TargetNode { id: &facts.node_id, tags: &facts.tags, operating_system: facts.operating_system };
    spec.matches(&node, groups)
}

fn overlap(one: &Target, other: &Target) -> bool {
    one.key == other.key && one.values.iter().any(|value| other.values.contains(value))
}
