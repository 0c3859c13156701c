//! How often the agent does what nobody asks for: connecting again, heartbeats.

use std::time::Duration;

use patchwave_engine::targets::stable_order;
use patchwave_schemas::{CommandId, NodeId};
use rand::RngExt as _;

/// First upper bound of the wait before connecting again.
const RECONNECT_FIRST: Duration = Duration::from_millis(500);

/// Last one unless another is asked for. A broker that returns hears from every agent within half a
/// minute, and has the other half of a minute for its answers: 5,000 agents are 170 a second.
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(30);

/// A connection that lasted this long was a good one: the next wait is short again.
const GOOD_AFTER: Duration = Duration::from_secs(30);

/// Waits before connecting again: full jitter under a doubling bound, so that a fleet that lost
/// its broker does not return as one.
#[derive(Debug)]
pub(super) struct Backoff {
    attempts: u32,
    longest: Duration,
}

impl Backoff {
    /// Waits of up to `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Self { attempts: 0, longest }
    }

    /// The next wait. The first one is none.
    pub(super) fn next(&mut self) -> Duration {
        let attempt = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        if attempt == 0 {
            return Duration::ZERO;
        }
        let bound = RECONNECT_FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
        bound.mul_f64(rand::rng().random_range(0.0..1.0))
    }

    /// Takes that a connection ended after `lasted`.
    pub(super) fn ended(&mut self, lasted: Duration) {
        // Not zero: even then a fleet must not return as one.
        self.attempts = if lasted >= GOOD_AFTER { 1 } else { self.attempts.max(1) };
    }
}

/// Spreads the heartbeats of many nodes over the interval, with one timer for all.
#[derive(Debug)]
pub(super) struct Heartbeats {
    interval: Duration,
    nodes: usize,
    next: usize,
}

/// Shortest time between two rounds of heartbeats.
const ROUND_MIN: Duration = Duration::from_secs(1);

impl Heartbeats {
    pub(super) fn new(interval: Duration, nodes: usize) -> Self {
        Self { interval, nodes, next: 0 }
    }

    /// Nodes that are due in one round.
    fn round(&self) -> usize {
        let rounds = (self.interval.as_secs_f64() / ROUND_MIN.as_secs_f64()).max(1.0);
        // Truncation is meant: a whole number of nodes.
        ((self.nodes as f64 / rounds).ceil() as usize).max(1)
    }

    /// The wait until the next round, ± 10 % so that agents started together drift apart.
    pub(super) fn wait(&self) -> Duration {
        let share = (self.round() as f64 / self.nodes.max(1) as f64).min(1.0);
        self.interval.mul_f64(share * rand::rng().random_range(0.9..1.1))
    }

    /// The nodes that are due now.
    pub(super) fn due(&mut self) -> impl Iterator<Item = usize> + use<> {
        let (first, nodes) = (self.next, self.nodes);
        let count = self.round().min(nodes);
        self.next = if nodes == 0 { 0 } else { (first + count) % nodes };
        (first..first + count).map(move |index| index % nodes)
    }
}

/// How long a node waits before it restarts for a command: its own part of `longest`, and the same
/// whenever it is asked, so that an agent that dies meanwhile changes nothing about it.
pub(super) fn reboot_wait(node: &NodeId, command: CommandId, longest: Duration) -> Duration {
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(stable_order(node, &command.to_string()) % millis.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_of_one_command_are_spread_and_bounded_and_repeatable() {
        let longest = Duration::from_secs(60);
        let command = CommandId::derived("a");
        let waits: Vec<_> =
            (0..1_000).map(|number| reboot_wait(&NodeId::from_bits(number), command, longest)).collect();
        assert!(waits.iter().all(|wait| *wait <= longest));
        for part in 0..6 {
            let range = Duration::from_secs(10 * part)..Duration::from_secs(10 * (part + 1));
            let count = waits.iter().filter(|wait| range.contains(*wait)).count();
            assert!((100..250).contains(&count), "{count} of 1000 in {range:?}");
        }
        let node = NodeId::from_bits(1);
        assert_eq!(reboot_wait(&node, command, longest), waits[1]);
        assert_ne!(reboot_wait(&node, CommandId::derived("b"), longest), waits[1]);
        assert_eq!(reboot_wait(&node, command, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn waits_grow_within_their_bound_and_shrink_after_a_good_connection() {
        let mut backoff = Backoff::new(RECONNECT_MAX);
        assert_eq!(backoff.next(), Duration::ZERO);
        for attempt in 0..20 {
            assert!(backoff.next() <= RECONNECT_FIRST.saturating_mul(1 << attempt.min(16)).min(RECONNECT_MAX));
        }
        backoff.ended(GOOD_AFTER);
        assert!(backoff.next() <= RECONNECT_FIRST);
    }

    #[test]
    fn every_node_beats_once_in_each_interval() {
        for nodes in [1, 7, 299, 300, 1_000] {
            let mut heartbeats = Heartbeats::new(Duration::from_secs(300), nodes);
            let mut seen = vec![0; nodes];
            let rounds = nodes.div_ceil(heartbeats.round());
            for _ in 0..rounds {
                heartbeats.due().for_each(|index| seen[index] += 1);
            }
            assert!(seen.iter().all(|beats| (1..=2).contains(beats)), "{nodes}: {seen:?}");
            let all = heartbeats.wait() * u32::try_from(rounds).expect("few");
            assert!((200..400).contains(&all.as_secs()), "{nodes}: {all:?}");
        }
    }
}
