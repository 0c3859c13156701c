//! Where the system is, and how zypper is called there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use patchwave_schemas::node::OperatingSystem;

use super::super::{os_release, tool};

/// A SUSE system in a directory: `/`, or a scratch one for tests and images.
///
/// In another directory than `/` zypper is that of this system, with its configuration, databases,
/// caches, locks and logs all under the directory (`--root`). That needs the right to chroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZypperRoot {
    root: PathBuf,
    state_dir: PathBuf,
    search_path: OsString,
}

impl ZypperRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        let [root, state_dir] =
            [root.into(), state_dir.into()].map(|path: PathBuf| std::path::absolute(&path).unwrap_or(path));
        Self { root, state_dir, search_path: tool::PATH.into() }
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

    /// zypper for this root with its first, global options: locale C, no questions.
    pub(super) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("zypper");
        command.env("PATH", &self.search_path).env("LC_ALL", "C").stdin(Stdio::null());
        if self.root != Path::new("/") {
            command.arg("--root").arg(&self.root);
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
