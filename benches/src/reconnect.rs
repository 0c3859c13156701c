//! How long registered nodes are away when the broker restarts.
//!
//! Each node is an agent with a key, a login and a connection of its own, in one process for all. The
//! broker is configured as it is deployed, so it asks the control plane about every login and about
//! what each may do; scheduler, worker and API are processes of their own, on PostgreSQL and Redis.
//! Measured is from when the broker accepts connections again until every node has said hello from a
//! new connection, and until a command to all of them, sent then, has succeeded.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use patchwave_engine::registration::Allowance;
use patchwave_platform::registration::{code_mac, register};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::signing::Signer;
use patchwave_platform::store::Store;
use patchwave_platform::store::activations::Activation;
use patchwave_schemas::NodeId;
use patchwave_schemas::node::OperatingSystem;
use patchwave_schemas::registration::Registration;
use patchwave_tests::fleet::{Role, System, Urls};
use patchwave_tests::servers::{Rabbit, free_port};
use ring::signature::KeyPair as _;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use crate::cases::broker_is_quiet;
use crate::figures::{Figures, say};
use crate::lone_nodes;
use crate::program::{Program, cpu_by_program};

/// A fleet that is not there, or a command that has not ended, by then has failed.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CODE: &str = "an-activation-code-of-some-length";
/// Nodes that are registered in one transaction.
const STORED_TOGETHER: usize = 500;

/// A control plane with a broker of its own, and a fleet.
struct Storm {
    rabbit: Rabbit,
    system: System,
    store: Store,
    fleet: Program,
    fleet_log: PathBuf,
    nodes: usize,
}

/// Restarts the broker under `nodes` connected nodes, `repeats` times, each time away for `away`.
pub(crate) async fn storm(figures: &mut Figures, nodes: usize, away: Duration, repeats: usize) -> anyhow::Result<()> {
    say(&format!("{nodes} agents whose broker restarts, away for {} s", away.as_secs()));
    let mut storm = Storm::start(nodes).await?;
    let (mut back, mut working, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let round = storm.restart(away).await?;
        back.push(round.back.as_secs_f64());
        working.push(round.working.as_secs_f64());
        refused.push(round.refusals as f64);
    }
    let name = format!("{nodes} agents, broker away for {} s", away.as_secs());
    figures.add(format!("{name}: all connected again"), "s", None, &back);
    figures.add(format!("{name}: a command to all has succeeded"), "s", Some("≤ 60"), &working);
    figures.add(format!("{name}: refusals by the broker"), "", Some("0"), &refused);
    Ok(())
}

struct Round {
    back: Duration,
    working: Duration,
    refusals: usize,
}

impl Storm {
    async fn start(nodes: usize) -> anyhow::Result<Self> {
        let port = free_port()?;
        let rabbit = Rabbit::start_asking(&format!("http://127.0.0.1:{port}/broker-auth/{SECRET}"))?;
        let file = rabbit.directory().join("broker-auth");
        std::fs::write(&file, SECRET)?;
        let urls = Urls { bus: rabbit.deployed_url("server/bus")?, ..Urls::shared("bench-reconnect")? };
        let (listen, file) = (format!("127.0.0.1:{port}"), file.display().to_string());
        let options = ["--broker-auth-listen", &listen, "--broker-auth-secret-file", &file];
        let system = System::start_with(urls, &[Role::Api, Role::Worker, Role::Scheduler], &options).await?;
        let store = Store::open(&system.store_url()).await?;
        let list = system.directory().join("nodes");
        let trusted = register_all(&store, &system.directory().join("data/master.key"), nodes, &list).await?;
        let url = format!("amqp://127.0.0.1:{}/%2f", rabbit.port());
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lone-nodes", "--url", &url, "--verification-key", &trusted, "--nodes"]).arg(&list);
        let fleet_log = system.directory().join("fleet.log");
        // A thread for each connection: its stack is the most of what a node costs here.
        command.env("RUST_MIN_STACK", (256 << 10).to_string()).stderr(std::fs::File::create(&fleet_log)?);
        let started = Instant::now();
        let fleet = Program::spawn(command)?;
        let mut storm = Self { rabbit, system, store, fleet, fleet_log, nodes };
        storm.wait_for_all("connect", async |storm| storm.connected(&HashMap::new()).await).await?;
        say(&format!("  connected for the first time after {:.1} s", started.elapsed().as_secs_f64()));
        Ok(storm)
    }

    async fn restart(&mut self, away: Duration) -> anyhow::Result<Round> {
        broker_is_quiet().await;
        let before = self.sessions().await?;
        let broker_log = self.rabbit.directory().join("broker.log");
        self.rabbit.stop()?;
        let log_end = std::fs::metadata(&broker_log)?.len();
        tokio::time::sleep(away).await;
        self.rabbit.restart()?;
        let (accepts, accepts_at, spent) = (Instant::now(), Timestamp::now(), cpu_by_program());
        self.wait_for_all("come back", async |storm| storm.connected(&before).await).await?;
        let back = accepts.elapsed();
        let after = cpu_by_program();
        let seconds = |name: &str| after.get(name).unwrap_or(&0.0) - spent.get(name).unwrap_or(&0.0);
        let texts: Vec<_> = after
            .keys()
            .map(|name| (name, seconds(name)))
            .filter(|(_, seconds)| *seconds >= 0.1)
            .map(|(name, seconds)| format!("{name} {seconds:.1}"))
            .collect();
        say(&format!("  all back after {:.1} s, processor seconds: {}", back.as_secs_f64(), texts.join(", ")));
        let command = self.command().await?;
        let succeeded = async |storm: &Self| storm.succeeded(&command).await;
        self.wait_for_all("run a command", succeeded).await?;
        let working = accepts.elapsed();
        say(&format!("  all working after {:.1} s", working.as_secs_f64()));
        // What they met before it accepted was nobody.
        let mut refusals = refusals(&self.fleet_log, 0, |line| {
            let at = line.split_whitespace().next().and_then(|word| word.parse::<Timestamp>().ok());
            line.contains("could not connect") && at.is_some_and(|at| at >= accepts_at)
        })?;
        let complains = ["refused", "denied", "limit", "handshake", "timeout"];
        refusals.extend(refusals_in_broker(&broker_log, log_end, &complains)?);
        for line in refusals.iter().take(5) {
            say(&format!("  refused: {line}"));
        }
        Ok(Round { back, working, refusals: refusals.len() })
    }

