//! dnf for real, in a scratch root: packages are built, published, scanned and installed.
//!
//! The root has its own rpm database, dnf configuration, caches and logs; nothing of the machine's own
//! is touched. Needs dnf, rpmbuild and createrepo_c; as another user than root also `unshare`, because
//! dnf and rpm's scripts want to be root.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod rpm_scratch;

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use patchwave_agent::packages::dnf::{Dnf, DnfRoot};
use patchwave_agent::packages::{
    InstallOptions, InstallProgress, InstallResult, PackageError, PackageManager, ScanResult, detect,
};
use patchwave_engine::baseline::Found;
use patchwave_schemas::baseline::{PatchSource, PatchState, ReleaseDateSource};
use serde_json::json;

use rpm_scratch::{Notice, Rpm, Scratch, baseline, contents};

fn dnf(scratch: &Scratch) -> Dnf {
    Dnf::new(DnfRoot::new(scratch.root(), scratch.state_dir()))
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn quick() -> InstallOptions {
    InstallOptions { refresh: true, lock_timeout: Duration::from_secs(20) }
}

async fn install(scratch: &Scratch, changes: serde_json::Value) -> InstallResult {
    dnf(scratch).install(&baseline(changes), &quick(), now(), &|_| {}).await.expect("the installation runs")
}

/// Scans with metadata as it is in the repositories now.
fn scan(scratch: &Scratch, changes: serde_json::Value) -> ScanResult {
    rpm_scratch::succeed(scratch.dnf().args(["-q", "makecache", "--refresh"]));
    dnf(scratch).scan(&baseline(changes), now()).expect("the scan runs")
}

fn state(scan: &ScanResult, name: &str) -> (PatchState, String) {
    let record = scan.patches.iter().find(|patch| patch.kb_id == format!("{name}.noarch")).expect("package is listed");
    (record.state, record.reason.clone())
}

/// What is to be installed, as `name.arch version`.
fn to_install(scan: &ScanResult) -> Vec<String> {
    let decisions = scan.evaluation.decisions.iter();
    decisions.filter_map(|d| Some(format!("{} {}", d.kb_id(), d.to_install()?))).collect()
}

fn security_only() -> serde_json::Value {
    json!({ "ApprovalRules": { "PatchRules": [{ "ApproveAfterDays": 0,
        "PatchFilterGroup": { "PatchFilters": [{ "Key": "CLASSIFICATION", "Values": ["Security"] }] } }] } })
}

fn everything() -> serde_json::Value {
    json!({ "ApprovalRules": { "PatchRules": [
        { "PatchFilterGroup": {}, "ApproveAfterDays": 0, "EnableNonSecurity": true }] } })
}

fn with(mut rules: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    rules.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rules
}

/// A system with these packages in version 1.
fn system(names: &[&str]) -> Scratch {
    let scratch = Scratch::new();
    scratch.publish("base", &names.iter().map(|name| Rpm::new(name, "1")).collect::<Vec<_>>());
    scratch.bootstrap(names);
    scratch
}

#[tokio::test]
async fn security_update_is_found_and_installed_and_what_must_not_change_does_not() {
    let scratch = system(&["pw-plain", "pw-other", "pw-excluded", "pw-rejected", "pw-ordinary"]);
    let newer = ["pw-plain", "pw-other", "pw-excluded", "pw-rejected", "pw-ordinary"];
    scratch.publish("base", &newer.map(|name| Rpm::new(name, "2")));
    scratch.announce(
        "base",
        &[
            Notice {
                references: &[("cve", "CVE-2024-0001"), ("bugzilla", "123")],
                ..Notice::security(
                    "RLSA-2024:0001",
                    &[("pw-plain", "2"), ("pw-excluded", "2"), ("pw-rejected", "2"), ("pw-absent", "2")],
                )
            },
            Notice { kind: "bugfix", severity: "None", ..Notice::security("RLBA-2024:0002", &[("pw-other", "2")]) },
        ],
    );
    scratch.configure("excludepkgs=pw-excl*");
    let rules = with(security_only(), json!({ "RejectedPatches": ["pw-rej*"], "RejectedPatchesAction": "BLOCK" }));

    let found = scan(&scratch, rules.clone());
    assert_eq!(state(&found, "pw-plain").0, PatchState::Missing);
    assert_eq!(to_install(&found), ["pw-plain.noarch 2-1.el9"]);
    assert_eq!(state(&found, "pw-excluded").0, PatchState::Missing);
    assert!(state(&found, "pw-excluded").1.starts_with("held back by the administrator"));
    assert_eq!(state(&found, "pw-rejected"), (PatchState::InstalledRejected, "rejected by pattern `pw-rej*`".into()));
    assert_eq!(state(&found, "pw-ordinary").0, PatchState::InstalledOther);
    let (other, reason) = state(&found, "pw-other");
    assert_eq!(other, PatchState::InstalledOther);
    assert!(reason.contains("CLASSIFICATION is Bugfix, not Security"), "{reason}");
    assert!(!found.reboot_required);
    let record = found.patches.iter().find(|patch| patch.kb_id == "pw-plain.noarch").unwrap();
    assert_eq!((record.classification.as_str(), record.severity.as_str()), ("Security", "Important"));
    assert_eq!(record.cve_ids, ["CVE-2024-0001"]);
    assert_eq!(record.title, "pw-plain.noarch:0:2-1.el9");

    let seen = Mutex::new(Vec::new());
    let result = dnf(&scratch)
        .install(&baseline(rules), &quick(), now(), &|step| seen.lock().unwrap().push(step))
        .await
        .expect("the installation runs");
    assert_eq!(result.attempted, ["pw-plain.noarch"]);
    assert_eq!(state(&result.scan, "pw-plain").0, PatchState::Installed);
    assert_eq!(state(&result.scan, "pw-excluded").0, PatchState::Missing);
    assert_eq!(scratch.installed(), ["pw-excluded 1", "pw-ordinary 1", "pw-other 1", "pw-plain 2", "pw-rejected 1"]);
    assert!(result.stdout.contains("Upgrading        : pw-plain-2-1.el9.noarch"), "{}", result.stdout);
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
    let scratch = system(&["pw-good", "pw-needy", "pw-scripted", "pw-lost"]);
    scratch.publish(
        "base",
        &[
            Rpm::new("pw-good", "2"),
            Rpm::new("pw-needy", "2").tag("Requires: pw-nowhere"),
            Rpm::new("pw-scripted", "2").script("%pre", "error(\"not today\")"),
            Rpm::new("pw-lost", "2"),
        ],
    );
    // Listed, and not there.
    std::fs::remove_file(scratch.repository("base").join("noarch/pw-lost-2-1.el9.noarch.rpm")).unwrap();
    let result = install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-good 2", "pw-lost 1", "pw-needy 1", "pw-scripted 1"]);
    assert_eq!(state(&result.scan, "pw-good").0, PatchState::Installed);
    for (name, expected) in [
        ("pw-needy", "nothing provides pw-nowhere needed by pw-needy-2-1.el9.noarch"),
        ("pw-scripted", "Error in PREIN scriptlet in rpm package pw-scripted"),
        ("pw-lost", "Some packages from local repository have incorrect checksum"),
    ] {
        let (state, reason) = state(&result.scan, name);
        assert_eq!(state, PatchState::Failed, "{name}: {reason}");
        assert!(reason.contains(expected), "{name}: {reason}");
    }
}

/// rpm does not undo what is in place, so the update is installed and its script's complaint is told.
#[tokio::test]
async fn package_whose_last_script_fails_is_installed_and_complained_about() {
    let scratch = system(&["pw-late"]);
    scratch.publish("base", &[Rpm::new("pw-late", "2").script("%post", "error(\"too late\")")]);
    let result = install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-late 2"]);
    assert_eq!(state(&result.scan, "pw-late").0, PatchState::Installed);
    let said = format!("{}{}", result.stdout, result.stderr);
    assert!(said.contains("Error in POSTIN scriptlet in rpm package pw-late"), "{said}");
}

#[tokio::test]
async fn new_dependency_comes_in_unless_it_is_blocked() {
    for (action, expected) in [("ALLOW_AS_DEPENDENCY", "pw-app 2, pw-lib 1"), ("BLOCK", "pw-app 1")] {
        let scratch = system(&["pw-app"]);
        scratch.publish("base", &[Rpm::new("pw-lib", "1"), Rpm::new("pw-app", "2").tag("Requires: pw-lib")]);
        let rules = with(everything(), json!({ "RejectedPatches": ["pw-lib"], "RejectedPatchesAction": action }));
        let result = install(&scratch, rules).await;
        assert_eq!(scratch.installed().join(", "), expected, "{action}");
        if action == "BLOCK" {
            let (state, reason) = state(&result.scan, "pw-app");
            assert_eq!(state, PatchState::Failed);
            assert!(reason.contains("it needs `pw-lib` 1-1.el9, which pattern `pw-lib` rejects"), "{reason}");
        }
    }
}

#[tokio::test]
async fn replacement_of_another_name_comes_in_as_a_dependency_only() {
    let scratch = system(&["pw-old", "pw-user"]);
    let replacement = Rpm::new("pw-new", "1").tag("Obsoletes: pw-old < 9").tag("Provides: pw-old = 9");
    scratch.publish("base", &[replacement, Rpm::new("pw-old", "2")]);
    let result = install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-old 2", "pw-user 1"]);
    assert_eq!(state(&result.scan, "pw-old").0, PatchState::Installed);

    scratch.publish("base", &[Rpm::new("pw-user", "2").tag("Requires: pw-new")]);
    install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-new 1", "pw-user 2"]);
}

#[tokio::test]
async fn update_that_would_remove_a_package_is_refused() {
    let scratch = system(&["pw-bully", "pw-victim"]);
    scratch.publish("base", &[Rpm::new("pw-bully", "2").tag("Conflicts: pw-victim")]);
    let result = install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-bully 1", "pw-victim 1"]);
    assert_eq!(state(&result.scan, "pw-bully").0, PatchState::Failed);
}

#[tokio::test]
async fn older_version_with_a_notice_is_installed_below_a_newer_one_without() {
    let scratch = system(&["pw-two"]);
    scratch.publish("base", &[Rpm::new("pw-two", "1.1"), Rpm::new("pw-two", "1.2")]);
    scratch.announce("base", &[Notice::security("RLSA-2024:0011", &[("pw-two", "1.1")])]);
    let found = scan(&scratch, security_only());
    assert_eq!(to_install(&found), ["pw-two.noarch 1.1-1.el9"]);
    assert_eq!(to_install(&scan(&scratch, everything())), ["pw-two.noarch 1.2-1.el9"]);
    let result = install(&scratch, security_only()).await;
    assert_eq!(scratch.installed(), ["pw-two 1.1"]);
    assert_eq!(state(&result.scan, "pw-two").0, PatchState::Installed);
}

#[tokio::test]
async fn delay_counts_from_the_later_of_notice_and_build() {
    let scratch = system(&["pw-slow"]);
    scratch.publish("base", &[Rpm::new("pw-slow", "2")]);
    scratch.announce("base", &[Notice::security("RLSA-2024:0012", &[("pw-slow", "2")])]);
    let mut rules = security_only();
    rules["ApprovalRules"]["PatchRules"][0]["ApproveAfterDays"] = json!(7);
    // The notice is of 2024, but the package was built a moment ago.
    assert_eq!(to_install(&scan(&scratch, rules.clone())), Vec::<String>::new());
    let later = now() + jiff::SignedDuration::from_hours(8 * 24);
    let found = dnf(&scratch).scan(&baseline(rules.clone()), later).expect("the scan runs");
    assert_eq!(to_install(&found), ["pw-slow.noarch 2-1.el9"]);
    let (released, by) = found.evaluation.decisions[0].released.expect("its release is known");
    assert!(now().duration_since(released) < jiff::SignedDuration::from_mins(10), "{released}");
    assert_eq!(by, ReleaseDateSource::BuildTime);

    let issued = now() + jiff::SignedDuration::from_hours(5 * 24);
    let issued = issued.strftime("%Y-%m-%d %H:%M:%S").to_string();
    scratch.index("base");
    scratch.announce("base", &[Notice { issued: &issued, ..Notice::security("RLSA-2024:0012", &[("pw-slow", "2")]) }]);
    rpm_scratch::succeed(scratch.dnf().args(["-q", "makecache", "--refresh"]));
    let found = dnf(&scratch).scan(&baseline(rules), later).expect("the scan runs");
    assert_eq!(to_install(&found), Vec::<String>::new());
}

#[tokio::test]
async fn scan_finds_what_dnf_would_upgrade_and_which_notices_it_knows() {
    let names: Vec<String> = (0..20).map(|n| format!("pw-p{n:02}")).collect();
    let scratch = system(&names.iter().map(String::as_str).collect::<Vec<_>>());
    scratch.add_repository("extra", "priority=50");
    let some =
        |step: usize, version: &str| names.iter().step_by(step).map(|n| Rpm::new(n, version)).collect::<Vec<_>>();
    scratch.publish("base", &some(3, "1.1"));
    scratch.publish("base", &some(4, "1.2~rc1"));
    // Of higher priority, and older: hides what base has of these.
    scratch.publish("extra", &some(6, "1.0.5"));
    scratch.publish("base", &[Rpm::new("pw-p05", "1").release("2.el9"), Rpm::new("pw-p07", "0.9").tag("Epoch: 1")]);
    scratch.publish("base", &[Rpm::new("pw-p10", "5"), Rpm::new("pw-p11", "5"), Rpm::new("pw-p13", "5")]);
    scratch.announce("base", &[Notice::security("RLSA-2024:0021", &[("pw-p03", "1.1"), ("pw-p09", "1.1")])]);
    scratch.announce(
        "extra",
        &[Notice { kind: "enhancement", severity: "", ..Notice::security("RLEA-2024:0022", &[("pw-p06", "1.0.5")]) }],
    );
    scratch.configure("exclude=pw-p10 pw-p1[1]*");
    scratch.lock("# by hand\npw-p13-0:1-1.el9.*\npw-p15-0:1.1-*\n");

    let found = scan(&scratch, everything());
    assert_eq!(to_install(&found), scratch.dnf_upgrades());
    assert!(to_install(&found).len() >= 8, "{:?}", to_install(&found));
    for held in ["pw-p10", "pw-p11", "pw-p13"] {
        assert!(
            state(&found, held).1.starts_with("held back by the administrator"),
            "{held}: {:?}",
            state(&found, held)
        );
    }
    let Found::Packages { available, .. } = found.inventory.expect("the scan tells what it saw").found else {
        panic!("packages are the unit");
    };
    let mut notices: Vec<String> = available
        .iter()
        .flat_map(|v| v.advisories.iter().map(move |a| format!("{} {}-{}.{}", a.id, v.name, v.version, v.architecture)))
        .collect();
    notices.sort();
    // Unlike ours, dnf's list knows no priorities.
    assert_eq!(
        notices,
        [
            "RLEA-2024:0022 pw-p06-1.0.5-1.el9.noarch",
            "RLSA-2024:0021 pw-p03-1.1-1.el9.noarch",
            "RLSA-2024:0021 pw-p09-1.1-1.el9.noarch"
        ]
    );
    assert_eq!(notices, scratch.dnf_notices());
}

#[tokio::test]
async fn modules_that_are_not_enabled_offer_nothing() {
    let scratch = system(&["pw-mod", "pw-plain"]);
    scratch.publish(
        "base",
        &[
            Rpm::new("pw-mod", "2").release("1.module_el9+1+a"),
            Rpm::new("pw-mod", "3").release("1.module_el9+2+b"),
            Rpm::new("pw-plain", "2"),
        ],
    );
    let stream = |stream: &str, artifact: &str| {
        format!(
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: pwmod\n  stream: \"{stream}\"\n  version: 1\n  context: abcdef0{stream}\n\
             \x20 arch: noarch\n  summary: a module\n  description: >-\n    A module.\n  license:\n    module:\n    - MIT\n\
             \x20 artifacts:\n    rpms:\n    - {artifact}\n...\n"
        )
    };
    let modules =
        stream("2", "pw-mod-0:2-1.module_el9+1+a.noarch") + &stream("3", "pw-mod-0:3-1.module_el9+2+b.noarch");
    scratch.add_metadata("base", "modules.yaml", &modules);
    let found = scan(&scratch, everything());
    assert_eq!(to_install(&found), ["pw-plain.noarch 2-1.el9"]);
    assert_eq!(to_install(&found), scratch.dnf_upgrades());
    assert_eq!(state(&found, "pw-mod").0, PatchState::Installed);

    scratch.write("etc/dnf/modules.d/pwmod.module", "[pwmod]\nname=pwmod\nstream=2\nprofiles=\nstate=enabled\n");
    let found = scan(&scratch, everything());
    assert_eq!(to_install(&found), ["pw-mod.noarch 2-1.module_el9+1+a", "pw-plain.noarch 2-1.el9"]);
    assert_eq!(to_install(&found), scratch.dnf_upgrades());
}

#[tokio::test]
async fn kernels_are_kept_beside_each_other_and_ask_for_a_restart() {
    let scratch = system(&["kernel", "pw-plain"]);
    scratch.publish("base", &[Rpm::new("kernel", "2")]);
    let result = install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["kernel 1", "kernel 2", "pw-plain 1"]);
    assert!(result.scan.reboot_required);
    assert_eq!(state(&result.scan, "kernel").0, PatchState::InstalledPendingReboot);
    assert_eq!(state(&result.scan, "pw-plain").0, PatchState::Installed);
    assert_eq!(to_install(&result.scan), Vec::<String>::new());

    // A fourth one too many goes, as the administrator's limit says.
    scratch.configure("installonly_limit=2");
    scratch.publish("base", &[Rpm::new("kernel", "3")]);
    install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["kernel 2", "kernel 3", "pw-plain 1"]);
}

