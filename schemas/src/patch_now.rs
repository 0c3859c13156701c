//! Patch Now: scan or install on some nodes or all of them, at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::command::{PatchOperation, RebootOption};
use crate::envelope::Message;
use crate::event::{ErrorMode, NotificationConfig, Target};
use crate::waves::RolloutPlan;

/// Asks for nodes to be scanned or patched now, with limits that go by the number of nodes, as
/// SSM's "Patch now" does. From other systems.
///
/// The event's `id` names the command: publishing the same event twice patches once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchRequested {
    /// Scan or Install.
    pub operation: PatchOperation,
    /// Every node there is; exclusive with `InstanceIds` and `Targets`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all_nodes: bool,
    /// Nodes by id, at most 50; exclusive with `Targets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instance_ids: Vec<String>,
    /// Nodes by tag, patch group, resource group or id, at most 5 keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Whether a node may reboot when what was installed needs it; default `RebootIfNeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_option: Option<RebootOption>,
    /// Document that runs before the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_install_hook_doc_name: Option<String>,
    /// Document that runs after the installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_install_hook_doc_name: Option<String>,
    /// Document that runs when the node is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exit_hook_doc_name: Option<String>,
    /// Count or percentage; by default from SSM's table by number of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<String>,
    /// Count or percentage; by default from SSM's table by number of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<String>,
    /// How errors are bounded; default `ssm`.
    #[serde(default)]
    pub error_mode: ErrorMode,
    /// Delivery timeout in seconds, 30..=2592000; default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// At most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Where to tell of its progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_config: Option<NotificationConfig>,
    /// Name of the rollout plan that cuts it into waves; exclusive with `Waves`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_plan: Option<String>,
    /// The waves it is cut into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<RolloutPlan>,
}

impl Message for PatchRequested {
    const TYPE: &'static str = "patchwave.patch.requested.v1";
}

impl Default for PatchRequested {
    /// A scan of nothing.
    fn default() -> Self {
        Self {
            operation: PatchOperation::Scan,
            all_nodes: false,
            instance_ids: Vec::new(),
            targets: Vec::new(),
            reboot_option: None,
            pre_install_hook_doc_name: None,
            post_install_hook_doc_name: None,
            on_exit_hook_doc_name: None,
            max_concurrency: None,
            max_errors: None,
            error_mode: ErrorMode::default(),
            timeout_seconds: None,
            comment: None,
            notification_config: None,
            rollout_plan: None,
            waves: None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}
