//! What must hold after every step, and at the end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use patchwave_engine::calendar;
use patchwave_engine::invocation::{Ending, State};
use patchwave_engine::rollout::waves::{Stage, Waves};
use patchwave_engine::rollout::{Phase, Rollout};
use patchwave_platform::calendars;
use patchwave_platform::store::commands::Plan;
use patchwave_platform::store::documents::VersionSelector;
use patchwave_platform::store::timers::REFIRE_AFTER;
use patchwave_platform::store::{Store, from_json};
use patchwave_schemas::event::ErrorMode;
use patchwave_schemas::report::Outcome;
use patchwave_schemas::{CommandId, NodeId};
use patchwave_workers::dispatcher::check::{CHECK_EVERY, UNHEARD_AFTER};
use patchwave_workers::effects::{Effects, NodeDelivery, Order};
use sqlx::Row as _;

use super::fleet::Deeds;

/// What the checks remember from one step to the next.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Endings seen: nothing leaves one.
    endings: BTreeMap<(CommandId, NodeId), Ending>,
    /// Invocations that had been released when their rollout was first seen to have stopped.
    released_at_stop: BTreeMap<CommandId, usize>,
    /// Commands that were over when they were last looked at: looked at again at the end.
    over: BTreeSet<CommandId>,
    /// Invocations that can go on, as their node is connected, and do not: since when.
    idle_since: BTreeMap<(CommandId, NodeId, bool), Timestamp>,
    /// What was seen of each rollout's gates.
    gates: BTreeMap<CommandId, Gates>,
    /// Commands whose next wave somebody has approved.
    pub approved: BTreeSet<CommandId>,
    /// When every timer whose firing was lost with the broker has fired again.
    timers_repaired_at: Timestamp,
}

/// What was seen of a rollout's gates.
#[derive(Debug)]
struct Gates {
    /// Waves that were passed.
    passed: usize,
    /// The wave after which an approval was awaited.
    awaited: Option<usize>,
    /// Whether one stopped the rollout.
    stopped: bool,
}

/// No gate in the simulation waits for longer.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(300);

/// What is stored about one invocation.
struct Row {
    node: NodeId,
    ordinal: i64,
    state: State,
    attempts: i64,
    /// Its node's word decided.
    heard: bool,
}

