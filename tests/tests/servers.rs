//! The private servers themselves: what every other test here stands on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use patchwave_tests::servers::{Postgres, Rabbit, Redis};
use sqlx::{Connection, PgConnection};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_committed_rows_over_kill_and_restart() {
    let mut server = Postgres::start().unwrap();
    let url = server.create_database("kept").unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (n INT); INSERT INTO t VALUES (7)").execute(&mut connection).await.unwrap();

    server.kill().unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    server.restart().unwrap();

    let mut connection = PgConnection::connect(&url).await.unwrap();
    let (n,): (i32,) = sqlx::query_as("SELECT n FROM t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbit_comes_back_on_its_port_with_its_virtual_hosts() {
    let mut server = Rabbit::start().unwrap();
    let url = server.vhost("kept").unwrap();
    for breakage in [Rabbit::kill, Rabbit::stop] {
        breakage(&mut server).unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart().unwrap();
        lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.unwrap();
    }
}

#[test]
fn redis_restarts_on_its_port() {
    let mut server = Redis::start().unwrap();
    let url = server.url();
    server.kill().unwrap();
    let client = redis::Client::open(url).unwrap();
    assert!(client.get_connection().is_err());
    server.restart().unwrap();
    assert!(client.get_connection().is_ok());
}

#[test]
fn stopped_servers_leave_no_process_and_no_file() {
    // The servers of one process share a prefix per kind, so look for what carries our own node
    // name or directory only: other tests run at the same time.
    let server = Rabbit::start().unwrap();
    let mark = server.directory().to_path_buf();
    assert!(!processes_mentioning(&mark).is_empty(), "the check finds what runs");
    drop(server);
    assert_eq!(left_running(&mark), Vec::<String>::new());
    assert!(!mark.exists());
}

/// Command lines and environments of processes, by the files in `/proc`.
fn processes_mentioning(directory: &std::path::Path) -> Vec<String> {
    let needle = directory.to_str().unwrap();
    let mine = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == mine || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
        let text = [read("cmdline"), read("environ")].concat();
        if String::from_utf8_lossy(&text).contains(needle) {
            let command: PathBuf = std::fs::read_link(entry.path().join("exe")).unwrap_or_default();
            found.push(format!("{name} {}", command.display()));
        }
    }
    found
}

/// What is left of them in the end. The broker's helpers end by themselves when they notice that it
/// is gone, which takes a busy machine a moment.
fn left_running(directory: &std::path::Path) -> Vec<String> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let found = processes_mentioning(directory);
        if found.is_empty() || std::time::Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// `with-servers` with a directory of its own for everything temporary.
fn with_servers(directory: &std::path::Path, script: &str) -> std::process::Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_with-servers"))
        .args(["--", "sh", "-c", script])
        .env("TMPDIR", directory)
        .spawn()
        .unwrap()
}

#[test]
fn with_servers_passes_urls_and_the_exit_code_on() {
    let directory = world_readable_tempdir();
    let script = "test -n \"$PATCHWAVE_TEST_AMQP_URL$PATCHWAVE_TEST_REDIS_URL\" && \
                  test -n \"$PATCHWAVE_TEST_POSTGRES_URL\" && touch \"$TMPDIR/left-over\" && exit 42";
    let status = with_servers(directory.path(), script).wait().unwrap();
    assert_eq!(status.code(), Some(42));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(left_running(directory.path()), Vec::<String>::new());
}

#[test]
fn with_servers_cleans_up_after_sigterm() {
    let directory = world_readable_tempdir();
    let ready = directory.path().join("ready");
    // A grandchild that would outlive its parent.
    let script = format!("sleep 1000 & touch {}; wait", ready.display());
    let mut child = with_servers(directory.path(), &script);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while !ready.exists() {
        assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none(), "did not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::fs::remove_file(ready).unwrap();
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert_eq!(left_running(directory.path()), Vec::<String>::new());
}

/// PostgreSQL runs as another user below it when the tests run as root.
fn world_readable_tempdir() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    directory
}
