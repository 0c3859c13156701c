//! Where the system is, and how its tools are called there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use patchwave_engine::baseline::NodeProfile;
use patchwave_schemas::baseline::BaselineSnapshot;

use super::super::{PackageError, os_release, sources};

/// Where the tools and the scripts of packages find their programs, whatever the agent was started with.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where rpm's database may be, newest habit first.
const DATABASES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// What a database consists of: SQLite, NDB, Berkeley DB.
const DATABASE_FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
/// Directory of a baseline's `.repo` files, in the agent's own.
const SOURCES: &str = "dnf-sources";
/// Where metadata of a baseline's own repositories is cached, apart from that of the node's.
pub(super) const SOURCES_CACHE: &str = "var/cache/patchwave-agent/dnf";

/// A system of rpm and dnf, or yum, in a directory: `/`, or a scratch one for tests and images.
///
/// In another directory than `/` the programs are those of this system, with configuration, database,
/// caches, locks and logs all under the directory. dnf insists on being root; as another user it is
/// run in a user namespace, where it may believe so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnfRoot {
    root: PathBuf,
    state_dir: PathBuf,
    /// Instead of the system's own repositories those in this directory.
    sources: Option<PathBuf>,
}

/// The program that installs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// dnf 4.
    Dnf,
    /// yum 3: Amazon Linux 1 and 2, and release 7 of the others.
    Yum,
}

impl Tool {
    /// As it is called.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Dnf => "dnf",
            Self::Yum => "yum",
        }
    }
}

impl DnfRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        // The tools are started with these paths and take relative ones otherwise than we do.
        let [root, state_dir] =
            [root.into(), state_dir.into()].map(|path: PathBuf| std::path::absolute(&path).unwrap_or(path));
        Self { root, state_dir, sources: None }
    }

    /// Whether there is a database of rpm, and a system whose tool is dnf or yum.
    #[must_use]
    pub fn is_present(&self) -> bool {
        use patchwave_schemas::node::OperatingSystem as Os;
        let database = DATABASES
            .iter()
            .any(|directory| DATABASE_FILES.iter().any(|file| self.path(directory).join(file).is_file()));
        database
            && os_release(&self.root).is_ok_and(|os| {
                matches!(
                    os.operating_system,
                    Os::AmazonLinux
                        | Os::AmazonLinux2
                        | Os::AmazonLinux2022
                        | Os::AmazonLinux2023
                        | Os::Centos
                        | Os::OracleLinux
                        | Os::RedhatEnterpriseLinux
                        | Os::RockyLinux
                        | Os::AlmaLinux
                )
            })
    }

    /// The directory of the system.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.root
    }

    /// The agent's own directory.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// A path given relative to the system's root; one that is absolute is meant from there too.
    pub(super) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        let relative = relative.as_ref();
        // Configuration of a scratch root may hold whole paths into it.
        if !self.is_this_system() && relative.starts_with(&self.root) {
            return relative.to_owned();
        }
        self.root.join(relative.strip_prefix("/").unwrap_or(relative))
    }

    pub(super) fn is_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The root with the repositories that the baseline names for this node; as it is when it names
    /// none.
    ///
    /// # Errors
    /// [`PackageError::NoSource`], [`PackageError::Write`].
    pub(super) fn by_baseline(&self, baseline: &BaselineSnapshot, node: &NodeProfile) -> Result<Self, PackageError> {
        let ours = sources::for_node(&baseline.sources, node)?;
        if ours.is_empty() {
            return Ok(self.clone());
        }
        let directory = self.state_dir.join(SOURCES);
        sources::write(&directory, &sources::repository_files(&ours))?;
        Ok(Self { sources: Some(directory), ..self.clone() })
    }

    /// The directory of repositories that stand in for the system's own, if there is one.
    pub(super) fn sources(&self) -> Option<&Path> {
        self.sources.as_deref()
    }

    /// dnf where there is one; what is called yum since release 8 is dnf too.
    pub(super) fn tool(&self) -> Tool {
        let has = |program: &str| {
            ["usr/bin", "bin"].iter().any(|directory| Path::new("/").join(directory).join(program).exists())
        };
        if has("dnf") || has("dnf-3") || !has("yum") { Tool::Dnf } else { Tool::Yum }
    }

    /// rpm's own database of this root, for reading.
    pub(super) fn rpm(&self) -> Command {
        let mut command = plain("rpm");
        if !self.is_this_system() {
            command.arg("--dbpath").arg(self.database());
        }
        command
    }

    fn database(&self) -> PathBuf {
        let known = DATABASES.iter().map(|directory| self.path(directory));
        known.into_iter().find(|directory| directory.is_dir()).unwrap_or_else(|| self.path(DATABASES[1]))
    }

    /// dnf or yum for this root: locale C, no questions, no shell, and no waiting for locks, which the
    /// caller does with an end.
    ///
    /// # Errors
    /// [`PackageError::Write`] when the configuration for another root cannot be written.
    pub(super) fn command(&self) -> Result<Command, PackageError> {
        let program = self.tool().program();
        let mut command = if self.is_this_system() || rustix::process::geteuid().is_root() {
            plain(program)
        } else {
            let mut command = plain("unshare");
            command.args(["--map-root-user", program]);
            command
        };
        command.arg("--setopt=exit_on_lock=1");
        if !self.is_this_system() {
            self.point_at_root(&mut command)?;
        }
        if let Some(directory) = &self.sources {
            command.arg(format!("--setopt=reposdir={}", directory.display()));
            // As it is: of this setting dnf takes the repositories' part without the root's directory.
            command.arg(format!("--setopt=cachedir={}", self.path(SOURCES_CACHE).display()));
        }
        Ok(command)
    }

    fn point_at_root(&self, command: &mut Command) -> Result<(), PackageError> {
        let home = self.state_dir.join("rpm-home");
        let macros = home.join(".rpmmacros");
        let database = self.database();
        let database = Path::new("/").join(database.strip_prefix(&self.root).unwrap_or(&database));
        // Where this system has its database need not be where that one has.
        let text = format!("%_dbpath {}\n", database.display());
        if fs::read_to_string(&macros).ok().as_deref() != Some(text.as_str()) {
            fs::create_dir_all(&home)
                .and_then(|()| fs::write(&macros, text))
                .map_err(|source| PackageError::Write { path: macros.clone(), source })?;
        }
        let plugins = self.path("etc/dnf/plugins");
        let version = os_release(&self.root).map(|os| os.platform_version).unwrap_or_default();
        let release = version.split('.').next().unwrap_or_default();
        command
            .env("HOME", home)
            .arg(format!("--installroot={}", self.root.display()))
            .arg(format!("--releasever={}", if release.is_empty() { "0" } else { release }))
            .arg(format!("--setopt=pluginconfpath={}", plugins.display()));
        if !plugins.join("versionlock.conf").is_file() {
            command.arg("--disableplugin=versionlock");
        }
        Ok(())
    }
}

fn plain(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", PATH).env("LC_ALL", "C").stdin(Stdio::null());
    command
}
