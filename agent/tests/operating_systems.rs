//! docs/operating-systems.md against the code: its tables are what detection, validation and the
//! predefined baselines say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use patchwave_agent::packages::os_release;
use patchwave_engine::baseline::{BaselineError, predefined, product, validate};
use patchwave_schemas::baseline::{BaselineRules, PatchRule};
use patchwave_schemas::node::OperatingSystem as Os;
use serde_json::json;

/// What the page calls a system, the system, and an os-release of it; the last two have none.
const SYSTEMS: [(&str, Os, &str); 15] = [
    ("Amazon Linux", Os::AmazonLinux, "ID=amzn VERSION_ID=2018.03"),
    ("Amazon Linux 2", Os::AmazonLinux2, "ID=amzn VERSION_ID=2"),
    ("Amazon Linux 2022", Os::AmazonLinux2022, "ID=amzn VERSION_ID=2022"),
    ("Amazon Linux 2023", Os::AmazonLinux2023, "ID=amzn VERSION_ID=2023"),
    ("CentOS", Os::Centos, "ID=centos VERSION_ID=7"),
    ("Rocky Linux", Os::RockyLinux, "ID=rocky VERSION_ID=9.4"),
    ("AlmaLinux", Os::AlmaLinux, "ID=almalinux VERSION_ID=9.4"),
    ("Oracle Linux", Os::OracleLinux, "ID=ol VERSION_ID=8.6"),
    ("Red Hat Enterprise Linux", Os::RedhatEnterpriseLinux, "ID=rhel VERSION_ID=8.2"),
    ("SLES, openSUSE Leap", Os::Suse, "ID=sles VERSION_ID=15.5"),
    ("Debian", Os::Debian, "ID=debian VERSION_ID=12"),
    ("Ubuntu", Os::Ubuntu, "ID=ubuntu VERSION_ID=22.04"),
    ("Raspberry Pi OS", Os::Raspbian, "ID=raspbian VERSION_ID=12"),
    ("macOS", Os::Macos, ""),
    ("Windows Server", Os::Windows, ""),
];

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating-systems.md");
    fs::read_to_string(path).expect("docs/operating-systems.md is there")
}

/// Every row must be on the page, as it is.
#[track_caller]
fn check(rows: &[String]) {
    let page = page();
    let missing: Vec<&str> =
        rows.iter().map(String::as_str).filter(|row| !page.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "docs/operating-systems.md lacks:\n{}", missing.join("\n"));
}

fn words(os: Os) -> String {
    serde_json::to_value(os).unwrap().as_str().unwrap().to_owned()
}

/// `A, B` as code.
fn code(list: &str) -> String {
    list.split(", ").map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn detection_and_products_are_those_of_the_page() {
    let mut rows = Vec::new();
    for (name, os, release) in SYSTEMS {
        let directory = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let known = match os {
            // PowerShell says which; `powershell_stand_in.rs` has that.
            Os::Windows => {
                rows.push(
                    "| Windows Server | `WINDOWS` | a directory `Windows/System32` | `WindowsServer2022` |".to_owned(),
                );
                continue;
            }
            Os::Macos => {
                write(
                    "System/Library/CoreServices/SystemVersion.plist",
                    "<key>ProductVersion</key><string>14.3</string>",
                );
                "`SystemVersion.plist`".to_owned()
            }
            _ => {
                write("etc/os-release", &release.replace(' ', "\n"));
                code(&release.replace(' ', ", "))
            }
        };
        let found = os_release(directory.path()).unwrap();
        assert_eq!(found.operating_system, os, "{name}");
        let product = product(&found.profile()).unwrap();
        rows.push(format!("| {name} | `{}` | {known} | `{product}` |", words(os)));
    }
    check(&rows);
}

#[test]
fn filter_keys_and_values_are_those_of_the_page() {
    let mut rows = Vec::new();
    for (name, os, _) in SYSTEMS {
        let refused = |key: &str| {
            let rules = json!({ "OperatingSystem": os, "GlobalFilters": { "PatchFilters": [{ "Key": key, "Values": ["?"] }] } });
            validate(&serde_json::from_value::<BaselineRules>(rules).unwrap())
        };
        let Err(BaselineError::FilterKey { allowed, .. }) = refused("NONE") else { panic!("{name} takes any key") };
        for key in allowed.split(", ") {
            let values = match refused(key) {
                Err(BaselineError::FilterValue { allowed, .. }) => code(&allowed),
                Ok(()) => "any".to_owned(),
                Err(other) => panic!("{name}, {key}: {other}"),
            };
            rows.push(format!("| {name} | `{key}` | {values} |"));
        }
    }
    // Systems with the same row are put together by hand.
    let together: Vec<(&str, &[Os])> = vec![
        (
            "Amazon Linux, CentOS, Rocky, Alma, Oracle, RHEL",
            &[
                Os::AmazonLinux,
                Os::AmazonLinux2,
                Os::AmazonLinux2022,
                Os::AmazonLinux2023,
                Os::Centos,
                Os::RockyLinux,
                Os::AlmaLinux,
                Os::OracleLinux,
                Os::RedhatEnterpriseLinux,
            ],
        ),
        ("Debian, Ubuntu, Raspberry Pi OS", &[Os::Debian, Os::Ubuntu, Os::Raspbian]),
    ];
    for (names, systems) in together {
        let of = |os: Os| SYSTEMS.iter().find(|(_, known, _)| *known == os).unwrap().0;
        for row in &mut rows {
            for os in systems {
                *row = row.replacen(&format!("| {} |", of(*os)), &format!("| {names} |"), 1);
            }
        }
    }
    rows.dedup();
    check(&rows);
}

#[test]
fn default_baselines_are_those_of_the_page() {
    let rows = SYSTEMS.map(|(name, os, _)| {
        let (baseline, rules) = predefined(os);
        let approved: Vec<String> = rules.approval_rules.patch_rules.iter().map(describe).collect();
        format!("| {name} | `{baseline}` | {} |", approved.join("; "))
    });
    check(&rows);
}

fn describe(rule: &PatchRule) -> String {
    let filters = rule.patch_filter_group.patch_filters.iter().filter(|filter| filter.values != ["*"]);
    let mut said: Vec<String> =
        filters.map(|filter| format!("{} {}", filter.key, filter.values.join(" or "))).collect();
    if said.is_empty() {
        said.push("everything".to_owned());
    }
    if rule.enable_non_security {
        said.push("with EnableNonSecurity".to_owned());
    }
    said.push(match rule.approve_after_days {
        Some(0) | None => "at once".to_owned(),
        Some(days) => format!("after {days} days"),
    });
    said.join(", ")
}
