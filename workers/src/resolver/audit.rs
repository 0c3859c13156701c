//! What the resolver does on somebody's behalf, for the audit log: in the transaction that does it.

use jiff::Timestamp;
use patchwave_platform::audit::{Entry, Outcome};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Tx;
use patchwave_schemas::CommandId;
use patchwave_schemas::event::CommandRequested;
use serde_json::{Value, json};

use crate::HandlerError;

/// The part of Patchwave that acts, as the log's source.
const SOURCE: &str = "resolver";

/// Who caused something.
pub(super) enum Actor<'a> {
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

/// Records something that was done.
pub(super) async fn record(
    tx: &mut Tx,
    master_key: &MasterKey,
    actor: &Actor<'_>,
    (action, subject): (&str, String),
    detail: Value,
    now: Timestamp,
) -> Result<(), HandlerError> {
    let entry = Entry {
        at: now,
        actor: actor.name(),
        source: SOURCE.to_owned(),
        action: action.to_owned(),
        subject,
        detail,
        outcome: Outcome::Succeeded,
    };
    tx.audit(master_key, &entry).await?;
    Ok(())
}

/// Records that a command was launched. Its parameters are with the command, and may hold secrets.
pub(super) async fn launched(
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
    record(tx, master_key, actor, ("SendCommand", command.to_string()), detail, now).await
}
