//! A private RabbitMQ broker.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::process::{FILES, Process, blocking, find_binary, free_port, temp_dir};
use super::{http, process};

/// Offset from the AMQP port to the management API's, as RabbitMQ has it by default (5672, 15672).
pub(super) const MANAGEMENT_OFFSET: u16 = 10_000;

/// A RabbitMQ broker of one's own, with its own epmd and data directory, on loopback only.
#[derive(Debug)]
pub struct Rabbit {
    server: Option<Process>,
    // Erlang's port mapper daemon. It holds no data and survives `kill` and `restart`.
    _epmd: Process,
    port: u16,
    epmd_port: u16,
    distribution_port: u16,
    node: String,
    files: Option<u64>,
    // Last, so that it is removed after the processes are gone.
    directory: tempfile::TempDir,
}

impl Rabbit {
    /// Starts a broker and waits until it accepts AMQP connections.
    ///
    /// # Errors
    /// When RabbitMQ is not installed or does not start; the message has the end of its log.
    pub fn start() -> anyhow::Result<Self> {
        Self::launch_with(None, None)
    }

    /// The same, as it is deployed: with the users, permissions and policies that
    /// `deploy/image/make-secrets.sh` draws, besides `guest`, and asking the control plane about users
    /// that it does not have, as `deploy/rabbitmq/rabbitmq.conf` says, at `url` followed by `/user`,
    /// `/vhost` and so on.
    ///
    /// # Errors
    /// As [`Rabbit::start`], and when the script fails.
    pub fn start_asking(url: &str) -> anyhow::Result<Self> {
        let rabbit = Self::launch_with(None, Some(url))?;
        blocking(|| rabbit.draw_secrets())?;
        Ok(rabbit)
    }

    /// Asks the management API as `guest`, and returns what it answers.
    ///
    /// # Errors
    /// When it refuses.
    pub fn management(&self, method: &str, path: &str) -> anyhow::Result<String> {
        blocking(|| http::management(self.port + MANAGEMENT_OFFSET, method, path, ""))
    }

    fn draw_secrets(&self) -> anyhow::Result<()> {
        let secrets = self.directory.path().join("secrets");
        for reader in ["broker", "database", "topics", "server", "agent"] {
            std::fs::create_dir_all(secrets.join(reader))?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image/make-secrets.sh");
        let status = Command::new("sh").arg(script).arg(&secrets).stderr(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "make-secrets.sh ended with {status}");
        let definitions = std::fs::read_to_string(secrets.join("broker/definitions.json"))?;
        http::management(self.port + MANAGEMENT_OFFSET, "POST", "/api/definitions", &definitions)?;
        Ok(())
    }

    /// The URL in a file that was drawn for a broker that is deployed, such as `server/bus`, with this
    /// broker's address.
    ///
    /// # Errors
    /// When there is no such file: the broker was not started by [`Rabbit::start_asking`].
    pub fn deployed_url(&self, file: &str) -> anyhow::Result<String> {
        let path = self.directory.path().join("secrets").join(file);
        let url = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let management = format!("@127.0.0.1:{}", self.port + MANAGEMENT_OFFSET);
        Ok(url.replace("@rabbitmq:5672", &format!("@127.0.0.1:{}", self.port)).replace("@rabbitmq:15672", &management))
    }

    /// The same with a limit of open files, and with the statistics that tell it: both as an
    /// operator's broker has them.
    ///
    /// # Errors
    /// As [`Rabbit::start`].
    pub fn start_with_file_limit(files: u64) -> anyhow::Result<Self> {
        Self::launch_with(Some(files), None)
    }

    fn launch_with(files: Option<u64>, asks: Option<&str>) -> anyhow::Result<Self> {
        blocking(|| {
            let directory = temp_dir("rabbit")?;
            let port = free_port(Some(MANAGEMENT_OFFSET))?;
            let epmd_port = free_port(None)?;
            let distribution_port = free_port(None)?;
            configure(directory.path(), port, files.is_some(), asks)?;
            let mut epmd = Command::new(find_binary("epmd", &[])?);
            epmd.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"])
                .stdin(Stdio::null())
                .stdout(log(directory.path(), "epmd.log")?)
                .stderr(log(directory.path(), "epmd.log")?);
            let mut epmd = Process::spawn("epmd", epmd)?;
            epmd.wait_until(&directory.path().join("epmd.log"), || {
                TcpStream::connect((Ipv4Addr::LOCALHOST, epmd_port)).is_ok()
            })?;
            let node = format!("patchwave-test-{}-{port}@localhost", std::process::id());
            let mut rabbit =
                Self { server: None, _epmd: epmd, port, epmd_port, distribution_port, node, files, directory };
            rabbit.launch()?;
            Ok(rabbit)
        })
    }

    /// The URL of the default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The port of AMQP connections.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that holds all its files, and is removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes an empty virtual host, so that tests on one broker do not meet, and returns its URL.
    ///
    /// # Errors
    /// When the broker refuses, for instance because it is stopped.
    pub fn vhost(&self, name: &str) -> anyhow::Result<String> {
        vhost(self.port, name)
    }

    /// Stops the broker as an operator would. Data stays.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGTERM).map(drop)))
    }