impl Invariants {
    /// Compares the stored counters with the stored rows, and both with what was seen before.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub async fn check(&mut self, store: &Store, deeds: &Deeds, now: Timestamp) -> anyhow::Result<()> {
        self.check_commands(store, deeds, now, false).await?;
        let open = sqlx::query(
            "SELECT window_id, COUNT(*) AS open FROM window_executions WHERE ended_at IS NULL GROUP BY window_id",
        )
        .fetch_all(store.reader())
        .await?;
        for row in open {
            ensure!(row.get::<i64, _>("open") <= 1, "two firings of one window are open");
        }
        Ok(())
    }

    /// The same for every command, those that were over included.
    ///
    /// # Errors
    /// The invariant that does not hold.
    pub async fn check_all(&mut self, store: &Store, deeds: &Deeds, now: Timestamp) -> anyhow::Result<()> {
        self.check_calendars(store).await?;
        self.check_commands(store, deeds, now, true).await
    }

    /// No task of a window has started while one of its calendars was closed.
    async fn check_calendars(&self, store: &Store) -> anyhow::Result<()> {
        for window in store.windows().await? {
            for name in &window.calendar_names {
                let version = store.document_version(name, VersionSelector::Default).await?;
                let calendar =
                    calendars::read(version.as_ref()).map_err(|problem| anyhow::anyhow!("{name} {problem}"))?;
                for execution in store.executions(&window.window_id, None, u32::MAX).await? {
                    for task in store.tasks_of(execution.window_execution_id).await? {
                        let Some(at) = task.started_at.filter(|_| task.command_id.is_some()) else { continue };
                        let open = calendar.state(at).state == calendar::State::Open;
                        ensure!(open, "{} started at {at}, when {name} was closed", task.task_execution_id);
                    }
                }
            }
        }
        Ok(())
    }

    /// An invocation waits for its node only while that node is away, and a node that is connected
    /// is told what it is to run: give or take two looks of the rollout's check. `reachable` nodes
    /// have been connected since the time before, or longer.
    ///
    /// # Errors
    /// The invocation that is forgotten.
    pub async fn check_nobody_is_forgotten(
        &mut self,
        store: &Store,
        deeds: &Deeds,
        reachable: &[NodeId],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let rows =
            sqlx::query("SELECT command_id, node_id, state FROM invocations WHERE state IN ('waiting', 'released')")
                .fetch_all(store.reader())
                .await?;
        let mut still = BTreeMap::new();
        for row in rows {
            let key = (row.get::<String, _>("command_id").parse()?, row.get::<String, _>("node_id").parse()?);
            let waits = row.get::<String, _>("state") == "waiting";
            if !reachable.contains(&key.1) || (!waits && deeds.told.contains(&key)) {
                continue;
            }
            let key = (key.0, key.1, waits);
            let since = self.idle_since.get(&key).copied().unwrap_or(now).max(self.timers_repaired_at);
            // A command that went to a former address is first repeated there.
            let patience = CHECK_EVERY * 2 + if waits { SignedDuration::ZERO } else { UNHEARD_AFTER * 2 };
            let verb = if waits { "waits for" } else { "was not given to" };
            ensure!(now.duration_since(since) <= patience, "{} {verb} {}, which is connected", key.0, key.1);
            still.insert(key, since);
        }
        self.idle_since = still;
        Ok(())
    }

    /// How many waves were followed by another one.
    #[must_use]
    pub fn gates_passed(&self) -> usize {
        self.gates.values().map(|gates| gates.passed).sum()
    }

    /// Whoever waits now has waited for good reasons.
    pub fn forget_who_waits(&mut self) {
        self.idle_since.clear();
    }

    /// All that was on its way is lost, the firings of timers included.
    pub fn broker_was_lost(&mut self, now: Timestamp) {
        self.timers_repaired_at = now + REFIRE_AFTER;
    }

    /// After a rollout has stopped, no node is told to run what it was not told before.
    ///
    /// # Errors
    /// The command that is handed out all the same.
    pub fn check_told(&self, effects: &Effects) -> anyhow::Result<()> {
        for one in &effects.deliveries {
            let new = matches!(one.order, Order::Run { .. }) && one.frees_slot;
            let stopped = self.released_at_stop.contains_key(&one.command_id);
            ensure!(!(new && stopped), "{} had stopped and is given to {}", one.command_id, one.node_id);
        }
        Ok(())
    }

    /// Once it is handled that a release came back, and nothing else was sent, its slot is free.
    ///
    /// # Errors
    /// The invocation that holds its slot.
    pub async fn check_slots_are_free(store: &Store, returned: &[NodeDelivery]) -> anyhow::Result<()> {
        for one in returned.iter().filter(|one| one.frees_slot) {
            let Some(stored) = store.invocation(one.command_id, &one.node_id).await? else { continue };
            let held = stored.state == State::Released && stored.attempts == one.attempt;
            ensure!(!held, "{} came back from {} and holds its slot", one.command_id, one.node_id);
        }
        Ok(())
    }

    async fn check_commands(&mut self, store: &Store, deeds: &Deeds, now: Timestamp, all: bool) -> anyhow::Result<()> {
        let commands =
            sqlx::query("SELECT command_id, rollout, finished_at FROM commands").fetch_all(store.reader()).await?;
        let mut plans = Vec::new();
        for row in commands {
            let id: CommandId = row.get::<String, _>("command_id").parse()?;
            if all || !self.over.contains(&id) {
                let plan: Plan = from_json("commands.rollout", &row.get::<String, _>("rollout"))?;
                plans.push((id, plan, row.get::<Option<i64>, _>("finished_at").is_some()));
            }
        }
        if plans.is_empty() {
            return Ok(());
        }
        let only: Vec<_> = plans.iter().map(|(id, ..)| format!("'{id}'")).collect();
        let limit = store.reboot_limit().await?;
        let restarting: u32 =
            plans.iter().filter(|(_, plan, _)| plan.may_reboot).map(|(_, plan, _)| plan.rollout.in_flight).sum();
        ensure!(limit == 0 || restarting <= limit, "{restarting} nodes may restart at once");
        let text = format!(
            "SELECT command_id, node_id, ordinal, state, attempts, (report IS NOT NULL AND late_report = 0) AS heard
             FROM invocations WHERE command_id IN ({})",
            only.join(", ")
        );
        let mut rows: BTreeMap<CommandId, Vec<Row>> = BTreeMap::new();
        for row in sqlx::query(sqlx::AssertSqlSafe(text)).fetch_all(store.reader()).await? {
            let state = row.get::<String, _>("state").parse()?;
            let node = row.get::<String, _>("node_id").parse()?;
            let command = row.get::<String, _>("command_id").parse()?;
            let (attempts, heard) = (row.get("attempts"), row.get::<i64, _>("heard") != 0);
            let ordinal = row.get("ordinal");
            rows.entry(command).or_default().push(Row { node, ordinal, state, attempts, heard });
        }
        for (id, plan, finished) in plans {
            let rollout = plan.rollout;
            let rows = rows.remove(&id).unwrap_or_default();
            if let Some(waves) = &plan.waves {
                self.check_waves(id, waves, &rollout, &rows, now)
                    .with_context(|| format!("command {id}: {waves:?}"))?;
            }
            ensure!(finished == rollout.is_finished(), "finished_at and phase of {id} differ");
            self.check_command(id, &rollout, &rows, deeds, now)
                .with_context(|| format!("command {id}: {rollout:?}"))?;
            if finished {
                self.over.insert(id);
            }
        }
        Ok(())
    }

    /// No node of a wave is released before the gates of all waves before it have passed; and what
    /// they wait for ends in time.
    fn check_waves(
        &mut self,
        id: CommandId,
        waves: &Waves,
        rollout: &Rollout,
        rows: &[Row],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        for row in rows {
            let wave = waves.wave_of(row.ordinal);
            let (open, over) = (wave <= waves.current, wave < waves.current);
            ensure!(open || row.attempts == 0, "{} is released and its wave is not open", row.node);
            ensure!(
                !over || matches!(row.state, State::Ended(_)),
                "{} has not ended, and its wave is passed",
                row.node
            );
        }
        // What is held when a rollout stops has ended with it.
        if matches!(rollout.phase, Phase::Planned | Phase::Running) {
            ensure!(waves.held() == rollout.held, "{} are held by the waves", waves.held());
        }
        let known = self.gates.entry(id).or_insert(Gates { passed: 0, awaited: None, stopped: false });
        ensure!(known.passed <= waves.current, "a gate was passed and is closed again");
        if waves.current > known.passed {
            ensure!(!known.stopped, "a gate stopped the rollout, and let it pass");
            // A wait with an approval is passed by an approval alone, which the world has published.
            ensure!(
                known.awaited.is_none_or(|wave| wave >= waves.current) || self.approved.contains(&id),
                "nobody approved"
            );
            known.passed = waves.current;
        }
        known.awaited = match waves.stage {
            Stage::AwaitingApproval { .. } => Some(waves.current),
            _ => None,
        };
        known.stopped |= waves.stopped().is_some();
        if let Some(due) = waves.due_at().filter(|_| !rollout.is_finished()) {
            ensure!(due.duration_since(now) <= WAIT_MAX, "it waits until {due}");
        }
        Ok(())
    }

    fn check_command(
        &mut self,
        id: CommandId,
        rollout: &Rollout,
        rows: &[Row],
        deeds: &Deeds,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let (mut pending, mut in_flight, mut waiting, mut ready, mut ended, mut released) = (0, 0, 0, 0, 0, 0);
        // Nodes that may have failed: whatever is in flight, and whoever ran it and was not heard.
        let mut at_risk = 0;
        for Row { node, state, attempts, heard, .. } in rows {
            released += usize::from(*attempts > 0);
            match *state {
                State::Pending => pending += 1,
                State::Released | State::Running | State::Cancelling => in_flight += 1,
                State::Waiting => waiting += 1,
                State::Ready => ready += 1,
                State::Ended(ending) => {
                    ended += 1;
                    let known = *self.endings.entry((id, node.clone())).or_insert(ending);
                    ensure!(known == ending, "{node} left its ending {known:?} for {ending:?}");
                    let unheard = !heard && deeds.executed.contains_key(&(id, node.clone()));
                    at_risk += u32::from(ending.is_error() || unheard);
                }
            }
            let works = deeds.working.get(node).is_some_and(|(on, until)| *on == id && *until > now);
            let free = matches!(state, State::Pending | State::Waiting | State::Ready);
            ensure!(!(works && free), "{node} is at work and holds no slot: {state}");
        }
        let counted =
            (rollout.held + rollout.pending, rollout.in_flight, rollout.waiting, rollout.ready, rollout.ended.ended());
        ensure!(counted == (pending, in_flight, waiting, ready, ended), "rows and counters differ");
        ensure!(rows.len() == rollout.targets as usize, "an invocation is missing");
        ensure!(in_flight <= rollout.concurrency, "{in_flight} are in flight");

        if matches!(rollout.phase, Phase::Stopping(_) | Phase::Finished(_)) {
            let at_stop = *self.released_at_stop.entry(id).or_insert(released);
            ensure!(released == at_stop, "{} were released after it had stopped", released - at_stop);
        }
        if rollout.error_mode == ErrorMode::Strict {
            let most = rollout.errors_allowed + 1;
            ensure!(at_risk + in_flight <= most, "{} may have failed under a strict limit", at_risk + in_flight);
            // On the nodes themselves, whatever the control plane has heard of it.
            let failed = deeds.ended.iter().filter(|((of, _), end)| *of == id && **end == Outcome::Failed).count();
            ensure!(failed <= rollout.errors_allowed as usize + 1, "{failed} nodes failed under a strict limit");
        }
        Ok(())
    }
}

