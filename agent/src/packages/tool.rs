//! Running a tool that installs: its output goes to files, it is never killed with us, and how it
//! ended is told in one piece.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use super::PackageError;

/// Directories in which tools are looked for, whatever the agent was started with.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A tool that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a tool to its end. If we end before it does, it must neither be killed with us nor meet a
/// closed pipe in the middle of unpacking: it writes to files and has a process group of its own.
///
/// # Errors
/// [`PackageError::Write`], [`PackageError::Run`] and [`PackageError::Read`] when it cannot be
/// started or what it printed cannot be kept.
pub(super) async fn run(state_dir: &Path, program: &str, mut command: Command) -> Result<Finished, PackageError> {
    let [out, err] = ["stdout", "stderr"].map(|name| state_dir.join(format!("{program}.{name}")));
    let write = |path: &Path| {
        fs::create_dir_all(state_dir)
            .and_then(|()| File::create(path))
            .map_err(|source| PackageError::Write { path: path.to_owned(), source })
    };
    command.stdout(write(&out)?).stderr(write(&err)?).process_group(0);
    let status = tokio::process::Command::from(command)
        .status()
        .await
        .map_err(|source| PackageError::Run { program: program.to_owned(), source })?;
    let read = |path: &Path| {
        fs::read(path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .map_err(|source| PackageError::Read { path: path.to_owned(), source })
    };
    Ok(Finished { status, stdout: read(&out)?, stderr: read(&err)? })
}
