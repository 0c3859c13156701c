//! Where the system is, and how its tools are called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use patchwave_schemas::node::OperatingSystem;

use super::super::{PackageError, os_release, tool};

/// A Mac. softwareupdate knows no other root than the running system's; another directory than `/`
/// is for tests, which bring a stand-in of the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacRoot {
    root: PathBuf,
    state_dir: PathBuf,
    search_path: OsString,
}

impl MacRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), state_dir: state_dir.into(), search_path: tool::PATH.into() }
    }

    /// The same with these directories, separated by colons, in which the tools are looked for.
    #[must_use]
    pub fn with_search_path(mut self, search_path: impl Into<OsString>) -> Self {
        self.search_path = search_path.into();
        self
    }

    /// Whether this is macOS.
    #[must_use]
    pub fn is_present(&self) -> bool {
        os_release(&self.root).is_ok_and(|os| os.operating_system == OperatingSystem::Macos)
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

    /// softwareupdate, in English and without questions.
    pub(super) fn softwareupdate(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("softwareupdate");
        command.env("PATH", &self.search_path).env("LC_ALL", "C").stdin(Stdio::null()).args(arguments);
        command
    }

    /// What softwareupdate prints; both streams, as it uses them without order.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String, PackageError> {
        let program = format!("softwareupdate {}", arguments.join(" "));
        let output = self
            .softwareupdate(arguments)
            .output()
            .map_err(|source| PackageError::Run { program: program.clone(), source })?;
        let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
        if output.status.success() {
            return Ok(said);
        }
        let message =
            said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned();
        Err(PackageError::Failed { program, status: output.status.to_string(), message })
    }

    /// When the system was started, by `kern.boottime`: `{ sec = 1706000000, usec = 0 } Tue Jan …`.
    pub(super) fn last_boot(&self) -> Option<Timestamp> {
        let mut command = Command::new("sysctl");
        let output = command.env("PATH", &self.search_path).args(["-n", "kern.boottime"]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.split_once("sec = ")?;
        let seconds = rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Timestamp::from_second(seconds).ok()
    }
}
