//! Where the system is, and how its tools are called there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use patchwave_schemas::baseline::BaselineSnapshot;

use super::super::{PackageError, os_release, sources};
use super::apt_get::Finished;

/// Directory of a baseline's sources and their lists, in the agent's own.
const SOURCES: &str = "apt-sources";

/// Where dpkg and its helpers find their programs, whatever the agent was started with.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A Debian-family system in a directory: `/`, or a scratch one for tests and images.
///
/// In another directory than `/` apt and dpkg are those of this system, with their configuration,
/// databases, caches, locks and logs all under the directory. Packages with maintainer scripts
/// need a directory that can be entered with chroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptRoot {
    root: PathBuf,
    state_dir: PathBuf,
    /// Sources and lists that take the place of the node's own.
    own: Option<PathBuf>,
}

impl AptRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        // apt and dpkg are started with these paths and take relative ones otherwise than we do.
        let [root, state_dir] =
            [root.into(), state_dir.into()].map(|path: PathBuf| std::path::absolute(&path).unwrap_or(path));
        Self { root, state_dir, own: None }
    }

    /// Whether there is a dpkg database.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.path("var/lib/dpkg/status").is_file()
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

    /// A path given relative to the system's root.
    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The root with the sources that the baseline names for this node; as it is when it names none.
    ///
    /// # Errors
    /// [`PackageError::NoSource`], [`PackageError::Write`].
    pub(super) fn by_baseline(&self, baseline: &BaselineSnapshot) -> Result<Self, PackageError> {
        if baseline.sources.is_empty() {
            return Ok(self.clone());
        }
        let ours = sources::for_node(&baseline.sources, &os_release(&self.root)?.profile())?;
        let own = Self { own: Some(self.state_dir.join(SOURCES)), ..self.clone() };
        let files = ours.iter().enumerate().map(|(number, source)| {
            // apt tells its two formats by the file's name.
            let is_stanza = source.configuration.lines().any(|line| line.trim_start().starts_with("Types:"));
            let name = sources::file_name(number, source, if is_stanza { "sources" } else { "list" });
            (name, format!("{}\n", source.configuration.trim_end()))
        });
        if let Some(directory) = own.sources() {
            sources::write(&directory, &files.collect::<Vec<_>>())?;
        }
        let partial = own.lists().join("partial");
        fs::create_dir_all(&partial).map_err(|source| PackageError::Write { path: partial, source })?;
        Ok(own)
    }

    /// Fetches the lists of those sources: nobody else does. Blocks.
    ///
    /// # Errors
    /// [`PackageError::Run`], and [`PackageError::Failed`] when apt could not do it.
    pub(super) fn refresh_sources(&self) -> Result<(), PackageError> {
        if self.own.is_none() {
            return Ok(());
        }
        let program = "apt-get update";
        let output = self.command("apt-get")?.args(["-q", "update"]).output();
        let output = output.map_err(|source| PackageError::Run { program: program.to_owned(), source })?;
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Finished { status: output.status, stdout, stderr }.into_result(program)
    }

    /// The directory of the baseline's sources, if it names any.
    pub(super) fn sources(&self) -> Option<PathBuf> {
        self.own.as_ref().map(|own| own.join("sources"))
    }

    /// Where the lists are.
    pub(super) fn lists(&self) -> PathBuf {
        self.own.as_ref().map_or_else(|| self.path("var/lib/apt/lists"), |own| own.join("lists"))
    }

    fn is_this_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// apt-get, apt-cache or dpkg, for this root: locale C, no questions, no shell.
    ///
    /// # Errors
    /// [`PackageError::Write`] when the configuration for another root cannot be written.
    pub(super) fn command(&self, program: &str) -> Result<Command, PackageError> {
        let mut command = Command::new(program);
        command
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Debian's and Ubuntu's needrestart would ask which services to restart.
            .env("NEEDRESTART_MODE", "a")
            .env("APT_LISTCHANGES_FRONTEND", "none")
            .stdin(std::process::Stdio::null());
        if !self.is_this_system() {
            if program == "dpkg" {
                command.args(self.dpkg_options());
            } else {
                command.env("APT_CONFIG", self.write_config()?);
            }
        }
        if let (Some(sources), true) = (self.sources(), program != "dpkg") {
            for (option, value) in [
                ("Dir::Etc::sourcelist", "/dev/null".into()),
                ("Dir::Etc::sourceparts", sources.into_os_string()),
                ("Dir::State::lists", self.lists().into_os_string()),
                // The node's own caches stay as they are.
                ("Dir::Cache::pkgcache", OsString::new()),
                ("Dir::Cache::srcpkgcache", OsString::new()),
                // The user _apt may not enter our directory.
                ("APT::Sandbox::User", "root".into()),
            ] {
                let mut argument = OsString::from(format!("{option}="));
                argument.push(value);
                command.arg("-o").arg(argument);
            }
        }
        Ok(command)
    }

    /// apt reads `APT_CONFIG` before everything else, so that even the configuration it reads
    /// next is the one under the root.
    fn write_config(&self) -> Result<OsString, PackageError> {
        let path = self.state_dir.join("apt-root.conf");
        let root = self.root.display();
        let mut config = format!(
            "Dir \"{root}/\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\n\
             // The user _apt may not be able to read a scratch directory.\nAPT::Sandbox::User \"root\";\n"
        );
        for option in self.dpkg_options() {
            config.push_str(&format!("DPkg::Options:: \"{option}\";\n"));
        }
        let write = |source| PackageError::Write { path: path.clone(), source };
        fs::create_dir_all(&self.state_dir).map_err(write)?;
        if fs::read_to_string(&path).ok().as_deref() != Some(config.as_str()) {
            fs::write(&path, config).map_err(write)?;
        }
        Ok(path.clone().into_os_string())
    }

    fn dpkg_options(&self) -> Vec<String> {
        let root = self.root.display();
        let mut options = vec![format!("--root={root}"), format!("--log={root}/var/log/dpkg.log")];
        if !rustix::process::geteuid().is_root() {
            options.push("--force-not-root".to_owned());
        }
        options
    }
}