/// What must hold once everything has healed and come to its end.
///
/// # Errors
/// The invariant that does not hold.
pub async fn check_end(store: &Store, deeds: &Deeds) -> anyhow::Result<()> {
    for command in store.commands(None, 1_000).await? {
        let id = command.command_id;
        ensure!(command.rollout.is_finished(), "command {id} has not ended: {:?}", command.rollout);
        for invocation in store.invocations_of(id, "", 10_000).await? {
            let State::Ended(ending) = invocation.state else {
                anyhow::bail!("{} on {} has not ended: {}", id, invocation.node_id, invocation.state);
            };
            let ran = deeds.executed.contains_key(&(id, invocation.node_id.clone()));
            ensure!(ran || ending != Ending::Success, "{} succeeded on {} without running", id, invocation.node_id);
            ensure!(!ran || ending != Ending::Terminated, "{} ran on {} and was never sent", id, invocation.node_id);
        }
    }
    for (id, started_at, not_before, not_after) in &deeds.started {
        ensure!(not_before <= started_at && started_at <= not_after, "{id} started outside its time");
    }
    for (table, text) in [
        ("outbox", "SELECT COUNT(*) AS n FROM outbox"),
        ("timers of what has ended", "SELECT COUNT(*) AS n FROM timers WHERE timer_key NOT LIKE 'window/%'"),
        ("open window executions", "SELECT COUNT(*) AS n FROM window_executions WHERE ended_at IS NULL"),
        ("open task executions", "SELECT COUNT(*) AS n FROM task_executions WHERE ended_at IS NULL"),
        ("unpublished notifications", "SELECT COUNT(*) AS n FROM notifications WHERE published_at IS NULL"),
        ("dead letters", "SELECT COUNT(*) AS n FROM dead_letters"),
    ] {
        let left: i64 = sqlx::query(text).fetch_one(store.reader()).await?.get("n");
        ensure!(left == 0, "{left} left in {table}");
    }
    Ok(())
}
