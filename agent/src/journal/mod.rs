//! What a node must not forget: which commands it got, began, ended and reported.
//!
//! An entry is appended, and safe on disk, before the step it speaks of is taken. Read back after
//! a crash it says what may have happened; [`crate::node`] decides what follows from it.
//! Nothing here knows the rules.

use std::sync::Arc;

use jiff::Timestamp;
use patchwave_schemas::command::RunInvocation;
use patchwave_schemas::report::{InvocationFinished, NodeScanned};
use patchwave_schemas::{CommandId, NodeId};
use serde::{Deserialize, Serialize};

use crate::execute::RebootPoint;

mod file;
mod memory;

pub use file::FileJournal;
pub use memory::MemoryJournal;

/// What a command is recognised by when it comes again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// The command.
    pub command_id: CommandId,
    /// The node.
    pub node_id: NodeId,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A command was accepted and waits for its turn.
    Received {
        /// The whole command, so that it can be run without being sent again.
        invocation: Arc<RunInvocation>,
        /// When it came.
        at: Timestamp,
    },
    /// Its first step is about to start, or it is about to be taken up again.
    Started {
        /// Which.
        key: RunKey,
        /// When.
        at: Timestamp,
    },
    /// It is about to be killed.
    Cancelling {
        /// Which.
        key: RunKey,
        /// When.
        at: Timestamp,
    },
    /// The node is about to be restarted for it.
    Rebooting {
        /// Which.
        key: RunKey,
        /// Where to go on.
        point: RebootPoint,
        /// When.
        at: Timestamp,
    },
    /// It has ended and is about to be reported.
    Finished(Arc<Finished>),
    /// Its report is on the bus.
    Confirmed {
        /// Which.
        key: RunKey,
        /// When.
        at: Timestamp,
    },
    /// What remains of a confirmed run after compaction.
    Settled {
        /// Which.
        key: RunKey,
        /// Not needed after.
        forget_after: Timestamp,
    },
}

/// The reports of an ended run, until the bus has confirmed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// How it ended.
    pub report: InvocationFinished,
    /// The patches as it left them, reported before its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scans: Vec<NodeScanned>,
    /// When the key may be forgotten: later no duplicate can be in time.
    pub forget_after: Timestamp,
}

impl Entry {
    /// The run the entry speaks of.
    #[must_use]
    pub fn key(&self) -> RunKey {
        match self {
            Self::Received { invocation, .. } => {
                RunKey { command_id: invocation.command_id, node_id: invocation.node_id.clone() }
            }
            Self::Finished(finished) => {
                RunKey { command_id: finished.report.command_id, node_id: finished.report.node_id.clone() }
            }
            Self::Started { key, .. }
            | Self::Cancelling { key, .. }
            | Self::Rebooting { key, .. }
            | Self::Confirmed { key, .. }
            | Self::Settled { key, .. } => key.clone(),
        }
    }

    /// Whether losing the entry in a crash could do harm. A lost confirmation only repeats a report.
    #[must_use]
    pub const fn must_survive(&self) -> bool {
        !matches!(self, Self::Confirmed { .. })
    }
}

/// An append-only record of one node's runs.
pub trait Journal: Send {
    /// Appends entries. Those that [must survive](Entry::must_survive) are on disk when it returns.
    ///
    /// # Errors
    /// [`JournalError`] if that is not certain; the step they speak of must not be taken.
    fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError>;

    /// Everything recorded, oldest first.
    ///
    /// # Errors
    /// [`JournalError`] if the record cannot be read or is damaged before its end.
    fn replay(&mut self) -> Result<Vec<Entry>, JournalError>;

    /// Whether so much was appended that [`rewrite`](Self::rewrite) is worth its cost.
    fn is_bloated(&self) -> bool;

    /// Replaces everything recorded by `entries`, all or nothing.
    ///
    /// # Errors
    /// [`JournalError`] if it could not; the old record stays.
    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), JournalError>;
}

/// Why the journal could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("could not {attempted} the journal `{path}`")]
    Io {
        /// What was attempted: open, read, write, replace.
        attempted: &'static str,
        /// The file.
        path: String,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
    /// A line that is not the last one cannot be read, so what follows it cannot be trusted.
    #[error("line {line} of the journal `{path}` is damaged")]
    Damaged {
        /// The file.
        path: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Another agent has the journal open.
    #[error("the journal `{path}` is in use by another agent")]
    InUse {
        /// The file.
        path: String,
    },
}
