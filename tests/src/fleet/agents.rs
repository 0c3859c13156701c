//! Nodes: processes of `patchwave-agent`, real and simulated.

use std::path::Path;

use serde_json::json;

use super::{Program, System, eventually};

/// One process of `patchwave-agent`.
#[derive(Debug)]
pub struct Agents {
    program: Program,
}

impl Agents {
    /// Starts a process that is many simulated nodes. `options` are those behind `--simulate`.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub fn simulate(system: &System, count: usize, options: &[&str]) -> anyhow::Result<Self> {
        let name = format!("simulated-{}", options.join("").replace(['/', ' '], ""));
        let count = count.to_string();
        let arguments = ["--simulate", &count].into_iter().chain(options.iter().copied());
        Self::start(&system.urls().bus, system.directory(), arguments, &name)
    }

    /// Starts a process that is this machine under another id, with its state in a directory of
    /// the system. It never restarts anything.
    ///
    /// # Errors
    /// When it was not built or does not start.
    pub fn real(system: &System, node_id: &str, options: &[&str]) -> anyhow::Result<Self> {
        Self::real_at(&system.urls().bus, system.directory(), node_id, options)
    }

    /// As [`Agents::real`], without a system yet: its state is in `directory`.
    ///
    /// # Errors
    /// As [`Agents::real`].
    pub fn real_at(bus: &str, directory: &Path, node_id: &str, options: &[&str]) -> anyhow::Result<Self> {
        let state = directory.join(node_id).display().to_string();
        // Nodes that did not register; those that did have tests of their own.
        let fixed = ["--node-id", node_id, "--state-dir", &state, "--reboot-command", "", "--trust-anyone"];
        Self::start(bus, directory, fixed.into_iter().chain(options.iter().copied()), node_id)
    }

    /// As [`Agents::real_at`], believing only whom `options` say (`--verification-key`).
    ///
    /// # Errors
    /// As [`Agents::real`].
    pub fn trusting(bus: &str, directory: &Path, node_id: &str, options: &[&str]) -> anyhow::Result<Self> {
        let state = directory.join(node_id).display().to_string();
        let fixed = ["--node-id", node_id, "--state-dir", &state, "--reboot-command", ""];
        Self::start(bus, directory, fixed.into_iter().chain(options.iter().copied()), node_id)
    }

    /// Starts a process that is this machine as a registered node, with its credentials and state in
    /// the system's directory of that name. It goes the way that it registered for.
    ///
    /// # Errors
    /// As [`Agents::real`].
    pub fn registered(system: &System, node_id: &str, options: &[&str]) -> anyhow::Result<Self> {
        let state = system.directory().join(node_id).display().to_string();
        let mut all = vec!["--state-dir", &state, "--reboot-command", "", "--reconnect-max-seconds", "2"];
        all.extend(options);
        Ok(Self { program: Program::start("patchwave-agent", all, system.directory(), node_id)? })
    }

    fn start<'a>(
        bus: &'a str,
        directory: &Path,
        arguments: impl Iterator<Item = &'a str>,
        log: &str,
    ) -> anyhow::Result<Self> {
        // A few nodes need no minute to spread over.
        let mut all = vec!["--bus", bus, "--reconnect-max-seconds", "2"];
        all.extend(arguments);
        Ok(Self { program: Program::start("patchwave-agent", all, directory, log)? })
    }

    /// Its process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.program.log_tail());
        }
    }
}

/// Starts `count` real agents whose nodes carry `tag` (`KEY=VALUE`), and waits until all are known.
/// Their ids begin with `prefix` (hex digits), so that two calls can make different nodes.
///
/// # Errors
/// When they do not start.
pub async fn shell_nodes(
    system: &System,
    prefix: &str,
    count: usize,
    tag: &str,
) -> anyhow::Result<Vec<(String, Agents)>> {
    let mut nodes = Vec::with_capacity(count);
    for number in 0..count {
        let rest = 17 - prefix.len();
        let id = format!("mi-{prefix}{number:0rest$x}");
        let agent = Agents::real(system, &id, &["--tag", tag])?;
        nodes.push((id, agent));
    }
    system.online(count, tag).await;
    Ok(nodes)
}

impl System {
    /// Waits until `count` nodes with `tag` (`KEY=VALUE`) are online; returns their ids in order.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn online(&self, count: usize, tag: &str) -> Vec<String> {
        let (key, value) = tag.split_once('=').unwrap_or((tag, ""));
        let filters = json!([
            { "Key": format!("tag:{key}"), "Values": [value] },
            { "Key": "PingStatus", "Values": ["Online"] },
        ]);
        eventually(&format!("{count} nodes with {tag} are online"), async || {
            let input = json!({ "Filters": filters });
            let nodes = self.api().all("DescribeInstanceInformation", input, "InstanceInformationList").await.ok()?;
            let ids = nodes.iter().filter_map(|node| Some(node["InstanceId"].as_str()?.to_owned()));
            (nodes.len() >= count).then(|| ids.collect())
        })
        .await
    }
}
