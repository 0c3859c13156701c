//! Every change is recorded before it is tried and after.
//!
//! The first entry also uses the request's signature up: in the store, so that a repeated request
//! changes nothing, whichever process it comes to and whatever restarts in between. Clients sign
//! every attempt anew; a program that means the same change twice in one second is told to try
//! again, which makes another signature.

use std::time::Duration;

use jiff::Timestamp;
use patchwave_engine::access::{Class, permit};
use patchwave_platform::audit::{Entry, Outcome, value_mac};
use patchwave_platform::secrets::MasterKey;
use serde_json::{Map, Value, json};

use crate::wire::{Error, Request};
use crate::{Api, operations};

/// Longest time a request may take. What it was doing then is undone or done; the log says so.
const ANSWER_WITHIN: Duration = Duration::from_secs(55);
/// Tries to record what came of a change.
const RECORD_TRIES: u32 = 5;
/// Parameters of documents that say what is done and hold no secrets; of others a MAC is kept.
const PLAIN_PARAMETERS: [&str; 3] = ["Operation", "RebootOption", "SnapshotId"];
/// Members that name what a request is about, the most telling first.
const SUBJECTS: [&str; 18] = [
    "WindowTaskId",
    "WindowTargetId",
    "WindowExecutionId",
    "WindowId",
    "CommandId",
    "InstanceId",
    "BaselineId",
    "PatchGroup",
    "ResourceId",
    "ActivationId",
    "AccessKeyId",
    "DeadLetterId",
    "SettingId",
    "Name",
    "DocumentName",
    "RolloutId",
    "KeyId",
    "Id",
];

/// Answers a request if its caller may, and records it if it changes something.
pub(crate) async fn answer(api: &Api, mut request: Request) -> Result<Value, Error> {
    let class = operations::class(&request)?;
    let caller = request.caller();
    if let Err(denied) = permit(caller.role, caller.policy.is_some(), class) {
        let message =
            format!("access key {} is not allowed to call {}: {denied}", caller.access_key_id, request.operation());
        let error = Error::new("AccessDeniedException", message);
        if let Some(unrecorded) = api.gate.may_record() {
            let mut entry = entry_of(&request, json!({ "UnrecordedBefore": unrecorded }), Outcome::Denied);
            entry.subject = subject(&request, &Value::Null);
            api.store.audit(&api.master_key, &entry).await?;
        }
        return Err(error);
    }
    request.check()?;
    if !class.changes() {
        return within(operations::dispatch(api, &request)).await;
    }
    // A client that leaves must not leave a change half recorded.
    let api = api.clone();
    tokio::spawn(async move { change(&api, &request, class).await }).await.unwrap_or_else(|failure| {
        Err(Error::internal(patchwave_platform::Class::Rejected, "a handler failed", failure))
    })
}

async fn change(api: &Api, request: &Request, class: Class) -> Result<Value, Error> {
    let caller = request.caller();
    let now = Timestamp::now();
    let detail = redacted(request.members(), &api.master_key);
    let mut requested =
        entry_of(request, json!({ "Request": detail, "Class": format!("{class:?}") }), Outcome::Requested);
    requested.subject = subject(request, &Value::Null);
    let mut tx = api.store.begin().await?;
    if !tx.use_signature(&caller.signature, caller.signature_expires_at, now).await? {
        return Err(Error::throttled(
            "this signed request has been carried out or is being carried out; a signature is good for one change, \
             so sign it anew to make the change again",
            Duration::from_secs(1),
        ));
    }
    let head = tx.audit(&api.master_key, &requested).await?;
    tx.commit().await?;

    let answer = within(operations::dispatch(api, request)).await;

    let mut detail = json!({ "Requested": head.seq });
    let outcome = match &answer {
        Ok(_) => Outcome::Succeeded,
        Err(error) => {
            detail["Code"] = json!(error.code());
            detail["Message"] = json!(error.message().chars().take(500).collect::<String>());
            if error.code() == "AccessDeniedException" { Outcome::Denied } else { Outcome::Failed }
        }
    };
    let mut ended = entry_of(request, detail, outcome);
    ended.subject = subject(request, answer.as_ref().unwrap_or(&Value::Null));
    record(api, &ended).await;
    answer
}

