//! SignalApproval: lets the next wave of a rollout follow, or stops the rollout.

use jiff::Timestamp;
use patchwave_engine::rollout::waves::{Stage, Waves};
use patchwave_platform::outbox;
use patchwave_platform::store::commands::Command;
use patchwave_platform::store::outbox::OutboxMessage;
use patchwave_schemas::event::{ApprovalSignal, ApprovalSignalled};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Api;
use crate::commands::existing;
use crate::wire::{Error, Request, epoch, required};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    command_id: Option<String>,
    signal: Option<ApprovalSignal>,
    comment: Option<String>,
}

/// SignalApproval. Refused when the rollout waits for no answer; the resolver takes it otherwise.
pub(crate) async fn signal(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let command = existing(api, Some(required("commandId", input.command_id.as_deref())?)).await?;
    let signal = required("signal", input.signal)?;
    let stage = command.waves.as_ref().map(|waves| &waves.stage).filter(|_| command.finished_at.is_none());
    let takes = match stage {
        Some(Stage::AwaitingApproval { .. }) => true,
        Some(Stage::Baking { .. }) => signal == ApprovalSignal::Reject,
        _ => false,
    };
    if !takes {
        let message = format!("command {} waits for no such answer", command.command_id);
        return Err(Error::validation(message));
    }
    let now = Timestamp::now();
    let event = ApprovalSignalled { execution_id: command.command_id.to_string(), signal, comment: input.comment };
    let source = format!("/patchwave/api/{}", request.caller().access_key_id);
    let messages = [OutboxMessage::event(Uuid::now_v7(), &source, now, event)];
    let mut tx = api.store.begin().await?;
    tx.enqueue(&messages, now).await?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), &messages).await;
    Ok(json!({ "CommandId": command.command_id }))
}

/// The waves of a command, what they wait for and until when, for GetRollout.
pub(crate) fn view(command: &Command, waves: &Waves) -> Value {
    let (state, until, reason) = match &waves.stage {
        Stage::Stopped { reason } => ("Stopped", None, Some(reason)),
        _ if command.finished_at.is_some() => ("Ended", None, None),
        Stage::Open => ("Running", None, None),
        Stage::Baking { until } => ("Baking", Some(epoch(*until)), None),
        Stage::AwaitingApproval { until } => ("AwaitingApproval", Some(epoch(*until)), None),
    };
    let list: Vec<Value> = (0_usize..)
        .zip(&waves.waves)
        .map(|(index, wave)| {
            let state = match index {
                _ if index < waves.current => "Passed",
                _ if index == waves.current => state,
                _ => "Held",
            };
            json!({
                "Name": wave.name,
                "State": state,
                "TargetCount": wave.targets,
                "BakeSeconds": wave.bake_seconds,
                "MinSuccessPercent": wave.min_success_percent,
                "MaxFailed": wave.max_failed,
                "ApprovalWithinSeconds": wave.approval_within_seconds,
            })
        })
        .collect();
    json!({
        "State": state,
        "Current": waves.current + 1,
        "CurrentName": waves.waves.get(waves.current).map(|wave| &wave.name),
        "Count": waves.waves.len(),
        "WaitsUntil": until,
        "Reason": reason,
        "List": list,
    })
}
