//! A private PostgreSQL server.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use sqlx::{Connection, PgConnection};

use super::process::{PATIENCE, Process, blocking, find_binary, free_port, is_root, temp_dir};

/// Name of the database superuser of a private server. Connections are trusted: it is on loopback
/// and gone when its test is.
const USER: &str = "patchwave";

/// A PostgreSQL server of one's own, on loopback. Commits are flushed to disk as in production.
#[derive(Debug)]
pub struct Postgres {
    server: Option<Process>,
    port: u16,
    // PostgreSQL refuses to run as root.
    owner: Option<(u32, u32)>,
    binaries: PathBuf,
    directory: tempfile::TempDir,
}

impl Postgres {
    /// Makes a database cluster, starts its server and waits until it answers.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start; the message has the end of its log.
    pub fn start() -> anyhow::Result<Self> {
        blocking(|| {
            let directory = temp_dir("postgres")?;
            let owner = if is_root() { Some(unprivileged_user()?) } else { None };
            if let Some((user, group)) = owner {
                std::os::unix::fs::chown(directory.path(), Some(user), Some(group))
                    .context("could not give PostgreSQL's directory to an unprivileged user")?;
            }
            let mut postgres =
                Self { server: None, port: free_port(None)?, owner, binaries: newest_binaries()?, directory };
            postgres.make_cluster()?;
            postgres.launch()?;
            Ok(postgres)
        })
    }

    /// The URL of the default database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When the server refuses, for instance because the name is taken.
    pub fn create_database(&self, name: &str) -> anyhow::Result<String> {
        create_database(&self.url(), name)
    }

    /// Stops the server as an operator would, ending its sessions (`fast`). Data stays.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGINT).map(drop)))
    }

    /// Kills the server at once, as `kill -9` of its first process does. Data stays.
    ///
    /// # Errors
    /// When waiting for its end fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGKILL).map(drop)))
    }

    /// Stops the server if it runs, and starts it on the same port with the same data.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        blocking(|| self.launch())
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let log =
            File::options().create(true).append(true).open(self.log()).context("could not open PostgreSQL's log")?;
        let mut command = Command::new(self.binaries.join(program));
        command
            .env("LC_ALL", "C")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        Ok(command)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("postgres.log")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn make_cluster(&self) -> anyhow::Result<()> {
        let mut command = self.command("initdb")?;
        // No sync: what initdb makes is thrown away with the test. Commits are flushed all the same.
        command
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", USER, "--pgdata"])
            .arg(self.data());
        let status = command.status().context("could not start initdb")?;
        if !status.success() {
            bail!("initdb ended with {status}:\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
        Ok(())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = self.command("postgres")?;
            command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string()]);
            for setting in [
                "listen_addresses=127.0.0.1",
                "unix_socket_directories=",
                "max_connections=200",
                // Nothing in /dev/shm, which a killed server would leave behind.
                "dynamic_shared_memory_type=mmap",
            ] {
                command.args(["-c", setting]);
            }
            let mut server = Process::spawn("PostgreSQL", command)?;
            let url = self.url();
            match server.wait_until(&self.log(), || answers(&url)) {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                // After kill -9 the last sessions still hold its shared memory for a moment.
                Err(error) if Instant::now() > deadline || !still_held(&self.log()) => return Err(error),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
            }
        }
    }

    /// Removes the System V segment that a killed server leaves behind; it has no other owner.
    fn release_memory(&self) {
        let Ok(file) = std::fs::read_to_string(self.data().join("postmaster.pid")) else { return };
        // Line 7: key and id of the segment.
        let id = file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)?.parse::<i32>().ok());
        if let Some(id) = id {
            #[expect(unsafe_code, reason = "std knows no shared memory")]
            // SAFETY: IPC_RMID ignores its third argument; a wrong id is an error that is ignored.
            unsafe {
                libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            }
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // `immediate`: sessions end and shared memory is released, but nothing is written.
        if let Some(server) = self.server.take() {
            let _ = server.end(libc::SIGQUIT);
        }
        self.release_memory();
    }
}

/// Makes a database on the server of `url` and returns its URL. Works in and outside a runtime.
pub(super) fn create_database(url: &str, name: &str) -> anyhow::Result<String> {
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        bail!("database `{name}`: only lower-case letters, digits and `_` are allowed in tests");
    }
    let statement = format!(r#"CREATE DATABASE "{name}""#);
    on_own_runtime(url, move |mut connection| async move {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(())
    })
    .with_context(|| format!("could not make the database `{name}`"))?;
    let (server, _) = url.rsplit_once('/').context("the PostgreSQL URL has no database")?;
    Ok(format!("{server}/{name}"))
}

fn answers(url: &str) -> bool {
    on_own_runtime(url, async |mut connection| {
        sqlx::raw_sql("SELECT 1").execute(&mut connection).await?;
        Ok(())
    })
    .is_ok()
}

/// Connects and works on a thread of its own, as the caller may be inside a runtime or not.
fn on_own_runtime<F, W>(url: &str, work: F) -> anyhow::Result<()>
where
    F: FnOnce(PgConnection) -> W + Send,
    W: Future<Output = Result<(), sqlx::Error>>,
{
    let on_thread = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let connection = PgConnection::connect(url).await?;
            work(connection).await?;
            Ok(())
        })
    };
    blocking(|| {
        std::thread::scope(|scope| match scope.spawn(on_thread).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })
}

fn still_held(log: &Path) -> bool {
    std::fs::read_to_string(log).is_ok_and(|log| {
        log.lines().rev().take(5).any(|line| {
            line.contains("shared memory block") || line.contains("lock file \"postmaster.pid\" already exists")
        })
    })
}

/// The directory of the newest installed server's programs; Debian keeps them off `PATH`.
fn newest_binaries() -> anyhow::Result<PathBuf> {
    let mut directories: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    directories.sort_by_key(|directory| {
        let version = directory.parent().and_then(Path::file_name).and_then(|name| name.to_str()?.parse::<u32>().ok());
        std::cmp::Reverse(version)
    });
    directories.retain(|directory| directory.join("postgres").is_file());
    let initdb = find_binary("initdb", &directories)?;
    initdb.parent().map(Path::to_path_buf).context("initdb is in no directory")
}

/// User and group that a server is started as by root: `postgres`, else `nobody`.
fn unprivileged_user() -> anyhow::Result<(u32, u32)> {
    for name in ["postgres", "nobody"] {
        let name = CString::new(name).context("a user name has no zero byte")?;
        #[expect(unsafe_code, reason = "std does not read the user database")]
        // SAFETY: the name is a valid C string; the result is copied before another call can
        // overwrite it (only this function of this process reads the user database).
        let found = unsafe { libc::getpwnam(name.as_ptr()).as_ref().map(|entry| (entry.pw_uid, entry.pw_gid)) };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    bail!("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`")
}
