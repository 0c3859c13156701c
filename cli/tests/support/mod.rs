//! Running the built program.

use std::path::Path;
use std::process::Command;

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; -1 if a signal ended it.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs `patchwave` with `args` in `dir`, with no configuration but `variables`.
#[track_caller]
pub(crate) fn patchwave_in(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchwave"));
    command.current_dir(dir).args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PATCHWAVE_") || name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    // Nothing of the user's own may have a say.
    command.env("XDG_CONFIG_HOME", dir);
    let output = command.envs(variables.iter().copied()).output().expect("the program runs");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

/// Runs `patchwave` with `args` in an empty directory.
#[track_caller]
pub(crate) fn patchwave(args: &[&str]) -> Run {
    let dir = tempfile::tempdir().expect("a temporary directory");
    patchwave_in(dir.path(), args, &[])
}
