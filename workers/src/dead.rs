//! The dead letters: what no queue could process is kept in the store until somebody decides.

use async_trait::async_trait;
use jiff::Timestamp;
use patchwave_platform::bus::{Death, Delivery, Sender};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_platform::store::dead_letters::DeadLetter;
use patchwave_schemas::envelope::DecodeError;
use patchwave_schemas::topology::WorkQueue;

use crate::HandlerError;
use crate::runtime::{Applied, Handler};

/// Keeps dead letters.
pub struct DeadLetters;

/// A dead letter as it came.
pub struct Buried {
    body: Vec<u8>,
    death: Death,
}

#[async_trait]
impl Handler for DeadLetters {
    type Input = Buried;

    const QUEUE: WorkQueue = WorkQueue::Dead;

    fn decode(delivery: &Delivery) -> Result<Buried, DecodeError> {
        let unknown = || Death { queue: String::new(), reason: "unknown".to_owned(), sender: Sender::nobody() };
        Ok(Buried { body: delivery.body.clone(), death: delivery.death.clone().unwrap_or_else(unknown) })
    }

    async fn apply(store: &Store, _: &MasterKey, batch: &[Buried], now: Timestamp) -> Result<Applied, HandlerError> {
        let mut tx = store.begin().await?;
        for letter in batch {
            tx.add_dead_letter(&DeadLetter::new(&letter.death, &letter.body, now)).await?;
        }
        tx.commit().await?;
        Ok(Applied::default())
    }
}
