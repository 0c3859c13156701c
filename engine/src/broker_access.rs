//! What a node may do on the broker, once it has proved who it is.
//!
//! RabbitMQ asks before each kind of thing that a connection does for the first time, and this is
//! the answer. A node has one queue of its own, whose commands it reads, and one exchange, to which
//! it says its reports. Whatever is not named here is denied: other queues, bindings, exchanges,
//! and the default exchange, through which the control plane alone reaches the nodes' queues.
//!
//! Pure. Who the node is, and whether it is still registered, the caller knows.

use patchwave_schemas::NodeId;
use patchwave_schemas::catalogue::{Direction, MESSAGES, Publisher};
use patchwave_schemas::topology::{NODE_QUEUE_PREFIX, REPORTS_EXCHANGE};

/// Characters of the part of a queue's name that differs for each connection, at most. The agent's
/// are 32 hex digits.
const SESSION_CHARS_MAX: usize = 64;

/// What RabbitMQ asks about, in its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// May it work in this virtual host?
    Vhost {
        /// Its name.
        vhost: &'a str,
    },
    /// May it do this with a queue or an exchange?
    Resource {
        /// The virtual host that it is in.
        vhost: &'a str,
        /// `queue` or `exchange`.
        kind: &'a str,
        /// Its name; `amq.default` for the default exchange.
        name: &'a str,
        /// `configure`, `write` or `read`.
        permission: &'a str,
    },
    /// May it publish with, or bind to, this key of a topic exchange?
    Topic {
        /// The virtual host that the exchange is in.
        vhost: &'a str,
        /// The exchange.
        exchange: &'a str,
        /// `write` or `read`.
        permission: &'a str,
        /// The routing key, or the pattern of a binding.
        routing_key: &'a str,
    },
}

/// Whether a node may do this in the virtual host `home`, which is the control plane's.
#[must_use]
pub fn allows(node: &NodeId, home: &str, request: Request<'_>) -> bool {
    match request {
        Request::Vhost { vhost } => vhost == home,
        Request::Resource { vhost, .. } | Request::Topic { vhost, .. } if vhost != home => false,
        // Declaring and deleting it; consuming from it. Binding would take `write`.
        Request::Resource { kind: "queue", name, permission: "configure" | "read", .. } => is_queue_of(node, name),
        Request::Resource { kind: "exchange", name, permission: "write", .. } => name == REPORTS_EXCHANGE,
        Request::Topic { exchange, permission: "write", routing_key, .. } => {
            exchange == REPORTS_EXCHANGE && is_report_key(routing_key)
        }
        Request::Resource { .. } | Request::Topic { .. } => false,
    }
}

