//! Times without faults: lulls in which whatever is due happens when it is due, and the healing at
//! the end, after which nothing may be left.

use jiff::SignedDuration;
use rand::RngExt as _;

use super::World;
use super::messages::Crash;
use crate::simulation::invariants::check_end;

/// Steps that healing may take: each either does something or moves the clock.
const HEALING_STEPS: usize = 6_000;

impl World {
    /// Nothing goes wrong for a while. Whoever is away stays away.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub async fn lull(&mut self) -> anyhow::Result<()> {
        self.say(|| "a lull".to_owned());
        self.calm_down();
        for _ in 0..self.rng.random_range(0..120) {
            self.calm_step().await?;
        }
        self.network.wires().faulty = true;
        Ok(())
    }

    /// No more faults: everybody connects, and everything comes to its end.
    ///
    /// # Errors
    /// The first invariant that does not hold, or work that does not end.
    pub async fn heal(&mut self) -> anyhow::Result<()> {
        self.say(|| "healing".to_owned());
        self.calm_down();
        for window in self.windows.clone() {
            self.set_enabled(&window, false).await?;
        }
        for index in 0..self.nodes.len() {
            // Some nodes never come back; their invocations end at their deadlines.
            if self.nodes[index].address.is_none() && self.rng.random_bool(0.7) {
                self.connect(index);
            }
        }
        for _ in 0..HEALING_STEPS {
            let before = self.now;
            let idle = !self.calm_step().await?;
            if idle && self.now == before && self.is_quiet().await? {
                break;
            }
            // Gates that nobody answers end at their deadlines.
            if idle && self.rng.random_bool(0.1) {
                self.answer().await?;
            }
        }
        self.summary.gates = self.invariants.gates_passed();
        self.summary.commands = self.context.store.commands(None, 1_000).await?.len();
        for window in &self.windows {
            self.summary.window_executions += self.context.store.executions(window, None, 1_000).await?.len();
        }
        self.invariants.check_all(&self.context.store, &self.deeds, self.now).await?;
        check_end(&self.context.store, &self.deeds).await
    }

    /// Faults end, and everybody has noticed which connections are lost.
    fn calm_down(&mut self) {
        let mut wires = self.network.wires();
        wires.faulty = false;
        wires.dies_after = None;
        for node in &mut self.nodes {
            if node.address.as_ref().is_some_and(|address| wires.nodes.get(address).is_none_or(|inbox| inbox.gone)) {
                node.disconnect();
            }
        }
        let listening: Vec<_> = self.nodes.iter().filter_map(|node| node.address.clone()).collect();
        wires.nodes.retain(|address, _| listening.contains(address));
        drop(wires);
        self.invariants.forget_who_waits();
    }

    /// Does the next thing there is to do, or lets the time pass until there is one. Says whether
    /// there was one.
    async fn calm_step(&mut self) -> anyhow::Result<bool> {
        self.summary.steps += 1;
        let queue = self.network.wires().busy().first().copied();
        if let Some(queue) = queue {
            self.deliver_from(queue, 8, Crash::Never).await?;
        } else if self.all_nodes()? {
            return Ok(true);
        } else if !self.catch_up().await && !self.take_back().await? {
            let reachable: Vec<_> = self
                .nodes
                .iter()
                .filter(|node| node.address.is_some() && !node.is_silent(self.now))
                .map(|node| node.facts.node_id.clone())
                .collect();
            self.invariants.check_nobody_is_forgotten(&self.context.store, &self.deeds, &reachable, self.now).await?;
            self.pass_time_calmly().await?;
            self.sweep_calmly().await?;
            return Ok(false);
        }
        self.invariants.check(&self.context.store, &self.deeds, self.now).await?;
        Ok(true)
    }

    async fn is_quiet(&self) -> anyhow::Result<bool> {
        let timers = self.context.store.next_timer_at().await?;
        Ok(timers.is_none() && self.network.wires().busy().is_empty() && self.nodes.iter().all(|n| n.working.is_none()))
    }

    async fn pass_time_calmly(&mut self) -> anyhow::Result<()> {
        let timer = self.context.store.next_timer_at().await?;
        let work = self.nodes.iter().filter_map(|node| node.working.as_ref().map(|(_, at)| *at)).min();
        let wake = self.nodes.iter().flat_map(|node| node.wake_at.iter().copied()).min();
        if let Some(next) = [timer, work, wake].into_iter().flatten().min() {
            self.now = self.now.max(next);
            let messages = patchwave_scheduler::tick(&self.context.store, self.now).await?;
            self.flush(messages).await?;
        }
        Ok(())
    }

    async fn sweep_calmly(&mut self) -> anyhow::Result<()> {
        self.sweep_as_of(self.now + SignedDuration::from_mins(1)).await
    }
}
