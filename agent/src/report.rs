//! What a node says on the bus: its messages as bytes, ready for a transport.
//!
//! Ids are derived from what is reported, so a report that is sent again is the same message.

use jiff::Timestamp;
use patchwave_schemas::envelope::{CloudEvent, Message, node_source};
use patchwave_schemas::ids::derived_uuid;
use patchwave_schemas::node::{NodeFacts, NodePolicy};
use patchwave_schemas::report::{InvocationFinished, InvocationProgressed, NodeConnected, NodeHeartbeat, NodeScanned};
use patchwave_schemas::topology::routing_key;
use patchwave_schemas::{CommandId, NodeId};
use uuid::Uuid;

use crate::journal::Finished;

/// What a node says with its hello besides its facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Introduction {
    /// What its machine looks like; absent where nothing registered.
    pub fingerprint: Option<String>,
    /// What it takes at all; absent when that is everything.
    pub policy: Option<NodePolicy>,
}

/// A message for the reports exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The CloudEvent's id.
    pub id: Uuid,
    /// The CloudEvent's type.
    pub message_type: &'static str,
    /// The CloudEvent.
    pub body: Vec<u8>,
    /// The node that speaks.
    pub node_id: NodeId,
    /// The run that is over for the node once this report, and all before it, are on the bus.
    pub settles: Option<CommandId>,
}

impl Report {
    /// The routing key to publish with.
    #[must_use]
    pub fn routing_key(&self) -> &'static str {
        routing_key(self.message_type)
    }

    fn new<M: Message>(node: &NodeId, cause: &str, now: Timestamp, data: M) -> Self {
        let id = derived_uuid("report:", &format!("{}/{node}/{cause}", M::TYPE));
        let event = CloudEvent::new(id, node_source(node), now, data).about(node.as_str());
        Self { id, message_type: M::TYPE, body: event.to_bytes(), node_id: node.clone(), settles: None }
    }

    /// The node is connected.
    #[must_use]
    pub fn connected(
        facts: &NodeFacts,
        introduction: &Introduction,
        address: &str,
        session: &str,
        now: Timestamp,
    ) -> Self {
        let data = NodeConnected {
            facts: facts.clone(),
            address: address.to_owned(),
            session: session.to_owned(),
            fingerprint: introduction.fingerprint.clone(),
            policy: introduction.policy.clone(),
        };
        Self::new(&facts.node_id, session, now, data)
    }

    /// The node is alive.
    #[must_use]
    pub fn heartbeat(node: &NodeId, session: &str, now: Timestamp) -> Self {
        let data = NodeHeartbeat { node_id: node.clone(), session: session.to_owned() };
        Self::new(node, &format!("{session}/{now}"), now, data)
    }

    /// A run lasts longer than a few seconds.
    #[must_use]
    pub fn progressed(data: InvocationProgressed, now: Timestamp) -> Self {
        let node = data.node_id.clone();
        let cause = format!("{}/{now}", data.command_id);
        Self::new(&node, &cause, now, data)
    }

    /// A run has ended: the scans it made, then its end.
    #[must_use]
    pub fn finished(speaker: &NodeId, finished: &Finished) -> Vec<Self> {
        let end = &finished.report;
        let mut reports: Vec<Self> =
            finished.scans.iter().enumerate().map(|(index, scan)| Self::scanned(speaker, index, scan)).collect();
        reports.push(Self::ended(speaker, end));
        reports
    }

    fn scanned(speaker: &NodeId, index: usize, scan: &NodeScanned) -> Self {
        Self::new(speaker, &format!("{}/{index}", scan.command_id), scan.finished_at, scan.clone())
    }

    /// A run has ended on `speaker`, or was refused by it although it is another node's.
    pub(crate) fn ended(speaker: &NodeId, end: &InvocationFinished) -> Self {
        // A refusal on behalf of another node must not pass for that node's own report.
        let cause = format!("{}/{}", end.command_id, end.node_id);
        let mut report = Self::new(speaker, &cause, end.finished_at, end.clone());
        report.settles = (end.node_id == *speaker).then_some(end.command_id);
        report
    }
}
