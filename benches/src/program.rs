//! Programs under measurement: started, watched, and killed when they are dropped.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// A child process; killed and waited for when dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
}

impl Program {
    pub(crate) fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("could not start `{name}`"))?;
        Ok(Self { child, name })
    }

    /// Starts a program and waits for its first line.
    pub(crate) fn spawn_ready(mut command: Command) -> anyhow::Result<Self> {
        command.stdout(Stdio::piped());
        let mut program = Self::spawn(command)?;
        let out = program.child.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("`{}` ended before it was ready", program.name);
        }
        Ok(program)
    }

    /// Fails when the program has ended, which none does by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("`{}` ended with {status}", self.name),
            None => Ok(()),
        }
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        memory(&self.child.id().to_string())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails only for a child that is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident, pages shared with other processes included.
    pub(crate) rss: u64,
    /// Resident, shared pages divided by their users.
    pub(crate) pss: u64,
    /// The most that was resident at any time.
    pub(crate) peak: u64,
    pub(crate) threads: u64,
}

/// Memory of a process by its id, or `self`.
pub(crate) fn memory(process: &str) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let field = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    Ok(Memory {
        rss: field(&status, "VmRSS:"),
        pss: field(&rollup, "Pss:"),
        peak: field(&status, "VmHWM:"),
        threads: field(&status, "Threads:"),
    })
}

/// A program of this build, beside this one.
pub(crate) fn built(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!("{} is missing; build it first: cargo build --release -p patchwave -p patchwave-agent", path.display())
}

/// Seconds of processor time of everything below this program's parent, by program: the servers
/// are its siblings. What has ended is not counted.
pub(crate) fn cpu_by_program() -> std::collections::BTreeMap<String, f64> {
    struct Entry {
        parent: u32,
        name: String,
        ticks: u64,
    }
    let mut entries = std::collections::HashMap::new();
    for directory in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = directory.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(directory.path().join("stat")) else { continue };
        let (Some(open), Some(close)) = (stat.find('('), stat.rfind(')')) else { continue };
        let fields: Vec<&str> = stat[close + 1..].split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let entry = Entry {
            parent: u32::try_from(number(1)).unwrap_or_default(),
            name: stat[open + 1..close].to_owned(),
            ticks: number(11) + number(12),
        };
        entries.insert(id, entry);
    }
    let root = entries.get(&std::process::id()).map_or(0, |entry| entry.parent);
    let mut sums = std::collections::BTreeMap::new();
    for entry in entries.values() {
        let mut ancestor = entry.parent;
        for _ in 0..32 {
            if ancestor == root {
                *sums.entry(entry.name.clone()).or_insert(0.0) += entry.ticks as f64 / 100.0;
                break;
            }
            let Some(next) = entries.get(&ancestor) else { break };
            ancestor = next.parent;
        }
    }
    sums
}

/// Waits a little between looks at something.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}
