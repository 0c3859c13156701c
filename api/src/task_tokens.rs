//! Answers to tasks that wait for a token, in Step Functions' own protocol.

use jiff::Timestamp;
use patchwave_engine::calls::CallOutcome;
use patchwave_platform::outbox;
use patchwave_platform::store::Tx;
use patchwave_platform::store::calls::{OwnerKind, StoredCall};
use patchwave_platform::workflows::{Happening, PAYLOAD_BYTES_MAX, end_call, failed, tell};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::wire::{Error, Request, required};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    task_token: Option<String>,
    output: Option<String>,
    error: Option<String>,
    cause: Option<String>,
}

/// SendTaskSuccess.
pub(crate) async fn success(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let output = required("output", input.output)?;
    let invalid = |problem: String| Error::new("InvalidOutput", format!("Invalid Output: {problem}"));
    if output.len() > PAYLOAD_BYTES_MAX {
        return Err(invalid(format!("it has {} bytes; allowed are up to {PAYLOAD_BYTES_MAX}", output.len())));
    }
    let value = serde_json::from_str(&output).map_err(|error| invalid(format!("it is not JSON: {error}")))?;
    end(api, input.task_token, CallOutcome::Succeeded(value)).await
}

/// SendTaskFailure.
pub(crate) async fn failure(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let outcome = failed(&input.error.unwrap_or_default(), input.cause.unwrap_or_default());
    end(api, input.task_token, outcome).await
}

/// SendTaskHeartbeat.
pub(crate) async fn heartbeat(api: &Api, request: &Request) -> Result<Value, Error> {
    let input: Input = request.read()?;
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    let call = open_call(&mut tx, input.task_token).await?;
    let mut told = Vec::new();
    if call.owner_kind == OwnerKind::Workflow
        && let Ok(owner) = call.owner_id.parse()
    {
        let happening = Happening::Heartbeat { about: call.about.clone() };
        told.push(tell(&mut tx, owner, &format!("beat/{}/{now}", call.token), &happening, now).await?);
    }
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), &told).await;
    Ok(json!({}))
}

async fn end(api: &Api, token: Option<String>, outcome: CallOutcome) -> Result<Value, Error> {
    let now = Timestamp::now();
    let mut tx = api.store.begin().await?;
    let call = open_call(&mut tx, token).await?;
    let told = end_call(&mut tx, &call, outcome, now).await?;
    tx.commit().await?;
    outbox::flush(&api.store, api.bus.as_ref(), told.as_slice()).await;
    Ok(json!({}))
}

/// The call of a token that has not ended.
async fn open_call(tx: &mut Tx, token: Option<String>) -> Result<StoredCall, Error> {
    let token = required("taskToken", token)?;
    let unknown = || Error::new("TaskDoesNotExist", "Task Does Not Exist: no task of a state machine has this token");
    let call = tx.call(&token).await?.ok_or_else(unknown)?;
    if call.ended_at.is_some() {
        return Err(Error::new("TaskTimedOut", "Task Timed Out: the task of this token has ended"));
    }
    Ok(call)
}