/// Whether a queue is the own one of a connection of this node: `patchwave.node.<id>.<session>`.
#[must_use]
pub fn is_queue_of(node: &NodeId, queue: &str) -> bool {
    let session = queue
        .strip_prefix(NODE_QUEUE_PREFIX)
        .and_then(|rest| rest.strip_prefix(node.as_str()))
        .and_then(|rest| rest.strip_prefix('.'));
    session.is_some_and(|session| {
        (1..=SESSION_CHARS_MAX).contains(&session.len())
            && session.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Whether agents publish reports with this routing key.
#[must_use]
pub fn is_report_key(routing_key: &str) -> bool {
    MESSAGES
        .iter()
        .filter(|entry| entry.direction == Direction::Report && entry.publishers.contains(&Publisher::Agent))
        .any(|entry| entry.routing_keys().contains(&routing_key))
}

#[cfg(test)]
mod tests {
    use patchwave_schemas::topology::{DEAD_EXCHANGE, EVENTS_EXCHANGE, WorkQueue, node_queue};
    use proptest::prelude::*;

    use super::*;

    fn node() -> NodeId {
        NodeId::from_bits(0xabc)
    }

    fn resource<'a>(kind: &'a str, name: &'a str, permission: &'a str) -> Request<'a> {
        Request::Resource { vhost: "/", kind, name, permission }
    }

    #[test]
    fn a_node_has_its_queue_and_says_its_reports() {
        let own = node_queue(&node(), "0123456789abcdef");
        for request in [
            Request::Vhost { vhost: "/" },
            resource("queue", &own, "configure"),
            resource("queue", &own, "read"),
            resource("exchange", REPORTS_EXCHANGE, "write"),
        ] {
            assert!(allows(&node(), "/", request), "{request:?}");
        }
        for routing_key in
            ["node.connected", "node.heartbeat", "node.scanned", "invocation.progressed", "invocation.finished"]
        {
            let request = Request::Topic { vhost: "/", exchange: REPORTS_EXCHANGE, permission: "write", routing_key };
            assert!(allows(&node(), "/", request), "{routing_key}");
        }
    }

    #[test]
    fn a_node_has_nothing_else() {
        let own = node_queue(&node(), "1");
        let others = node_queue(&NodeId::from_bits(0xdef), "1");
        let deeper = format!("{own}.2");
        for request in [
            Request::Vhost { vhost: "other" },
            Request::Vhost { vhost: "" },
            Request::Resource { vhost: "other", kind: "queue", name: &own, permission: "read" },
            // Its own queue cannot be bound, and so be fed by anybody but the control plane.
            resource("queue", &own, "write"),
            resource("queue", &others, "read"),
            resource("queue", &others, "configure"),
            resource("queue", &deeper, "configure"),
            resource("queue", "patchwave.node.mi-00000000000000abc", "configure"),
            resource("queue", "patchwave.node.mi-00000000000000abc.", "configure"),
            resource("queue", "patchwave.host.1", "configure"),
            resource("queue", "", "configure"),
            resource("exchange", "amq.default", "write"),
            resource("exchange", "", "write"),
            resource("exchange", EVENTS_EXCHANGE, "write"),
            resource("exchange", DEAD_EXCHANGE, "write"),
            resource("exchange", REPORTS_EXCHANGE, "configure"),
            resource("exchange", REPORTS_EXCHANGE, "read"),
            resource("exchange", &own, "configure"),
            resource("topic", REPORTS_EXCHANGE, "write"),
        ] {
            assert!(!allows(&node(), "/", request), "{request:?}");
        }
        for (exchange, permission, routing_key) in [
            (REPORTS_EXCHANGE, "read", "node.connected"),
            (REPORTS_EXCHANGE, "write", "node.removed"),
            (REPORTS_EXCHANGE, "write", "invocation.run"),
            (REPORTS_EXCHANGE, "write", "#"),
            (REPORTS_EXCHANGE, "write", ""),
            (EVENTS_EXCHANGE, "write", "node.connected"),
            (EVENTS_EXCHANGE, "write", "command.requested"),
        ] {
            let request = Request::Topic { vhost: "/", exchange, permission, routing_key };
            assert!(!allows(&node(), "/", request), "{request:?}");
        }
        let topic =
            Request::Topic { vhost: "b", exchange: REPORTS_EXCHANGE, permission: "write", routing_key: "node.scanned" };
        assert!(!allows(&node(), "/", topic));
    }

    #[test]
    fn no_node_reaches_a_work_queue() {
        for queue in WorkQueue::ALL {
            for permission in ["configure", "write", "read"] {
                assert!(!allows(&node(), "/", resource("queue", queue.name(), permission)), "{queue:?}");
            }
        }
    }

    proptest! {
        /// Whatever the queue is called: who may use it is the one node in its name.
        #[test]
        fn no_two_nodes_share_a_queue(
            a in any::<u64>(), b in any::<u64>(), session in ".{0,80}", permission in "configure|read|write",
        ) {
            prop_assume!(a != b);
            let (a, b) = (NodeId::from_bits(a.into()), NodeId::from_bits(b.into()));
            let name = format!("{NODE_QUEUE_PREFIX}{a}{session}");
            prop_assert!(!allows(&b, "/", resource("queue", &name, &permission)));
            if is_queue_of(&a, &name) {
                prop_assert_eq!(name.matches('.').count(), 3);
                prop_assert!(name.len() <= 255);
            }
        }

        /// Of everything that is not a queue there is one thing to do: saying reports.
        #[test]
        fn nothing_but_reports_is_published(name in "[a-z.#*]{0,30}", permission in "[a-z]{0,10}", key in "[a-z.#*]{0,30}") {
            let allowed = allows(&node(), "/", resource("exchange", &name, &permission));
            prop_assert_eq!(allowed, name == REPORTS_EXCHANGE && permission == "write");
            let topic = Request::Topic { vhost: "/", exchange: &name, permission: &permission, routing_key: &key };
            prop_assert!(!allows(&node(), "/", topic) || (allowed && is_report_key(&key)));
        }
    }
}
