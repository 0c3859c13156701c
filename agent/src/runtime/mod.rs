//! The agent at work: one or many nodes over one transport.
//!
//! One task owns all nodes and drives their [`NodeCore`](crate::NodeCore)s; idle nodes cost no
//! task and no timer, so that one process can be ten thousand simulated nodes. Work that takes
//! time runs in tasks of its own and tells its end over a channel. Everything goes by readiness:
//! whatever messages are there are journaled together, acknowledged together, and what they lead
//! to is published together.

use std::sync::Arc;
use std::time::Duration;

use patchwave_schemas::NodeId;
use patchwave_schemas::node::NodeFacts;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::execute::StepRunner;
use crate::journal::{Journal, JournalError};
use crate::node::Policy;
use crate::transport::Transport;

mod driver;
mod effects;
mod link;
mod pace;
#[cfg(test)]
mod tests;
mod work;

/// One node of an agent.
pub struct AgentNode {
    /// Who it is; reported on every connection.
    pub facts: NodeFacts,
    /// What its steps do.
    pub runner: Arc<dyn StepRunner>,
    /// What it remembers.
    pub journal: Box<dyn Journal>,
    /// What it takes, and from whom.
    pub policy: Policy,
    /// What its machine looks like, as it registered; absent where nothing registered.
    pub fingerprint: Option<String>,
    /// Whether it connects. See [`AgentHandle::set_online`].
    pub online: bool,
}

/// How an agent behaves.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// Time between two heartbeats of a node. Default 5 minutes (SSM's).
    pub heartbeat: Duration,
    /// Time that running work has to end when the agent stops. Default 30 s. What has not ended
    /// then is killed, and reported as failed after the next start.
    pub stop_grace: Duration,
    /// Longest wait before connecting again, drawn at random from zero on. Default 30 s.
    pub reconnect_max: Duration,
    /// Shell command that restarts the node; see [`StepRunner::can_reboot`]. Default none.
    pub reboot_command: Option<String>,
    /// Longest wait before a restart, different for each node and command. Default none.
    pub reboot_jitter: Duration,
    /// Notified when a message names a key that is not known. Default: nobody is.
    pub ask_for_keys: Arc<Notify>,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(300),
            stop_grace: Duration::from_secs(30),
            reconnect_max: pace::RECONNECT_MAX,
            reboot_command: None,
            reboot_jitter: Duration::ZERO,
            ask_for_keys: Arc::default(),
        }
    }
}

/// An agent, ready to run.
pub struct Agent {
    nodes: Vec<AgentNode>,
    options: AgentOptions,
    changes: (mpsc::UnboundedSender<Change>, mpsc::UnboundedReceiver<Change>),
}

enum Change {
    Online(NodeId, bool),
}

/// Changes a running agent.
#[derive(Clone)]
pub struct AgentHandle {
    changes: mpsc::UnboundedSender<Change>,
}

impl AgentHandle {
    /// Connects a node or takes it off the bus. Unknown nodes are ignored, as is an agent that
    /// has stopped.
    pub fn set_online(&self, node: &NodeId, online: bool) {
        let _ = self.changes.send(Change::Online(node.clone(), online));
    }
}

impl Agent {
    /// An agent for these nodes. Of several with one id the last one counts.
    #[must_use]
    pub fn new(nodes: Vec<AgentNode>, options: AgentOptions) -> Self {
        Self { nodes, options, changes: mpsc::unbounded_channel() }
    }

    /// A handle to change it while it runs.
    #[must_use]
    pub fn handle(&self) -> AgentHandle {
        AgentHandle { changes: self.changes.0.clone() }
    }

    /// Runs until `stop` is cancelled; connects again whenever the link is lost.
    ///
    /// On `stop` it takes no more commands, gives running work its grace, and publishes what is
    /// left to report. Dropping the future kills what runs; the journal tells the next start.
    ///
    /// # Errors
    /// [`JournalError`] if a journal cannot be read at the start. Later failures are logged and
    /// tried again.
    pub async fn run(self, transport: Arc<dyn Transport>, stop: CancellationToken) -> Result<(), JournalError> {
        let mut driver = driver::Driver::new(self, transport)?;
        driver.run(stop).await;
        Ok(())
    }
}
