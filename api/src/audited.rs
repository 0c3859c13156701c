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

use crate::auth::{Caller, Refused};
use crate::wire::{Error, Request};
use crate::{Api, model, operations};

/// Longest time a request may take. What it was doing then is undone or done; the log says so.
const ANSWER_WITHIN: Duration = Duration::from_secs(55);
/// Tries to record what came of a change.
const RECORD_TRIES: u32 = 5;
/// Characters of a refusal that are kept.
const MESSAGE_CHARS_MAX: usize = 500;
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
    let about = subject(&request, &Value::Null);
    permitted(api, request.caller(), class, request.operation(), &about).await?;
    if let Err(malformed) = request.check() {
        if class.changes() {
            // Its words quote what may be secret.
            let code = malformed.code();
            refused(api, request.caller(), request.operation(), &about, (code, Outcome::Failed)).await?;
        }
        return Err(malformed);
    }
    if !class.changes() {
        let answer = within(operations::dispatch(api, &request)).await;
        // What a handler refuses by the caller's policy is as much a refusal as one by its class.
        if let Err(error) = &answer
            && error.code() == "AccessDeniedException"
        {
            refused(api, request.caller(), request.operation(), &about, (error.code(), Outcome::Denied)).await?;
        }
        return answer;
    }
    // A client that leaves must not leave a change half recorded.
    let api = api.clone();
    tokio::spawn(async move { change(&api, &request, class).await }).await.unwrap_or_else(|failure| {
        Err(Error::internal(patchwave_platform::Class::Rejected, "a handler failed", failure))
    })
}

/// Lets a caller through that may do what `class` says; records a refusal.
///
/// # Errors
/// `AccessDeniedException`.
pub(crate) async fn permitted(
    api: &Api,
    caller: &Caller,
    class: Class,
    action: &str,
    subject: &str,
) -> Result<(), Error> {
    let Err(why) = permit(caller.role, caller.policy.is_some(), class) else { return Ok(()) };
    let message = format!("access key {} is not allowed to call {action}: {why}", caller.access_key_id);
    let error = Error::new("AccessDeniedException", message);
    refused(api, caller, action, subject, (error.code(), Outcome::Denied)).await?;
    Err(error)
}

/// Records that a caller was refused before anything was tried, as far as refusals may fill the log.
async fn refused(
    api: &Api,
    caller: &Caller,
    action: &str,
    subject: &str,
    (code, outcome): (&str, Outcome),
) -> Result<(), Error> {
    let Some(unrecorded) = api.gate.may_record(Refused::KeyHolder) else { return Ok(()) };
    let entry = Entry {
        at: Timestamp::now(),
        actor: caller.access_key_id.clone(),
        source: caller.source.clone(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: json!({ "Code": code, "UnrecordedBefore": unrecorded }),
        outcome,
    };
    api.store.audit(&api.master_key, &entry).await?;
    Ok(())
}

async fn change(api: &Api, request: &Request, class: Class) -> Result<Value, Error> {
    let caller = request.caller();
    let now = Timestamp::now();
    let detail = redacted(request.service(), request.operation(), request.members(), &api.master_key);
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
            detail["Message"] = refusal(request, error, &api.master_key);
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

/// A request's members, without what may be secret; of that a MAC is kept.
fn redacted(service: &str, operation: &str, members: &Map<String, Value>, master_key: &MasterKey) -> Value {
    let mac = |value: &Value| json!(value_mac(master_key, value.to_string().as_bytes()));
    model::redacted(service, operation, members, &mac)
}

/// What is recorded of a refusal. Its words may quote the request and what is stored, so where
/// those may hold secrets a MAC of them is kept.
fn refusal(request: &Request, error: &Error, master_key: &MasterKey) -> Value {
    if model::may_hold_secrets(request.service(), request.operation()) {
        return json!(value_mac(master_key, error.message().as_bytes()));
    }
    json!(error.message().chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(operation: &str, members: Value) -> Value {
        let (service, operation) = operation.split_once('.').unwrap_or(("AmazonSSM", operation));
        let kept =
            redacted(service, operation, members.as_object().expect("an object"), &MasterKey::from_bytes(&[1; 32]));
        assert!(!kept.to_string().contains("hunter2"), "{operation}: {kept}");
        kept
    }

    #[test]
    fn what_may_be_secret_is_not_recorded() {
        let targets = json!([{ "Key": "tag:Site", "Values": ["Bonn"] }]);
        let sent = kept(
            "SendCommand",
            json!({
                "DocumentName": "AWS-RunShellScript", "Comment": "hunter2", "Targets": targets,
                "Parameters": { "commands": ["login hunter2"], "Operation": ["Install"] },
                "SecretAccesKey": "hunter2", "Typo": { "hunter2": "hunter2" },
            }),
        );
        assert_eq!(sent["Parameters"]["Operation"], json!(["Install"]));
        assert_eq!((&sent["DocumentName"], &sent["Targets"]), (&json!("AWS-RunShellScript"), &targets));
        let task = json!({ "WindowId": "mw-00000000000000001", "TaskParameters": { "a": { "Values": ["hunter2"] } },
            "TaskInvocationParameters": {
                "RunCommand": { "Parameters": { "commands": ["hunter2"] }, "Comment": "hunter2", "TimeoutSeconds": 60 },
                "Lambda": { "Payload": "aHVudGVyMg==", "ClientContext": "x" },
                "StepFunctions": { "Input": "hunter2" } } });
        let task = kept("RegisterTaskWithMaintenanceWindow", task);
        assert_eq!(task["TaskInvocationParameters"]["RunCommand"]["TimeoutSeconds"], 60);
        let baseline = json!({ "Name": "own", "ApprovedPatches": ["bash"],
            "Sources": [{ "Name": "private", "Products": ["*"], "Configuration": "deb https://me:hunter2@host" }] });
        let baseline = kept("CreatePatchBaseline", baseline);
        assert_eq!((&baseline["Sources"][0]["Name"], &baseline["Name"]), (&json!("private"), &json!("own")));
        let document = kept("CreateDocument", json!({ "Name": "own", "Content": "hunter2" }));
        assert!(document["Content"].as_str().is_some_and(|text| text.starts_with("mac:")), "{document}");
        let key = json!({ "Role": "viewer", "AccessKeyId": "AKIAIMPORTED0001", "SecretAccessKey": "hunter2" });
        assert_eq!(kept("Patchwave.CreateAccessKey", key)["SecretAccessKey"], "(not recorded)");
    }

    #[test]
    fn the_words_of_a_refusal_are_kept_where_they_can_quote_no_secret() {
        for (operation, expected) in [
            ("SendCommand", true),
            ("CreateDocument", true),
            ("CreatePatchBaseline", true),
            ("UpdatePatchBaseline", true),
            ("UpdateMaintenanceWindowTask", true),
            ("PutInventory", true),
            ("Patchwave.CreateAccessKey", true),
            ("CancelCommand", false),
            ("AddTagsToResource", false),
            ("RegisterPatchBaselineForPatchGroup", false),
        ] {
            let (service, operation) = operation.split_once('.').unwrap_or(("AmazonSSM", operation));
            assert_eq!(model::may_hold_secrets(service, operation), expected, "{operation}");
        }
    }
}
