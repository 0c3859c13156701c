//! `patchwave-agent run-baseline`, the program itself, on a scratch root with real apt.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[allow(dead_code, reason = "other tests use what this one does not")]
mod scratch;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use jiff::Timestamp;
use patchwave_agent::packages::apt::{Apt, AptRoot};
use patchwave_agent::packages::{PackageManager, os_release};
use serde_json::{Value, json};

use scratch::{Deb, Scratch, baseline};

/// Two packages, of which one has a security update.
fn world() -> Scratch {
    let scratch = Scratch::new();
    for name in ["pw-plain", "pw-old"] {
        scratch.publish("stable", &Deb::new(name, "1"));
    }
    scratch.bootstrap(&["pw-plain", "pw-old"]);
    scratch.publish("stable-security", &Deb::new("pw-old", "2"));
    scratch
}

fn file(scratch: &Scratch, rules: &Value) -> PathBuf {
    let path = scratch.root().join("baseline.json");
    fs::write(&path, rules.to_string()).unwrap();
    path
}

fn run(scratch: &Scratch, operation: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_patchwave-agent"))
        .args(["run-baseline", "--operation", operation, "--root"])
        .arg(scratch.root())
        .arg("--state-dir")
        .arg(scratch.state_dir())
        .args(more)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn state_of<'a>(report: &'a Value, name: &str) -> &'a str {
    let patches = report["patches"].as_array().unwrap();
    let patch = patches.iter().find(|patch| patch["kb_id"].as_str().unwrap().starts_with(&format!("{name}."))).unwrap();
    patch["state"].as_str().unwrap()
}

#[test]
fn scan_reports_and_install_installs_what_the_file_approves() {
    let scratch = world();
    let path = file(
        &scratch,
        &json!({ "Name": "ours", "OperatingSystem": "DEBIAN", "ApprovalRules": { "PatchRules": [
            { "PatchFilterGroup": { "PatchFilters": [] }, "ApproveAfterDays": 0 } ] } }),
    );
    let with = ["--output", "json", "--baseline", path.to_str().unwrap()];
    // An installation refreshes; a scan goes by the lists that are there.
    let installed = run(&scratch, "Install", &with);
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let installed = report(&installed);
    assert_eq!(installed["baseline"]["name"], "ours");
    assert_eq!(installed["node"]["product"], "Debian12");
    assert_eq!(installed["outcome"], "Success");
    assert_eq!(state_of(&installed, "pw-old"), "Installed");

    scratch.publish("stable-security", &Deb::new("pw-plain", "2"));
    scratch.update();
    let scanned = report(&run(&scratch, "scan", &with));
    assert_eq!((state_of(&scanned, "pw-plain"), state_of(&scanned, "pw-old")), ("Missing", "Installed"));
    let text = String::from_utf8(run(&scratch, "Scan", &["--baseline", path.to_str().unwrap()]).stdout).unwrap();
    assert!(
        text.contains("missing") && text.contains("pw-plain.all:2") && text.contains("approved by rule 1"),
        "{text}"
    );
}

#[test]
fn scan_says_what_a_command_would_say() {
    let scratch = world();
    scratch.update();
    let rules = json!({ "ApprovalRules": { "PatchRules": [{ "PatchFilterGroup": {}, "ApproveAfterDays": 0 }] } });
    let mut written = rules.clone();
    written["OperatingSystem"] = json!("DEBIAN");
    let path = file(&scratch, &written);
    let by_program = report(&run(&scratch, "Scan", &["--output", "json", "--baseline", path.to_str().unwrap()]));
    let apt = Apt::new(AptRoot::new(scratch.root(), scratch.state_dir()));
    let by_command = apt.scan(&baseline(rules), Timestamp::now()).unwrap();
    assert_eq!(by_program["patches"], serde_json::to_value(&by_command.patches).unwrap());
    assert!(by_command.patches.iter().any(|patch| patch.title == "pw-old.all:2"));
}

#[test]
fn without_a_file_the_predefined_baseline_judges() {
    let scratch = world();
    assert_eq!(os_release(&scratch.root()).unwrap().platform_version, "12");
    let report = report(&run(&scratch, "Scan", &["--output", "json"]));
    assert_eq!(report["baseline"]["name"], "AWS-DebianDefaultPatchBaseline");
}

#[test]
fn what_is_wrong_with_a_baseline_is_said_with_its_field() {
    let scratch = world();
    let path = file(&scratch, &json!({ "OperatingSystem": "UBUNTU" }));
    let output = run(&scratch, "Scan", &["--baseline", path.to_str().unwrap()]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("OperatingSystem is Ubuntu, allowed is Debian"), "{error}");
    let error = String::from_utf8(run(&scratch, "Sweep", &[]).stderr).unwrap();
    assert!(error.contains("Scan") && error.contains("Install"), "{error}");
}

#[test]
fn list_of_overrides_says_what_is_installed_and_the_report_stays_the_baselines() {
    let scratch = world();
    scratch.publish("stable", &Deb::new("pw-plain", "2"));
    let path = file(
        &scratch,
        &json!({ "OperatingSystem": "DEBIAN", "RejectedPatches": ["pw-plain"], "ApprovalRules": { "PatchRules": [
            { "PatchFilterGroup": {}, "ApproveAfterDays": 0 } ] } }),
    );
    let list = scratch.root().join("list.yaml");
    let run_by = |text: &str, operation: &str| {
        fs::write(&list, text).unwrap();
        let (baseline, list) = (path.to_str().unwrap(), list.to_str().unwrap());
        run(&scratch, operation, &["--output", "json", "--baseline", baseline, "--install-override-list", list])
    };

    // Neither a security update nor allowed by the baseline, but on the list.
    let installed = run_by("patches:\n- id: 'pw-pla*'\n  title: '2'\n", "Install");
    let by_list = report(&installed);
    assert_eq!(by_list["outcome"], "Success", "{by_list:#}");
    assert!(
        by_list["stdout"].as_str().unwrap().contains("Tried by the InstallOverrideList: pw-plain.all; failed: none")
    );
    let plain = by_list["patches"].as_array().unwrap().iter().find(|patch| patch["kb_id"] == "pw-plain.all").unwrap();
    assert_eq!((&plain["state"], &plain["title"]), (&json!("InstalledOther"), &json!("pw-plain.all:2")));
    assert_eq!(state_of(&by_list, "pw-old"), "Missing", "approved, and not on the list");

    // A version that no repository has fails; what else is on the list is installed.
    let failed = report(&run_by("patches: [{id: pw-old}, {id: pw-plain, title: '9'}]", "Install"));
    assert_eq!(failed["outcome"], "Failed", "{failed:#}");
    assert!(failed["stdout"].as_str().unwrap().contains("no repository has the version `9`"), "{failed:#}");
    assert_eq!(state_of(&failed, "pw-old"), "Installed");

    // Scans read over it, and what is no list is refused.
    assert_eq!(report(&run_by("patches: [{id: pw-plain, title: '9'}]", "Scan"))["outcome"], "Success");
    let refused = run_by("patches: [{title: x}]", "Install");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("missing field `id`"));
}
