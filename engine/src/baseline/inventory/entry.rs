//! The parts of an inventory, each of which is judged by itself: what is known of one package name,
//! or one patch.
//!
//! Thousands of nodes share most of theirs, so an entry is what is stored once, and judged once for
//! all who have it. Its line of text is canonical: equal entries have equal lines.
//!
//! When something was installed is left out: it says nothing about where the node stands, and
//! differs on every node.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineRules;
use serde::{Deserialize, Serialize};

use super::super::decision::Evaluation;
use super::super::package::{Advisory, AvailableVersion, InstalledPackage, NodeProfile, Origin, Patch};
use super::super::{evaluate, evaluate_patches};
use super::{Found, Inventory};

/// One part of an inventory, which no other has a say in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Everything about packages of one name.
    Package {
        /// What is installed: one, or several of several architectures or versions.
        installed: Vec<InstalledPackage>,
        /// What may be had.
        available: Vec<AvailableVersion>,
    },
    /// One patch.
    Patch(Box<Patch>),
}

impl Entry {
    /// What a baseline says about it on a node.
    #[must_use]
    pub fn evaluate(&self, rules: &BaselineRules, node: &NodeProfile, now: Timestamp) -> Evaluation {
        match self {
            Self::Package { installed, available } => evaluate(rules, node, installed, available, now),
            Self::Patch(patch) => evaluate_patches(rules, node, std::slice::from_ref(patch.as_ref()), now),
        }
    }

    /// The entry as one line of text, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let line = match self {
            Self::Package { installed, available } => {
                let name = installed.first().map(|one| &one.name).or_else(|| available.first().map(|one| &one.name));
                Line {
                    name: name.map_or(Cow::Borrowed(""), |name| Cow::Borrowed(name.as_str())),
                    installed: installed.iter().map(InstalledLine::of).collect(),
                    available: available.iter().map(AvailableLine::of).collect(),
                    patch: None,
                }
            }
            Self::Patch(patch) => Line { patch: Some(Cow::Borrowed(&**patch)), ..Line::default() },
        };
        serde_json::to_string(&line).expect("names and texts can be written as JSON")
    }

    /// Reads what [`Self::to_line`] wrote.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn from_line(line: &str) -> Result<Self, serde_json::Error> {
        let Line { name, installed, available, patch } = serde_json::from_str(line)?;
        if let Some(patch) = patch {
            return Ok(Self::Patch(Box::new(patch.into_owned())));
        }
        Ok(Self::Package {
            installed: installed.into_iter().map(|line| line.named(&name)).collect(),
            available: available.into_iter().map(|line| line.named(&name)).collect(),
        })
    }
}

impl Inventory {
    /// The inventory in parts, in order of their names.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        match &self.found {
            Found::Packages { installed, available } => {
                let mut by_name: BTreeMap<&str, (Vec<InstalledPackage>, Vec<AvailableVersion>)> = BTreeMap::new();
                for package in installed {
                    by_name.entry(&package.name).or_default().0.push(package.clone());
                }
                for version in available {
                    by_name.entry(&version.name).or_default().1.push(version.clone());
                }
                by_name.into_values().map(|(installed, available)| Entry::Package { installed, available }).collect()
            }
            Found::Patches(patches) => {
                let mut patches: Vec<&Patch> = patches.iter().collect();
                patches.sort_by(|a, b| a.id.cmp(&b.id));
                patches.into_iter().map(|patch| Entry::Patch(Box::new(patch.clone()))).collect()
            }
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Line<'a> {
    #[serde(rename = "n", default, skip_serializing_if = "str::is_empty")]
    name: Cow<'a, str>,
    #[serde(rename = "i", default, skip_serializing_if = "Vec::is_empty")]
    installed: Vec<InstalledLine<'a>>,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    available: Vec<AvailableLine<'a>>,
    #[serde(rename = "patch", default, skip_serializing_if = "Option::is_none")]
    patch: Option<Cow<'a, Patch>>,
}

#[derive(Serialize, Deserialize)]
struct InstalledLine<'a> {
    #[serde(rename = "v")]
    version: Cow<'a, str>,
    #[serde(rename = "m")]
    architecture: Cow<'a, str>,
    #[serde(rename = "s", default, skip_serializing_if = "str::is_empty")]
    section: Cow<'a, str>,
    #[serde(rename = "p", default, skip_serializing_if = "str::is_empty")]
    priority: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_false")]
    held: bool,
    #[serde(rename = "reboot", default, skip_serializing_if = "is_false")]
    pending_reboot: bool,
    #[serde(rename = "broken", default, skip_serializing_if = "is_false")]
    unconfigured: bool,
}

#[derive(Serialize, Deserialize)]
struct AvailableLine<'a> {
    #[serde(rename = "v")]
    version: Cow<'a, str>,
    #[serde(rename = "m")]
    architecture: Cow<'a, str>,
    #[serde(rename = "s", default, skip_serializing_if = "str::is_empty")]
    section: Cow<'a, str>,
    #[serde(rename = "p", default, skip_serializing_if = "str::is_empty")]
    priority: Cow<'a, str>,
    #[serde(rename = "o", default, skip_serializing_if = "Vec::is_empty")]
    origins: Vec<Arc<Origin>>,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    advisories: Vec<Arc<Advisory>>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    built_at: Option<Timestamp>,
    #[serde(rename = "r", default, skip_serializing_if = "str::is_empty")]
    repository: Cow<'a, str>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    released_at: Option<Timestamp>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
}

// Both take their type apart without `..`: a new attribute that is not stored would be judged
// differently here than on the node, so it must not compile.
impl<'a> InstalledLine<'a> {
    fn of(package: &'a InstalledPackage) -> Self {
        let InstalledPackage {
            name: _,
            architecture,
            version,
            section,
            priority,
            held,
            pending_reboot,
            unconfigured,
            installed_at: _,
        } = package;
        Self {
            version: version.into(),
            architecture: architecture.into(),
            section: section.into(),
            priority: priority.into(),
            held: *held,
            pending_reboot: *pending_reboot,
            unconfigured: *unconfigured,
        }
    }

    fn named(self, name: &str) -> InstalledPackage {
        InstalledPackage {
            name: name.to_owned(),
            architecture: self.architecture.into_owned(),
            version: self.version.into_owned(),
            section: self.section.into_owned(),
            priority: self.priority.into_owned(),
            held: self.held,
            pending_reboot: self.pending_reboot,
            unconfigured: self.unconfigured,
            installed_at: None,
        }
    }
}

impl<'a> AvailableLine<'a> {
    fn of(offer: &'a AvailableVersion) -> Self {
        let AvailableVersion {
            name: _,
            architecture,
            version,
            section,
            priority,
            origins,
            advisories,
            built_at,
            repository,
            released_at,
            first_seen,
        } = offer;
        Self {
            version: version.into(),
            architecture: architecture.into(),
            section: section.into(),
            priority: priority.into(),
            origins: origins.clone(),
            advisories: advisories.clone(),
            built_at: *built_at,
            repository: repository.into(),
            released_at: *released_at,
            // It counts where nothing better is known, and differs on every node.
            first_seen: first_seen.filter(|_| released_at.is_none()),
        }
    }

    fn named(self, name: &str) -> AvailableVersion {
        AvailableVersion {
            name: name.to_owned(),
            architecture: self.architecture.into_owned(),
            version: self.version.into_owned(),
            section: self.section.into_owned(),
            priority: self.priority.into_owned(),
            origins: self.origins,
            advisories: self.advisories,
            built_at: self.built_at,
            repository: self.repository.into_owned(),
            released_at: self.released_at,
            first_seen: self.first_seen,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