#[tokio::test]
async fn sources_of_the_baseline_take_the_place_of_the_nodes_own() {
    let scratch = system(&["pw-a", "pw-b"]);
    scratch.publish("base", &[Rpm::new("pw-a", "2"), Rpm::new("pw-b", "2")]);
    scratch.add_repository("mirror", "");
    std::fs::remove_file(scratch.root().join("etc/yum.repos.d/mirror.repo")).unwrap();
    scratch.publish("mirror", &[Rpm::new("pw-b", "3")]);
    let before = contents(&scratch.root().join("etc"));
    let mut snapshot = baseline(everything());
    let address = format!("[main]\nname=mine\nbaseurl=file://{}\nenabled=1\n", scratch.repository("mirror").display());
    snapshot.sources =
        vec![PatchSource { name: "mine".into(), products: vec!["RockyLinux9.4".into()], configuration: address }];
    let found = dnf(&scratch).scan(&snapshot, now()).expect("the scan runs");
    assert_eq!(to_install(&found), ["pw-b.noarch 3-1.el9"]);
    dnf(&scratch).install(&snapshot, &quick(), now(), &|_| {}).await.expect("the installation runs");
    assert_eq!(scratch.installed(), ["pw-a 1", "pw-b 3"]);
    assert_eq!(contents(&scratch.root().join("etc")), before);

    snapshot.sources[0].products = vec!["RockyLinux8.10".into()];
    let error = dnf(&scratch).scan(&snapshot, now()).unwrap_err();
    assert!(error.to_string().contains("(mine) are not for `RockyLinux9.4`"), "{error}");
}

