//! A SUSE system in a temporary directory, and a repository with patches for it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::ids::BaselineId;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A snapshot of a SUSE baseline with these rules.
pub(crate) fn baseline(rules: Value) -> BaselineSnapshot {
    let mut all = json!({ "OperatingSystem": "SUSE" });
    all.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    BaselineSnapshot::new("scratch", BaselineId::from_bits(1), "scratch", serde_json::from_value(all).unwrap())
}

/// A package to be built: one file, and whatever more its spec file says.
pub(crate) struct Rpm {
    name: String,
    version: String,
    tags: String,
    script: String,
}

impl Rpm {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        Self { name: name.into(), version: version.into(), tags: String::new(), script: String::new() }
    }

    /// A line of the spec's head, for instance `Requires: other`.
    pub(crate) fn tag(mut self, line: &str) -> Self {
        writeln!(self.tags, "{line}").unwrap();
        self
    }

    /// A script of the package, for instance `%post -p <lua>`, and its body.
    pub(crate) fn script(mut self, section: &str, body: &str) -> Self {
        self.script = format!("{section}\n{body}\n");
        self
    }
}

/// A patch as SUSE writes them into updateinfo.xml.
pub(crate) struct Notice {
    id: String,
    category: String,
    severity: String,
    issued: i64,
    status: &'static str,
    more: String,
    packages: Vec<(String, String)>,
    flag: &'static str,
}

impl Notice {
    /// A patch that brings one version of a package, issued in January 2024.
    pub(crate) fn new(id: &str, category: &str, severity: &str, package: (&str, &str)) -> Self {
        Self {
            id: id.into(),
            category: category.into(),
            severity: severity.into(),
            issued: 1_706_000_000,
            status: "stable",
            more: String::new(),
            packages: vec![(package.0.into(), package.1.into())],
            flag: "",
        }
    }

    pub(crate) fn brings(mut self, package: &str, version: &str) -> Self {
        self.packages.push((package.into(), version.into()));
        self
    }

    pub(crate) fn issued(mut self, at: jiff::Timestamp) -> Self {
        self.issued = at.as_second();
        self
    }

    pub(crate) fn mends(mut self, kind: &str, id: &str) -> Self {
        writeln!(
            self.more,
            "<references><reference href=\"https://example.org/{id}\" id=\"{id}\" title=\"{id}\" type=\"{kind}\"/></references>"
        )
        .unwrap();
        self
    }

    pub(crate) fn message(mut self) -> Self {
        self.more.push_str("<message>Read me.</message>");
        self
    }

    pub(crate) fn retracted(mut self) -> Self {
        self.status = "retracted";
        self
    }

    pub(crate) fn wants_reboot(mut self) -> Self {
        self.flag = "<reboot_suggested>True</reboot_suggested>";
        self
    }

    pub(crate) fn mends_package_manager(mut self) -> Self {
        self.flag = "<restart_suggested>True</restart_suggested>";
        self
    }

    fn xml(&self) -> String {
        let Self { id, category, severity, issued, status, more, flag, .. } = self;
        let packages: String = self
            .packages
            .iter()
            .map(|(name, version)| {
                format!(
                    "<package name=\"{name}\" epoch=\"0\" version=\"{version}\" release=\"1\" arch=\"noarch\" \
                     src=\"{name}-{version}-1.src.rpm\"><filename>{name}-{version}-1.noarch.rpm</filename>{flag}</package>"
                )
            })
            .collect();
        format!(
            "<update from=\"maint@example.org\" status=\"{status}\" type=\"{category}\" version=\"1\"><id>{id}</id>\
             <title>Update {id}</title><severity>{severity}</severity><issued date=\"{issued}\"/>{more}\
             <description>For tests.</description><pkglist><collection>{packages}</collection></pkglist></update>\n"
        )
    }
}

pub(crate) struct Suse {
    directory: TempDir,
}