/// Records what came of a change. If the store stays away, the entry before says that it was tried.
async fn record(api: &Api, entry: &Entry) {
    for attempt in 1..=RECORD_TRIES {
        match api.store.audit(&api.master_key, entry).await {
            Ok(_) => return,
            Err(error) if attempt == RECORD_TRIES => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, action = entry.action, "the outcome of a change could not be recorded");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100) * attempt).await,
        }
    }
}

async fn within(work: impl Future<Output = Result<Value, Error>>) -> Result<Value, Error> {
    tokio::time::timeout(ANSWER_WITHIN, work).await.unwrap_or_else(|late| {
        Err(Error::internal(patchwave_platform::Class::Transient, "there was no answer in time; try again later", late))
    })
}

fn entry_of(request: &Request, detail: Value, outcome: Outcome) -> Entry {
    let caller = request.caller();
    Entry {
        at: Timestamp::now(),
        actor: caller.access_key_id.clone(),
        source: caller.source.clone(),
        action: request.operation().to_owned(),
        subject: String::new(),
        detail,
        outcome,
    }
}

/// What a request is about: an id of the answer, which names what was made, or of the request.
fn subject(request: &Request, answer: &Value) -> String {
    let made = SUBJECTS.iter().find_map(|name| answer.get(name).or_else(|| answer["Command"].get(name)));
    let named = SUBJECTS.iter().find_map(|name| request.members().get(*name));
    made.or(named).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A request's members, without what may be secret: secrets are left out, and of the parameters and
/// contents of documents, which scripts hide passwords in, a MAC is kept.
fn redacted(members: &Map<String, Value>, master_key: &MasterKey) -> Value {
    let mac = |value: &Value| json!(value_mac(master_key, value.to_string().as_bytes()));
    let clean = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value) {
            (secret, _) if secret.contains("Secret") || secret.contains("Password") => json!("(not recorded)"),
            ("Parameters", Value::Object(parameters)) => parameters
                .iter()
                .map(|(name, value)| {
                    let plain = PLAIN_PARAMETERS.contains(&name.as_str());
                    (name.clone(), if plain { value.clone() } else { mac(value) })
                })
                .collect(),
            ("Content" | "TaskParameters" | "Payload" | "Comment", value) => mac(value),
            (_, Value::Object(members)) => redacted(members, master_key),
            (_, Value::Array(items)) => items
                .iter()
                .map(|item| item.as_object().map_or_else(|| item.clone(), |members| redacted(members, master_key)))
                .collect(),
            (_, value) => value.clone(),
        };
        (name.clone(), value)
    };
    Value::Object(members.iter().map(clean).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_recorded() {
        let request = json!({
            "DocumentName": "AWS-RunShellScript",
            "Parameters": { "commands": ["login hunter2"], "Operation": ["Install"] },
            "SecretAccessKey": "hunter2",
            "Content": "hunter2",
            "TaskInvocationParameters": { "RunCommand": { "Parameters": { "commands": ["hunter2"] }, "Comment": "hunter2" } },
            "Targets": [{ "Key": "tag:Site", "Values": ["Bonn"] }, "plain"],
        });
        let kept = redacted(request.as_object().expect("an object"), &MasterKey::from_bytes(&[1; 32]));
        assert!(!kept.to_string().contains("hunter2"), "{kept}");
        assert_eq!(kept["Parameters"]["Operation"], json!(["Install"]));
        assert_eq!(kept["Targets"], request["Targets"]);
        assert!(kept["Content"].as_str().is_some_and(|text| text.starts_with("mac:")), "{kept}");
    }
}
