//! Where the system is, and how PowerShell is called there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::{OsRelease, PackageError};
use super::category;

/// Our script, as it is written into the agent's own directory.
const SCRIPT: &str = include_str!("windows-update.ps1");

/// A Windows. The Windows Update Agent knows no other root than the running system's; another
/// directory is for tests, which bring a stand-in of PowerShell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsRoot {
    root: PathBuf,
    state_dir: PathBuf,
    /// Absent: as the agent was started. Windows has no fixed directories to say instead.
    search_path: Option<OsString>,
}

impl WindowsRoot {
    /// `root` holds the system; `state_dir` is the agent's own and need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), state_dir: state_dir.into(), search_path: None }
    }

    /// The same with these directories in which PowerShell is looked for.
    #[must_use]
    pub fn with_search_path(mut self, search_path: impl Into<OsString>) -> Self {
        self.search_path = Some(search_path.into());
        self
    }

    /// Whether this is Windows.
    #[must_use]
    pub fn is_present(&self) -> bool {
        is_windows(&self.root)
    }

    /// The agent's own directory.
    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// PowerShell with our script and these arguments.
    pub(super) fn script(&self, arguments: &[&str]) -> Result<Command, PackageError> {
        let path = self.state_dir.join("windows-update.ps1");
        let write = |source| PackageError::Write { path: path.clone(), source };
        if fs::read_to_string(&path).ok().as_deref() != Some(SCRIPT) {
            fs::create_dir_all(&self.state_dir).map_err(write)?;
            fs::write(&path, SCRIPT).map_err(write)?;
        }
        let mut command = self.powershell();
        command.args(["-ExecutionPolicy", "Bypass", "-File"]).arg(&path).args(arguments);
        Ok(command)
    }

    /// What our script answers, as JSON.
    pub(super) fn ask(&self, operation: &str) -> Result<Vec<u8>, PackageError> {
        let program = format!("windows-update.ps1 {operation}");
        let output = self
            .script(&["-Operation", operation])?
            .output()
            .map_err(|source| PackageError::Run { program: program.clone(), source })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = last_line(&String::from_utf8_lossy(&output.stderr));
        Err(PackageError::Failed { program, status: output.status.to_string(), message })
    }

    /// Which Windows this is, as PowerShell says.
    ///
    /// # Errors
    /// [`PackageError::Run`] when PowerShell cannot be started. One that fails leaves the version
    /// unknown.
    pub fn os_release(&self) -> Result<OsRelease, PackageError> {
        let mut command = self.powershell();
        command.args(["-Command", "(Get-CimInstance -ClassName Win32_OperatingSystem).Caption"]);
        let output = command
            .output()
            .map_err(|source| PackageError::Run { program: "powershell -Command".to_owned(), source })?;
        Ok(category::os_release(String::from_utf8_lossy(&output.stdout).trim()))
    }

    fn powershell(&self) -> Command {
        let mut command = Command::new("powershell");
        if let Some(search_path) = &self.search_path {
            command.env("PATH", search_path);
        }
        command.args(["-NoLogo", "-NoProfile", "-NonInteractive"]).stdin(Stdio::null());
        command
    }
}

/// Whether the system under `root` is Windows, by what no other has.
pub(in super::super) fn is_windows(root: &Path) -> bool {
    root.join("Windows/System32").is_dir()
}

/// The last thing a tool complained about.
pub(super) fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}