impl Suse {
    /// An empty system whose only repository is empty.
    pub(crate) fn new() -> Self {
        for program in ["rpmbuild", "createrepo_c", "modifyrepo_c"] {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            assert!(found.is_ok_and(|s| s.success()), "this test needs `{program}`: install rpm and createrepo-c");
        }
        let suse = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["root/etc/zypp/repos.d", "root/run", "root/proc", "repository", "notices", "bin"] {
            fs::create_dir_all(suse.path(directory)).unwrap();
        }
        suse.provide_zypper();
        suse.write("etc/os-release", "ID=\"sles\"\nNAME=\"SLES\"\nVERSION_ID=\"15.5\"\n");
        suse.write(
            "etc/zypp/repos.d/scratch.repo",
            &format!(
                "[scratch]\nname=scratch\nenabled=1\nautorefresh=0\nbaseurl=dir:{}\ntype=rpm-md\ngpgcheck=0\n",
                suse.path("repository").display()
            ),
        );
        suse.started_at(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1));
        suse
    }

    /// Puts zypper into a directory of our own. chroot, which rpm needs for another root, is for root
    /// only; anybody else becomes root of a namespace of his own for that one call.
    fn provide_zypper(&self) {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-zypper/usr/bin");
        let search = format!("{}:{}", std::env::var("PATH").unwrap_or_default(), unpacked.display());
        let zypper =
            std::env::split_paths(&search).map(|directory| directory.join("zypper")).find(|path| path.is_file());
        let zypper = zypper.expect("this test needs `zypper`: `. scripts/provide.sh; provide_zypper` fetches it");
        let prefix = if rustix::process::geteuid().is_root() { "" } else { "unshare --map-root-user " };
        let script = self.path("bin/zypper");
        fs::write(&script, format!("#!/bin/sh\nexec {prefix}{} \"$@\"\n", zypper.display())).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// Directories in which the agent looks for tools.
    pub(crate) fn search_path(&self) -> String {
        format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.path("bin").display())
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Says when the system was started, as its kernel does.
    pub(crate) fn started_at(&self, at: jiff::Timestamp) {
        self.write("proc/stat", &format!("cpu 0 0\nbtime {}\n", at.as_second()));
    }

    /// Builds packages into the repository.
    pub(crate) fn publish(&self, rpms: &[Rpm]) {
        for rpm in rpms {
            let spec = self.path(&format!("{}-{}.spec", rpm.name, rpm.version));
            let Rpm { name, version, tags, script } = rpm;
            let text = format!(
                "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: for tests\nLicense: MIT\nBuildArch: noarch\n\
                 {tags}%description\nFor tests.\n%install\nmkdir -p %{{buildroot}}/usr/share/pw\n\
                 echo {version} > %{{buildroot}}/usr/share/pw/{name}\n%files\n/usr/share/pw/{name}\n{script}"
            );
            fs::write(&spec, text).unwrap();
            let define = |name: &str, value: &str| format!("{name} {value}");
            succeed(
                Command::new("rpmbuild")
                    .args(["-bb", "--quiet"])
                    .args(["--define", &define("_topdir", &self.path("build").display().to_string())])
                    .args(["--define", &define("_rpmdir", &self.path("repository").display().to_string())])
                    .args(["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"])
                    .arg(&spec),
            );
        }
        self.index();
    }

    /// Announces patches.
    pub(crate) fn announce(&self, notices: &[Notice]) {
        for notice in notices {
            fs::write(self.path("notices").join(&notice.id), notice.xml()).unwrap();
        }
        self.index();
    }

    /// Writes the repository's lists; the system learns of them at its next refresh.
    fn index(&self) {
        let repository = self.path("repository");
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.path("notices")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let notices: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        let _ = fs::remove_dir_all(repository.join("repodata"));
        succeed(Command::new("createrepo_c").arg("--quiet").arg(&repository));
        let updateinfo = self.path("updateinfo.xml");
        fs::write(&updateinfo, format!("<?xml version=\"1.0\"?>\n<updates>\n{notices}</updates>\n")).unwrap();
        succeed(Command::new("modifyrepo_c").arg(&updateinfo).arg(repository.join("repodata")));
    }

    /// zypper on this root, called by the test itself.
    pub(crate) fn zypper(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/zypper"));
        command.env("LC_ALL", "C").arg("--root").arg(self.root()).arg("--non-interactive").args(arguments);
        command
    }

    pub(crate) fn refresh(&self) {
        succeed(&mut self.zypper(&["refresh"]));
    }

    /// Fetches the lists and installs these, for instance `pw-a=1`.
    pub(crate) fn bootstrap(&self, packages: &[&str]) {
        self.refresh();
        succeed(self.zypper(&["install"]).args(packages));
    }

    pub(crate) fn lock(&self, arguments: &[&str]) {
        succeed(self.zypper(&["addlock"]).args(arguments));
    }

    /// `name version` of what is installed, by rpm.
    pub(crate) fn installed(&self) -> Vec<String> {
        let mut rpm = Command::new("unshare");
        // Becoming root of a namespace harms nobody who is root already.
        rpm.args(["--map-root-user", "rpm", "--root"]).arg(self.root());
        let output = succeed(rpm.args(["-qa", "--queryformat", "%{NAME} %{VERSION}\n"]));
        let mut lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Names of the patches that zypper lists as applicable.
    pub(crate) fn zypper_lists(&self) -> Vec<String> {
        names(
            &succeed(&mut self.zypper(&["--xmlout", "list-patches", "--with-optional"])),
            "<update kind=\"patch\" name=\"",
        )
    }

    /// Names of the patches that `zypper patch` would install.
    pub(crate) fn zypper_would_patch(&self) -> Vec<String> {
        let arguments = ["--xmlout", "patch", "--with-optional", "--with-interactive", "--dry-run"];
        let output = self.zypper(&arguments).output().unwrap();
        // 102: one of them wants a restart.
        assert!(matches!(output.status.code(), Some(0 | 102)), "{}", String::from_utf8_lossy(&output.stdout));
        names(&output, "<solvable type=\"patch\" name=\"")
    }
}

fn names(output: &Output, before: &str) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut names: Vec<String> =
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect();
    names.sort();
    names
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    output
}
