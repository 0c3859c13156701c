//! Patch filters: values within a filter are alternatives, filters within a group must all pass.

use patchwave_schemas::baseline::{PatchFilter, PatchFilterGroup};
use patchwave_schemas::node::OperatingSystem;

use super::package::NodeProfile;
use super::patterns::glob_matches;
use super::subject::View;

/// The product that a node is; what PRODUCT means of everything that names no product of its own.
#[derive(Debug)]
pub(super) struct Product(Option<String>);

impl Product {
    pub(super) fn of(node: &NodeProfile) -> Self {
        Self(product(node))
    }
}

/// The first filter of the group that the view does not pass, as text for a reason.
pub(super) fn first_refusal(group: &PatchFilterGroup, product: &Product, view: &View<'_>) -> Option<String> {
    group.patch_filters.iter().find(|filter| !passes(filter, product, view)).map(|filter| {
        let actual = attributes(&filter.key, product, view);
        let shown = if actual.is_empty() { "unknown".to_owned() } else { actual.join(" and ") };
        format!("{} is {shown}, not {}", filter.key, filter.values.join(" or "))
    })
}

/// `*` passes even what is absent.
fn passes(filter: &PatchFilter, product: &Product, view: &View<'_>) -> bool {
    filter.values.iter().any(|value| value == "*")
        || attributes(&filter.key, product, view)
            .iter()
            .any(|actual| filter.values.iter().any(|value| same(&filter.key, value, actual)))
}

/// SSM compares exactly; products alone may be written with wildcards (`Ubuntu22.*`). Vendors call
/// one severity Medium or Moderate, and SSM takes either for both.
fn same(key: &str, wanted: &str, actual: &str) -> bool {
    let medium = |text: &str| text.eq_ignore_ascii_case("medium") || text.eq_ignore_ascii_case("moderate");
    match key {
        "PRODUCT" => glob_matches(wanted, actual),
        "SEVERITY" if medium(wanted) => medium(actual),
        _ => wanted.eq_ignore_ascii_case(actual),
    }
}

/// What the view says under a filter key; nothing where it lacks the attribute.
fn attributes<'a>(key: &str, product: &'a Product, view: &View<'a>) -> Vec<&'a str> {
    let text = |text: &'a str| if text.is_empty() { Vec::new() } else { vec![text] };
    match key {
        "PRODUCT" if !view.products.is_empty() => view.products.iter().map(String::as_str).collect(),
        "PRODUCT" => product.0.as_deref().into_iter().collect(),
        "PRODUCT_FAMILY" => text(view.product_family),
        "PATCH_SET" => vec![if view.is_application { "APPLICATION" } else { "OS" }],
        "PRIORITY" => text(view.priority),
        "SECTION" => text(view.section),
        "CLASSIFICATION" => text(view.classification),
        "SEVERITY" | "MSRC_SEVERITY" => text(view.severity),
        _ => Vec::new(),
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

    use super::{Product, first_refusal};
    use crate::baseline::NodeProfile;
    use crate::baseline::subject::View;

    fn node() -> NodeProfile {
        NodeProfile { operating_system: OperatingSystem::Debian, version: "12".into(), codename: "bookworm".into() }
    }

    fn view() -> View<'static> {
        View { section: "net", priority: "optional", ..View::default() }
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
            let refusal = first_refusal(&group(filters), &Product::of(&node()), &view());
            assert_eq!(refusal.is_none(), *expected, "{filters:?}: {refusal:?}");
        }
    }

    #[test]
    fn refusal_names_key_value_and_what_was_asked() {
        let refusal =
            first_refusal(&group(&[("PRIORITY", &["Required", "Important"])]), &Product::of(&node()), &view());
        assert_eq!(refusal.as_deref(), Some("PRIORITY is optional, not Required or Important"));
    }

    #[test]
    fn severity_medium_is_moderate_under_another_name() {
        for (wanted, actual, expected) in [
            ("Medium", "moderate", true),
            ("Moderate", "Medium", true),
            ("Important", "Moderate", false),
            ("Medium", "Low", false),
        ] {
            let view = View { severity: actual, ..view() };
            let refusal = first_refusal(&group(&[("SEVERITY", &[wanted])]), &Product::of(&node()), &view);
            assert_eq!(refusal.is_none(), expected, "{wanted} and {actual}");
        }
    }

    #[test]
    fn patch_with_products_of_its_own_is_not_taken_for_what_the_node_runs() {
        let products = ["WindowsServer2022".to_owned(), "WindowsServer2019".to_owned()];
        let view = View { products: &products, ..view() };
        for (wanted, expected) in [("WindowsServer2019", true), ("Debian12", false), ("*", true)] {
            let refusal = first_refusal(&group(&[("PRODUCT", &[wanted])]), &Product::of(&node()), &view);
            assert_eq!(refusal.is_none(), expected, "{wanted}");
        }
    }
}