#[tokio::test]
async fn lock_held_by_another_program_is_waited_for_and_named() {
    let scratch = system(&["pw-locked"]);
    scratch.publish("base", &[Rpm::new("pw-locked", "2")]);
    scan(&scratch, everything());
    let holder = scratch.hold_lock();
    let options = InstallOptions { refresh: false, lock_timeout: Duration::from_secs(2) };
    let error = dnf(&scratch).install(&baseline(everything()), &options, now(), &|_| {}).await.unwrap_err();
    assert!(matches!(error, PackageError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("process {} (sleep)", holder.pid())), "{error}");
    drop(holder);
    let result = install(&scratch, everything()).await;
    assert_eq!(state(&result.scan, "pw-locked").0, PatchState::Installed);
}

#[tokio::test]
async fn metadata_that_is_missing_or_old_is_fetched_by_the_scan() {
    let scratch = system(&["pw-a"]);
    scratch.publish("base", &[Rpm::new("pw-a", "2")]);
    let found =
        |scratch: &Scratch| to_install(&dnf(scratch).scan(&baseline(everything()), now()).expect("the scan runs"));
    // The cache is current by dnf's own rule, and does not know version 2 yet.
    assert_eq!(found(&scratch), Vec::<String>::new());
    std::fs::remove_dir_all(scratch.root().join("var/cache/dnf")).unwrap();
    assert_eq!(found(&scratch), ["pw-a.noarch 2-1.el9"]);
    scratch.publish("base", &[Rpm::new("pw-a", "3")]);
    scratch.configure("metadata_expire=0");
    assert_eq!(found(&scratch), ["pw-a.noarch 3-1.el9"]);
}

