//! A rollout was stored: release as many invocations as its limits allow.

use jiff::Timestamp;
use patchwave_engine::rollout::Event;
use patchwave_platform::store::Tx;
use patchwave_schemas::CommandId;
use patchwave_schemas::event::Timer;

use super::check::CHECK_EVERY;
use crate::HandlerError;
use crate::advance::advance;
use crate::effects::Effects;

pub(super) async fn apply(tx: &mut Tx, command: CommandId, now: Timestamp) -> Result<Effects, HandlerError> {
    let mut locked = tx.lock_rollouts(&[command]).await?;
    let Some(rollout) = locked.first_mut() else { return Ok(Effects::default()) };
    tx.set_timer(&Timer::RolloutCheck { command_id: command }, now + CHECK_EVERY).await?;
    let effects = advance(tx, rollout, Event::Start, now).await?;
    if rollout.plan.rollout.is_finished() {
        tx.clear_timer(&Timer::RolloutCheck { command_id: command }).await?;
    }
    Ok(effects)
}
