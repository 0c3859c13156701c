//! The packages: made from the programs that were built for the tests, installed into a root of
//! their own, and taken out again.
//!
//! What the maintainer scripts do on a running system is not done here: they see another root, and
//! leave the machine's services alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use patchwave_tests::fleet::binary;
use tempfile::TempDir;

/// Packages with their files: path and mode. Nothing else may be in them, directories aside.
const AGENT: &[(&str, u32)] = &[
    ("etc/patchwave/agent.env", 0o600),
    ("usr/bin/patchwave-agent", 0o755),
    ("usr/lib/systemd/system/patchwave-agent.service", 0o644),
    ("usr/share/doc/patchwave-agent/LICENSE", 0o644),
    ("usr/share/man/man8/patchwave-agent.8.gz", 0o644),
];
const SERVER: &[(&str, u32)] = &[
    ("etc/patchwave/patchwave.env", 0o600),
    ("usr/bin/patchwave", 0o755),
    ("usr/lib/systemd/system/patchwave.service", 0o644),
    ("usr/share/doc/patchwave/LICENSE", 0o644),
    ("usr/share/man/man8/patchwave.8.gz", 0o644),
];
const STATE: &str = "var/lib/patchwave-agent";

/// All packages, made once for all tests of this file.
static PACKAGES: LazyLock<Packages> = LazyLock::new(Packages::make);

struct Packages {
    _directory: TempDir,
    files: Vec<PathBuf>,
}

impl Packages {
    fn make() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let binaries = binary("patchwave").unwrap();
        let script = root().join("scripts/packages.sh");
        let mut command = Command::new(script);
        command.arg("--fast").arg("--binaries").arg(binaries.parent().unwrap());
        let said = run(command.arg("--output").arg(directory.path()));
        let files: Vec<PathBuf> = said.lines().map(PathBuf::from).collect();
        assert_eq!(files.len(), 4, "{said}");
        Self { _directory: directory, files }
    }

    /// The file of a package.
    fn file(&self, name: &str, suffix: &str) -> &Path {
        let begins = |file: &Path| {
            let rest = file.file_name().unwrap().to_str().unwrap().strip_prefix(name).unwrap_or_default();
            rest[1..].starts_with(|first: char| first.is_ascii_digit()) && rest.ends_with(suffix)
        };
        self.files.iter().find(|file| file.to_str().unwrap().contains(name) && begins(file)).unwrap()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command that must succeed; returns what it printed.
fn run(command: &mut Command) -> String {
    let output = command.env("LC_ALL", "C").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A command that thinks it is root: package managers set owners.
fn as_root(program: &str) -> Command {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if is_root {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", program]);
    command
}

/// What may be in both formats is there with its mode, and nothing else.
fn check_installed(root: &Path, files: &[(&str, u32)]) {
    for (path, mode) in files {
        let found = fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(found.mode() & 0o7777, *mode, "mode of {path}");
    }
    let mut found = Vec::new();
    gather(root, root, &mut found);
    let known = |path: &String| files.iter().any(|(known, _)| path == known) || path.ends_with("/copyright");
    let foreign: Vec<_> = found.into_iter().filter(|path| !known(path)).collect();
    assert_eq!(foreign, [""; 0], "not in the list of this test");
}

/// Files under `directory`, apart from the package manager's own.
fn gather(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if relative == "var/lib/dpkg" || relative == "var/lib/rpm" {
            continue;
        }
        if path.is_dir() {
            gather(root, &path, found);
        } else {
            found.push(relative);
        }
    }
}

fn version() -> String {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    manifest["workspace"]["package"]["version"].as_str().unwrap().to_owned()
}

/// `dpkg` with an administrative directory of its own, in an empty root.
fn dpkg(scratch: &Path) -> Command {
    let admin = scratch.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(admin.join(directory)).unwrap();
    }
    for file in ["status", "available"] {
        fs::File::options().create(true).append(true).open(admin.join(file)).unwrap();
    }
    let mut command = as_root("dpkg");
    // Nothing that they depend on is in an empty root, nor a shell: the scripts run out here, and
    // are told of the root by DPKG_ROOT.
    command.arg(format!("--root={}", scratch.display())).arg("--log=/dev/null");
    command.args(["--force-depends", "--force-script-chrootless"]);
    command
}

#[test]
fn deb_installs_keeps_state_when_removed_and_forgets_it_when_purged() {
    let scratch = tempfile::tempdir().unwrap();
    let deb = PACKAGES.file("patchwave-agent", ".deb");
    run(dpkg(scratch.path()).arg("--install").arg(deb));
    check_installed(scratch.path(), AGENT);
    let state = scratch.path().join(STATE);
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700, "its key is nobody else's");
    let program = scratch.path().join("usr/bin/patchwave-agent");
    assert!(run(Command::new(&program).arg("--version")).contains(&version()));

    fs::write(state.join("credentials.json"), "{}").unwrap();
    fs::write(scratch.path().join("etc/patchwave/agent.env"), "PATCHWAVE_AGENT_SCAN_ONLY=true\n").unwrap();
    // Again, as an upgrade does: what was written stays.
    run(dpkg(scratch.path()).args(["--force-confold", "--install"]).arg(deb));
    let environment = fs::read_to_string(scratch.path().join("etc/patchwave/agent.env")).unwrap();
    assert_eq!(environment, "PATCHWAVE_AGENT_SCAN_ONLY=true\n");

    run(dpkg(scratch.path()).args(["--remove", "patchwave-agent"]));
    assert!(!program.exists());
    assert!(state.join("credentials.json").exists() && scratch.path().join("etc/patchwave/agent.env").exists());
    run(dpkg(scratch.path()).args(["--purge", "patchwave-agent"]));
    assert!(!state.exists() && !scratch.path().join("etc/patchwave").exists());
}

