//! The step that runs a shell script.
//!
//! The script is a file given to `sh`, in a process group of its own: whatever it starts in the
//! background is stopped with it. Parameters arrive as environment variables and are never pasted
//! into the text.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use patchwave_schemas::command::Action;
use patchwave_schemas::report::{ERROR_CHARS_MAX, OUTPUT_CHARS_MAX, Outcome};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::document::{StepContext, StepEnd};
use super::output::Capture;

/// Time the output is read on after the script itself has ended: what it left behind in the
/// background may hold the pipes open for ever.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// SSM's exit codes of scripts with a meaning of their own.
const EXIT_SKIP_REST: i32 = 168;
const EXIT_FAIL_AND_SKIP_REST: i32 = 169;
const EXIT_REBOOT: i32 = 194;

/// Runs the step's script to its end, its timeout or its cancellation.
pub(super) async fn run(context: &StepContext<'_>, state_dir: &Path) -> StepEnd {
    let Action::RunShellScript { commands, working_directory, environment } = &context.step.action else {
        return StepEnd::not_started(Outcome::Failed, "the step is not a shell script");
    };
    let invocation = context.invocation;
    let script = match Script::write(state_dir, &invocation.command_id.to_string(), commands) {
        Ok(script) => script,
        Err(error) => {
            let why = format!("could not write the script under `{}`: {error}", state_dir.display());
            return StepEnd::not_started(Outcome::Failed, why);
        }
    };
    let mut command = Command::new("sh");
    command.arg(&script.path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    // The agent's own settings hold the broker's password.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PATCHWAVE_")) {
        command.env_remove(name);
    }
    command.envs(environment);
    command.env("AWS_SSM_INSTANCE_ID", invocation.node_id.as_str());
    command.env("SSM_COMMAND_ID", invocation.command_id.to_string());
    command.current_dir(working_directory.as_deref().map_or(state_dir, Path::new));
    match command.spawn() {
        Ok(child) => supervise(context, child).await,
        Err(error) => {
            let place = working_directory.as_deref().unwrap_or_default();
            let why = format!("could not start `sh` in working directory `{place}`: {error}");
            StepEnd::not_started(Outcome::Failed, why)
        }
    }
}

async fn supervise(context: &StepContext<'_>, mut child: Child) -> StepEnd {
    let mut group = ProcessGroup::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut out = Capture::new(OUTPUT_CHARS_MAX);
    let mut err = Capture::new(ERROR_CHARS_MAX);
    let limit = Duration::from_secs(u64::from(context.step.timeout_seconds));
    let mut stopped = None;
    let status = {
        let mut reading = std::pin::pin!(async {
            tokio::join!(
                async {
                    if let Some(stream) = stdout {
                        out.read(stream).await
                    }
                },
                async {
                    if let Some(stream) = stderr {
                        err.read(stream).await
                    }
                },
            );
        });
        let mut read_all = false;
        let mut deadline = std::pin::pin!(tokio::time::sleep(limit));
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                () = &mut reading, if !read_all => read_all = true,
                () = context.control.cancel.cancelled(), if stopped.is_none() => {
                    stopped = Some(Outcome::Cancelled);
                    group.kill();
                }
                () = &mut deadline, if stopped.is_none() => {
                    stopped = Some(Outcome::TimedOut);
                    group.kill();
                }
            }
        };
        if !read_all {
            // Elapsing is normal: a background process holds the pipes.
            let _ = tokio::time::timeout(OUTPUT_GRACE, &mut reading).await;
        }
        status
    };
    // A script that ended by itself may leave a service running; one that was stopped may not.
    if stopped.is_none() {
        group.release();
    }
    let mut end = match status {
        Ok(status) => judge(status, stopped),
        Err(error) => StepEnd::not_started(Outcome::Failed, format!("could not wait for the script: {error}")),
    };
    end.stdout = out.into_text();
    let printed = err.into_text();
    if end.stderr.is_empty() {
        end.stderr = printed;
    } else if !printed.is_empty() {
        end.stderr = format!("{}\n{printed}", end.stderr);
    }
    end
}

fn judge(status: ExitStatus, stopped: Option<Outcome>) -> StepEnd {
    use std::os::unix::process::ExitStatusExt as _;
    let exit_code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    let end = |outcome, why: &str, ends_document| StepEnd {
        outcome,
        exit_code,
        stdout: String::new(),
        stderr: why.to_owned(),
        ends_document,
    };
    match (stopped, exit_code) {
        (Some(outcome), _) => end(outcome, "", false),
        (None, 0) => end(Outcome::Success, "", false),
        (None, EXIT_SKIP_REST) => end(Outcome::Success, "", true),
        (None, EXIT_FAIL_AND_SKIP_REST) => end(Outcome::Failed, "", true),
        (None, EXIT_REBOOT) => end(Outcome::Failed, "reboot requested by script is not supported yet", false),
        (None, _) => end(Outcome::Failed, "", false),
    }
}

/// The processes of a script. Killed when dropped before they were released: an agent that gives
/// up waiting must not leave work behind that nobody reports.
struct ProcessGroup {
    leader: Option<Pid>,
}

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { leader }
    }

    fn kill(&mut self) {
        // Once only: later the number may be another group's.
        if let Some(leader) = self.leader.take() {
            // Fails only when the group is gone already.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }

    fn release(&mut self) {
        self.leader = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The script's file. Removed when dropped.
struct Script {
    path: PathBuf,
}

impl Script {
    fn write(state_dir: &Path, name: &str, commands: &[String]) -> std::io::Result<Self> {
        let directory = state_dir.join("scripts");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{name}.sh"));
        // Scripts may hold what their author considers nobody else's business.
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let script = Self { path };
        file.write_all(commands.join("\n").as_bytes())?;
        file.write_all(b"\n")?;
        Ok(script)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, script.path = %self.path.display(), "could not remove a script");
        }
    }
}
