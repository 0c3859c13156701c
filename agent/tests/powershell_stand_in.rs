//! The Windows Update Agent by a stand-in of PowerShell that replays answers of our script: the agent
//! itself runs on Windows only, and so does the script. What is tested is the agent's side: reading
//! the answers, judging, installing by id, and what it makes of failures and restarts.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use patchwave_agent::packages::windows_update::{WindowsRoot, WindowsUpdate};
use patchwave_agent::packages::{InstallOptions, InstallResult, PackageManager, ScanResult, detect};
use patchwave_engine::baseline::{predefined, product};
use patchwave_schemas::baseline::{BaselineRules, BaselineSnapshot, PatchRecord, PatchState};
use patchwave_schemas::ids::BaselineId;
use patchwave_schemas::node::OperatingSystem;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Windows {
    directory: TempDir,
}

impl Windows {
    /// A Windows Server 2022 with the updates of the modelled answer.
    fn new() -> Self {
        let windows = Self { directory: tempfile::tempdir().unwrap() };
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        for directory in ["root/Windows/System32", "bin/updates", "bin/fails", "bin/restarts"] {
            fs::create_dir_all(windows.path(directory)).unwrap();
        }
        fs::copy(data.join("powershell-stand-in"), windows.path("bin/powershell")).unwrap();
        let answer = fs::read(data.join("windows-server-2022.windows-update-search.modelled.json")).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        for update in answer["Updates"].as_array().unwrap() {
            windows.write(&format!("updates/{}", update["UpdateID"].as_str().unwrap()), &update.to_string());
        }
        windows.write("history", &answer["History"].to_string());
        windows.write("caption", answer["System"]["Caption"].as_str().unwrap());
        windows
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("bin").join(name), text).unwrap();
    }

    fn root(&self) -> WindowsRoot {
        let search_path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        WindowsRoot::new(self.path("root"), self.path("state")).with_search_path(search_path)
    }

    fn scan(&self, rules: BaselineRules) -> ScanResult {
        WindowsUpdate::new(self.root()).scan(&baseline(rules), Timestamp::now()).expect("the scan runs")
    }

    async fn install(&self, rules: BaselineRules) -> InstallResult {
        let (options, now) = (InstallOptions::default(), Timestamp::now());
        let result = WindowsUpdate::new(self.root()).install(&baseline(rules), &options, now, &|_| {}).await;
        result.expect("the installation runs")
    }
}

fn baseline(rules: BaselineRules) -> BaselineSnapshot {
    BaselineSnapshot::new("scratch", BaselineId::from_bits(1), "scratch", rules)
}

fn rules(changes: Value) -> BaselineRules {
    let mut all = json!({ "OperatingSystem": "WINDOWS" });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn by_filters(filters: Value) -> BaselineRules {
    rules(json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": { "PatchFilters": filters }, "ApproveAfterDays": 0 } ] } }))
}

/// SSM's own default baseline for Windows.
fn default_rules() -> BaselineRules {
    predefined(OperatingSystem::Windows).1
}

fn named(scan: &ScanResult, wanted: PatchState) -> Vec<&str> {
    scan.patches.iter().filter(|patch| patch.state == wanted).map(|patch| patch.kb_id.as_str()).collect()
}

fn record<'a>(scan: &'a ScanResult, kb: &str) -> &'a PatchRecord {
    scan.patches.iter().find(|patch| patch.kb_id == kb).unwrap_or_else(|| panic!("{kb} is not there"))
}

const SERVER_2022: &str = "00000001-0000-4000-8000-000000000000";
const DOT_NET: &str = "00000003-0000-4000-8000-000000000000";

#[test]
fn windows_is_known_and_has_ssms_product_name() {
    let windows = Windows::new();
    let os = windows.root().os_release().unwrap();
    assert_eq!(os.platform_name, "Microsoft Windows Server 2022 Standard");
    assert_eq!(product(&os.profile()).as_deref(), Some("WindowsServer2022"));
    assert_eq!(detect(&windows.path("root"), &windows.path("state")).expect("it is known").name(), "windows-update");
}

