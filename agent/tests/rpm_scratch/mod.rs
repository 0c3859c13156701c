//! A Rocky Linux system in a temporary directory, and repositories for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::ids::BaselineId;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The Debian packages that have the programs these tests run.
const NEEDED: [(&str, &str); 5] = [
    ("dnf", "dnf"),
    ("rpm", "rpm"),
    ("rpmbuild", "rpm"),
    ("createrepo_c", "createrepo-c"),
    ("modifyrepo_c", "createrepo-c"),
];

/// A snapshot of a Rocky baseline with these rules.
pub(crate) fn baseline(rules: Value) -> BaselineSnapshot {
    let mut all = json!({ "OperatingSystem": "ROCKY_LINUX" });
    all.as_object_mut().unwrap().extend(rules.as_object().unwrap().clone());
    BaselineSnapshot::new("scratch", BaselineId::from_bits(1), "scratch", serde_json::from_value(all).unwrap())
}

/// A package to be built: one file, and no script unless asked for.
pub(crate) struct Rpm {
    name: String,
    version: String,
    release: String,
    tags: String,
    sections: String,
}

impl Rpm {
    /// Of release `1.el9`.
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let [tags, sections] = [String::new(), String::new()];
        Self { name: name.into(), version: version.into(), release: "1.el9".into(), tags, sections }
    }

    pub(crate) fn release(mut self, release: &str) -> Self {
        self.release = release.into();
        self
    }

    /// A line of the header, for instance `Requires: x`.
    pub(crate) fn tag(mut self, line: &str) -> Self {
        self.tags.push_str(line);
        self.tags.push('\n');
        self
    }

    /// A script in rpm's own Lua, `%pre` or `%post`: the scratch root has no shell.
    pub(crate) fn script(mut self, section: &str, lua: &str) -> Self {
        self.sections.push_str(&format!("{section} -p <lua>\n{lua}\n"));
        self
    }

    fn spec(&self) -> String {
        let Self { name, version, release, tags, sections } = self;
        format!(
            "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: a package for tests\nLicense: MIT\n\
             BuildArch: noarch\n{tags}\n%description\nA package for tests.\n\n%install\n\
             mkdir -p %{{buildroot}}/usr/share/pw\necho {version} > %{{buildroot}}/usr/share/pw/{name}-{version}\n\n\
             {sections}\n%files\n/usr/share/pw/{name}-{version}\n"
        )
    }
}

/// A notice: its id, type, severity, `issued`, and what it names, `name version release`.
pub(crate) struct Notice<'a> {
    pub(crate) id: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) severity: &'a str,
    pub(crate) issued: &'a str,
    pub(crate) references: &'a [(&'a str, &'a str)],
    pub(crate) packages: &'a [(&'a str, &'a str)],
}

impl Notice<'_> {
    /// A security notice of long ago about these packages.
    pub(crate) fn security<'a>(id: &'a str, packages: &'a [(&'a str, &'a str)]) -> Notice<'a> {
        Notice { id, kind: "security", severity: "Important", issued: "2024-01-15 10:00:00", references: &[], packages }
    }

    fn xml(&self) -> String {
        let references: String = self
            .references
            .iter()
            .map(|(kind, id)| format!("<reference href=\"https://example.org/{id}\" id=\"{id}\" type=\"{kind}\"/>"))
            .collect();
        let packages: String = self
            .packages
            .iter()
            .map(|(name, version)| {
                format!(
                    "<package name=\"{name}\" version=\"{version}\" release=\"1.el9\" epoch=\"0\" arch=\"noarch\">\
                     <filename>{name}-{version}-1.el9.noarch.rpm</filename></package>"
                )
            })
            .collect();
        let Self { id, kind, severity, issued, .. } = self;
        format!(
            "<update from=\"x@example.org\" status=\"final\" type=\"{kind}\" version=\"1\"><id>{id}</id>\
             <title>{id}</title><severity>{severity}</severity><issued date=\"{issued}\"/>\
             <description>about &lt;package&gt;s &amp; more</description><references>{references}</references>\
             <pkglist><collection short=\"x\"><name>x</name>{packages}</collection></pkglist></update>\n"
        )
    }
}

pub(crate) struct Scratch {
    directory: TempDir,
}

