//! What an evaluation returns.

use jiff::Timestamp;
use patchwave_schemas::baseline::{ComplianceLevel, PatchRecord, PatchState};
use serde::{Deserialize, Serialize};

use super::package::AvailableVersion;

/// What a baseline says about a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// One for each installed package, in the order in which the packages were given.
    pub decisions: Vec<Decision>,
    /// Approved packages that are not on the node; never installed, so only counted.
    pub not_applicable_count: u32,
}

impl Evaluation {
    /// The earliest instant at which a waiting period ends. After it the answer may differ.
    #[must_use]
    pub fn next_change(&self) -> Option<Timestamp> {
        self.decisions.iter().filter_map(|decision| decision.waits_until).min()
    }
}

/// What a baseline says about one installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Name without architecture.
    pub name: String,
    /// For instance `amd64`.
    pub architecture: String,
    /// The version on the node.
    pub installed_version: String,
    /// The newest approved version, when it is newer than the installed one.
    pub approved_version: Option<String>,
    /// On hold: the approved version is reported as missing and must not be installed.
    pub held: bool,
    /// Where the package stands.
    pub state: PatchState,
    /// The most severe level among all that approve it.
    pub compliance_level: ComplianceLevel,
    /// `Security` for security updates, else empty.
    pub classification: String,
    /// The package's Debian priority; empty for what the baseline does not speak of.
    pub severity: String,
    /// When the nearest waiting period of a newer version ends.
    pub waits_until: Option<Timestamp>,
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

    /// The decision as reports carry it: `name.arch` and `name.arch:version`.
    #[must_use]
    pub fn to_record(&self) -> PatchRecord {
        let version = self.approved_version.as_deref().unwrap_or(&self.installed_version);
        let kb_id = format!("{}.{}", self.name, self.architecture);
        PatchRecord {
            title: format!("{kb_id}:{version}"),
            kb_id,
            classification: self.classification.clone(),
            severity: self.severity.clone(),
            state: self.state,
            cve_ids: Vec::new(),
            released_at: None,
            released_by: None,
            compliance_level: self.compliance_level,
            // What is missing was not installed at the time its predecessor was.
            installed_at: if self.approved_version.is_some() { None } else { self.installed_at },
            reason: self.reason.clone(),
        }
    }

    /// Takes over what the baseline's rules say about `version`.
    pub(super) fn speaks_of(&mut self, version: &AvailableVersion, level: ComplianceLevel) {
        self.compliance_level = level;
        self.classification = if version.is_security() { "Security".to_owned() } else { String::new() };
        self.severity = capitalised(&version.priority);
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}
