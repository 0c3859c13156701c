//! A private Redis server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Process, blocking, find_binary, free_port, temp_dir};

/// A Redis server of one's own, on loopback, that stores nothing on disk.
#[derive(Debug)]
pub struct Redis {
    server: Option<Process>,
    port: u16,
    directory: tempfile::TempDir,
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When Redis is not installed or does not start.
    pub fn start() -> anyhow::Result<Self> {
        blocking(|| {
            let mut redis = Self { server: None, port: free_port(None)?, directory: temp_dir("redis")? };
            redis.launch()?;
            Ok(redis)
        })
    }

    /// The URL of database 0.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Stops the server as an operator would.
    ///
    /// # Errors
    /// When it has to be killed.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGTERM).map(drop)))
    }

    /// Kills the server at once, as `kill -9` does.
    ///
    /// # Errors
    /// When waiting for its end fails.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        blocking(|| self.server.take().map_or(Ok(()), |server| server.end(libc::SIGKILL).map(drop)))
    }

    /// Stops the server if it runs, and starts it on the same port. It keeps no data.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        blocking(|| self.launch())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let log = self.directory.path().join("redis.log");
        let mut command = Command::new(find_binary("redis-server", &[PathBuf::from("/usr/bin")])?);
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(self.directory.path())
            .arg("--logfile")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut server = Process::spawn("Redis", command)?;
        let port = self.port;
        server.wait_until(&log, || answers(port))?;
        self.server = Some(server);
        Ok(())
    }
}

fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<[u8; 5]> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    matches!(ping(), Ok(answer) if &answer == b"+PONG")
}
