//! A Debian system in a temporary directory, and an archive for it.

use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::ids::BaselineId;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A snapshot of a Debian baseline with these rules.
pub(crate) fn baseline(rules: Value) -> BaselineSnapshot {
    let mut all = json!({ "OperatingSystem": "DEBIAN" });
    all.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    BaselineSnapshot::new("scratch", BaselineId::from_bits(1), "scratch", serde_json::from_value(all).unwrap())
}

/// A package to be built: one file, and no script unless asked for.
pub(crate) struct Deb {
    name: String,
    version: String,
    depends: Option<String>,
    damaged: bool,
    scripted: bool,
}

impl Deb {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), depends: None, damaged: false, scripted: false }
    }

    pub(crate) fn depends(mut self, on: &str) -> Self {
        self.depends = Some(on.into());
        self
    }

    /// The archive's list will not agree with the file.
    pub(crate) fn damaged(mut self) -> Self {
        self.damaged = true;
        self
    }

    /// Has a maintainer script, which cannot run: the scratch root has no shell.
    pub(crate) fn scripted(mut self) -> Self {
        self.scripted = true;
        self
    }

    fn control(&self) -> String {
        let depends = self.depends.as_ref().map(|on| format!("Depends: {on}\n")).unwrap_or_default();
        format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
             Section: misc\nPriority: optional\n{depends}Description: a package for tests\n",
            self.name, self.version
        )
    }
}

