//! Names of exchanges, queues and routing keys: the only place where they are spelled.
//!
//! A queue belongs to its reader. What may be published by whom is in the AsyncAPI document.

use crate::ids::NodeId;

/// Topic exchange for events, from our own programs and from other systems.
pub const EVENTS_EXCHANGE: &str = "patchwave.events";
/// Topic exchange for what agents report.
pub const REPORTS_EXCHANGE: &str = "patchwave.reports";
/// Topic exchange behind the work queues for what cannot be processed, whatever its routing key.
pub const DEAD_EXCHANGE: &str = "patchwave.dead";
/// Routing key of timers for the resolver.
pub const RESOLVER_TIMER_KEY: &str = "timer.resolver";
/// Routing key of timers for the dispatcher.
pub const DISPATCHER_TIMER_KEY: &str = "timer.dispatcher";
/// Routing key of timers for executions of automations and state machines.
pub const WORKFLOWS_TIMER_KEY: &str = "timer.workflows";
/// Routing key of timers for calls.
pub const CALLER_TIMER_KEY: &str = "timer.caller";
/// Prefix of a connected agent's own queue.
pub const NODE_QUEUE_PREFIX: &str = "patchwave.node.";
/// Prefix of the queue of a program that serves many nodes (simulators, gateways).
pub const HOST_QUEUE_PREFIX: &str = "patchwave.host.";
/// Prefix of notification channels on Redis.
pub const TOPIC_CHANNEL_PREFIX: &str = "patchwave:topic:";

/// Redeliveries after which a work queue gives a message up to the dead letters.
///
/// Handlers retry transient failures themselves, so a redelivery means a process died with the
/// message in hand. Smaller would bury work in a rolling restart; larger lets a message that
/// kills its reader do so longer.
pub const DELIVERY_LIMIT: u32 = 20;

/// A durable queue that workers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkQueue {
    /// Windows and commands to rollouts.
    Resolver,
    /// Rollouts to invocations in flight.
    Dispatcher,
    /// Reports about invocations to their state.
    Collector,
    /// Scans and facts to the inventory.
    Inventory,
    /// State changes to notifications.
    Notifier,
    /// Automations and state machines, step by step.
    Workflows,
    /// Calls of functions, endpoints, scripts and operations of our own.
    Caller,
    /// What could not be processed.
    Dead,
}

impl WorkQueue {
    /// Every queue, in reading order.
    pub const ALL: [Self; 8] = [
        Self::Resolver,
        Self::Dispatcher,
        Self::Collector,
        Self::Inventory,
        Self::Notifier,
        Self::Workflows,
        Self::Caller,
        Self::Dead,
    ];

    /// The queue's name on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolver => "patchwave.resolver",
            Self::Dispatcher => "patchwave.dispatcher",
            Self::Collector => "patchwave.collector",
            Self::Inventory => "patchwave.inventory",
            Self::Notifier => "patchwave.notifier",
            Self::Workflows => "patchwave.workflows",
            Self::Caller => "patchwave.caller",
            Self::Dead => "patchwave.dead",
        }
    }

    /// The short name used by `--only` and in logs.
    #[must_use]
    pub const fn role(self) -> &'static str {
        match self {
            Self::Resolver => "resolver",
            Self::Dispatcher => "dispatcher",
            Self::Collector => "collector",
            Self::Inventory => "inventory",
            Self::Notifier => "notifier",
            Self::Workflows => "workflows",
            Self::Caller => "caller",
            Self::Dead => "dead-letters",
        }
    }

    /// The bindings `(exchange, routing key pattern)` that feed the queue.
    #[must_use]
    pub const fn bindings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Resolver => &[
                (EVENTS_EXCHANGE, "window.#"),
                (EVENTS_EXCHANGE, "command.requested"),
                (EVENTS_EXCHANGE, "patch.requested"),
                (EVENTS_EXCHANGE, "rollout.finished"),
                (EVENTS_EXCHANGE, "approval.#"),
                (EVENTS_EXCHANGE, RESOLVER_TIMER_KEY),
            ],
            Self::Dispatcher => &[
                (EVENTS_EXCHANGE, "rollout.started"),
                (EVENTS_EXCHANGE, "rollout.cancel.requested"),
                (EVENTS_EXCHANGE, DISPATCHER_TIMER_KEY),
                (REPORTS_EXCHANGE, "node.connected"),
                (REPORTS_EXCHANGE, "node.disconnected"),
            ],
            Self::Collector => &[(REPORTS_EXCHANGE, "invocation.#")],
            Self::Inventory => {
                &[(EVENTS_EXCHANGE, "node.#"), (REPORTS_EXCHANGE, "node.scanned"), (REPORTS_EXCHANGE, "node.heartbeat")]
            }
            Self::Notifier => &[(EVENTS_EXCHANGE, "notification.#")],
            Self::Workflows => &[(EVENTS_EXCHANGE, "workflow.#"), (EVENTS_EXCHANGE, WORKFLOWS_TIMER_KEY)],
            Self::Caller => &[(EVENTS_EXCHANGE, "call.requested"), (EVENTS_EXCHANGE, CALLER_TIMER_KEY)],
            Self::Dead => &[(DEAD_EXCHANGE, "#")],
        }
    }
}

/// Whether a topic pattern (`*` one word, `#` any number) matches a routing key, as in AMQP.
#[must_use]
pub fn pattern_matches(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                words(rest, key) || key.split_first().is_some_and(|(_, tail)| words(pattern, tail))
            }
            (Some((&word, rest)), Some((&first, tail))) => (word == "*" || word == first) && words(rest, tail),
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    words(&pattern, &key)
}

/// The routing key of messages of one type: its name without prefix and version.
///
/// `patchwave.window.start.requested.v1` travels as `window.start.requested`.
#[must_use]
pub fn routing_key(message_type: &str) -> &str {
    let name = message_type.strip_prefix("patchwave.").unwrap_or(message_type);
    name.rsplit_once(".v").map_or(name, |(name, _version)| name)
}

/// Name of the exclusive queue of one connection of one agent.
///
/// `session` differs for each connection: a half-open old connection cannot keep a returning
/// node from its queue.
#[must_use]
pub fn node_queue(node: &NodeId, session: &str) -> String {
    format!("{NODE_QUEUE_PREFIX}{node}.{session}")
}

/// Whether `address` is a queue that commands may be published to.
#[must_use]
pub fn is_node_address(address: &str) -> bool {
    (address.starts_with(NODE_QUEUE_PREFIX) || address.starts_with(HOST_QUEUE_PREFIX))
        && address.len() <= 255
        && !address.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_patterns_match_as_in_amqp() {
        for (pattern, key, expected) in [
            ("window.#", "window.started", true),
            ("window.#", "window.start.requested", true),
            ("window.#", "window", true),
            ("command.requested", "command.requested.now", false),
            ("*.started", "window.started", true),
            ("*.started", "started", false),
            ("#", "anything.at.all", true),
        ] {
            assert_eq!(pattern_matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
