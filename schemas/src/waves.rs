//! Rollout plans: how a rollout is cut into waves, and what must be so before the next one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rollout in waves. Nodes go to waves by a hash of their ids, the same for every rollout, or by
/// the value of a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RolloutPlan {
    /// The tag whose value says which wave a node is in, such as `Ring`. Without it waves have sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_key: Option<String>,
    /// The waves in order, 1 to 20. A wave that turns out to have no node is left out.
    pub waves: Vec<WavePlan>,
}

/// One wave of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WavePlan {
    /// For people; `wave 1` and so on when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Count or percentage of all nodes; the last wave has none and takes the rest. Not with `TagKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Values of the tag that belong to this wave. The last wave also takes nodes of no wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tag_values: Vec<String>,
    /// Seconds between the end of the wave's last invocation and the next wave, 0 to 604800.
    #[serde(default)]
    pub bake_seconds: u32,
    /// What must be so before the next wave; the last wave has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GatePlan>,
}

/// What must be so before the next wave is released. Everything that is given must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GatePlan {
    /// Percentage of the wave's invocations that must have succeeded, 0 to 100. Those that somebody
    /// cancelled are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_success_percent: Option<u8>,
    /// Failures of the wave that are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u32>,
    /// Somebody must approve within so many seconds after the bake time, 60 to 2592000; otherwise
    /// the rollout is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_within_seconds: Option<u32>,
}