pub(crate) struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// An empty system with two empty suites, `stable` and `stable-security`.
    pub(crate) fn new() -> Self {
        for program in ["dpkg-deb", "dpkg", "apt-get"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            assert!(found.is_ok_and(|s| s.success()), "this test needs `{program}`: run it on Debian or Ubuntu");
        }
        let scratch = Self { directory: tempfile::tempdir().unwrap() };
        for directory in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "run",
            "var/cache/apt/archives/partial",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/log/apt",
        ] {
            fs::create_dir_all(scratch.root().join(directory)).unwrap();
        }
        scratch.write("var/lib/dpkg/status", "");
        scratch.write("etc/os-release", "ID=debian\nNAME=Debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n");
        let archive = scratch.archive();
        let line = |suite: &str| format!("deb [trusted=yes] file:{} {suite} main\n", archive.display());
        scratch.write("etc/apt/sources.list", &(line("stable") + &line("stable-security")));
        for suite in ["stable", "stable-security"] {
            scratch.add_to_list(suite, "");
        }
        scratch
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn archive(&self) -> PathBuf {
        self.directory.path().join("archive")
    }

    /// Directory of the suite's only list.
    fn suite(&self, suite: &str) -> PathBuf {
        self.archive().join("dists").join(suite).join(format!("main/binary-{}", architecture()))
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Builds the package and puts it into the suite.
    pub(crate) fn publish(&self, suite: &str, deb: &Deb) {
        let tree = self.directory.path().join(format!("build/{}_{}", deb.name, deb.version));
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share/pw")).unwrap();
        fs::write(tree.join("DEBIAN/control"), deb.control()).unwrap();
        fs::write(tree.join("usr/share/pw").join(&deb.name), &deb.version).unwrap();
        if deb.scripted {
            let script = tree.join("DEBIAN/postinst");
            fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = format!("pool/{}_{}_all.deb", deb.name, deb.version);
        let path = self.archive().join(&file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        succeed(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).arg(&tree).arg(&path));
        let size = fs::metadata(&path).unwrap().len();
        let mut sum = sha256(&path);
        if deb.damaged {
            sum = "0".repeat(sum.len());
        }
        self.add_to_list(suite, &format!("{}Filename: {file}\nSize: {size}\nSHA256: {sum}\n\n", deb.control()));
    }

    fn add_to_list(&self, suite: &str, stanza: &str) {
        fs::create_dir_all(self.suite(suite)).unwrap();
        let list = self.suite(suite).join("Packages");
        let mut file = File::options().create(true).append(true).open(&list).unwrap();
        file.write_all(stanza.as_bytes()).unwrap();
        let (size, sum) = (fs::metadata(&list).unwrap().len(), sha256(&list));
        let arch = architecture();
        let release = format!(
            "Origin: Scratch\nLabel: Scratch\nSuite: {suite}\nCodename: {suite}\nArchitectures: {arch} all\n\
             Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {sum} {size} main/binary-{arch}/Packages\n"
        );
        fs::write(self.archive().join("dists").join(suite).join("Release"), release).unwrap();
    }

    /// Fetches the lists and installs these packages.
    pub(crate) fn bootstrap(&self, names: &[&str]) {
        self.update();
        succeed(self.apt_get().args(["-y", "install"]).args(names));
    }

    pub(crate) fn update(&self) {
        succeed(self.apt_get().arg("update"));
    }

    pub(crate) fn hold(&self, name: &str) {
        let status = self.root().join("var/lib/dpkg/status");
        let text = fs::read_to_string(&status).unwrap();
        let (before, after) = text.split_once(&format!("Package: {name}\n")).expect("package is installed");
        let after = after.replacen("Status: install ok", "Status: hold ok", 1);
        fs::write(&status, format!("{before}Package: {name}\n{after}")).unwrap();
    }

    /// Leaves what a dpkg that was killed leaves: a journal entry not yet merged into the status.
    pub(crate) fn interrupt_dpkg(&self) {
        let status = fs::read_to_string(self.root().join("var/lib/dpkg/status")).unwrap();
        self.write("var/lib/dpkg/updates/0001", status.trim_start());
    }

    /// `name version` of what is installed, by dpkg.
    pub(crate) fn installed(&self) -> Vec<String> {
        let admin = self.root().join("var/lib/dpkg");
        let output = succeed(Command::new("dpkg-query").arg(format!("--admindir={}", admin.display())).args([
            "-W",
            "-f",
            "${Package} ${Version}\n",
        ]));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Names that apt itself would upgrade.
    pub(crate) fn apt_upgrades(&self) -> Vec<String> {
        apt_upgrades(self.apt_get())
    }

    /// apt-get on this root, by a configuration of the test's own.
    fn apt_get(&self) -> Command {
        let root = self.root();
        let (config, root) = (self.directory.path().join("test-apt.conf"), root.display());
        let not_root =
            if rustix::process::geteuid().is_root() { "" } else { "DPkg::Options:: \"--force-not-root\";\n" };
        let text = format!(
            "Dir \"{root}/\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nAPT::Sandbox::User \"root\";\n\
             DPkg::Options:: \"--root={root}\";\nDPkg::Options:: \"--log={root}/var/log/dpkg.log\";\n{not_root}"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("apt-get");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("APT_CONFIG", config)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    }

    /// Starts an installation that keeps dpkg's lock until it is released.
    pub(crate) fn hold_lock(&self, name: &str) -> LockHolder {
        let (held, release) = (self.directory.path().join("held"), self.directory.path().join("release"));
        // Bounded, so that a failed test leaves nothing behind.
        let script = format!(
            "touch {}; i=0; while [ ! -e {} ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done",
            held.display(),
            release.display()
        );
        let mut command = self.apt_get();
        command.arg("-o").arg(format!("DPkg::Pre-Invoke::={script}")).args(["-y", "install", name]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let holder = LockHolder { child, release };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !held.exists() {
            assert!(Instant::now() < deadline, "apt-get did not get as far as its hook");
            std::thread::sleep(Duration::from_millis(20));
        }
        holder
    }
}

pub(crate) struct LockHolder {
    child: Child,
    release: PathBuf,
}

impl LockHolder {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets the installation go on, and waits for its end.
    pub(crate) fn release(&mut self) {
        fs::write(&self.release, "").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        let _ = fs::write(&self.release, "");
        let _ = self.child.wait();
    }
}

/// Names in the `Inst` lines of `apt-get -s upgrade`, sorted.
pub(crate) fn apt_upgrades(mut apt_get: Command) -> Vec<String> {
    let output = succeed(apt_get.env("LC_ALL", "C").args(["-s", "upgrade"]));
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| Some(line.strip_prefix("Inst ")?.split([' ', ':']).next()?.to_owned());
    let mut names: Vec<String> = text.lines().filter_map(name).collect();
    // Upgrades that need a new package are missing all the same.
    let mut kept_back = false;
    for line in text.lines() {
        if kept_back && line.starts_with("  ") {
            names.extend(line.split_whitespace().map(str::to_owned));
        } else {
            kept_back = line.starts_with("The following packages have been kept back");
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Sets the modification time of every list: what apt does with an archive's Last-Modified.
pub(crate) fn touch_lists(lists: &Path, at: Timestamp) {
    for entry in fs::read_dir(lists).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_times(FileTimes::new().set_modified(at.into())).unwrap();
        }
    }
}

/// This machine's own, as dpkg calls it.
fn architecture() -> String {
    let output = succeed(Command::new("dpkg").arg("--print-architecture"));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn sha256(path: &Path) -> String {
    let output = succeed(Command::new("sha256sum").arg(path));
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    output
}
