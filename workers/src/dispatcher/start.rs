//! A rollout was stored: release as many invocations as its limits allow.

use jiff::Timestamp;
use patchwave_engine::rollout::Event;
use patchwave_platform::store::Tx;
use patchwave_schemas::CommandId;

use crate::HandlerError;
use crate::advance::advance;
use crate::effects::Effects;

pub(super) async fn apply(tx: &mut Tx, command: CommandId, now: Timestamp) -> Result<Effects, HandlerError> {
    let mut locked = tx.lock_rollouts(&[command]).await?;
    match locked.first_mut() {
        Some(rollout) => advance(tx, rollout, Event::Start, now).await,
        None => Ok(Effects::default()),
    }
}
