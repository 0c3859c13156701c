//! What an evaluation returns.

use jiff::Timestamp;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState, ReleaseDateSource};
use serde::{Deserialize, Serialize};

use super::family::Family;
use super::subject::{Subject, View};
use super::verdict::Verdict;

/// What a baseline says about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// One for each installed package, in the order in which the packages were given; or one for
    /// each patch that is reported.
    pub decisions: Vec<Decision>,
    /// Patches that the node needs and the baseline does not approve, where nothing reports them.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// Approved packages that are not on the node, or patches that do not apply; never installed.
    pub not_applicable_count: u32,
}

impl Evaluation {
    /// The earliest instant at which a waiting period ends. After it the answer may differ.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        let waits = self.decisions.iter().map(|decision| decision.waits_until);
        waits.chain(self.left_out.iter().map(|patch| patch.waits_until)).flatten().min()
    }
}

/// A patch that is needed and not approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The patch's id.
    pub name: String,
    /// When its waiting period ends, if it is in one.
    pub waits_until: Option<Timestamp>,
    /// Why it is not approved.
    pub reason: String,
}

/// What a baseline says about one installed package, or one patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Name of the package without architecture, or id of the patch.
    pub name: String,
    /// For instance `amd64`; empty for patches.
    pub architecture: String,
    /// For people: `name.arch:version`, or the patch's own title.
    #[serde(default)]
    pub title: String,
    /// The version on the node; empty for a patch that is not there or has none.
    pub installed_version: String,
    /// The newest approved version, when it is newer than the installed one; the version of a
    /// missing patch, which may be empty.
    pub approved_version: Option<String>,
    /// On hold: the approved version is reported as missing and must not be installed.
    pub held: bool,
    /// Where the package stands.
    pub state: PatchState,
    /// The baseline counts it against the node although its state does not; see
    /// [`PatchRecord::counts_against`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub counts_against: bool,
    /// The most severe level among all that approve it.
    pub compliance_level: ComplianceLevel,
    /// SSM's CLASSIFICATION; empty for what the baseline does not speak of.
    pub classification: String,
    /// The vendor's severity, or the Debian priority; empty for what the baseline does not speak of.
    pub severity: String,
    /// When the nearest waiting period of a newer version ends.
    pub waits_until: Option<Timestamp>,
    /// Vulnerabilities that it mends, where the vendor names them.
    #[serde(default)]
    pub cve_ids: Vec<String>,
    /// What approval delays count from, with where that comes from.
    #[serde(default)]
    pub released: Option<(Timestamp, ReleaseDateSource)>,
    /// When the installed version was unpacked, if known.
    pub installed_at: Option<Timestamp>,
    /// Why, in one sentence without its full stop.
    pub reason: String,
}

impl Decision {
    /// The version an installation should bring in, if any.
    #[must_use]
    pub fn to_install(&self) -> Option<&str> {
        if self.held { None } else { self.approved_version.as_deref() }
    }

    /// The decision as reports carry it: `name.arch` or the patch's id, and the title.
    #[must_use]
    pub fn to_record(&self) -> PatchRecord {
        PatchRecord {
            title: self.title.clone(),
            kb_id: self.kb_id(),
            classification: self.classification.clone(),
            severity: self.severity.clone(),
            state: self.state,
            // SSM names CVEs of what is missing; of what is installed they are history.
            counts_against: self.counts_against,
            cve_ids: if self.state.is_compliant() && !self.counts_against { Vec::new() } else { self.cve_ids.clone() },
            released_at: self.released.map(|(at, _)| at),
            released_by: self.released.map(|(_, by)| by),
            compliance_level: self.compliance_level,
            // What is missing was not installed at the time its predecessor was.
            installed_at: if self.approved_version.is_some() { None } else { self.installed_at },
            reason: self.reason.clone(),
        }
    }

    /// SSM's `KBId`.
    #[must_use]
    pub fn kb_id(&self) -> String {
        if self.architecture.is_empty() { self.name.clone() } else { format!("{}.{}", self.name, self.architecture) }
    }

    /// SSM's titles: apt `name.arch:version`, rpm `name.arch:epoch:version-release`.
    pub(super) fn set_title(&mut self, family: Family) {
        let version = self.approved_version.as_deref().unwrap_or(&self.installed_version);
        let epoch = if family == Family::Rpm && !version.contains(':') { "0:" } else { "" };
        self.title = format!("{}:{epoch}{version}", self.kb_id());
    }

    /// Takes over what the baseline's rules say about `subject`.
    pub(super) fn speaks_of(
        &mut self,
        subject: Subject<'_>,
        views: &[View<'_>],
        verdict: &Verdict,
        level: ComplianceLevel,
    ) {
        let chosen = match verdict {
            Verdict::Approved { view, .. } => *view,
            _ => 0,
        };
        self.compliance_level = level;
        self.cve_ids = subject.cve_ids();
        if let Some(view) = views.get(chosen) {
            view.classification.clone_into(&mut self.classification);
            self.severity = capitalised(if view.severity.is_empty() { view.priority } else { view.severity });
            self.released = view.released;
        }
    }
}

impl Default for Decision {
    /// Something that the baseline does not speak of.
    fn default() -> Self {
        Self {
            name: String::new(),
            architecture: String::new(),
            title: String::new(),
            installed_version: String::new(),
            approved_version: None,
            held: false,
            state: PatchState::InstalledOther,
            counts_against: false,
            compliance_level: ComplianceLevel::default(),
            classification: String::new(),
            severity: String::new(),
            waits_until: None,
            cve_ids: Vec::new(),
            released: None,
            installed_at: None,
            reason: String::new(),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
