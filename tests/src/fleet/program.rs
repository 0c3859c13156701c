//! One program of ours as a child process that can be killed and started again.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, ensure};

use crate::servers::process::{Process, blocking, tail};

/// A program with its arguments, running or not. It dies with this value and with the test.
#[derive(Debug)]
pub struct Program {
    binary: PathBuf,
    arguments: Vec<OsString>,
    directory: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Program {
    /// Starts the workspace's program `name` with a log file `<log>.log` in `directory`, where it
    /// also runs.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub fn start<A: Into<OsString>>(
        name: &str,
        arguments: impl IntoIterator<Item = A>,
        directory: &Path,
        log: &str,
    ) -> anyhow::Result<Self> {
        let mut program = Self {
            binary: binary(name)?,
            arguments: arguments.into_iter().map(Into::into).collect(),
            directory: directory.to_path_buf(),
            log: directory.join(format!("{log}.log")),
            process: None,
        };
        program.restart()?;
        Ok(program)
    }

    /// Kills it if it runs, and starts it as before. The log goes on.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let log = || File::options().create(true).append(true).open(&self.log).context("could not open a log");
        let mut command = Command::new(&self.binary);
        // Nothing of the environment the tests run in may configure it.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PATCHWAVE_")) {
            command.env_remove(name);
        }
        command
            .args(&self.arguments)
            .env("PATCHWAVE_LOG", "info")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?);
        self.process = Some(Process::spawn("a program of ours", command)?);
        Ok(())
    }

    /// Kills it at once, as `kill -9` does.
    ///
    /// # Errors
    /// When waiting for its end fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        blocking(|| self.process.take().map_or(Ok(()), |process| process.end(libc::SIGKILL).map(drop)))
    }

    /// Tells it to stop and waits for its end; `None` when it does not run.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        blocking(|| self.process.take().map(|process| process.end(libc::SIGTERM)).transpose())
    }

    /// Whether it runs: it was started, and has not ended by itself or by us.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        format!("--- {}\n{}", self.log.display(), tail(&self.log))
    }

    /// All of its log.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// The built program `name` of this workspace.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    // A test runs from `<target>/<profile>/deps`, and the programs are one directory above.
    let test = std::env::current_exe().context("could not tell where the test is")?;
    let file = test.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|file| file.is_file());
    let missing = || format!("`{name}` is not built: run `cargo build --workspace`, or the tests through `make test`");
    let file = file.with_context(missing)?;
    ensure!(file.is_absolute(), "`{}` is not an absolute path", file.display());
    Ok(file)
}
