//! apt for real, in a scratch root: packages are built, published, scanned and installed.
//!
//! The root has its own dpkg database, apt configuration, lists, caches and logs; nothing of the
//! machine's own is touched. Needs dpkg-deb, dpkg and apt-get, and works as root and as any other
//! user: the one maintainer script there is, is meant to fail.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod scratch;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use patchwave_agent::packages::apt::{Apt, AptRoot};
use patchwave_agent::packages::{
    InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult, os_release,
};
use patchwave_schemas::baseline::{PatchSource, PatchState};
use serde_json::json;

use scratch::{Deb, Scratch, baseline};

fn apt(scratch: &Scratch) -> Apt {
    Apt::new(AptRoot::new(scratch.root(), scratch.state_dir()))
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn quick() -> InstallOptions {
    InstallOptions { refresh: true, lock_timeout: Duration::from_secs(20) }
}

async fn install(scratch: &Scratch, changes: serde_json::Value) -> InstallResult {
    apt(scratch).install(&baseline(changes), &quick(), now(), &|_| {}).await.expect("the installation runs")
}

fn state(scan: &ScanResult, name: &str) -> (PatchState, String) {
    let record =
        scan.patches.iter().find(|patch| patch.kb_id.starts_with(&format!("{name}."))).expect("package is listed");
    (record.state, record.reason.clone())
}

fn security_only() -> serde_json::Value {
    json!({ "ApprovalRules": { "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 0 }] } })
}

#[tokio::test]
async fn security_update_is_found_and_installed_and_what_must_not_change_does_not() {
    let scratch = Scratch::new();
    for name in ["pw-plain", "pw-held", "pw-rejected", "pw-ordinary"] {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&["pw-plain", "pw-held", "pw-rejected", "pw-ordinary"]);
    for name in ["pw-plain", "pw-held", "pw-rejected"] {
        scratch.publish("stable-security", &Deb::new(name, "2"));
    }
    scratch.publish("stable", &Deb::new("pw-ordinary", "2"));
    scratch.hold("pw-held");
    scratch.update();
    let mut rules = security_only();
    rules["RejectedPatches"] = json!(["pw-rej*"]);
    rules["RejectedPatchesAction"] = json!("BLOCK");

    let scan = apt(&scratch).scan(&baseline(rules.clone()), now()).expect("the scan runs");
    assert_eq!(state(&scan, "pw-plain").0, PatchState::Missing);
    assert_eq!(state(&scan, "pw-held").0, PatchState::Missing);
    assert!(state(&scan, "pw-held").1.starts_with("held back by the administrator"));
    assert_eq!(state(&scan, "pw-rejected"), (PatchState::InstalledRejected, "rejected by pattern `pw-rej*`".into()));
    assert_eq!(
        state(&scan, "pw-ordinary"),
        (PatchState::InstalledOther, "2 not a security update, as rule 1 asks".into())
    );
    assert!(!scan.reboot_required);

    let seen = Mutex::new(Vec::new());
    let result = apt(&scratch)
        .install(&baseline(rules), &quick(), now(), &|step| seen.lock().unwrap().push(step))
        .await
        .expect("the installation runs");
    assert_eq!(result.attempted, ["pw-plain.all"]);
    assert_eq!(state(&result.scan, "pw-plain").0, PatchState::Installed);
    assert_eq!(state(&result.scan, "pw-held").0, PatchState::Missing);
    assert_eq!(scratch.installed(), ["pw-held 1", "pw-ordinary 1", "pw-plain 2", "pw-rejected 1"]);
    assert!(result.stdout.contains("Setting up pw-plain (2)"), "{}", result.stdout);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            InstallProgress::Refreshing,
            InstallProgress::Scanning,
            InstallProgress::Installing { done: 0, total: 1 },
            InstallProgress::Installing { done: 1, total: 1 },
            InstallProgress::Verifying,
        ]
    );
}

#[tokio::test]
async fn one_package_that_cannot_be_installed_does_not_keep_the_others() {
    let scratch = Scratch::new();
    for name in ["pw-good", "pw-broken", "pw-needy"] {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&["pw-good", "pw-broken", "pw-needy"]);
    scratch.publish("stable-security", &Deb::new("pw-good", "2"));
    scratch.publish("stable-security", &Deb::new("pw-needy", "2").depends("pw-nowhere"));
    // Listed with another checksum than the file has.
    scratch.publish("stable-security", &Deb::new("pw-broken", "2").damaged());

    let result = install(&scratch, security_only()).await;
    assert_eq!(scratch.installed(), ["pw-broken 1", "pw-good 2", "pw-needy 1"]);
    assert_eq!(state(&result.scan, "pw-good").0, PatchState::Installed);
    for name in ["pw-broken", "pw-needy"] {
        let (state, reason) = state(&result.scan, name);
        assert_eq!(state, PatchState::Failed, "{name}: {reason}");
    }
    let (_, reason) = state(&result.scan, "pw-needy");
    assert!(reason.contains("Depends: pw-nowhere"), "{reason}");
}

#[tokio::test]
async fn package_whose_script_fails_is_failed_and_the_others_are_installed() {
    let scratch = Scratch::new();
    for name in ["pw-fine", "pw-scripted"] {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&["pw-fine", "pw-scripted"]);
    scratch.publish("stable-security", &Deb::new("pw-fine", "2"));
    scratch.publish("stable-security", &Deb::new("pw-scripted", "2").scripted());
    let result = install(&scratch, security_only()).await;
    assert_eq!(state(&result.scan, "pw-fine").0, PatchState::Installed);
    let (scripted, reason) = state(&result.scan, "pw-scripted");
    assert_eq!(scripted, PatchState::Failed);
    assert!(reason.contains("dpkg: error processing package pw-scripted (--configure)"), "{reason}");
    assert!(reason.contains("post-installation script"), "{reason}");
    // A later scan says so too: the version is there, and not in order.
    let scan = apt(&scratch).scan(&baseline(security_only()), now()).expect("the scan runs");
    assert_eq!(state(&scan, "pw-scripted").0, PatchState::Failed);
}

#[tokio::test]
async fn installation_that_was_cut_off_earlier_is_finished_first() {
    let scratch = Scratch::new();
    scratch.publish("stable", &Deb::new("pw-cut", "1"));
    scratch.bootstrap(&["pw-cut"]);
    scratch.publish("stable-security", &Deb::new("pw-cut", "2"));
    scratch.interrupt_dpkg();
    let result = install(&scratch, security_only()).await;
    assert_eq!(state(&result.scan, "pw-cut").0, PatchState::Installed);
    assert_eq!(scratch.installed(), ["pw-cut 2"]);
}

#[tokio::test]
async fn new_dependency_comes_in_unless_it_is_blocked() {
    for (action, expected) in [("ALLOW_AS_DEPENDENCY", "pw-app 2, pw-lib 1"), ("BLOCK", "pw-app 1")] {
        let scratch = Scratch::new();
        scratch.publish("stable", &Deb::new("pw-app", "1"));
        scratch.bootstrap(&["pw-app"]);
        scratch.publish("stable", &Deb::new("pw-lib", "1"));
        scratch.publish("stable-security", &Deb::new("pw-app", "2").depends("pw-lib"));
        let mut rules = security_only();
        rules["RejectedPatches"] = json!(["pw-lib"]);
        rules["RejectedPatchesAction"] = json!(action);
        let result = install(&scratch, rules).await;
        assert_eq!(scratch.installed().join(", "), expected, "{action}");
        if action == "BLOCK" {
            let (state, reason) = state(&result.scan, "pw-app");
            assert_eq!(state, PatchState::Failed);
            assert!(reason.contains("it needs `pw-lib` 1, which pattern `pw-lib` rejects"), "{reason}");
        }
    }
}

#[tokio::test]
async fn approval_delay_picks_the_older_version_that_is_old_enough() {
    let scratch = Scratch::new();
    scratch.publish("stable", &Deb::new("pw-slow", "1"));
    scratch.bootstrap(&["pw-slow"]);
    scratch.publish("stable-security", &Deb::new("pw-slow", "2"));
    scratch.update();
    let rules = json!({ "ApprovalRules": { "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 7 }] } });
    let days = |n: i64| jiff::SignedDuration::from_hours(24 * n);
    let start = now();
    let scan = |at| apt(&scratch).scan(&baseline(rules.clone()), at).expect("the scan runs");
    assert_eq!(state(&scan(start), "pw-slow").0, PatchState::InstalledOther);

    // Five days later the archive changes: the older version's delay goes on, the newer's begins.
    scratch.publish("stable-security", &Deb::new("pw-slow", "3"));
    scratch.update();
    let lists = scratch.root().join("var/lib/apt/lists");
    scratch::touch_lists(&lists, start + days(5));
    assert_eq!(state(&scan(start + days(5)), "pw-slow").0, PatchState::InstalledOther);
    let later = scan(start + days(8));
    assert_eq!(state(&later, "pw-slow").0, PatchState::Missing);
    assert_eq!(later.evaluation.decisions[0].to_install(), Some("2"));
    assert_eq!(scan(start + days(13)).evaluation.decisions[0].to_install(), Some("3"));
}

#[tokio::test]
async fn pins_are_honoured_by_asking_apt() {
    let scratch = Scratch::new();
    scratch.publish("stable", &Deb::new("pw-pinned", "1"));
    scratch.bootstrap(&["pw-pinned"]);
    scratch.publish("stable-security", &Deb::new("pw-pinned", "2"));
    scratch.publish("stable-security", &Deb::new("pw-pinned", "3"));
    scratch.update();
    let to_install = || {
        let scan = apt(&scratch).scan(&baseline(security_only()), now()).expect("the scan runs");
        scan.evaluation.decisions[0].to_install().map(str::to_owned)
    };
    assert_eq!(to_install().as_deref(), Some("3"));
    scratch.write("etc/apt/preferences.d/hold-at-2", "Package: pw-pinned\nPin: version 2\nPin-Priority: 1001\n");
    assert_eq!(to_install().as_deref(), Some("2"));
    scratch.write("etc/apt/preferences.d/hold-at-2", "Package: *\nPin: release n=stable-security\nPin-Priority: -1\n");
    assert_eq!(to_install(), None);
}

#[tokio::test]
async fn scan_finds_what_apt_would_upgrade() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..20).map(|n| format!("pw-p{n:02}")).collect();
    for name in &names {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in names.iter().step_by(3) {
        scratch.publish("stable-security", &Deb::new(name, "1.1"));
    }
    for name in names.iter().step_by(4) {
        scratch.publish("stable", &Deb::new(name, "1.2~rc1"));
    }
    scratch.update();
    let found = upgradable(&scratch.root(), &scratch.state_dir());
    assert_eq!(found, scratch.apt_upgrades());
    assert_eq!(found.len(), 10);
}

#[tokio::test]
async fn sources_of_the_baseline_take_the_place_of_the_nodes_own() {
    let scratch = Scratch::new();
    for name in ["pw-a", "pw-b"] {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&["pw-a", "pw-b"]);
    scratch.publish("stable", &Deb::new("pw-a", "2"));
    scratch.publish("mirror", &Deb::new("pw-b", "3"));
    scratch.update();
    let its_own = || (files(&scratch.root().join("etc")), files(&scratch.root().join("var/lib/apt/lists")));
    let before = its_own();
    let mut snapshot = baseline(json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": 0, "EnableNonSecurity": true } ] } }));
    let archive = scratch.archive();
    for configuration in [
        format!("deb [trusted=yes] file:{} mirror main\n", archive.display()),
        format!("Types: deb\nURIs: file:{}\nSuites: mirror\nComponents: main\nTrusted: yes\n", archive.display()),
    ] {
        snapshot.sources = vec![PatchSource { name: "mine".into(), products: vec!["Debian12".into()], configuration }];
        let found = apt(&scratch).scan(&snapshot, now()).expect("the scan runs");
        assert_eq!(state(&found, "pw-b").0, PatchState::Missing, "the source is fetched by the scan");
        assert_eq!(state(&found, "pw-a").0, PatchState::InstalledOther, "its update is not in the source");
    }
    apt(&scratch).install(&snapshot, &quick(), now(), &|_| {}).await.expect("the installation runs");
    assert_eq!(scratch.installed(), ["pw-a 1", "pw-b 3"]);
    assert_eq!(its_own(), before);

    snapshot.sources[0].products = vec!["Debian11".into()];
    let error = apt(&scratch).scan(&snapshot, now()).unwrap_err();
    assert!(error.to_string().contains("(mine) are not for `Debian12`"), "{error}");
}

/// Paths and contents of the files of a directory and those beneath it.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

#[tokio::test]
async fn lock_held_by_another_program_is_waited_for_and_named() {
    let scratch = Scratch::new();
    scratch.publish("stable", &Deb::new("pw-locked", "1"));
    scratch.publish("stable", &Deb::new("pw-other", "1"));
    scratch.bootstrap(&["pw-locked"]);
    scratch.publish("stable-security", &Deb::new("pw-locked", "2"));
    scratch.update();
    let mut holder = scratch.hold_lock("pw-other");
    let options = InstallOptions { refresh: false, lock_timeout: Duration::from_secs(2) };
    let error = apt(&scratch).install(&baseline(security_only()), &options, now(), &|_| {}).await.unwrap_err();
    assert!(matches!(error, PackageError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("process {}", holder.pid())), "{error}");
    assert!(error.to_string().contains("apt-get"), "{error}");
    holder.release();
    let result = install(&scratch, security_only()).await;
    assert_eq!(state(&result.scan, "pw-locked").0, PatchState::Installed);
}

#[tokio::test]
async fn reboot_that_a_package_asked_for_is_reported_with_the_package() {
    let scratch = Scratch::new();
    scratch.publish("stable-security", &Deb::new("pw-kernel", "1"));
    scratch.bootstrap(&["pw-kernel"]);
    scratch.write("run/reboot-required", "*** System restart required ***\n");
    scratch.write("run/reboot-required.pkgs", "pw-kernel\n");
    let scan = apt(&scratch).scan(&baseline(security_only()), now()).expect("the scan runs");
    assert!(scan.reboot_required);
    assert_eq!(state(&scan, "pw-kernel").0, PatchState::InstalledPendingReboot);
}

#[tokio::test]
async fn archive_that_cannot_be_reached_is_an_error_that_says_so() {
    let scratch = Scratch::new();
    scratch.publish("stable", &Deb::new("pw-a", "1"));
    scratch.bootstrap(&["pw-a"]);
    scratch.write("etc/apt/sources.list", "deb [trusted=yes] file:/nowhere/at/all stable main\n");
    let error = apt(&scratch).install(&baseline(security_only()), &quick(), now(), &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("`apt-get update` ended with exit status: 100"), "{error}");
}

/// On this machine's own root, where it has lists; the scratch root above covers the rest.
#[tokio::test]
async fn scan_of_this_machine_finds_what_apt_would_upgrade() {
    let state = tempfile::tempdir().unwrap();
    let has_lists = std::fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")));
    if has_lists {
        assert_eq!(
            upgradable(Path::new("/"), state.path()),
            scratch::apt_upgrades(std::process::Command::new("apt-get"))
        );
    } else {
        // A fresh container: nothing is known to be available, and the scan says so.
        assert_eq!(upgradable(Path::new("/"), state.path()), Vec::<String>::new());
        let scratch = Scratch::new();
        scratch.publish("stable", &Deb::new("pw-a", "1"));
        scratch.bootstrap(&["pw-a"]);
        scratch.publish("stable", &Deb::new("pw-a", "2"));
        scratch.update();
        assert_eq!(upgradable(&scratch.root(), &scratch.state_dir()), ["pw-a"]);
    }
}

/// Names of what a baseline that approves everything would upgrade, held packages left out.
fn upgradable(root: &Path, state_dir: &Path) -> Vec<String> {
    let apt = Apt::new(AptRoot::new(root, state_dir));
    let mut snapshot = baseline(json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": 0, "EnableNonSecurity": true }] } }));
    snapshot.rules.operating_system = os_release(root).expect("the root has an os-release").operating_system;
    let scan = apt.scan(&snapshot, now()).expect("the scan runs");
    let mut names: Vec<String> =
        scan.evaluation.decisions.iter().filter(|d| d.to_install().is_some()).map(|d| d.name.clone()).collect();
    names.sort();
    names.dedup();
    names
}
