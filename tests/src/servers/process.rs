//! Child processes that cannot outlive their parent, and the ports they listen on.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rand::RngExt;

/// How long a server may take to start or to stop. RabbitMQ takes 5 s on two idle cores.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Files a server may open, as far as the hard limit allows: some tests connect by the thousand.
pub(super) const FILES: libc::rlim_t = 65_536;

/// Pause between two looks at a server that is starting or stopping.
const POLL: Duration = Duration::from_millis(20);

/// A running child. It is killed when this process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    what: &'static str,
}

impl Process {
    /// Starts `command`, which gets `SIGKILL` when this process dies.
    pub(crate) fn spawn(what: &'static str, command: Command) -> anyhow::Result<Self> {
        Self::spawn_with_file_limit(what, command, FILES)
    }

    /// The same with another file limit, as far as the hard limit allows.
    pub(super) fn spawn_with_file_limit(
        what: &'static str,
        mut command: Command,
        files: libc::rlim_t,
    ) -> anyhow::Result<Self> {
        prepare(&mut command, files);
        let child = spawn_from_lasting_thread(command).with_context(|| format!("could not start {what}"))?;
        Ok(Self { child, what })
    }

    /// Waits until `ready` says so, or fails when the process ends first or takes too long.
    pub(crate) fn wait_until(&mut self, log: &Path, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} while starting:\n{}", self.what, tail(log));
            }
            if Instant::now() > deadline {
                bail!("{} was not ready after {} s:\n{}", self.what, PATIENCE.as_secs(), tail(log));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends `signal` and waits for the end; kills it when it takes too long.
    pub(crate) fn end(mut self, signal: libc::c_int) -> anyhow::Result<ExitStatus> {
        send_signal(self.child.id(), signal);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Err(anyhow!("{} did not stop within {} s and was killed", self.what, PATIENCE.as_secs()));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a child that is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the child of `command` die by `SIGKILL` with this process, and sets its file limit.
fn prepare(command: &mut Command, files: libc::rlim_t) {
    let parent = std::process::id();
    let in_child = move || {
        #[expect(unsafe_code, reason = "plain system calls on local values; there is no safe wrapper in std")]
        // SAFETY: prctl, getppid, getrlimit and setrlimit are async-signal-safe and get valid
        // arguments.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have died before the line above.
            if libc::getppid().cast_unsigned() != parent {
                return Err(std::io::Error::other("parent died"));
            }
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
                limit.rlim_cur = limit.rlim_max.min(files);
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            }
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "PR_SET_PDEATHSIG can only be set between fork and exec")]
    // SAFETY: the closure allocates only on its error path and calls async-signal-safe functions.
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Spawns from a thread that lives as long as the process: the kernel sends the parent's death
/// signal when the *thread* that forked ends, and test threads end early.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Job = (Command, SyncSender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                // The asker waits for the answer; it cannot be gone.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = sync_channel(1);
    spawner.send((command, answer)).map_err(std::io::Error::other)?;
    child.recv().map_err(std::io::Error::other)?
}

/// Sends a signal to one process by its id.
pub(super) fn send_signal(pid: u32, signal: libc::c_int) {
    #[expect(unsafe_code, reason = "std can send nothing but SIGKILL")]
    // SAFETY: kill takes plain integers; the id is that of a child not yet waited for.
    unsafe {
        libc::kill(pid.cast_signed(), signal);
    }
}

/// A loopback port that nobody listens on, `also` included (for servers with a second listener).
///
/// Below the ephemeral range, so that no outgoing connection takes it while its server restarts.
pub(crate) fn free_port(also: Option<u16>) -> anyhow::Result<u16> {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = taken.get_or_insert_with(HashSet::new);
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    for _ in 0..1_000 {
        let port = rand::rng().random_range(11_000..22_000);
        if taken.contains(&port) || !free(port) || also.is_some_and(|offset| !free(port + offset)) {
            continue;
        }
        taken.insert(port);
        return Ok(port);
    }
    bail!("no free loopback port between 11000 and 22000")
}

/// The first of `names` that exists, on `PATH` or in one of `directories`.
pub(super) fn find_binary(name: &str, directories: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    directories
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| anyhow!("`{name}` is not installed; run the tests through `make test`, which installs it"))
}

/// Whether this process runs as root.
pub(super) fn is_root() -> bool {
    #[expect(unsafe_code, reason = "std does not tell the user id")]
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe {
        libc::geteuid() == 0
    }
}

/// Runs blocking work without stalling the tasks of a multi-threaded runtime.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A fresh temporary directory for one server.
pub fn temp_dir(what: &str) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(&format!("patchwave-test-{what}-"))
        .tempdir()
        .context("could not make a temporary directory")
}

/// Runs `command` in a process group of its own with `TMPDIR` set to `directory`, until it ends or
/// `stopped` says to stop it; then its whole group is told to end, and killed after 5 s.
///
/// # Errors
/// When the command cannot be started or waited for.
pub fn run_under_temp_dir(
    mut command: Command,
    directory: &Path,
    stopped: impl Fn() -> bool,
) -> anyhow::Result<ExitStatus> {
    command.env("TMPDIR", directory).process_group(0);
    let mut process = Process::spawn("the command", command)?;
    let group = process.child.id();
    let signal_group = |signal| {
        #[expect(unsafe_code, reason = "std cannot signal a process group")]
        // SAFETY: killpg takes plain integers; the group is led by our own child.
        unsafe {
            libc::killpg(group.cast_signed(), signal)
        }
    };
    let mut deadline = None;
    let status = loop {
        if let Some(status) = process.child.try_wait()? {
            break status;
        }
        if stopped() && deadline.is_none() {
            signal_group(libc::SIGTERM);
            deadline = Some(Instant::now() + Duration::from_secs(5));
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            signal_group(libc::SIGKILL);
        }
        std::thread::sleep(POLL);
    };
    // What the command left running in its group.
    signal_group(libc::SIGKILL);
    Ok(status)
}

/// The end of a log file, for error messages.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let start = text.len().saturating_sub(4_000);
    String::from_utf8_lossy(&text[start..]).into_owned()
}
