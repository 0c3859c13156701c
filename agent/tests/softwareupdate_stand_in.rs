//! macOS's softwareupdate by a stand-in that replays its form of output: the tool itself runs on
//! macOS only. What is tested is the agent's side: listing, judging, installing one by one, and what
//! it makes of failures and restarts.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use patchwave_agent::packages::softwareupdate::{MacRoot, SoftwareUpdate};
use patchwave_agent::packages::{InstallOptions, InstallResult, PackageManager, ScanResult, detect, os_release};
use patchwave_schemas::baseline::{BaselineSnapshot, PatchState};
use patchwave_schemas::ids::BaselineId;
use patchwave_schemas::node::OperatingSystem;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Mac {
    directory: TempDir,
}

impl Mac {
    /// A Mac with macOS 15.3 and the offers of the modelled list.
    fn new() -> Self {
        let mac = Self { directory: tempfile::tempdir().unwrap() };
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        for directory in ["root/System/Library/CoreServices", "bin/offers", "bin/fails"] {
            fs::create_dir_all(mac.path(directory)).unwrap();
        }
        fs::write(
            mac.path("root/System/Library/CoreServices/SystemVersion.plist"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n\t<key>ProductBuildVersion</key>\n\
             \t<string>24D60</string>\n\t<key>ProductName</key>\n\t<string>macOS</string>\n\t<key>ProductVersion</key>\n\
             \t<string>15.3</string>\n</dict>\n</plist>\n",
        )
        .unwrap();
        fs::copy(data.join("softwareupdate-stand-in"), mac.path("bin/softwareupdate")).unwrap();
        fs::copy(data.join("macos-15.softwareupdate-history.modelled.stdout"), mac.path("bin/history")).unwrap();
        let list = fs::read_to_string(data.join("macos-15.softwareupdate-list.modelled.stdout")).unwrap();
        for (number, offer) in list.split("* Label: ").skip(1).enumerate() {
            fs::write(mac.path(&format!("bin/offers/{number}")), format!("* Label: {offer}")).unwrap();
        }
        mac.started_at(Timestamp::now() - jiff::SignedDuration::from_hours(1));
        mac
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    fn started_at(&self, at: Timestamp) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("bin/sysctl");
        fs::write(&path, format!("#!/bin/sh\necho '{{ sec = {}, usec = 0 }} then'\n", at.as_second())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn softwareupdate(&self) -> SoftwareUpdate {
        let search_path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        SoftwareUpdate::new(MacRoot::new(self.path("root"), self.path("state")).with_search_path(search_path))
    }

    fn scan(&self, rules: Value) -> ScanResult {
        self.softwareupdate().scan(&baseline(rules), Timestamp::now()).expect("the scan runs")
    }

    async fn install(&self, rules: Value) -> InstallResult {
        let options = InstallOptions::default();
        let result = self.softwareupdate().install(&baseline(rules), &options, Timestamp::now(), &|_| {}).await;
        result.expect("the installation runs")
    }
}

fn baseline(rules: Value) -> BaselineSnapshot {
    let mut all = json!({ "OperatingSystem": "MACOS" });
    all.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    BaselineSnapshot::new("scratch", BaselineId::from_bits(1), "scratch", serde_json::from_value(all).unwrap())
}

fn rule(days: u32, non_security: bool) -> Value {
    json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": days, "EnableNonSecurity": non_security } ] } })
}

fn named(scan: &ScanResult, wanted: PatchState) -> Vec<&str> {
    scan.patches.iter().filter(|patch| patch.state == wanted).map(|patch| patch.kb_id.as_str()).collect()
}

#[test]
fn mac_is_known_by_its_system_version() {
    let mac = Mac::new();
    let os = os_release(&mac.path("root")).unwrap();
    assert_eq!(os.operating_system, OperatingSystem::Macos);
    assert_eq!((os.platform_name.as_str(), os.platform_version.as_str()), ("macOS", "15.3"));
    assert_eq!(detect(&mac.path("root"), &mac.path("state")).expect("it is known").name(), "softwareupdate");
}

#[test]
fn security_updates_are_missing_and_the_rest_only_where_it_is_asked_for() {
    let mac = Mac::new();
    let scan = mac.scan(rule(0, false));
    assert_eq!(named(&scan, PatchState::Missing), ["macOS Sequoia 15.4.1-24E263", "Safari18.4.1SequoiaAuto-18.4.1"]);
    assert_eq!(named(&scan, PatchState::Installed), ["macOS Sequoia 15.3-15.3", "XProtectPlistConfigData-5287"]);
    assert_eq!(named(&mac.scan(rule(0, true)), PatchState::Missing).len(), 4);
    // By name, as SSM's lists for macOS have it.
    let by_name =
        json!({ "ApprovedPatches": ["Command Line Tools for Xcode-16.3"], "ApprovedPatchesEnableNonSecurity": true });
    assert_eq!(named(&mac.scan(by_name), PatchState::Missing), ["Command Line Tools for Xcode-16.3"]);
}

#[test]
fn delay_counts_from_when_the_node_first_saw_an_update() {
    let mac = Mac::new();
    let start = Timestamp::now();
    let missing = |days: i64| {
        let at = start + jiff::SignedDuration::from_hours(24 * days) + jiff::SignedDuration::from_secs(1);
        named(&mac.softwareupdate().scan(&baseline(rule(7, false)), at).expect("the scan runs"), PatchState::Missing)
            .len()
    };
    assert_eq!((missing(0), missing(6), missing(8)), (0, 0, 2));
}

#[tokio::test]
async fn one_update_is_installed_one_fails_and_one_waits_for_a_restart() {
    let mac = Mac::new();
    fs::write(mac.path("bin/fails/2"), "Downloading\nNot enough free disk space: 9 GB needed\nDone.\n").unwrap();
    let result = mac.install(rule(0, true)).await;
    assert_eq!(result.attempted.len(), 4);
    let states = |scan: &ScanResult| {
        let state = |id: &str| scan.patches.iter().find(|patch| patch.kb_id == id).map(|patch| patch.state);
        ["Safari-18.4.1", "Command Line Tools for Xcode-16.3", "macOS Sequoia 15.4.1-24E263"].map(state)
    };
    let expected = [PatchState::Installed, PatchState::Failed, PatchState::InstalledPendingReboot].map(Some);
    assert_eq!(states(&result.scan), expected);
    assert!(result.scan.reboot_required);
    let failed = result.scan.patches.iter().find(|patch| patch.state == PatchState::Failed).unwrap();
    assert_eq!(failed.reason, "installation failed: Not enough free disk space: 9 GB needed");

    // Still listed, and known to wait.
    let again = mac.scan(rule(0, true));
    assert_eq!(states(&again)[2], Some(PatchState::InstalledPendingReboot));
    // A start that changed nothing leaves it missing; one that worked leaves it listed no more.
    mac.started_at(Timestamp::now() + jiff::SignedDuration::from_secs(1));
    assert_eq!(states(&mac.scan(rule(0, true)))[2], Some(PatchState::Missing));
    fs::remove_file(mac.path("bin/offers/0")).unwrap();
    let after = mac.scan(rule(0, true));
    assert_eq!(named(&after, PatchState::Missing), ["Command Line Tools for Xcode-16.3"]);
    assert!(!after.reboot_required);
}

#[test]
fn tool_that_fails_is_an_error_with_its_words() {
    let mac = Mac::new();
    fs::write(mac.path("bin/softwareupdate"), "#!/bin/sh\necho \"Can't connect to the server\" >&2\nexit 1\n").unwrap();
    let error = mac.softwareupdate().scan(&baseline(rule(0, false)), Timestamp::now()).unwrap_err();
    assert_eq!(error.to_string(), "`softwareupdate --list` ended with exit status: 1: Can't connect to the server");
}
