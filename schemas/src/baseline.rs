//! Patch baselines as they travel: the rules frozen for one rollout, and what a scan found.
//!
//! The evaluation itself is `engine::baseline`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::BaselineId;
use crate::node::OperatingSystem;

/// SSM's compliance levels, most severe first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub enum ComplianceLevel {
    Critical,
    High,
    Medium,
    Low,
    Informational,
    #[default]
    Unspecified,
}

/// What happens to rejected patches that others depend on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RejectedPatchesAction {
    /// Not installed for its own sake, but allowed as a dependency.
    #[default]
    AllowAsDependency,
    /// Never installed, nor anything that needs it.
    Block,
}

/// One attribute and the values that pass. `*` passes everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchFilter {
    /// SSM's filter key: `PRODUCT`, `CLASSIFICATION`, `SEVERITY`, `PRIORITY`, `SECTION`, …
    pub key: String,
    /// Accepted values; any one suffices.
    pub values: Vec<String>,
}

/// Filters that must all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchFilterGroup {
    /// At most four (SSM).
    #[serde(default)]
    pub patch_filters: Vec<PatchFilter>,
}

/// One approval rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchRule {
    /// Which patches the rule speaks of.
    pub patch_filter_group: PatchFilterGroup,
    /// Level given to what the rule approves.
    #[serde(default)]
    pub compliance_level: ComplianceLevel,
    /// Days after release, 0..=360. Exclusive with `ApproveUntilDate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve_after_days: Option<u32>,
    /// `YYYY-MM-DD`: everything released up to the end of that UTC day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve_until_date: Option<String>,
    /// Whether patches that are not security-related qualify (Linux).
    #[serde(default)]
    pub enable_non_security: bool,
}

/// SSM's `PatchRuleGroup`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchRuleGroup {
    /// At most ten (SSM).
    #[serde(default)]
    pub patch_rules: Vec<PatchRule>,
}

/// Another repository to take patches from, instead of the node's own (Linux).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct PatchSource {
    /// 3 to 50 characters of `a-zA-Z0-9_-.`.
    pub name: String,
    /// SSM's product names that it serves, for instance `Debian12`; `*` is every one.
    pub products: Vec<String>,
    /// What the package manager's own configuration would say: lines of sources.list, or the body
    /// of a `.repo` file. At most 1,024 characters. May hold passwords: it is never logged.
    pub configuration: String,
}

/// Whether security updates that exist but are not approved yet count against a node (Windows).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub enum AvailableSecurityUpdatesCompliance {
    #[default]
    Compliant,
    NonCompliant,
}

impl AvailableSecurityUpdatesCompliance {
    /// For serde: what says nothing is not written, so that older agents see what they know.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The rules of a baseline, as SSM's CreatePatchBaseline takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase")]
pub struct BaselineRules {
    /// The one operating system the baseline is for.
    pub operating_system: OperatingSystem,
    /// What the baseline looks at in the first place.
    #[serde(default)]
    pub global_filters: PatchFilterGroup,
    /// What is approved by rule.
    #[serde(default)]
    pub approval_rules: PatchRuleGroup,
    /// What is approved by name.
    #[serde(default)]
    pub approved_patches: Vec<String>,
    /// Level of what is approved by name.
    #[serde(default)]
    pub approved_patches_compliance_level: ComplianceLevel,
    /// Whether approval by name covers versions that are not security-related (Linux).
    #[serde(default)]
    pub approved_patches_enable_non_security: bool,
    /// What is rejected by name; wins over everything.
    #[serde(default)]
    pub rejected_patches: Vec<String>,
    /// How strictly.
    #[serde(default)]
    pub rejected_patches_action: RejectedPatchesAction,
    /// How security updates count that exist and are not approved yet (Windows alone).
    #[serde(default, skip_serializing_if = "AvailableSecurityUpdatesCompliance::is_default")]
    pub available_security_updates_compliance_status: AvailableSecurityUpdatesCompliance,
}

/// A baseline frozen for one rollout, so that every node of it sees the same rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BaselineSnapshot {
    /// SSM's `SnapshotId`: the same for all nodes of a window execution.
    pub snapshot_id: String,
    /// The baseline the rules were taken from.
    pub baseline_id: BaselineId,
    /// Which version of it, from 1; 0 when the rules are nobody's version, as those of a command's
    /// own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub baseline_version: u32,
    /// Its name, for reports.
    pub name: String,
    /// The node's patch group, empty when it has none.
    #[serde(default)]
    pub patch_group: String,
    /// The rules.
    pub rules: BaselineRules,
    /// Where patches come from instead of the node's own repositories, as far as the baseline names
    /// any. At most 20 (SSM).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PatchSource>,
    /// What is to be installed in place of what the rules approve; empty where the rules decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_override: Vec<OverrideEntry>,
}

/// One patch of SSM's InstallOverrideList. Both are globs, without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OverrideEntry {
    /// `name.arch` or the name of a package; the id of a patch.
    pub id: String,
    /// Narrows it to a version, in one of the ways in which titles are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl BaselineSnapshot {
    /// Rules under a name, for no patch group and with the node's own repositories.
    #[must_use]
    pub fn new(snapshot_id: &str, baseline_id: BaselineId, name: &str, rules: BaselineRules) -> Self {
        Self {
            snapshot_id: snapshot_id.to_owned(),
            baseline_id,
            baseline_version: 0,
            name: name.to_owned(),
            patch_group: String::new(),
            rules,
            sources: Vec::new(),
            install_override: Vec::new(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// SSM's patch states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are SSM's and say all there is")]
pub enum PatchState {
    Installed,
    InstalledOther,
    InstalledPendingReboot,
    InstalledRejected,
    Missing,
    NotApplicable,
    Failed,
    AvailableSecurityUpdate,
}

impl PatchState {
    /// Whether one patch in this state makes its node non-compliant.
    #[must_use]
    pub const fn is_compliant(self) -> bool {
        !matches!(self, Self::InstalledPendingReboot | Self::InstalledRejected | Self::Missing | Self::Failed)
    }
}

/// Where a release date comes from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseDateSource {
    /// The vendor's notice or patch says so.
    Advisory,
    /// When the package was built.
    BuildTime,
    /// When the repository's list that first offered it was last modified.
    Repository,
    /// When this node first saw it.
    FirstSeen,
}

/// One patch on one node as a scan or an installation left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PatchRecord {
    /// SSM's `KBId`: package name and architecture on Linux.
    pub kb_id: String,
    /// Package, architecture and version, for people.
    pub title: String,
    /// For instance `Security`; empty when unknown.
    #[serde(default)]
    pub classification: String,
    /// The vendor's severity or priority; empty when unknown.
    #[serde(default)]
    pub severity: String,
    /// Where the patch stands.
    pub state: PatchState,
    /// The baseline counts it against the node although its state does not: a security update that is
    /// available and not approved, where the baseline says `NON_COMPLIANT` of such.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts_against: bool,
    /// The baseline's level for it.
    #[serde(default)]
    pub compliance_level: ComplianceLevel,
    /// Vulnerabilities that it mends, where the vendor names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cve_ids: Vec<String>,
    /// The instant that approval delays count from, if any is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Timestamp>,
    /// Where that instant comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_by: Option<ReleaseDateSource>,
    /// When it was installed, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_at: Option<Timestamp>,
    /// Why it is in this state, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl PatchRecord {
    /// Whether the node may stay as it is, as far as this patch goes.
    #[must_use]
    pub const fn is_compliant(&self) -> bool {
        self.state.is_compliant() && !self.counts_against
    }
}
