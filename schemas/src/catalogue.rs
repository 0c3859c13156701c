//! The register of messages: each type once, with who publishes it, where it goes and who reads it.
//!
//! The JSON Schemas, the AsyncAPI document and the table in the README are made from this register.
//! A new message needs its line here, in the order of the names, and a recorded example; tests say
//! so when one is missing.

use schemars::Schema;
use serde_json::{Value, json};

use crate::command::{CancelInvocation, RunInvocation};
use crate::envelope::{CloudEvent, DecodeError, Message, SPEC_VERSION};
use crate::event::{
    ApprovalSignalled, CallRequested, CommandRequested, NodeRemoved, NodeUpserted, RolloutCancelRequested,
    RolloutFinished, RolloutStarted, TimerFired, WindowCancelRequested, WindowStartRequested, WindowStarted,
    WorkflowContinued,
};
use crate::notification::NotificationRaised;
use crate::patch_now::PatchRequested;
use crate::report::{
    InvocationFinished, InvocationProgressed, NodeConnected, NodeDisconnected, NodeHeartbeat, NodeScanned,
};
use crate::topology::{
    CALLER_TIMER_KEY, DISPATCHER_TIMER_KEY, EVENTS_EXCHANGE, REPORTS_EXCHANGE, RESOLVER_TIMER_KEY, WORKFLOWS_TIMER_KEY,
    WorkQueue, pattern_matches, routing_key,
};

/// A program, or a group of them, that publishes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Publisher {
    /// Whoever has credentials on the broker.
    OtherSystems,
    /// The scheduler.
    Scheduler,
    /// Any worker.
    Worker,
    /// The API.
    Api,
    /// An agent, real or simulated.
    Agent,
    /// A gateway, through which nodes are reached over HTTPS.
    Gateway,
}

impl Publisher {
    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherSystems => "other systems",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Api => "api",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
        }
    }
}

/// The way a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// On the events exchange, to the work queues that are bound to its key.
    Event,
    /// On the reports exchange, likewise.
    Report,
    /// Through the default exchange to the queue that a connected node named in its hello.
    Node,
}

impl Direction {
    /// The exchange; none for the default one, which has no name.
    #[must_use]
    pub const fn exchange(self) -> Option<&'static str> {
        match self {
            Self::Event => Some(EVENTS_EXCHANGE),
            Self::Report => Some(REPORTS_EXCHANGE),
            Self::Node => None,
        }
    }
}

/// One message type.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name and version; the `type` of the CloudEvent.
    pub message_type: &'static str,
    /// Which way it goes.
    pub direction: Direction,
    /// Who may publish it. Never empty.
    pub publishers: &'static [Publisher],
    /// Routing keys other than the one made from the type's name; usually empty.
    keys: &'static [&'static str],
    schema: fn() -> Schema,
    reencode: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

impl Entry {
    const fn of<M: Message>(direction: Direction, publishers: &'static [Publisher]) -> Self {
        Self {
            message_type: M::TYPE,
            direction,
            publishers,
            keys: &[],
            schema: event_schema::<M>,
            reencode: reencode::<M>,
        }
    }

    const fn keyed(mut self, keys: &'static [&'static str]) -> Self {
        self.keys = keys;
        self
    }

    /// The routing keys it is published with. None for [`Direction::Node`], where a queue is named.
    #[must_use]
    pub fn routing_keys(&self) -> Vec<&'static str> {
        match (self.direction, self.keys) {
            (Direction::Node, _) => Vec::new(),
            (_, []) => vec![routing_key(self.message_type)],
            (_, keys) => keys.to_vec(),
        }
    }

    /// The work queues that it reaches. None for [`Direction::Node`]: agents read those.
    #[must_use]
    pub fn readers(&self) -> Vec<WorkQueue> {
        let Some(exchange) = self.direction.exchange() else { return Vec::new() };
        let keys = self.routing_keys();
        let reads = |queue: &WorkQueue| {
            queue
                .bindings()
                .iter()
                .any(|(from, pattern)| *from == exchange && keys.iter().any(|key| pattern_matches(pattern, key)))
        };
        WorkQueue::ALL.into_iter().filter(reads).collect()
    }

    /// JSON Schema (2020-12) of the whole CloudEvent, with its type fixed.
    #[must_use]
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Reads a message body of this type and writes it again as this version does.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is not of this type.
    pub fn reencode(&self, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
        (self.reencode)(body)
    }
}

/// Keys of fired timers: the queue depends on what the timer is for, not on the type.
const TIMER_KEYS: &[&str] = &[CALLER_TIMER_KEY, DISPATCHER_TIMER_KEY, RESOLVER_TIMER_KEY, WORKFLOWS_TIMER_KEY];