#[test]
fn default_baseline_finds_security_and_critical_updates_of_the_system() {
    let windows = Windows::new();
    let scan = windows.scan(default_rules());
    // Hidden ones and those that ask or have licence terms are missing, too, and not installed.
    assert_eq!(named(&scan, PatchState::Missing), ["KB5000001", "KB5000002", "KB5000003", "KB5034129", "KB5034275"]);
    assert_eq!(named(&scan, PatchState::Installed), ["KB5030216"]);
    // The rollup of the month before is superseded.
    assert_eq!(named(&scan, PatchState::NotApplicable), ["KB5033118"]);
    let rollup = record(&scan, "KB5034129");
    assert_eq!((rollup.classification.as_str(), rollup.severity.as_str()), ("SecurityUpdates", "Critical"));
    assert_eq!(rollup.cve_ids, ["CVE-2024-20674"]);
    assert_eq!(rollup.released_at, Some("2024-01-09T18:00:00Z".parse().unwrap()));
    let installed = record(&scan, "KB5030216");
    assert_eq!(installed.installed_at, Some("2023-09-20T02:00:00Z".parse().unwrap()));
    for (kb, why) in
        [("KB5000001", "hidden by"), ("KB5000002", "it asks questions"), ("KB5000003", "its licence terms")]
    {
        assert!(record(&scan, kb).reason.starts_with(why), "{}", record(&scan, kb).reason);
    }
}

#[test]
fn security_update_that_waits_is_available() {
    let windows = Windows::new();
    let now = "2024-01-12T00:00:00Z".parse().unwrap();
    let scan = WindowsUpdate::new(windows.root()).scan(&baseline(default_rules()), now).expect("the scan runs");
    assert!(named(&scan, PatchState::AvailableSecurityUpdate).contains(&"KB5034129"), "{:?}", scan.patches);
}

#[test]
fn filters_tell_applications_products_and_families() {
    let windows = Windows::new();
    let missing = |filters: Value| {
        named(&windows.scan(by_filters(filters)), PatchState::Missing)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let filter = |key: &str, values: &[&str]| json!({ "Key": key, "Values": values });
    assert_eq!(
        missing(json!([
            filter("PATCH_SET", &["APPLICATION"]),
            filter("PRODUCT_FAMILY", &["Office"]),
            filter("PRODUCT", &["Office 2016"])
        ])),
        ["KB5002537"]
    );
    assert_eq!(
        missing(json!([filter("PRODUCT", &["WindowsServer2022"]), filter("CLASSIFICATION", &["Updates"])])),
        ["KB5007651"]
    );
    assert_eq!(missing(json!([filter("PRODUCT", &["WindowsServer2019"])])), Vec::<String>::new());
    assert_eq!(missing(json!([filter("CLASSIFICATION", &["Drivers"])])), ["00000011-0000-4000-8000-000000000000"]);
    assert_eq!(missing(json!([filter("MSRC_SEVERITY", &["Important"])])), ["KB5034275"]);
}

#[test]
fn lists_name_knowledge_base_articles_and_bulletins() {
    let windows = Windows::new();
    for (entry, kb) in [("KB5034275", "KB5034275"), ("MS24-001", "KB5002537")] {
        let scan = windows.scan(rules(json!({ "ApprovedPatches": [entry] })));
        assert_eq!(named(&scan, PatchState::Missing), [kb], "{entry}");
    }
}

#[tokio::test]
async fn one_update_is_installed_one_fails_and_one_waits_for_a_restart() {
    let windows = Windows::new();
    windows.write(&format!("fails/{DOT_NET}"), "4 -2145124329\n");
    windows.write(&format!("restarts/{SERVER_2022}"), "");
    let mut rules = default_rules();
    rules.approved_patches.push("KB5000003".to_owned());
    let result = windows.install(rules).await;
    assert_eq!(result.attempted, ["KB5000003", "KB5034129", "KB5034275"]);
    assert_eq!(record(&result.scan, "KB5000003").state, PatchState::Installed);
    assert_eq!(record(&result.scan, "KB5034129").state, PatchState::InstalledPendingReboot);
    assert!(result.scan.reboot_required);
    let failed = record(&result.scan, "KB5034275");
    assert_eq!(failed.state, PatchState::Failed);
    assert_eq!(failed.reason, "installation failed: the installation failed (result code 4, HRESULT 0x80240017)");
    assert_eq!(named(&result.scan, PatchState::Missing), ["KB5000001", "KB5000002"]);
}

#[test]
fn script_that_fails_is_an_error_with_its_words() {
    let windows = Windows::new();
    windows.write("fails/search", "0x8024402C Exception from HRESULT: 0x8024402C\n");
    let error = WindowsUpdate::new(windows.root()).scan(&baseline(default_rules()), Timestamp::now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`windows-update.ps1 Search` ended with exit status: 1: 0x8024402C Exception from HRESULT: 0x8024402C"
    );
}
