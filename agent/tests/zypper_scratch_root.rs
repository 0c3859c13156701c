//! zypper for real, in a scratch root: packages are built, patches announced, scanned and installed.
//!
//! The root has its own rpm database, repositories, caches, locks and logs; nothing of the machine's
//! own is touched. Needs zypper, rpmbuild and createrepo_c, and works as root and, where the kernel
//! allows user namespaces, as any other user. The root has no shell: scripts of packages are Lua, or
//! are meant to fail.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod suse;

use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchwave_agent::packages::zypper::{Zypper, ZypperRoot};
use patchwave_agent::packages::{InstallOptions, InstallResult, PackageError, PackageManager, ScanResult, detect};
use patchwave_schemas::baseline::{PatchSource, PatchState};
use serde_json::{Value, json};

use suse::{Notice, Rpm, Suse, baseline};

fn zypper(suse: &Suse) -> Zypper {
    Zypper::new(ZypperRoot::new(suse.root(), suse.state_dir()).with_search_path(suse.search_path()))
}

fn scan(suse: &Suse, rules: Value) -> ScanResult {
    zypper(suse).scan(&baseline(rules), Timestamp::now()).expect("the scan runs")
}

fn quick() -> InstallOptions {
    InstallOptions { refresh: true, lock_timeout: Duration::from_secs(20) }
}

async fn install(suse: &Suse, rules: Value) -> InstallResult {
    zypper(suse).install(&baseline(rules), &quick(), Timestamp::now(), &|_| {}).await.expect("the installation runs")
}

