//! A Patchwave of its own for each measurement: an empty virtual host and database, a worker and a
//! fleet of simulated nodes, each in a process of its own, and windows that are fired at it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use patchwave_platform::bus::amqp::AmqpBus;
use patchwave_platform::bus::{Bus, Link, Outgoing, Route};
use patchwave_platform::store::Store;
use patchwave_platform::store::windows::{
    CalendarPolicy, CutoffBehavior, RunCommandParameters, Window, WindowTarget, WindowTask,
};
use patchwave_schemas::event::{ErrorMode, Target, WindowStartRequested};
use patchwave_schemas::topology::routing_key;
use patchwave_schemas::{CloudEvent, Message as _, WindowId, WindowTargetId, WindowTaskId};
use patchwave_tests::servers::shared;
use sqlx::Row as _;
use uuid::Uuid;

use crate::program::{Program, built, pause};

/// The script that every node pretends to run.
const SCRIPT: &str = "uname -r; uptime";
/// Processes that a fleet with a queue per node is simulated in, each with one connection.
const AGENT_PROCESSES: usize = 1;
/// A fleet that has not connected, or a rollout that has not ended, by then has failed.
const PATIENCE: Duration = Duration::from_secs(240);

/// An empty place on the shared servers.
pub(crate) struct Place {
    pub(crate) bus_url: String,
    pub(crate) store_url: String,
    pub(crate) redis_url: String,
    pub(crate) store: Store,
    pub(crate) bus: AmqpBus,
    pub(crate) directory: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn make(name: &str) -> anyhow::Result<Self> {
        let servers = shared()?;
        let bus_url = servers.vhost(&format!("bench-{name}"))?;
        let store_url = servers.database(&format!("bench_{name}"))?;
        let store = Store::open(&store_url).await?;
        let bus = AmqpBus::connect(&bus_url, "bench").await?;
        // It declares the exchanges; agents do not, and what they say before is lost.
        let mut link = bus.link();
        tokio::time::timeout(PATIENCE, link.wait_for(|link| *link == Link::Up))
            .await
            .context("no link to the broker")??;
        let directory = tempfile::tempdir()?;
        Ok(Self { bus_url, store_url, redis_url: servers.redis_url().to_owned(), store, bus, directory })
    }

    pub(crate) fn worker(&self) -> anyhow::Result<Program> {
        let mut command = Command::new(built("patchwave")?);
        command.args(["worker", "--bus", &self.bus_url, "--store", &self.store_url, "--topics", &self.redis_url]);
        command.arg("--data-dir").arg(self.directory.path()).current_dir(self.directory.path());
        quiet(&mut command);
        Program::spawn(command)
    }

    /// Starts simulated nodes and waits until all of them are known. The worker must be running.
    pub(crate) async fn agents(&self, nodes: usize, shared: bool, more: &[&str]) -> anyhow::Result<Vec<Program>> {
        let processes = if shared { 1 } else { AGENT_PROCESSES.min(nodes) };
        let each = nodes.div_ceil(processes);
        let mut agents = Vec::new();
        for first in (0..nodes).step_by(each) {
            let mut command = agent(&self.bus_url, self.directory.path())?;
            command.args(["--simulate", &each.min(nodes - first).to_string()]).args(more);
            command.args(["--first-id", &first.to_string()]);
            if shared {
                command.arg("--shared-queue");
            }
            agents.push(Program::spawn(command)?);
        }
        let started = Instant::now();
        loop {
            let connected = self.store.figures(Timestamp::now()).await?.nodes_connected;
            if connected as usize == nodes {
                // The last of them are still being acknowledged.
                tokio::time::sleep(Duration::from_millis(500)).await;
                return Ok(agents);
            }
            agents.iter_mut().try_for_each(Program::check)?;
            ensure!(started.elapsed() < PATIENCE, "only {connected} of {nodes} nodes connected");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) async fn publish(&self, event: Outgoing) -> anyhow::Result<()> {
        self.bus.publish(&[event]).await?;
        Ok(())
    }

    /// Fires a window over all nodes and waits for its command's end.
    pub(crate) async fn roll_out(&self, limits: &Limits<'_>) -> anyhow::Result<Rollout> {
        let firing = register(&self.store, limits).await?;
        let requested_at = Timestamp::now();
        self.publish(firing.outgoing()).await?;
        finished(&self.store, &firing.window, requested_at).await
    }
}

/// The agent's program on a bus.
pub(crate) fn agent(bus: &str, state_dir: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(built("patchwave-agent")?);
    command.args(["--bus", bus, "--state-dir"]).arg(state_dir);
    quiet(&mut command);
    Ok(command)
}

/// No settings but those given, and no log lines but warnings.
fn quiet(command: &mut Command) {
    for (name, _) in std::env::vars() {
        if name.starts_with("PATCHWAVE_") && !name.ends_with("_LOG") {
            command.env_remove(name);
        }
    }
    for name in ["PATCHWAVE_LOG", "PATCHWAVE_AGENT_LOG"] {
        if std::env::var_os(name).is_none() {
            command.env(name, "warn,lapin=off");
        }
    }
}

/// The limits of a rollout.
pub(crate) struct Limits<'a> {
    pub(crate) concurrency: &'a str,
    pub(crate) errors: &'a str,
}