#[tokio::test]
async fn repository_that_cannot_be_reached_is_an_error_that_says_so_unless_it_is_optional() {
    let scratch = system(&["pw-a"]);
    scratch.publish("base", &[Rpm::new("pw-a", "2")]);
    let gone = "[gone]\nname=gone\nbaseurl=file:///nowhere/at/all\nenabled=1\n";
    scratch.write("etc/yum.repos.d/gone.repo", gone);
    let error = dnf(&scratch).install(&baseline(everything()), &quick(), now(), &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("`dnf makecache` ended with exit status: 1"), "{error}");
    let error = dnf(&scratch).scan(&baseline(everything()), now()).unwrap_err();
    assert!(error.to_string().contains("no metadata of repository `gone`"), "{error}");
    scratch.write("etc/yum.repos.d/gone.repo", &format!("{gone}skip_if_unavailable=1\n"));
    install(&scratch, everything()).await;
    assert_eq!(scratch.installed(), ["pw-a 2"]);
}

#[test]
fn system_is_known_by_its_database_and_its_name() {
    let scratch = system(&["pw-a"]);
    assert_eq!(detect(&scratch.root(), &scratch.state_dir()).expect("it is known").name(), "dnf");
    scratch.write("etc/os-release", "ID=\"sles\"\nVERSION_ID=\"15.5\"\n");
    assert!(!DnfRoot::new(scratch.root(), scratch.state_dir()).is_present());
}
