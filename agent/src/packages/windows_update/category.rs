//! Microsoft's categories and names in SSM's words.

use patchwave_schemas::node::OperatingSystem;

use super::super::OsRelease;
use super::answer::{Category, Update};

/// Classifications by the id of their category, which is the same in every language, and SSM's names.
const CLASSIFICATIONS: [(&str, &str); 10] = [
    ("e6cf1350-c01b-414d-a61f-263d14d133b4", "CriticalUpdates"),
    ("e0789628-ce08-4437-be74-2495b842f43b", "DefinitionUpdates"),
    ("ebfc1fc5-71a4-4f7b-9aca-3b9a503104a0", "Drivers"),
    ("b54e7d24-7add-428f-8b75-90a396fa584f", "FeaturePacks"),
    ("0fa1201d-4330-4fa8-8ae9-b877473b6441", "SecurityUpdates"),
    ("68c5b0a3-d1a6-4553-ae49-01d3a7827828", "ServicePacks"),
    ("b4832bd8-e735-4761-8daf-37f882276dab", "Tools"),
    ("28bc880e-0592-4cbf-8f95-c79b17911d5f", "UpdateRollups"),
    ("cd5ffd1e-e932-4e3a-bf74-18bf0b1bbd83", "Updates"),
    ("3689bdc8-b205-4af4-8d4a-a63924c5e9d5", "Upgrades"),
];

/// Products that SSM calls otherwise than Microsoft does.
const PRODUCTS: [(&str, &str); 5] = [
    ("Microsoft Server operating system-21H2", "WindowsServer2022"),
    ("Microsoft Server Operating System-22H2", "WindowsServer2022"),
    ("Microsoft Server operating system-24H2", "WindowsServer2025"),
    ("Windows Defender", "MicrosoftDefenderAntivirus"),
    ("Microsoft Defender Antivirus", "MicrosoftDefenderAntivirus"),
];

/// SSM's CLASSIFICATION of an update; empty when it has none.
pub(super) fn classification(update: &Update) -> String {
    let known = |category: &&Category| {
        CLASSIFICATIONS.iter().find(|(id, name)| {
            category.category_id.eq_ignore_ascii_case(id) || without_blanks(&category.name).eq_ignore_ascii_case(name)
        })
    };
    let found = update.categories.iter().find_map(|category| known(&category));
    match found {
        Some((_, name)) => (*name).to_owned(),
        None if update.kind == "Driver" => "Drivers".to_owned(),
        None => String::new(),
    }
}

/// SSM's PRODUCT values of an update: `WindowsServer2019`; applications keep Microsoft's names.
pub(super) fn products(update: &Update) -> Vec<String> {
    let named = of_kind(update, "Product").map(|category| {
        let known = PRODUCTS.iter().find(|(name, _)| category.name.eq_ignore_ascii_case(name));
        match known {
            Some((_, product)) => (*product).to_owned(),
            None if category.name.starts_with("Windows") => without_blanks(&category.name.replace(',', "")),
            None => category.name.clone(),
        }
    });
    named.collect()
}

/// SSM's PRODUCT_FAMILY: `Windows`, `Office`, `SQL Server`, …; empty when unknown.
pub(super) fn product_family(update: &Update) -> String {
    let named = of_kind(update, "ProductFamily").next().map(|category| category.name.clone());
    let family = named.or_else(|| of_kind(update, "Product").find_map(|category| category.parent.clone()));
    family.unwrap_or_default()
}

/// Whether it is for an application and not for Windows itself (SSM's PATCH_SET).
pub(super) fn is_application(update: &Update) -> bool {
    let family = product_family(update);
    if !family.is_empty() {
        return !family.eq_ignore_ascii_case("Windows");
    }
    let products = products(update);
    !products.is_empty() && !products.iter().any(|product| product.starts_with("Windows"))
}

fn of_kind<'a>(update: &'a Update, kind: &'a str) -> impl Iterator<Item = &'a Category> {
    update.categories.iter().filter(move |category| category.kind == kind)
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The system as nodes report it: version `2022`, of which the product is `WindowsServer2022`.
pub(super) fn os_release(caption: &str) -> OsRelease {
    OsRelease {
        operating_system: OperatingSystem::Windows,
        platform_name: if caption.is_empty() { "Windows" } else { caption }.to_owned(),
        platform_version: version(caption),
        codename: String::new(),
    }
}

/// What follows `Windows Server` in a caption, with a release: `2012R2`. Empty for other systems.
fn version(caption: &str) -> String {
    let Some((_, rest)) = caption.split_once("Windows Server") else { return String::new() };
    // Some captions have a registered mark there.
    let mut words = rest.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()));
    let Some(year) = words.find(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit())) else {
        return String::new();
    };
    match words.next() {
        Some("R2") => format!("{year}R2"),
        _ => year.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use patchwave_engine::baseline::product;

    use super::super::answer::{Category, Update};
    use super::{classification, is_application, os_release, product_family, products};

    fn update(categories: &[(&str, &str, &str, Option<&str>)]) -> Update {
        let category = |(id, name, kind, parent): &(&str, &str, &str, Option<&str>)| Category {
            category_id: (*id).into(),
            name: (*name).into(),
            kind: (*kind).into(),
            parent: parent.map(str::to_owned),
        };
        Update { categories: categories.iter().map(category).collect(), ..Update::default() }
    }

    #[test]
    fn classification_is_told_by_id_in_every_language_and_else_by_name() {
        for (id, name, expected) in [
            ("0FA1201D-4330-4FA8-8AE9-B877473B6441", "Sicherheitsupdates", "SecurityUpdates"),
            ("", "Critical Updates", "CriticalUpdates"),
            ("", "Update Rollups", "UpdateRollups"),
            ("", "Something", ""),
        ] {
            assert_eq!(classification(&update(&[(id, name, "UpdateClassification", None)])), expected, "{name}");
        }
        assert_eq!(classification(&Update { kind: "Driver".into(), ..Update::default() }), "Drivers");
    }

    #[test]
    fn products_are_spelled_as_ssm_does_and_their_family_tells_applications() {
        for (name, parent, expected, family, application) in [
            ("Windows Server 2019", Some("Windows"), "WindowsServer2019", "Windows", false),
            ("Windows Server 2012 R2", None, "WindowsServer2012R2", "", false),
            ("Microsoft Server operating system-21H2", Some("Windows"), "WindowsServer2022", "Windows", false),
            ("Office 2016", Some("Office"), "Office 2016", "Office", true),
            ("SQL Server 2019", None, "SQL Server 2019", "", true),
            ("Microsoft Defender Antivirus", Some("Windows"), "MicrosoftDefenderAntivirus", "Windows", false),
        ] {
            let update = update(&[("", name, "Product", parent)]);
            assert_eq!(products(&update), [expected]);
            assert_eq!((product_family(&update).as_str(), is_application(&update)), (family, application), "{name}");
        }
    }

    #[test]
    fn server_releases_have_ssms_product_names() {
        for (caption, expected) in [
            ("Microsoft Windows Server 2022 Standard", Some("WindowsServer2022")),
            ("Microsoft Windows Server 2012 R2 Datacenter", Some("WindowsServer2012R2")),
            ("Microsoft Windows Server 2016 Datacenter Evaluation", Some("WindowsServer2016")),
            ("Microsoft Windows Server\u{ae} 2008 Standard", Some("WindowsServer2008")),
            ("Microsoft Windows 11 Pro", None),
        ] {
            let os = os_release(caption);
            assert_eq!(product(&os.profile()).as_deref(), expected, "{caption}");
        }
    }
}
