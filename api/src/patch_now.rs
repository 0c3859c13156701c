//! PatchNow: scan or install on nodes at once, with the limits that SSM's "Patch now" sets.

use jiff::Timestamp;
use patchwave_engine::patch_now;
use patchwave_platform::launch::launch_patch;
use patchwave_platform::outbox;
use patchwave_schemas::CommandId;
use patchwave_schemas::patch_now::PatchRequested;
use serde_json::{Value, json};

use crate::Api;
use crate::commands::{existing, refused, view};
use crate::documents::bare_name;
use crate::wire::{Error, Request};

/// PatchNow. Answers with the command, as SendCommand does, and with the limits and their reason.
pub(crate) async fn handle(api: &Api, request: &Request) -> Result<Value, Error> {
    let mut asked: PatchRequested = request.read()?;
    for hook in
        [&mut asked.pre_install_hook_doc_name, &mut asked.post_install_hook_doc_name, &mut asked.on_exit_hook_doc_name]
    {
        *hook = hook.as_deref().map(|name| bare_name(name).to_owned());
    }
    let now = Timestamp::now();
    let command_id = CommandId::random();
    let mut tx = api.store.begin().await?;
    let remembered = json!({ "CommandId": command_id });
    if let Some(earlier) = request.repeated(&mut tx, &remembered, now).await? {
        drop(tx);
        let earlier = earlier["CommandId"].as_str().unwrap_or_default().to_owned();
        return answer(api, &asked, &earlier).await;
    }
    let only = request.caller().policy.as_ref();
    let launched = launch_patch(&mut tx, command_id, &asked, only, now).await.map_err(refused)?;
    tx.commit().await?;
    // Read before anything is released: the answer says `Pending`, as SendCommand's does.
    let answer = answer(api, &asked, &command_id.to_string()).await?;
    outbox::flush(&api.store, api.bus.as_ref(), &launched.messages).await;
    Ok(answer)
}

async fn answer(api: &Api, asked: &PatchRequested, command: &str) -> Result<Value, Error> {
    let command = existing(api, Some(command)).await?;
    let nodes = command.rollout.targets;
    let limits = patch_now::limits(asked.operation, nodes);
    let reason = |given: bool| if given { "given with the request" } else { limits.why };
    Ok(json!({
        "Command": view(&command),
        "RateControl": {
            "NodeCount": nodes,
            "MaxConcurrency": command.request.max_concurrency,
            "MaxConcurrencyReason": reason(asked.max_concurrency.is_some()),
            "MaxErrors": command.request.max_errors,
            "MaxErrorsReason": reason(asked.max_errors.is_some()),
        },
    }))
}