    /// Looks until as many as there are nodes have done it.
    async fn wait_for_all(
        &mut self,
        what: &str,
        look: impl AsyncFn(&Self) -> anyhow::Result<usize>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let done = look(self).await?;
            if done == self.nodes {
                return Ok(());
            }
            self.fleet.check()?;
            ensure!(self.system.is_running(), "a role has ended");
            let nodes = self.nodes;
            ensure!(started.elapsed() < PATIENCE, "only {done} of {nodes} nodes did {what} in time");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The connection that each node said hello from last.
    async fn sessions(&self) -> anyhow::Result<HashMap<String, String>> {
        let rows = sqlx::query("SELECT node_id, session FROM nodes WHERE session IS NOT NULL");
        let rows = rows.fetch_all(self.store.reader()).await?;
        rows.iter().map(|row| Ok((row.try_get("node_id")?, row.try_get("session")?))).collect()
    }

    /// Nodes that have said hello from another connection than in `before`.
    async fn connected(&self, before: &HashMap<String, String>) -> anyhow::Result<usize> {
        let now = self.sessions().await?;
        Ok(now.iter().filter(|(node, session)| before.get(*node) != Some(*session)).count())
    }

    async fn command(&self) -> anyhow::Result<String> {
        let input = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["uptime"] },
            "Targets": [{ "Key": "tag:bench", "Values": ["1"] }], "MaxConcurrency": "100%", "MaxErrors": "100%" });
        let answer = self.system.api().call("SendCommand", &input).await?;
        Ok(answer["Command"]["CommandId"].as_str().context("the answer names no command")?.to_owned())
    }

    async fn succeeded(&self, command: &str) -> anyhow::Result<usize> {
        let text = "SELECT COUNT(*) AS done FROM invocations WHERE command_id = $1 AND state = 'Success'";
        let row = sqlx::query(text).bind(command).fetch_one(self.store.reader()).await?;
        Ok(usize::try_from(row.try_get::<i64, _>("done")?)?)
    }
}

/// Registers nodes as their registrations would, writes their ids to a file, one a line, and returns
/// the key that their commands are signed with.
async fn register_all(store: &Store, master_key: &Path, nodes: usize, list: &Path) -> anyhow::Result<String> {
    let master = std::sync::Arc::new(MasterKey::load(master_key)?);
    let now = Timestamp::now();
    let signer = Signer::new(store.clone(), std::sync::Arc::clone(&master));
    signer.key(now).await?;
    let key = store.signing_keys().await?.remove(0);
    let activation_id = Uuid::new_v4();
    let mut tx = store.begin().await?;
    tx.add_activation(&Activation {
        activation_id,
        code_mac: code_mac(&master, activation_id, CODE),
        description: None,
        default_instance_name: None,
        iam_role: "bench".to_owned(),
        allowance: Allowance { limit: u32::try_from(nodes)?, used: 0, expires_at: now + SignedDuration::from_hours(1) },
        tags: [("bench".to_owned(), "1".to_owned())].into(),
        created_at: now,
    })
    .await?;
    tx.commit().await?;
    let mut ids: Vec<NodeId> = Vec::with_capacity(nodes);
    for first in (0..nodes).step_by(STORED_TOGETHER) {
        let mut tx = store.begin().await?;
        for number in first..nodes.min(first + STORED_TOGETHER) {
            let registration = Registration {
                activation_id: activation_id.to_string(),
                activation_code: CODE.to_owned(),
                public_key: BASE64.encode(lone_nodes::key(number)?.public_key()),
                fingerprint: lone_nodes::FINGERPRINT.to_owned(),
                computer_name: format!("host-{number}"),
                operating_system: OperatingSystem::Debian,
                platform_name: "Debian GNU/Linux".to_owned(),
                platform_version: "12".to_owned(),
                agent_version: "0.1.0".to_owned(),
                rebind: None,
            };
            ids.push(register(&mut tx, &master, &registration, now).await?.identity.node_id);
        }
        tx.commit().await?;
    }
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    std::fs::write(list, lines)?;
    Ok(format!("{}={}", key.key_id, key.public_key))
}

/// Lines of a log from `offset` on that pass.
fn refusals(log: &Path, offset: u64, passes: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let mut file = std::fs::File::open(log).with_context(|| format!("could not open {}", log.display()))?;
    file.seek(SeekFrom::Start(offset))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    Ok(lines.filter(|line| passes(line)).collect())
}

/// What the broker logged since, and that one of these words is in.
fn refusals_in_broker(log: &Path, offset: u64, words: &[&str]) -> anyhow::Result<Vec<String>> {
    refusals(log, offset, |line| {
        let line = line.to_ascii_lowercase();
        // What it says at its start is no complaint.
        !line.contains("[info]") && words.iter().any(|word| line.contains(word))
    })
}
