//! Another system asks for a document to be run now, or for nodes to be patched.

use jiff::Timestamp;
use patchwave_platform::Class;
use patchwave_platform::launch::{Launch, LaunchError, Launched, launch, launch_patch};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::{Store, Tx};
use patchwave_schemas::event::CommandRequested;
use patchwave_schemas::patch_now::PatchRequested;
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
    let launched = launch(&mut tx, Launch { command_id, request: event.data.clone(), window: None }, now).await;
    finish(tx, master_key, &event.source, launched, command_id, now).await
}

/// As [`apply`], for a request to patch now.
pub(super) async fn patch(
    store: &Store,
    master_key: &MasterKey,
    event: &CloudEvent<PatchRequested>,
    now: Timestamp,
) -> Resolved {
    let command_id = CommandId::from_uuid(event.id);
    let mut tx = store.begin().await?;
    let launched = launch_patch(&mut tx, command_id, &event.data, None, now).await;
    finish(tx, master_key, &event.source, launched, command_id, now).await
}

/// Records who asked, unless they had asked before, and commits.
async fn finish(
    mut tx: Tx,
    master_key: &MasterKey,
    source: &str,
    launched: Result<Launched, LaunchError>,
    command_id: CommandId,
    now: Timestamp,
) -> Resolved {
    match launched {
        Ok(launched) => {
            if !launched.repeated {
                let what = (command_id, &launched.request);
                audit::launched(&mut tx, master_key, &Actor::Event(source), what, launched.rollout.targets, now)
                    .await?;
            }
            tx.commit().await?;
            Ok(Ok(Effects { outbox: launched.messages, ..Effects::default() }))
        }
        Err(LaunchError::Store(error)) if error.class() == Class::Transient => Err(HandlerError::Store(error)),
        Err(refused) => Ok(Err(refused.to_string())),
    }
}