/// A window that is about to fire.
pub(crate) struct Firing {
    pub(crate) window: WindowId,
    event: CloudEvent<WindowStartRequested>,
}

impl Firing {
    pub(crate) fn outgoing(&self) -> Outgoing {
        Outgoing {
            route: Route::Event { key: routing_key(WindowStartRequested::TYPE).to_owned() },
            message_id: self.event.id,
            message_type: WindowStartRequested::TYPE.to_owned(),
            body: self.event.to_bytes(),
        }
    }
}

/// Stores a window with one task for all nodes.
pub(crate) async fn register(store: &Store, limits: &Limits<'_>) -> anyhow::Result<Firing> {
    let now = Timestamp::now();
    let window_id = WindowId::random();
    let window_target_id = WindowTargetId::random();
    let target = |key: &str, value: String| vec![Target { key: key.to_owned(), values: vec![value] }];
    let window = Window {
        window_id: window_id.clone(),
        name: "bench".to_owned(),
        description: None,
        schedule: "at(2099-01-01T00:00:00)".to_owned(),
        schedule_timezone: None,
        schedule_offset: None,
        start_date: None,
        end_date: None,
        duration: 2,
        cutoff: 1,
        allow_unassociated_targets: false,
        calendar_names: Vec::new(),
        calendar_policy: CalendarPolicy::Skip,
        enabled: true,
        schedule_base: now,
        created_date: now,
        modified_date: now,
        next_execution_at: None,
    };
    let targets = WindowTarget {
        window_target_id,
        window_id: window_id.clone(),
        resource_type: "INSTANCE".to_owned(),
        targets: vec![Target { key: "tag-key".to_owned(), values: vec!["bench".to_owned()] }],
        owner_information: None,
        name: None,
        description: None,
    };
    let parameters = [("commands".to_owned(), vec![SCRIPT.to_owned()])].into();
    let task = WindowTask {
        window_task_id: WindowTaskId::random(),
        window_id: window_id.clone(),
        task_type: "RUN_COMMAND".to_owned(),
        task_arn: "AWS-RunShellScript".to_owned(),
        targets: target("WindowTargetIds", window_target_id.to_string()),
        priority: 1,
        max_concurrency: Some(limits.concurrency.to_owned()),
        max_errors: Some(limits.errors.to_owned()),
        error_mode: ErrorMode::Ssm,
        cutoff_behavior: CutoffBehavior::ContinueTask,
        run_command: RunCommandParameters { parameters, ..RunCommandParameters::default() },
        step_functions: None,
        lambda: None,
        rollout_plan: None,
        service_role_arn: None,
        name: None,
        description: None,
    };
    let mut tx = store.begin().await?;
    tx.put_window(&window).await?;
    tx.put_window_target(&targets, now).await?;
    tx.put_window_task(&task, now).await?;
    tx.commit().await?;
    let request = WindowStartRequested { window_id: window_id.clone(), reason: None };
    Ok(Firing { window: window_id, event: CloudEvent::new(Uuid::new_v4(), "/bench", now, request) })
}

/// A rollout that has ended, by what the store says.
#[derive(Debug, Clone)]
pub(crate) struct Rollout {
    pub(crate) command: String,
    pub(crate) targets: usize,
    pub(crate) succeeded: usize,
    /// Window start event to the last stored result.
    pub(crate) elapsed: Duration,
    /// Window start event to the first command marked as released.
    pub(crate) to_first_release: Duration,
}

/// Waits for the end of a window's command.
pub(crate) async fn finished(store: &Store, window: &WindowId, since: Timestamp) -> anyhow::Result<Rollout> {
    let started = Instant::now();
    let (command, finished_at) = loop {
        let row = sqlx::query(
            "SELECT c.command_id, c.finished_at FROM commands c
             JOIN window_executions w ON w.window_execution_id = c.window_execution_id
             WHERE w.window_id = $1 AND c.finished_at IS NOT NULL",
        )
        .bind(window.as_str())
        .fetch_optional(store.reader())
        .await?;
        if let Some(row) = row {
            break (row.try_get::<String, _>("command_id")?, row.try_get::<i64, _>("finished_at")?);
        }
        if started.elapsed() > PATIENCE {
            bail!("the rollout did not end within {} s", PATIENCE.as_secs());
        }
        pause().await;
    };
    let row = sqlx::query(
        "SELECT COUNT(*) AS targets, SUM(CASE WHEN state = 'Success' THEN 1 ELSE 0 END) AS succeeded,
             MIN(released_at) AS first_release FROM invocations WHERE command_id = $1",
    )
    .bind(&command)
    .fetch_one(store.reader())
    .await
    .context("could not count the invocations")?;
    let since = since.as_millisecond();
    let between = |at: i64| Duration::from_millis(u64::try_from(at - since).unwrap_or_default());
    Ok(Rollout {
        command,
        targets: usize::try_from(row.try_get::<i64, _>("targets")?)?,
        succeeded: usize::try_from(row.try_get::<i64, _>("succeeded")?)?,
        elapsed: between(finished_at),
        to_first_release: between(row.try_get("first_release")?),
    })
}