impl Scratch {
    /// An empty system with one empty repository, `base`.
    pub(crate) fn new() -> Self {
        for (program, package) in NEEDED {
            let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
            assert!(
                found.is_ok_and(|s| s.success()),
                "this test needs `{program}`: install the Debian package {package}"
            );
        }
        let scratch = Self { directory: tempfile::tempdir().unwrap() };
        for directory in ["etc/dnf/plugins", "etc/yum.repos.d", "var/lib/rpm", "var/log"] {
            fs::create_dir_all(scratch.root().join(directory)).unwrap();
        }
        scratch.write(
            "etc/os-release",
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nNAME=\"Rocky Linux\"\nVERSION_ID=\"9.4\"\n",
        );
        scratch.configure("");
        scratch.add_repository("base", "");
        scratch
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Where a repository's packages and metadata are.
    pub(crate) fn repository(&self, id: &str) -> PathBuf {
        self.directory.path().join("repositories").join(id)
    }

    /// The `.repo` file of a repository.
    pub(crate) fn repo_file(&self, id: &str, more: &str) -> String {
        let path = self.repository(id);
        format!("[{id}]\nname={id}\nbaseurl=file://{}\nenabled=1\n{more}\n", path.display())
    }

    /// Makes an empty repository and lets the system know it, with these settings besides.
    pub(crate) fn add_repository(&self, id: &str, more: &str) {
        fs::create_dir_all(self.repository(id)).unwrap();
        self.index(id);
        self.write(&format!("etc/yum.repos.d/{id}.repo"), &self.repo_file(id, more));
    }

    /// Writes the main configuration with these lines in it.
    pub(crate) fn configure(&self, lines: &str) {
        self.write("etc/dnf/dnf.conf", &format!("[main]\ngpgcheck=0\nbest=True\n{lines}\n"));
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Locks versions by the plugin.
    pub(crate) fn lock(&self, lines: &str) {
        let list = self.root().join("etc/dnf/plugins/versionlock.list");
        self.write("etc/dnf/plugins/versionlock.conf", &format!("[main]\nenabled=1\nlocklist={}\n", list.display()));
        self.write("etc/dnf/plugins/versionlock.list", lines);
    }

    /// Builds packages and puts them into a repository.
    pub(crate) fn publish(&self, repository: &str, packages: &[Rpm]) {
        let specs = self.directory.path().join("specs");
        fs::create_dir_all(&specs).unwrap();
        let mut build = Command::new("rpmbuild");
        build.args(["-bb", "--quiet", "--define", "_build_id_links none", "--define"]);
        build.arg(format!("_topdir {}", self.directory.path().join("build").display()));
        build.arg("--define").arg(format!("_rpmdir {}", self.repository(repository).display()));
        for package in packages {
            let path = specs.join(format!("{}-{}.spec", package.name, package.version));
            fs::write(&path, package.spec()).unwrap();
            build.arg(path);
        }
        succeed(build.env("LC_ALL", "C"));
        self.index(repository);
    }

    /// Makes a repository's metadata anew: what was added to it otherwise is gone.
    pub(crate) fn index(&self, repository: &str) {
        succeed(Command::new("createrepo_c").args(["--quiet", "--no-database"]).arg(self.repository(repository)));
    }

    /// Adds notices to a repository.
    pub(crate) fn announce(&self, repository: &str, notices: &[Notice<'_>]) {
        let text: String = notices.iter().map(Notice::xml).collect();
        self.add_metadata(
            repository,
            "updateinfo.xml",
            &format!("<?xml version=\"1.0\"?>\n<updates>\n{text}</updates>\n"),
        );
    }

    /// Adds a file to a repository's metadata.
    pub(crate) fn add_metadata(&self, repository: &str, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        succeed(Command::new("modifyrepo_c").arg(&path).arg(self.repository(repository).join("repodata")));
    }

    /// Installs these, by dnf.
    pub(crate) fn bootstrap(&self, names: &[&str]) {
        succeed(self.dnf().args(["-y", "--refresh", "install"]).args(names));
    }

    /// `name version-release` of what is installed, by rpm, sorted.
    pub(crate) fn installed(&self) -> Vec<String> {
        let mut rpm = Command::new("rpm");
        rpm.arg("--dbpath").arg(self.root().join("var/lib/rpm")).args(["-qa", "--qf", "%{NAME} %{VERSION}\n"]);
        let mut lines: Vec<String> =
            String::from_utf8(succeed(&mut rpm).stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// `name.arch version` that dnf itself would upgrade, sorted.
    pub(crate) fn dnf_upgrades(&self) -> Vec<String> {
        let output = self.dnf().args(["-q", "--refresh", "check-update"]).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 100)), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let upgrades = text.lines().take_while(|line| !line.starts_with("Obsoleting"));
        let mut lines: Vec<String> = upgrades
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                Some(format!("{} {}", words.next()?, words.next()?))
            })
            .collect();
        lines.sort();
        lines
    }

    /// `advisory name-version-release.arch` that dnf lists as available, sorted.
    pub(crate) fn dnf_notices(&self) -> Vec<String> {
        let output = succeed(self.dnf().args(["-q", "--refresh", "updateinfo", "list"]));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Some(format!("{} {}", words.first()?, words.last()?))
            })
            .collect();
        lines.sort();
        lines
    }

    /// dnf on this root, by a configuration of the test's own.
    pub(crate) fn dnf(&self) -> Command {
        let home = self.directory.path().join("test-home");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join(".rpmmacros"), "%_dbpath /var/lib/rpm\n").unwrap();
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("dnf")
        } else {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "dnf"]);
            command
        };
        let plugins = self.root().join("etc/dnf/plugins");
        command
            .env("HOME", home)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .arg(format!("--installroot={}", self.root().display()))
            .arg("--releasever=9")
            .arg(format!("--setopt=pluginconfpath={}", plugins.display()));
        if !plugins.join("versionlock.conf").exists() {
            command.arg("--disableplugin=versionlock");
        }
        command
    }

    /// Keeps dnf's lock as dnf does, by the number of a living process, until it is released.
    pub(crate) fn hold_lock(&self) -> LockHolder {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let path = self.root().join("var/lib/dnf/rpmdb_lock.pid");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, child.id().to_string()).unwrap();
        LockHolder { child }
    }
}

pub(crate) struct LockHolder {
    child: Child,
}

impl LockHolder {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for LockHolder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
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

/// Every file below a directory with its bytes, for telling whether anything changed.
pub(crate) fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                all.push((path, bytes));
            }
        }
    }
    all.sort();
    all
}