/// Every message type, sorted by name.
pub const MESSAGES: &[Entry] = {
    use Direction::{Event, Node, Report};
    use Publisher::{Agent, Api, Gateway, OtherSystems, Scheduler, Worker};
    &[
        Entry::of::<ApprovalSignalled>(Event, &[OtherSystems, Api]),
        Entry::of::<CallRequested>(Event, &[Worker, Api]),
        Entry::of::<CommandRequested>(Event, &[OtherSystems]),
        Entry::of::<CancelInvocation>(Node, &[Worker]),
        Entry::of::<InvocationFinished>(Report, &[Agent]),
        Entry::of::<InvocationProgressed>(Report, &[Agent]),
        Entry::of::<RunInvocation>(Node, &[Worker]),
        Entry::of::<NodeConnected>(Report, &[Agent]),
        Entry::of::<NodeDisconnected>(Report, &[Gateway]),
        Entry::of::<NodeHeartbeat>(Report, &[Agent]),
        Entry::of::<NodeRemoved>(Event, &[OtherSystems]),
        Entry::of::<NodeScanned>(Report, &[Agent]),
        Entry::of::<NodeUpserted>(Event, &[OtherSystems]),
        Entry::of::<NotificationRaised>(Event, &[Worker]),
        Entry::of::<PatchRequested>(Event, &[OtherSystems]),
        Entry::of::<RolloutCancelRequested>(Event, &[Worker, Api]),
        Entry::of::<RolloutFinished>(Event, &[Worker]),
        Entry::of::<RolloutStarted>(Event, &[Worker, Api]),
        Entry::of::<TimerFired>(Event, &[Scheduler]).keyed(TIMER_KEYS),
        Entry::of::<WindowCancelRequested>(Event, &[Api]),
        Entry::of::<WindowStartRequested>(Event, &[OtherSystems, Api]),
        Entry::of::<WindowStarted>(Event, &[Scheduler]),
        Entry::of::<WorkflowContinued>(Event, &[Worker, Api, Scheduler]),
    ]
};

/// The entry of a message type, if there is one.
#[must_use]
pub fn find(message_type: &str) -> Option<&'static Entry> {
    MESSAGES.binary_search_by(|entry| entry.message_type.cmp(message_type)).ok().map(|index| &MESSAGES[index])
}

fn event_schema<M: Message>() -> Schema {
    let mut schema = schemars::schema_for!(CloudEvent<M>);
    // What the message means is said at its payload; the envelope's own text is the same for all.
    let meaning = schemars::schema_for!(M).get("description").cloned().unwrap_or_default();
    schema.insert("$id".to_owned(), json!(format!("urn:{}", M::TYPE.replace('.', ":"))));
    schema.insert("title".to_owned(), json!(M::TYPE));
    schema.insert("description".to_owned(), meaning);
    for (attribute, value) in [("type", M::TYPE), ("specversion", SPEC_VERSION)] {
        if let Some(property) = schema.pointer_mut(&format!("/properties/{attribute}")).and_then(Value::as_object_mut) {
            property.insert("const".to_owned(), json!(value));
        }
    }
    schema
}

fn reencode<M: Message>(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    CloudEvent::<M>::from_bytes(body).map(|event| event.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_is_sorted_and_has_each_type_once() {
        for pair in MESSAGES.windows(2) {
            assert!(pair[0].message_type < pair[1].message_type, "{} is out of order", pair[1].message_type);
        }
        for entry in MESSAGES {
            assert_eq!(find(entry.message_type).map(|found| found.message_type), Some(entry.message_type));
        }
        assert!(find("patchwave.unheard.of.v1").is_none());
    }

    #[test]
    fn type_names_have_prefix_entity_verb_and_version() {
        for entry in MESSAGES {
            let name = entry.message_type;
            let words: Vec<&str> = name.split('.').collect();
            let version = words.last().and_then(|word| word.strip_prefix('v')).and_then(|n| n.parse::<u32>().ok());
            assert!(words.len() >= 4 && words[0] == "patchwave" && version >= Some(1), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.'), "{name}");
        }
    }

    #[test]
    fn every_routing_key_reaches_exactly_one_work_queue() {
        for entry in MESSAGES {
            let Some(exchange) = entry.direction.exchange() else { continue };
            for key in entry.routing_keys() {
                let bound: Vec<_> = WorkQueue::ALL
                    .into_iter()
                    .filter(|queue| {
                        queue
                            .bindings()
                            .iter()
                            .any(|(from, pattern)| *from == exchange && pattern_matches(pattern, key))
                    })
                    .collect();
                assert_eq!(bound.len(), 1, "{key} on {exchange} reaches {bound:?}");
            }
        }
    }

    #[test]
    fn every_binding_has_a_message_that_uses_it() {
        for queue in WorkQueue::ALL.into_iter().filter(|queue| *queue != WorkQueue::Dead) {
            for (exchange, pattern) in queue.bindings() {
                let used = MESSAGES.iter().any(|entry| {
                    entry.direction.exchange() == Some(exchange)
                        && entry.routing_keys().iter().any(|key| pattern_matches(pattern, key))
                });
                assert!(used, "nothing is published to {exchange} for {} ({pattern})", queue.name());
            }
        }
    }
}
