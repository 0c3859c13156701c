//! Another system asks for a document to be run now.

use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::launch::{Launch, LaunchError, launch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::Store;
use patchwave_schemas::event::CommandRequested;
use patchwave_schemas::{CloudEvent, CommandId};

use super::Resolved;
use crate::HandlerError;
use crate::audit::{self, Actor};
use crate::effects::Effects;

/// The event's id names the command: published twice, it runs once.
pub(super) async fn apply(
    store: &Store,
    master_key: &MasterKey,
    event: &CloudEvent<CommandRequested>,
    now: Timestamp,
) -> Resolved {
    let command_id = CommandId::from_uuid(event.id);
    let mut tx = store.begin().await?;
    match launch(&mut tx, Launch { command_id, request: event.data.clone(), window: None }, now).await {
        Ok(launched) => {
            if !launched.repeated {
                let what = (command_id, &event.data);
                let actor = Actor::Event(&event.source);
                audit::launched(&mut tx, master_key, &actor, what, launched.rollout.targets, now).await?;
            }
            tx.commit().await?;
            Ok(Ok(Effects { outbox: launched.messages, ..Effects::default() }))
        }
        Err(LaunchError::Store(error)) if error.class() == Class::Transient => Err(HandlerError::Store(error)),
        Err(refused) => Ok(Err(refused.to_string())),
    }
}
