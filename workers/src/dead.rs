//! The dead letters: what no queue could process is kept in the store until somebody decides.

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::audit::{Outcome, value_mac};
use patchwave_platform::bus::{Death, Delivery, Sender};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::store::dead_letters::DeadLetter;
use patchwave_schemas::Message;
use patchwave_schemas::envelope::{DecodeError, Head};
use patchwave_schemas::event::{CommandRequested, WindowCancelRequested, WindowStartRequested};
use patchwave_schemas::topology::WorkQueue;
use serde_json::json;

use crate::HandlerError;
use crate::audit::{self, Actor, Deed};
use crate::runtime::{Applied, Handler};

/// Keeps dead letters.
pub struct DeadLetters;

/// A dead letter as it came.
pub struct Buried {
    body: Vec<u8>,
    death: Death,
}

/// Who asked for what with a letter that was a request to the resolver.
///
/// Letters of other queues are not recorded: nodes send to those, and could fill the log.
fn request_of(letter: &Buried) -> Option<(String, &'static str)> {
    if letter.death.queue != WorkQueue::Resolver.name() {
        return None;
    }
    let head = Head::from_bytes(&letter.body).ok()?;
    let action = match head.event_type.as_str() {
        CommandRequested::TYPE => "SendCommand",
        WindowStartRequested::TYPE => "StartMaintenanceWindow",
        WindowCancelRequested::TYPE => "CancelMaintenanceWindowExecution",
        _ => return None,
    };
    Some((head.source, action))
}

#[async_trait]
impl Handler for DeadLetters {
    type Input = Buried;

    const QUEUE: WorkQueue = WorkQueue::Dead;

    fn decode(delivery: &Delivery) -> Result<Buried, DecodeError> {
        let unknown = || Death { queue: String::new(), reason: "unknown".to_owned(), sender: Sender::nobody() };
        Ok(Buried { body: delivery.body.clone(), death: delivery.death.clone().unwrap_or_else(unknown) })
    }

    async fn apply(
        store: &Store,
        master_key: &MasterKey,
        batch: &[Buried],
        now: Timestamp,
    ) -> Result<Applied, HandlerError> {
        let mut tx = store.begin().await?;
        let mut refused = Vec::new();
        for letter in batch {
            let stored = DeadLetter::new(&letter.death, &letter.body, now);
            tx.add_dead_letter(&stored).await?;
            if let Some((source, action)) = request_of(letter) {
                // The reason may quote the parameters of a command.
                let reason = value_mac(master_key, letter.death.reason.as_bytes());
                let deed = Deed {
                    queue: WorkQueue::Dead,
                    action,
                    subject: stored.dead_letter_id.to_string(),
                    detail: json!({ "Message": reason }),
                    outcome: Outcome::Failed,
                };
                refused.push((source, deed));
            }
        }
        for (source, deed) in refused {
            audit::record(&mut tx, master_key, &Actor::Event(&source), deed, now).await?;
        }
        tx.commit().await?;
        Ok(Applied::default())
    }
}
