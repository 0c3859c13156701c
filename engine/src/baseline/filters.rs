//! Patch filters: values within a filter are alternatives, filters within a group must all pass.

use patchwave_schemas::baseline::PatchFilterGroup;
use patchwave_schemas::node::OperatingSystem;

use super::package::{AvailableVersion, NodeProfile};
use super::patterns::glob_matches;

/// The first filter of the group that the version does not pass, as text for a reason.
pub(super) fn first_refusal(
    group: &PatchFilterGroup,
    node: &NodeProfile,
    version: &AvailableVersion,
) -> Option<String> {
    group.patch_filters.iter().find_map(|filter| {
        let actual = attribute(&filter.key, node, version);
        let passes = filter
            .values
            .iter()
            .any(|value| value == "*" || actual.as_deref().is_some_and(|a| same(&filter.key, value, a)));
        (!passes).then(|| {
            let shown = actual.unwrap_or_else(|| "unknown".to_owned());
            format!("{} is {shown}, not {}", filter.key, filter.values.join(" or "))
        })
    })
}

/// SSM compares exactly; products alone may be written with wildcards (`Ubuntu22.*`).
fn same(key: &str, wanted: &str, actual: &str) -> bool {
    if key == "PRODUCT" { glob_matches(wanted, actual) } else { wanted.eq_ignore_ascii_case(actual) }
}

/// What the version says under a filter key; absent attributes pass only `*`.
fn attribute(key: &str, node: &NodeProfile, version: &AvailableVersion) -> Option<String> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match key {
        "PRODUCT" => product(node),
        "PRIORITY" => text(&version.priority),
        "SECTION" => text(&version.section),
        "CLASSIFICATION" => version.is_security().then(|| "Security".to_owned()),
        _ => None,
    }
}

/// SSM's product name of a node: a token and the version without separator, `Debian12`.
///
/// Absent when the version is unknown.
#[must_use]
pub fn product(node: &NodeProfile) -> Option<String> {
    use OperatingSystem as Os;
    let token = match node.operating_system {
        Os::Windows => "WindowsServer",
        // For these three the token is the whole name; their version adds nothing to it.
        Os::AmazonLinux2 => return Some("AmazonLinux2".to_owned()),
        Os::AmazonLinux2022 => return Some("AmazonLinux2022".to_owned()),
        Os::AmazonLinux2023 => return Some("AmazonLinux2023".to_owned()),
        Os::AmazonLinux => "AmazonLinux",
        Os::Ubuntu => "Ubuntu",
        Os::RedhatEnterpriseLinux => "RedhatEnterpriseLinux",
        Os::Suse => "Suse",
        Os::Centos => "CentOS",
        Os::OracleLinux => "OracleLinux",
        Os::Debian => "Debian",
        Os::Macos => "MacOS",
        Os::Raspbian => "Raspbian",
        Os::RockyLinux => "RockyLinux",
        Os::AlmaLinux => "AlmaLinux",
    };
    (!node.version.is_empty()).then(|| format!("{token}{}", node.version))
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::baseline::{PatchFilter, PatchFilterGroup};
    use patchwave_schemas::node::OperatingSystem;

    use super::first_refusal;
    use crate::baseline::{AvailableVersion, NodeProfile};

    fn node() -> NodeProfile {
        NodeProfile { operating_system: OperatingSystem::Debian, version: "12".into(), codename: "bookworm".into() }
    }

    fn version() -> AvailableVersion {
        AvailableVersion { section: "net".into(), priority: "optional".into(), ..AvailableVersion::default() }
    }

    /// Key and values.
    type Filter<'a> = (&'a str, &'a [&'a str]);

    fn group(filters: &[Filter<'_>]) -> PatchFilterGroup {
        let filter = |(key, values): &Filter<'_>| PatchFilter {
            key: (*key).into(),
            values: values.iter().map(|v| (*v).into()).collect(),
        };
        PatchFilterGroup { patch_filters: filters.iter().map(filter).collect() }
    }

    #[test]
    fn values_are_alternatives_and_filters_must_all_pass() {
        let cases: &[(&[Filter<'_>], bool)] = &[
            (&[], true),
            (&[("PRODUCT", &["Debian12"])], true),
            (&[("PRODUCT", &["Debian11", "debian12"])], true),
            (&[("PRODUCT", &["Debian*"])], true),
            (&[("PRODUCT", &["Debian1"])], false),
            (&[("PRIORITY", &["Optional"])], true),
            (&[("PRIORITY", &["Required", "Important"])], false),
            (&[("SECTION", &["net"]), ("PRIORITY", &["Optional"])], true),
            (&[("SECTION", &["net"]), ("PRIORITY", &["Extra"])], false),
            (&[("SEVERITY", &["*"])], true),
            (&[("SEVERITY", &["Critical"])], false),
            (&[("SECTION", &["n*"])], false),
        ];
        for (filters, expected) in cases {
            let refusal = first_refusal(&group(filters), &node(), &version());
            assert_eq!(refusal.is_none(), *expected, "{filters:?}: {refusal:?}");
        }
    }

    #[test]
    fn refusal_names_key_value_and_what_was_asked() {
        let refusal = first_refusal(&group(&[("PRIORITY", &["Required", "Important"])]), &node(), &version());
        assert_eq!(refusal.as_deref(), Some("PRIORITY is optional, not Required or Important"));
    }
}
