//! Where the system is, and how zypper is called there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use patchwave_schemas::baseline::BaselineSnapshot;
use patchwave_schemas::node::OperatingSystem;

use super::super::{PackageError, os_release, sources, tool};

/// Directory of a baseline's `.repo` files, in the agent's own.
const SOURCES: &str = "zypper-sources";
/// What zypper knows of them.
const CACHE: &str = "zypper-sources-cache";

/// A SUSE system in a directory: `/`, or a scratch one for tests and images.
///
/// In another directory than `/` zypper is that of this system, with its configuration, databases,
/// caches, locks and logs all under the directory (`--root`). That needs the right to chroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZypperRoot {
    root: PathBuf,
    state_dir: PathBuf,
    search_path: OsString,
    /// Holds `.repo` files that take the place of the node's own.
    sources: Option<PathBuf>,
}

impl ZypperRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let [root, state_dir] =
            [root.into(), state_dir.into()].map(|path: PathBuf| std::path::absolute(&path).unwrap_or(path));
        Self { root, state_dir, search_path: tool::PATH.into(), sources: None }
    }

    /// The same with these directories, separated by colons, in which zypper is looked for.
    #[must_use]
    pub fn with_search_path(mut self, search_path: impl Into<OsString>) -> Self {
        self.search_path = search_path.into();
        self
    }

    /// Whether this is a system whose patches zypper installs.
    #[must_use]
    pub fn is_present(&self) -> bool {
        os_release(&self.root).is_ok_and(|os| os.operating_system == OperatingSystem::Suse)
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

    /// The root with the repositories that the baseline names for this node; as it is when it names
    /// none.
    ///
    /// # Errors
    /// [`PackageError::NoSource`], [`PackageError::Write`].
    pub(super) fn by_baseline(&self, baseline: &BaselineSnapshot) -> Result<Self, PackageError> {
        if baseline.sources.is_empty() {
            return Ok(self.clone());
        }
        let ours = sources::for_node(&baseline.sources, &os_release(&self.root)?.profile())?;
        let directory = self.state_dir.join(SOURCES);
        sources::write(&directory, &sources::repository_files(&ours))?;
        Ok(Self { sources: Some(directory), ..self.clone() })
    }

    /// Fetches what those repositories offer: nobody else does. Blocks.
    ///
    /// # Errors
    /// [`PackageError::Run`], and [`PackageError::Failed`] when none of them could be reached.
    pub(super) fn refresh_sources(&self) -> Result<(), PackageError> {
        if self.sources.is_none() {
            return Ok(());
        }
        let program = "zypper refresh".to_owned();
        let output = self.command(&[]).arg("refresh").output();
        let output = output.map_err(|source| PackageError::Run { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() { String::from_utf8_lossy(&output.stdout) } else { said };
        let message = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned();
        Err(PackageError::Failed { program, status: output.status.to_string(), message })
    }

    /// zypper for this root with its first, global options: locale C, no questions.
    pub(super) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("zypper");
        command.env("PATH", &self.search_path).env("LC_ALL", "C").stdin(Stdio::null());
        if self.root != Path::new("/") {
            command.arg("--root").arg(&self.root);
        }
        if let Some(directory) = &self.sources {
            // With caches of their own, so that the node's are not emptied of its own repositories.
            command.arg("--reposd-dir").arg(directory).arg("--cache-dir").arg(self.state_dir.join(CACHE));
        }
        command.arg("--non-interactive").args(options);
        command
    }

    /// zypper for looking only: takes no lock and fetches nothing.
    pub(super) fn looking(&self, options: &[&str]) -> Command {
        let mut command = self.command(&["--no-refresh"]);
        // libzypp's own switch for tools that only read.
        command.env("ZYPP_READONLY_HACK", "1").args(options);
        command
    }
}
