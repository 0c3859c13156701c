//! What a baseline judges, a version or a patch, as filters, lists and delays see it.
//!
//! A version of an rpm may be named by several advisories. Each of them is one view of it, and any
//! suffices for a rule; everything else has exactly one view.

use jiff::Timestamp;
use patchwave_schemas::baseline::ReleaseDateSource;

use super::family::Family;
use super::package::{Advisory, AvailableVersion, Patch};
use super::patterns::Names;

/// A version of a package, or a patch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Version(Family, &'a AvailableVersion),
    Patch(Family, &'a Patch),
}

/// One view of a subject. Empty texts are attributes that it lacks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View<'a> {
    pub(super) classification: &'a str,
    pub(super) severity: &'a str,
    pub(super) section: &'a str,
    pub(super) priority: &'a str,
    /// Empty where it is for whatever the node runs.
    pub(super) products: &'a [String],
    pub(super) product_family: &'a str,
    pub(super) is_application: bool,
    /// Rules take it without `EnableNonSecurity`.
    pub(super) is_security: bool,
    /// What delays count from; absent when nobody knows.
    pub(super) released: Option<(Timestamp, ReleaseDateSource)>,
}

impl<'a> Subject<'a> {
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Version(family, _) | Self::Patch(family, _) => family,
        }
    }

    /// The ways in which lists may write it.
    pub(super) fn names(self) -> Names<'a> {
        match self {
            Self::Version(family, version) => Names {
                family,
                name: &version.name,
                architecture: &version.architecture,
                version: &version.version,
                ids: version.advisories.iter().flat_map(|advisory| advisory_ids(advisory)).collect(),
            },
            Self::Patch(family, patch) => Names {
                family,
                name: &patch.id,
                architecture: "",
                version: &patch.version,
                ids: std::iter::once(&patch.title)
                    .chain(&patch.aliases)
                    .chain(&patch.cve_ids)
                    .chain(&patch.bugzilla_ids)
                    .map(String::as_str)
                    .collect(),
            },
        }
    }

    /// Every view, never none; of several, the one that says most about it comes first.
    pub(super) fn views(self) -> Vec<View<'a>> {
        match self {
            Self::Version(Family::Apt, version) => {
                let is_security = version.origins.iter().any(|origin| origin.is_security());
                vec![View {
                    classification: if is_security { "Security" } else { "" },
                    section: &version.section,
                    priority: &version.priority,
                    is_security,
                    released: dated(version.released_at, ReleaseDateSource::Repository, version.first_seen),
                    ..View::default()
                }]
            }
            Self::Version(_, version) if version.advisories.is_empty() => vec![View {
                released: dated(version.built_at, ReleaseDateSource::BuildTime, version.first_seen),
                ..View::default()
            }],
            Self::Version(_, version) => {
                let mut views: Vec<View<'a>> =
                    version.advisories.iter().map(|advisory| by_advisory(advisory, version.built_at)).collect();
                views.sort_by_key(|view| (view.classification != "Security", severity_rank(view.severity)));
                views
            }
            Self::Patch(family, patch) => vec![View {
                classification: &patch.classification,
                severity: &patch.severity,
                products: &patch.products,
                product_family: &patch.product_family,
                is_application: patch.is_application,
                // SSM: every package of a SUSE patch counts as security-related, and on Windows the
                // difference is one of classification alone.
                is_security: family != Family::SoftwareUpdate || patch.classification == "Security",
                released: dated(patch.released_at, ReleaseDateSource::Advisory, patch.first_seen),
                ..View::default()
            }],
        }
    }

    /// Vulnerabilities that it mends.
    pub(super) fn cve_ids(self) -> Vec<String> {
        match self {
            Self::Version(_, version) => {
                let mut all: Vec<_> = version.advisories.iter().flat_map(|advisory| &advisory.cve_ids).collect();
                all.sort_unstable();
                all.dedup();
                all.into_iter().cloned().collect()
            }
            Self::Patch(_, patch) => patch.cve_ids.clone(),
        }
    }
}

/// A notice without a type is none that rules take by themselves (SSM). Its date may precede the
/// package's arrival in the archive, so the later of it and the build counts (SSM's yum module).
fn by_advisory(advisory: &Advisory, built_at: Option<Timestamp>) -> View<'_> {
    let built = built_at.map(|at| (at, ReleaseDateSource::BuildTime));
    let dated = advisory.released_at.map(|at| (at, ReleaseDateSource::Advisory));
    let released = match (dated, built) {
        (Some(dated), Some(built)) if built.0 > dated.0 => Some(built),
        (dated, built) => dated.or(built),
    };
    View {
        classification: &advisory.classification,
        severity: &advisory.severity,
        is_security: !advisory.classification.is_empty(),
        released,
        ..View::default()
    }
}

fn dated(
    best: Option<Timestamp>,
    source: ReleaseDateSource,
    first_seen: Option<Timestamp>,
) -> Option<(Timestamp, ReleaseDateSource)> {
    best.map(|at| (at, source)).or(first_seen.map(|at| (at, ReleaseDateSource::FirstSeen)))
}

fn advisory_ids(advisory: &Advisory) -> impl Iterator<Item = &str> {
    std::iter::once(&advisory.id).chain(&advisory.cve_ids).chain(&advisory.bugzilla_ids).map(String::as_str)
}

/// Lower is more severe; what is unknown comes last.
fn severity_rank(severity: &str) -> usize {
    ["critical", "important", "moderate", "medium", "low"]
        .iter()
        .position(|known| severity.eq_ignore_ascii_case(known))
        .unwrap_or(usize::MAX)
}