#[test]
fn deb_of_the_server_installs_and_leaves_nothing_when_purged() {
    let scratch = tempfile::tempdir().unwrap();
    run(dpkg(scratch.path()).arg("--install").arg(PACKAGES.file("patchwave", ".deb")));
    check_installed(scratch.path(), SERVER);
    run(dpkg(scratch.path()).args(["--purge", "patchwave"]));
    check_installed(scratch.path(), &[]);
}

#[test]
fn debs_say_what_they_are_and_what_they_need() {
    for name in ["patchwave-agent", "patchwave"] {
        let file = PACKAGES.file(name, ".deb");
        let field = |field: &str| run(Command::new("dpkg-deb").arg("--field").arg(file).arg(field)).trim().to_owned();
        assert_eq!(field("Package"), name);
        assert_eq!(field("Version"), version());
        // The least glibc that its symbols need, as a system's resolver compares it.
        assert!(field("Depends").contains("libc6 (>= 2."), "{}", field("Depends"));
        assert!(!field("Description").contains('@') && field("Installed-Size").parse::<u64>().unwrap() > 1_000);
    }
}

#[test]
fn rpms_install_and_erase() {
    for (name, files) in [("patchwave-agent", AGENT), ("patchwave", SERVER)] {
        let scratch = tempfile::tempdir().unwrap();
        let file = PACKAGES.file(name, ".rpm");
        let rpm = || {
            let mut command = as_root("rpm");
            command.arg("--root").arg(scratch.path()).args(["--dbpath", "/var/lib/rpm"]);
            command
        };
        // An empty root has no shell to run scripts with, and nothing that they depend on.
        run(rpm().args(["--nodeps", "--noscripts", "--install"]).arg(file));
        check_installed(scratch.path(), files);
        let about = run(rpm().args(["--query", "--queryformat", "%{VERSION} %{LICENSE}", name]));
        assert_eq!(about, format!("{} Apache-2.0", version()));
        if name == "patchwave-agent" {
            assert_eq!(fs::metadata(scratch.path().join(STATE)).unwrap().mode() & 0o7777, 0o700);
        }
        run(rpm().args(["--noscripts", "--erase", name]));
        check_installed(scratch.path(), &[]);
    }
}

/// The scripts of a package, each alone.
fn scripts(name: &str) -> Vec<(String, String)> {
    let control = tempfile::tempdir().unwrap();
    run(Command::new("dpkg-deb").arg("--control").arg(PACKAGES.file(name, ".deb")).arg(control.path()));
    let mut found: Vec<_> = ["postinst", "prerm", "postrm"]
        .map(|script| (format!("{name} {script}"), fs::read_to_string(control.path().join(script)).unwrap()))
        .to_vec();
    for tag in ["POSTIN", "PREUN", "POSTUN"] {
        let format = format!("%{{{tag}}}");
        let file = PACKAGES.file(name, ".rpm");
        found.push((
            format!("{name} {tag}"),
            run(Command::new("rpm").args(["-qp", "--queryformat", &format]).arg(file)),
        ));
    }
    found
}

#[test]
fn scripts_are_shell_and_start_nothing_that_is_not_registered() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in ["patchwave-agent", "patchwave"].into_iter().flat_map(scripts) {
        let file = directory.path().join("script");
        fs::write(&file, &text).unwrap();
        run(Command::new("sh").arg("-n").arg(&file));
        assert!(!text.contains('@'), "{name} has a place that nothing was put into:\n{text}");
        assert!(!text.contains("systemctl") || text.contains("[ -d /run/systemd/system ] ||"), "{name}:\n{text}");
        for line in text.lines().map(str::trim).filter(|line| line.starts_with("systemctl") && line.contains("start")) {
            // The agent may be installing this very package, and ends only after that.
            assert!(line.contains("--no-block"), "{name}: {line}");
        }
        if text.contains("systemctl --no-block start") {
            let condition = if name.starts_with("patchwave-agent") { "credentials.json" } else { "patchwave.db" };
            assert!(text.contains(condition), "{name} starts what has no state:\n{text}");
        }
    }
}
