//! Nodes inside the process of `patchwave up`: which there are, and what they may do.
//!
//! They reach the embedded bus alone. A fleet over a broker is `patchwave-agent`'s business.

use std::collections::BTreeMap;

use patchwave_schemas::NodeId;

use super::fault::Fault;
use super::layers::{Effective, Origin};
use super::setting::Setting;
use super::url::{EMBEDDED, redact};

/// Most simulated nodes in one process: each has an inbox and a task on the embedded bus.
const SIMULATED_MAX: usize = 10_000;

/// Nodes that `patchwave up` runs in its own process; none unless asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InProcessNodes {
    /// This machine, if it is to be a node.
    pub local: Option<LocalNode>,
    /// Number of simulated nodes, 0..=10,000.
    pub simulated: usize,
    /// Decides everything that differs between them.
    pub seed: u64,
    /// Their patch groups with weights of 1 to 1000; none when empty.
    pub patch_groups: Vec<(String, u32)>,
}

/// This machine as a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNode {
    /// Its id; drawn once and kept when absent.
    pub id: Option<NodeId>,
    /// Tags to enrol with.
    pub tags: BTreeMap<String, String>,
    /// Whether it takes commands that do more than scan.
    pub may_install: bool,
}

/// Checks the settings of nodes; faults are added to `faults`. `None` if there is one.
pub(super) fn check(effective: &Effective, faults: &mut Vec<Fault>) -> Option<InProcessNodes> {
    let before = faults.len();
    let may_install = match effective.value(Setting::LocalNode) {
        "off" => None,
        "scan" => Some(false),
        "install" => Some(true),
        _ => {
            faults.push(effective.fault(Setting::LocalNode, "not a choice"));
            None
        }
    };
    let mut keep = |setting: Setting, reason: &str, is_read: bool| {
        if !is_read {
            faults.push(effective.fault(setting, reason));
        }
    };
    let id = match effective.value(Setting::LocalNodeId) {
        "" => None,
        text => text.parse().map_err(|_| keep(Setting::LocalNodeId, "not a node id", false)).ok(),
    };
    let tags = list(effective.value(Setting::LocalNodeTags), tag);
    keep(Setting::LocalNodeTags, "not a list of tags", tags.is_some());
    let simulated: Option<usize> =
        effective.value(Setting::Simulate).parse().ok().filter(|count| *count <= SIMULATED_MAX);
    keep(Setting::Simulate, "not such a number", simulated.is_some());
    let seed = effective.value(Setting::SimulateSeed).parse().ok();
    keep(Setting::SimulateSeed, "not such a number", seed.is_some());
    let patch_groups = list(effective.value(Setting::SimulatePatchGroups), weight);
    keep(Setting::SimulatePatchGroups, "not a list of patch groups", patch_groups.is_some());

    let (has_local, has_simulated) = (may_install.is_some(), simulated != Some(0));
    if faults.len() == before {
        check_together(effective, has_local, has_simulated, faults);
    }
    let local = may_install.zip(tags).map(|(may_install, tags)| LocalNode {
        id,
        tags: tags.into_iter().collect(),
        may_install,
    });
    let nodes = InProcessNodes { local, simulated: simulated?, seed: seed?, patch_groups: patch_groups? };
    (faults.len() == before).then_some(nodes)
}

/// What depends on more than one setting.
fn check_together(effective: &Effective, has_local: bool, has_simulated: bool, faults: &mut Vec<Fault>) {
    let bus = effective.value(Setting::Bus);
    for (setting, has, off, details) in [
        (Setting::LocalNode, has_local, "`off`", [Setting::LocalNodeId, Setting::LocalNodeTags]),
        (Setting::Simulate, has_simulated, "`0`", [Setting::SimulateSeed, Setting::SimulatePatchGroups]),
    ] {
        if has && bus != EMBEDDED {
            let reason = format!(
                "nodes in this process are on the embedded bus, and bus is `{}`; run `patchwave-agent` beside it instead",
                redact(bus)
            );
            let expected = format!("{off}, or `embedded` as the bus");
            faults.push(Fault { expected, ..effective.fault(setting, reason) });
        }
        // A file may describe what is switched off; whoever writes an option means it.
        for detail in details {
            if !has && matches!(effective.origin(detail), Origin::Flag(_)) {
                let reason = format!("it says nothing without {}", setting.flag());
                let expected = format!("{} with it", setting.flag());
                faults.push(Fault { expected, ..effective.fault(detail, reason) });
            }
        }
    }
}

/// Every element of a list with commas; `None` when one cannot be read.
fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').filter(|_| !text.is_empty()).map(read).collect()
}

fn tag(text: &str) -> Option<(String, String)> {
    text.split_once('=').filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned()))
}

fn weight(text: &str) -> Option<(String, u32)> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| (1..=1000).contains(weight))?;
    (!name.is_empty()).then(|| (name.to_owned(), weight))
}