    /// Kills the broker at once, as `kill -9` does. Data stays.
    ///
    /// # Errors
    /// When waiting for its end fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGKILL).map(drop)))
    }

    /// Stops the broker if it runs, and starts it on the same port with the same data.
    ///
    /// # Errors
    /// As [`Rabbit::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        blocking(|| self.launch())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let directory = self.directory.path();
        // Debian's wrapper in /usr/sbin switches the user, so the program itself.
        let program = find_binary("rabbitmq-server", &[PathBuf::from("/usr/lib/rabbitmq/bin")])?;
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("RABBITMQ_") || name.starts_with("ERL_")) {
                command.env_remove(name);
            }
        }
        let path = |name: &str| directory.join(name);
        command
            // Makes the script become the Erlang VM instead of waiting for it, so that signals
            // and our death reach the broker itself.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .arg("-noinput")
            .env("HOME", directory)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", &self.node)
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            .env("RABBITMQ_CONF_ENV_FILE", path("none"))
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_CONFIG_FILES", path("nodes*.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", path("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", path("pid"))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .env("RABBITMQ_SCHEMA_DIR", path("schema"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", path("config"))
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log(directory, "broker.log")?)
            .stderr(log(directory, "broker.log")?);
        let mut server = Process::spawn_with_file_limit("RabbitMQ", command, self.files.unwrap_or(FILES))?;
        let port = self.port;
        server.wait_until(&path("broker.log"), || speaks_amqp(port))?;
        self.server = Some(server);
        Ok(())
    }
}

/// Makes a virtual host on the private broker at `port`; the second half of [`Rabbit::vhost`].
pub(super) fn vhost(port: u16, name: &str) -> anyhow::Result<String> {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(anyhow!("virtual host `{name}`: only letters, digits, `-`, `_` and `.` are allowed in tests"));
    }
    process::blocking(|| {
        let management = port + MANAGEMENT_OFFSET;
        http::management(management, "PUT", &format!("/api/vhosts/{name}"), "")?;
        let everything = r#"{"configure":".*","write":".*","read":".*"}"#;
        http::management(management, "PUT", &format!("/api/permissions/{name}/guest"), everything)?;
        Ok(format!("amqp://guest:guest@127.0.0.1:{port}/{name}"))
    })
}

fn configure(directory: &Path, port: u16, statistics: bool, asks: Option<&str>) -> anyhow::Result<()> {
    let management = port + MANAGEMENT_OFFSET;
    // Statistics cost the benchmark's broker time, and hardly anybody here reads them. Queues make
    // them all the same, as often as deploy/rabbitmq/rabbitmq.conf says.
    let without = "management_agent.disable_metrics_collector = true\ncollect_statistics_interval = 30000\n";
    let statistics = if statistics { "" } else { without };
    let questions = asks.map(|url| questions(directory, url)).transpose()?.unwrap_or_default();
    let config = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         {statistics}\
         {questions}\
         disk_free_limit.absolute = 64MB\n\
         log.file.level = warning\n\
         log.console = true\n\
         log.console.level = warning\n"
    );
    std::fs::write(directory.join("rabbitmq.conf"), config).context("could not write rabbitmq.conf")?;
    let plugins = match asks {
        Some(_) => std::fs::read_to_string(deployed("enabled_plugins")).context("could not read enabled_plugins")?,
        None => "[rabbitmq_management].\n".to_owned(),
    };
    std::fs::write(directory.join("enabled_plugins"), plugins).context("could not write enabled_plugins")?;
    Ok(())
}

/// The lines of the deployed configuration that make the broker ask and take in a fleet at once, and
/// where it asks here.
fn questions(directory: &Path, url: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(deployed("rabbitmq.conf")).context("could not read rabbitmq.conf")?;
    let paths = ["user", "vhost", "resource", "topic"].map(|what| format!("auth_http.{what}_path = {url}/{what}\n"));
    // A file of its own there, too.
    std::fs::write(directory.join("nodes.conf"), paths.concat()).context("could not write nodes.conf")?;
    let deployed = ["auth_", "tcp_listen_options", "handshake_timeout"];
    let is_taken = |line: &&str| deployed.iter().any(|start| line.starts_with(start));
    Ok(text.lines().filter(is_taken).map(|line| format!("{line}\n")).collect())
}

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rabbitmq").join(name)
}

fn log(directory: &Path, name: &str) -> anyhow::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(directory.join(name))
        .with_context(|| format!("could not open {name}"))
}

/// Whether a broker at `port` answers a protocol header with its first frame.
fn speaks_amqp(port: u16) -> bool {
    let greet = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    // 1 is a method frame: Connection.Start.
    matches!(greet(), Ok(1))
}
