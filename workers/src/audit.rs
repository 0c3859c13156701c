//! What workers do on somebody's behalf, for the audit log: in the transaction that does it.

use jiff::Timestamp;
use patchwave_platform::audit::{Entry, Outcome};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Tx;
use patchwave_schemas::CommandId;
use patchwave_schemas::event::CommandRequested;
use patchwave_schemas::topology::WorkQueue;
use serde_json::{Value, json};

use crate::HandlerError;

/// Who caused something.
pub(crate) enum Actor<'a> {
    /// A window, by its schedule or on request.
    Window(&'a str),
    /// An event from the bus; the name is the publisher's own.
    Event(&'a str),
}

impl Actor<'_> {
    fn name(&self) -> String {
        match self {
            Self::Window(id) => format!("window {id}"),
            Self::Event(source) => format!("event {source}"),
        }
    }
}

/// Something that a worker did, or refused to do.
pub(crate) struct Deed {
    /// The queue of the worker that acts.
    pub(crate) queue: WorkQueue,
    /// What, by the name of the operation that does the same.
    pub(crate) action: &'static str,
    /// On what: an id.
    pub(crate) subject: String,
    pub(crate) detail: Value,
    pub(crate) outcome: Outcome,
}

impl Deed {
    /// Something that was done.
    pub(crate) fn done(queue: WorkQueue, action: &'static str, subject: String, detail: Value) -> Self {
        Self { queue, action, subject, detail, outcome: Outcome::Succeeded }
    }
}

/// Records something. The log's end is held from here on: it comes last in a transaction.
pub(crate) async fn record(
    tx: &mut Tx,
    master_key: &MasterKey,
    actor: &Actor<'_>,
    deed: Deed,
    now: Timestamp,
) -> Result<(), HandlerError> {
    let entry = Entry {
        at: now,
        actor: actor.name(),
        source: deed.queue.name().trim_start_matches("patchwave.").to_owned(),
        action: deed.action.to_owned(),
        subject: deed.subject,
        detail: deed.detail,
        outcome: deed.outcome,
    };
    tx.audit(master_key, &entry).await?;
    Ok(())
}

/// Records that a command was launched. Its parameters are with the command, and may hold secrets.
pub(crate) async fn launched(
    tx: &mut Tx,
    master_key: &MasterKey,
    actor: &Actor<'_>,
    (command, request): (CommandId, &CommandRequested),
    targets: u32,
    now: Timestamp,
) -> Result<(), HandlerError> {
    let detail = json!({
        "DocumentName": request.document_name,
        "Targets": request.targets,
        "InstanceIds": request.instance_ids,
        "TargetCount": targets,
    });
    let deed = Deed::done(WorkQueue::Resolver, "SendCommand", command.to_string(), detail);
    record(tx, master_key, actor, deed, now).await
}