fn everything() -> Value {
    json!({ "ApprovalRules": { "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 0 }] } })
}

fn state(scan: &ScanResult, id: &str) -> (PatchState, String) {
    let record = scan.patches.iter().find(|patch| patch.kb_id == id);
    let record = record.unwrap_or_else(|| panic!("`{id}` is not among {:?}", scan.patches));
    (record.state, record.reason.clone())
}

fn named(scan: &ScanResult, wanted: PatchState) -> Vec<&str> {
    scan.patches.iter().filter(|patch| patch.state == wanted).map(|patch| patch.kb_id.as_str()).collect()
}

/// Both versions of these packages published, and the older one installed.
fn with_packages(names: &[&str]) -> Suse {
    let suse = Suse::new();
    let rpms: Vec<Rpm> = names.iter().flat_map(|name| ["1", "2"].map(|version| Rpm::new(name, version))).collect();
    suse.publish(&rpms);
    let old: Vec<String> = names.iter().map(|name| format!("{name}=1")).collect();
    suse.bootstrap(&old.iter().map(String::as_str).collect::<Vec<_>>());
    suse
}

#[tokio::test]
async fn sources_of_the_baseline_take_the_place_of_the_nodes_own() {
    let suse = with_packages(&["pw-a"]);
    suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-a", "2"))]);
    // The node itself knows of no repository any more.
    let own = suse.root().join("etc/zypp/repos.d/scratch.repo");
    let configuration = std::fs::read_to_string(&own).unwrap();
    std::fs::remove_file(&own).unwrap();
    let mut snapshot = baseline(everything());
    assert!(zypper(&suse).scan(&snapshot, Timestamp::now()).unwrap().patches.is_empty());
    snapshot.sources = vec![PatchSource { name: "mine".into(), products: vec!["*".into()], configuration }];
    let found = zypper(&suse).scan(&snapshot, Timestamp::now()).expect("the scan runs");
    assert_eq!(named(&found, PatchState::Missing), ["SUSE-1"]);
    zypper(&suse).install(&snapshot, &quick(), Timestamp::now(), &|_| {}).await.expect("the installation runs");
    assert_eq!(suse.installed(), ["pw-a 2"]);
    assert!(!own.exists());

    snapshot.sources[0].products = vec!["Suse12".into()];
    let error = zypper(&suse).scan(&snapshot, Timestamp::now()).unwrap_err();
    assert!(error.to_string().contains("(mine) are not for"), "{error}");
}

#[tokio::test]
async fn patches_are_found_and_installed_as_zypper_lists_them() {
    let suse = with_packages(&["pw-a", "pw-b", "pw-c"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")).mends("cve", "CVE-2024-0001"),
        Notice::new("SUSE-2", "recommended", "moderate", ("pw-b", "2")).mends("bugzilla", "1218571"),
        Notice::new("SUSE-3", "optional", "low", ("pw-c", "2")),
        Notice::new("SUSE-4", "security", "critical", ("pw-absent", "2")),
        Notice::new("SUSE-5", "security", "low", ("pw-a", "1")),
        Notice::new("SUSE-6", "security", "critical", ("pw-c", "2")).retracted(),
    ]);
    suse.refresh();

    let before = scan(&suse, everything());
    assert_eq!(named(&before, PatchState::Missing), ["SUSE-1", "SUSE-2", "SUSE-3"]);
    assert_eq!(named(&before, PatchState::Missing), suse.zypper_lists());
    assert_eq!(named(&before, PatchState::Missing), suse.zypper_would_patch());
    assert_eq!(named(&before, PatchState::Installed), ["SUSE-5"]);
    assert_eq!(before.evaluation.not_applicable_count, 2);
    let record = before.patches.iter().find(|patch| patch.kb_id == "SUSE-1").unwrap();
    assert_eq!((record.classification.as_str(), record.severity.as_str()), ("Security", "Important"));
    assert_eq!(record.cve_ids, ["CVE-2024-0001"]);
    assert_eq!(record.released_at, Some("2024-01-23T08:53:20Z".parse().unwrap()));

    // Security patches only, by the filters of SSM's own baseline for SUSE.
    let security = json!({ "ApprovalRules": { "PatchRules": [{ "ApproveAfterDays": 7, "PatchFilterGroup": { "PatchFilters": [
        { "Key": "PRODUCT", "Values": ["Suse15.5"] }, { "Key": "CLASSIFICATION", "Values": ["Security"] },
        { "Key": "SEVERITY", "Values": ["Critical", "Important"] } ] } }] } });
    let result = install(&suse, security).await;
    assert_eq!(result.attempted, ["SUSE-1"]);
    assert_eq!(suse.installed(), ["pw-a 2", "pw-b 1", "pw-c 1"]);

    let result = install(&suse, everything()).await;
    assert_eq!(result.attempted, ["SUSE-2", "SUSE-3"]);
    assert_eq!(suse.installed(), ["pw-a 2", "pw-b 2", "pw-c 2"]);
    assert_eq!(named(&result.scan, PatchState::Installed), ["SUSE-1", "SUSE-2", "SUSE-3", "SUSE-5"]);
    assert!(!result.scan.reboot_required);
    assert!(suse.zypper_lists().is_empty());
}

#[tokio::test]
async fn one_patch_that_cannot_be_had_does_not_keep_the_others() {
    let suse = with_packages(&["pw-a", "pw-b"]);
    suse.publish(&[Rpm::new("pw-needy", "1"), Rpm::new("pw-needy", "2").tag("Requires: pw-nowhere")]);
    suse.publish(&[Rpm::new("pw-x", "1"), Rpm::new("pw-x", "2").tag("Conflicts: pw-a")]);
    suse.bootstrap(&["pw-needy=1", "pw-x=1"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")),
        Notice::new("SUSE-2", "security", "important", ("pw-needy", "2")),
        Notice::new("SUSE-3", "security", "important", ("pw-b", "2")),
        Notice::new("SUSE-4", "security", "important", ("pw-x", "2")),
    ]);
    let result = install(&suse, everything()).await;
    assert_eq!(suse.installed(), ["pw-a 2", "pw-b 2", "pw-needy 1", "pw-x 1"]);
    assert_eq!(named(&result.scan, PatchState::Installed), ["SUSE-1", "SUSE-3"]);
    let (needy, reason) = state(&result.scan, "SUSE-2");
    assert_eq!(needy, PatchState::Failed);
    assert!(reason.contains("nothing provides pw-nowhere needed by pw-needy-2-1.noarch"), "{reason}");
    let (conflicting, reason) = state(&result.scan, "SUSE-4");
    assert_eq!(conflicting, PatchState::Failed);
    assert!(reason.contains("conflicts with pw-a"), "{reason}");
}

#[tokio::test]
async fn patch_whose_script_fails_is_failed_and_the_others_are_installed() {
    let suse = with_packages(&["pw-a"]);
    suse.publish(&[
        Rpm::new("pw-sh", "1").tag("Provides: /bin/sh"),
        Rpm::new("pw-shell", "1"),
        Rpm::new("pw-shell", "2").script("%post", "exit 0"),
        Rpm::new("pw-lua", "1"),
        Rpm::new("pw-lua", "2").script("%post -p <lua>", "error('no')"),
    ]);
    suse.bootstrap(&["pw-sh", "pw-shell=1", "pw-lua=1"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")),
        Notice::new("SUSE-2", "security", "important", ("pw-shell", "2")),
        Notice::new("SUSE-3", "security", "important", ("pw-lua", "2")),
    ]);
    let result = install(&suse, everything()).await;
    assert_eq!(suse.installed(), ["pw-a 2", "pw-lua 2", "pw-sh 1", "pw-shell 2"]);
    assert_eq!(state(&result.scan, "SUSE-1").0, PatchState::Installed);
    // zypper's exit code 107 tells of the first; of the second only what rpm printed.
    for (id, package) in [("SUSE-2", "pw-shell"), ("SUSE-3", "pw-lua")] {
        let (state, reason) = state(&result.scan, id);
        assert_eq!(state, PatchState::Failed, "{id}");
        assert!(reason.contains(&format!("%post({package}-2-1.noarch)")), "{reason}");
    }
}

#[tokio::test]
async fn locks_of_the_administrator_are_honoured_and_none_is_left_behind() {
    let suse = with_packages(&["pw-a", "pw-b", "pw-c"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")),
        Notice::new("SUSE-2", "security", "important", ("pw-b", "2")),
        Notice::new("SUSE-3", "security", "important", ("pw-c", "2")),
    ]);
    suse.refresh();
    suse.lock(&["pw-a"]);
    suse.lock(&["-t", "patch", "SUSE-2"]);
    let locks = std::fs::read_to_string(suse.root().join("etc/zypp/locks")).unwrap();

    let mut rules = everything();
    rules["RejectedPatches"] = json!(["pw-c"]);
    rules["RejectedPatchesAction"] = json!("BLOCK");
    let result = install(&suse, rules).await;
    assert!(result.attempted.is_empty(), "{:?}", result.attempted);
    assert_eq!(suse.installed(), ["pw-a 1", "pw-b 1", "pw-c 1"]);
    let (one, reason) = state(&result.scan, "SUSE-1");
    assert_eq!(one, PatchState::Missing);
    assert!(reason.starts_with("package lock `pw-a` of the administrator forbids it; approved by rule 1"), "{reason}");
    let (two, reason) = state(&result.scan, "SUSE-2");
    assert_eq!(two, PatchState::Missing);
    assert!(reason.starts_with("locked by the administrator; approved by rule 1"), "{reason}");
    assert_eq!(std::fs::read_to_string(suse.root().join("etc/zypp/locks")).unwrap(), locks);

    // Without the baseline's own word the rest comes in, and the locks stay as they were.
    let result = install(&suse, everything()).await;
    assert_eq!(result.attempted, ["SUSE-3"]);
    assert_eq!(suse.installed(), ["pw-a 1", "pw-b 1", "pw-c 2"]);
    assert_eq!(std::fs::read_to_string(suse.root().join("etc/zypp/locks")).unwrap(), locks);
}

#[tokio::test]
async fn new_dependency_comes_in_unless_it_is_blocked() {
    for (action, expected) in [("ALLOW_AS_DEPENDENCY", "pw-app 2, pw-lib 1"), ("BLOCK", "pw-app 1")] {
        let suse = Suse::new();
        suse.publish(&[
            Rpm::new("pw-app", "1"),
            Rpm::new("pw-app", "2").tag("Requires: pw-lib"),
            Rpm::new("pw-lib", "1"),
        ]);
        suse.bootstrap(&["pw-app=1"]);
        suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-app", "2"))]);
        let mut rules = everything();
        rules["RejectedPatches"] = json!(["pw-lib"]);
        rules["RejectedPatchesAction"] = json!(action);
        let result = install(&suse, rules).await;
        assert_eq!(suse.installed().join(", "), expected, "{action}");
        if action == "BLOCK" {
            let (state, reason) = state(&result.scan, "SUSE-1");
            assert_eq!(state, PatchState::Failed);
            assert!(reason.contains("it needs `pw-lib` 1-1, which pattern `pw-lib` rejects"), "{reason}");
        }
    }
}

#[tokio::test]
async fn patch_that_wants_a_restart_is_pending_until_the_system_starts() {
    let suse = with_packages(&["pw-kernel"]);
    suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-kernel", "2")).wants_reboot()]);
    let result = install(&suse, everything()).await;
    assert_eq!(suse.installed(), ["pw-kernel 2"]);
    let (pending, reason) = state(&result.scan, "SUSE-1");
    assert_eq!(pending, PatchState::InstalledPendingReboot, "{reason}");
    assert!(result.scan.reboot_required);

    suse.started_at(Timestamp::now() + SignedDuration::from_secs(1));
    let scan = scan(&suse, everything());
    assert_eq!(state(&scan, "SUSE-1").0, PatchState::Installed);
    assert!(!scan.reboot_required);
}

#[tokio::test]
async fn note_of_the_package_manager_asks_for_a_restart_too() {
    let suse = with_packages(&["pw-a"]);
    assert!(!scan(&suse, everything()).reboot_required);
    suse.write("run/reboot-needed", "");
    assert!(scan(&suse, everything()).reboot_required);
}

#[tokio::test]
async fn interactive_patch_waits_for_being_named() {
    let suse = with_packages(&["pw-a", "pw-b"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")).message(),
        Notice::new("SUSE-2", "security", "important", ("pw-b", "2")),
    ]);
    let result = install(&suse, everything()).await;
    assert_eq!(result.attempted, ["SUSE-2"]);
    let (waiting, reason) = state(&result.scan, "SUSE-1");
    assert_eq!(waiting, PatchState::Missing);
    assert!(reason.starts_with("it shows a message or asks for a licence"), "{reason}");

    let mut rules = everything();
    rules["ApprovedPatches"] = json!(["SUSE-1"]);
    let result = install(&suse, rules).await;
    assert_eq!(state(&result.scan, "SUSE-1").0, PatchState::Installed);
    assert_eq!(suse.installed(), ["pw-a 2", "pw-b 2"]);
}

#[tokio::test]
async fn package_manager_itself_is_patched_first_and_then_looked_at_again() {
    let suse = with_packages(&["pw-a", "pw-zypp"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")),
        Notice::new("SUSE-2", "recommended", "moderate", ("pw-zypp", "2")).mends_package_manager(),
    ]);
    let result = install(&suse, everything()).await;
    assert_eq!(result.attempted, ["SUSE-2", "SUSE-1"]);
    assert_eq!(suse.installed(), ["pw-a 2", "pw-zypp 2"]);
    assert_eq!(named(&result.scan, PatchState::Installed), ["SUSE-1", "SUSE-2"]);
}

#[tokio::test]
async fn lists_name_patches_packages_vulnerabilities_and_bugs() {
    let suse = with_packages(&["pw-a", "pw-b", "pw-c", "pw-d", "pw-e"]);
    suse.announce(&[
        Notice::new("SUSE-1", "security", "important", ("pw-a", "2")).mends("cve", "CVE-2024-0001"),
        Notice::new("SUSE-2", "security", "important", ("pw-b", "2")).mends("bugzilla", "1218571"),
        Notice::new("SUSE-3", "security", "important", ("pw-c", "2")).brings("pw-d", "1"),
        Notice::new("SUSE-4", "security", "important", ("pw-d", "2")),
        Notice::new("SUSE-5", "security", "important", ("pw-e", "2")),
    ]);
    suse.refresh();
    for (entry, expected) in [
        ("CVE-2024-0001", "SUSE-1"),
        ("1218571", "SUSE-2"),
        ("pw-c", "SUSE-3"),
        ("SUSE-4", "SUSE-4"),
        ("suse-5*", "SUSE-5"),
    ] {
        let scan = scan(&suse, json!({ "ApprovedPatches": [entry] }));
        assert_eq!(named(&scan, PatchState::Missing), [expected], "{entry}");
    }
}

#[tokio::test]
async fn delay_counts_from_the_day_of_issue() {
    let suse = with_packages(&["pw-a"]);
    let issued: Timestamp = "2024-03-01T12:00:00Z".parse().unwrap();
    suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-a", "2")).issued(issued)]);
    suse.refresh();
    let rules = json!({ "ApprovalRules": { "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 7 }] } });
    let missing = |at: &str| {
        let scan = zypper(&suse).scan(&baseline(rules.clone()), at.parse().unwrap()).expect("the scan runs");
        named(&scan, PatchState::Missing).len()
    };
    assert_eq!(missing("2024-03-08T12:00:00Z"), 0);
    assert_eq!(missing("2024-03-08T12:00:01Z"), 1);
}

#[tokio::test]
async fn held_lock_ends_an_installation_and_hinders_no_scan() {
    let suse = with_packages(&["pw-a"]);
    suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-a", "2"))]);
    suse.refresh();
    // libzypp's lock is a file with the id of a process that lives.
    let mut other = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    suse.write("run/zypp.pid", &other.id().to_string());
    let options = InstallOptions { refresh: true, lock_timeout: Duration::ZERO };
    let ended = zypper(&suse).install(&baseline(everything()), &options, Timestamp::now(), &|_| {}).await;
    let scanned = scan(&suse, everything());
    other.kill().unwrap();
    let pid = other.id();
    other.wait().unwrap();
    match ended {
        Err(PackageError::Locked { holder, .. }) => assert_eq!(holder, format!("process {pid} (sleep)")),
        other => panic!("{other:?}"),
    }
    assert_eq!(named(&scanned, PatchState::Missing), ["SUSE-1"]);
    // The lock of a process that is gone is none.
    let result = install(&suse, everything()).await;
    assert_eq!(named(&result.scan, PatchState::Installed), ["SUSE-1"]);
}

#[tokio::test]
async fn repository_that_cannot_be_reached_keeps_no_other_from_being_used() {
    let suse = with_packages(&["pw-a"]);
    suse.announce(&[Notice::new("SUSE-1", "security", "important", ("pw-a", "2"))]);
    let nowhere = "[nowhere]\nname=nowhere\nenabled=1\nbaseurl=dir:/nonexistent/repository\ntype=rpm-md\ngpgcheck=0\n";
    suse.write("etc/zypp/repos.d/nowhere.repo", nowhere);
    let result = install(&suse, everything()).await;
    assert_eq!(suse.installed(), ["pw-a 2"]);
    assert!(result.stderr.contains("Repository 'nowhere' is invalid"), "{}", result.stderr);

    // Alone it is an error: nothing could be found out.
    std::fs::remove_file(suse.root().join("etc/zypp/repos.d/scratch.repo")).unwrap();
    let ended = zypper(&suse).install(&baseline(everything()), &quick(), Timestamp::now(), &|_| {}).await;
    let error = ended.expect_err("there is no repository left").to_string();
    assert!(error.starts_with("`zypper refresh` ended with"), "{error}");
}

#[test]
fn suse_system_gets_zypper() {
    let suse = Suse::new();
    assert_eq!(detect(&suse.root(), &suse.state_dir()).expect("it is known").name(), "zypper");
}
