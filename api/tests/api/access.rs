//! Who may call, what is recorded of it, and how often somebody may.

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use patchwave_api::sign::Credentials;
use patchwave_engine::access::Role;
use patchwave_platform::store::access_keys::SecretAccessKey;
use patchwave_platform::store::audit::AuditQuery;
use serde_json::{Value, json};

use crate::support::{Harness, id, signed, window_input};

/// The answer of somebody's call: its error name, or nothing.
async fn code(api: &Harness, key: &Credentials, operation: &str, input: Value) -> String {
    let (_, body) = api.target_as(key, operation, input.to_string()).await;
    body["__type"].as_str().unwrap_or_default().to_owned()
}

async fn send(api: &Harness, request: Request<Body>) -> (StatusCode, Value) {
    let (status, body) = api.send(request).await;
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// What the audit log holds, oldest first: actor, action, subject, outcome.
async fn log(api: &Harness) -> Vec<(String, String, String, String)> {
    let mut entries = api.store.audit_entries(&AuditQuery::default(), None, 100).await.expect("a log");
    entries.reverse();
    entries.into_iter().map(|entry| (entry.actor, entry.action, entry.subject, entry.outcome)).collect()
}

#[tokio::test]
async fn unsigned_unknown_and_wrongly_signed_requests_are_refused() {
    let api = Harness::new().await;
    let target = "AmazonSSM.DescribeMaintenanceWindows";
    let unsigned = Request::post("/").header("host", "localhost").header("X-Amz-Target", target);
    let unsigned = unsigned.body(Body::from("{}")).expect("a request");
    let stranger = Credentials { access_key_id: "NOBODYSKEY000000".to_owned(), ..api.admin.clone() };
    let guess = SecretAccessKey::new("0123456789012345678901234567890123456789".to_owned()).expect("a secret");
    let guesser = Credentials { secret_access_key: guess, ..api.admin.clone() };
    for (request, code) in [
        (unsigned, "MissingAuthenticationTokenException"),
        (signed(&stranger, "POST", "/", Some(target), b"{}".to_vec()), "UnrecognizedClientException"),
        (signed(&guesser, "POST", "/", Some(target), b"{}".to_vec()), "InvalidSignatureException"),
    ] {
        let (status, body) = send(&api, request).await;
        assert_eq!((status, &body["__type"]), (StatusCode::BAD_REQUEST, &json!(code)), "{body}");
    }
    for path in ["/topics/patchwave/events", "/metrics"] {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request");
        assert_eq!(send(&api, request).await.1["__type"], "MissingAuthenticationTokenException", "{path}");
    }
    for path in ["/livez", "/readyz"] {
        let request = Request::get(path).header("host", "localhost").body(Body::empty()).expect("a request");
        assert_eq!(send(&api, request).await.0, StatusCode::OK, "{path}");
    }
    let refusals =
        log(&api).await.into_iter().filter(|(actor, _, _, outcome)| actor == "unknown" && outcome == "denied");
    assert_eq!(refusals.count(), 5);
}

#[tokio::test]
async fn a_request_from_another_time_is_refused_with_both_clocks() {
    let api = Harness::new().await;
    let then = Timestamp::now() - SignedDuration::from_mins(6);
    let headers = api.admin.sign("POST", "localhost", ("/", ""), &HeaderMap::new(), b"{}", then);
    let mut request = Request::post("/").header("host", "localhost").body(Body::from("{}")).expect("a request");
    request.headers_mut().extend(headers);
    let (_, body) = send(&api, request).await;
    assert_eq!(body["__type"], "InvalidSignatureException");
    assert!(body["message"].as_str().expect("a message").starts_with("Signature expired: "), "{body}");
}

#[tokio::test]
async fn a_change_is_made_once_with_a_signature_and_a_read_may_be_repeated() {
    let api = Harness::new().await;
    let repeat = async |target: &str, input: Value| {
        let body = input.to_string().into_bytes();
        let first = signed(&api.admin, "POST", "/", Some(target), body.clone());
        let mut second = Request::builder().method("POST").uri("/").body(Body::from(body)).expect("a request");
        *second.headers_mut() = first.headers().clone();
        (send(&api, first).await.1, send(&api, second).await.1)
    };
    let (made, again) = repeat("AmazonSSM.CreateMaintenanceWindow", window_input()).await;
    assert!(made["WindowId"].is_string(), "{made}");
    assert_eq!(again["__type"], "ThrottlingException", "which clients answer by signing anew");
    let windows = api.ok("DescribeMaintenanceWindows", json!({})).await;
    assert_eq!(windows["WindowIdentities"].as_array().expect("a list").len(), 1);
    let (read, again) = repeat("AmazonSSM.DescribeMaintenanceWindows", json!({})).await;
    assert_eq!(read, again);
}

#[tokio::test]
async fn roles_are_what_they_may() {
    let api = Harness::new().await;
    let (viewer, operator) = (api.key(Role::Viewer, None).await, api.key(Role::Operator, None).await);
    let read = ("AmazonSSM.ListCommands", json!({}));
    let change = ("AmazonSSM.CreateMaintenanceWindow", window_input());
    let admin = ("Patchwave.ListAccessKeys", json!({}));
    let denied = "AccessDeniedException";
    for (key, expected) in [(&viewer, ["", denied, denied]), (&operator, ["", "", denied]), (&api.admin, ["", "", ""])]
    {
        for ((operation, input), expected) in [&read, &change, &admin].into_iter().zip(expected) {
            assert_eq!(code(&api, key, operation, input.clone()).await, expected, "{operation}");
        }
    }
    let (_, body) = api.target_as(&viewer, change.0, change.1.to_string()).await;
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("CreateMaintenanceWindow: it needs the role operator"), "{message}");
    // What is malformed is not looked into before it is known that the caller may ask.
    assert_eq!(code(&api, &viewer, change.0, json!({})).await, denied);
}

#[tokio::test]
async fn a_key_with_a_policy_sees_and_reaches_its_nodes_only() {
    let api = Harness::new().await;
    let mine = api.nodes(1..4, &[("Site", "Bonn")]).await;
    let others = api.nodes(4..6, &[("Site", "Berlin")]).await;
    let key = api.key(Role::Operator, Some(("Site", "Bonn"))).await;
    let call = async |operation: &str, input: Value| {
        api.target_as(&key, &format!("AmazonSSM.{operation}"), input.to_string()).await.1
    };

    let listed = call("DescribeInstanceInformation", json!({})).await;
    let ids: Vec<String> =
        listed["InstanceInformationList"].as_array().expect("a list").iter().map(|one| id(one, "InstanceId")).collect();
    assert_eq!(ids, mine);
    for (operation, input) in [
        ("DescribeInstancePatches", json!({ "InstanceId": others[0] })),
        ("DescribeInstancePatchStates", json!({ "InstanceIds": [mine[0], others[0]] })),
        ("ListTagsForResource", json!({ "ResourceType": "ManagedInstance", "ResourceId": others[0] })),
        (
            "AddTagsToResource",
            json!({ "ResourceType": "ManagedInstance", "ResourceId": mine[0], "Tags": [{ "Key": "Site", "Value": "x" }] }),
        ),
        ("ListCommands", json!({})),
        ("CreateMaintenanceWindow", window_input()),
    ] {
        let answer = call(operation, input).await;
        assert_eq!(answer["__type"], "AccessDeniedException", "{operation}: {answer}");
    }
    assert_eq!(call("DescribeInstancePatches", json!({ "InstanceId": mine[0] })).await["Patches"], json!([]));
    for path in ["/topics/patchwave/events", "/topics/*/events", "/metrics"] {
        let (_, answer) = send(&api, signed(&key, "GET", path, None, Vec::new())).await;
        assert_eq!(answer["__type"], "AccessDeniedException", "{path}: {answer}");
    }

    // By target the command is for what the policy allows of it; by name it must be all allowed.
    let script = |member: &str, value: Value| {
        let mut input = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] } });
        input[member] = value;
        input
    };
    let all = script("Targets", json!([{ "Key": "tag-key", "Values": ["Site"] }]));
    let sent = call("SendCommand", all.clone()).await;
    assert_eq!(sent["Command"]["TargetCount"], 3, "{sent}");
    let outside = call("SendCommand", script("InstanceIds", json!([mine[0], others[0]]))).await;
    assert_eq!(outside["__type"], "AccessDeniedException", "{outside}");
    assert!(outside["message"].as_str().expect("a message").contains(&others[0]), "{outside}");
    assert_eq!(call("SendCommand", script("InstanceIds", json!([mine[0]]))).await["Command"]["TargetCount"], 1);
    let site = |name: &str| json!({ "Key": "tag:Site", "Values": [name] });
    let named = |id: &str, nodes: &[&String]| json!({ "Key": id, "Values": nodes });
    for targets in [
        json!([named("InstanceIds", &[&others[0]])]),
        json!([named("InstanceIds", &[&mine[0], &others[0]])]),
        json!([named("InstanceIds", &[&mine[0]]), named("instanceids", &[&others[0]])]),
        // Neither whether it has the tag nor whether it has another is told.
        json!([named("InstanceIds", &[&others[0]]), site("Berlin")]),
        json!([named("InstanceIds", &[&others[0]]), site("Bonn")]),
        json!([named("InstanceIds", &[&"mi-0000000000000ffff".to_owned()])]),
    ] {
        let answer = call("SendCommand", script("Targets", targets.clone())).await;
        assert_eq!(answer["__type"], "AccessDeniedException", "{targets}: {answer}");
    }
    let targets = json!([named("InstanceIds", &[&mine[0], &mine[1]]), site("Bonn")]);
    assert_eq!(call("SendCommand", script("Targets", targets)).await["Command"]["TargetCount"], 2);

    // A command of somebody else's is seen and cancelled as far as it is on these nodes.
    let whole = api.ok("SendCommand", all).await;
    assert_eq!(whole["Command"]["TargetCount"], 5);
    let command = id(&whole["Command"], "CommandId");
    let seen = call("ListCommandInvocations", json!({ "CommandId": command })).await;
    assert_eq!(seen["CommandInvocations"].as_array().expect("a list").len(), 3);
    let invocation = |node: &str| json!({ "CommandId": command, "InstanceId": node });
    assert_eq!(call("GetCommandInvocation", invocation(&mine[0])).await["Status"], "Pending");
    assert_eq!(call("GetCommandInvocation", invocation(&others[0])).await["__type"], "AccessDeniedException");
    assert_eq!(call("CancelCommand", json!({ "CommandId": command })).await, json!({}));
    let cancelled = api.bus.published.lock().expect("no test panics with it").last().expect("an event").clone();
    let event: Value = serde_json::from_slice(&cancelled.body).expect("an event");
    assert_eq!(event["data"]["node_ids"], json!(mine), "and on no others");
    let foreign = api.ok("SendCommand", script("InstanceIds", json!([others[0]]))).await;
    let foreign = json!({ "CommandId": id(&foreign["Command"], "CommandId") });
    assert_eq!(call("CancelCommand", foreign).await["__type"], "AccessDeniedException");
}

#[tokio::test]
async fn access_keys_are_made_imported_disabled_and_deleted() {
    let api = Harness::new().await;
    let made = api.ok("Patchwave.CreateAccessKey", json!({ "Role": "viewer", "Description": "console" })).await;
    let drawn = Credentials {
        access_key_id: id(&made["AccessKey"], "AccessKeyId"),
        secret_access_key: SecretAccessKey::new(id(&made["AccessKey"], "SecretAccessKey")).expect("a secret"),
    };
    let read = async |key: &Credentials| code(&api, key, "AmazonSSM.ListDocuments", json!({})).await;
    assert_eq!(read(&drawn).await, "");

    let secret = "imported/0123456789+secret";
    let imported = json!({ "Role": "operator", "AccessKeyId": "AKIAIMPORTED0001", "SecretAccessKey": secret,
        "Tags": [{ "Key": "Site", "Values": ["Bonn", "Berlin"] }] });
    let answer = api.ok("Patchwave.CreateAccessKey", imported.clone()).await;
    assert!(answer["AccessKey"].get("SecretAccessKey").is_none(), "who brought it has it");
    let key = SecretAccessKey::new(secret.to_owned()).expect("a secret");
    assert_eq!(read(&Credentials { access_key_id: "AKIAIMPORTED0001".to_owned(), secret_access_key: key }).await, "");
    api.refused("Patchwave.CreateAccessKey", imported, "AlreadyExistsException").await;

    let listed = api.pages("Patchwave.ListAccessKeys", json!({}), 1, "AccessKeys").await.concat();
    assert_eq!(listed.len(), 3);
    assert!(!json!(listed).to_string().contains("Secret"), "{listed:?}");

    let status = |status: &str| json!({ "AccessKeyId": drawn.access_key_id, "Status": status });
    api.ok("Patchwave.UpdateAccessKey", status("Inactive")).await;
    assert_eq!(read(&drawn).await, "UnrecognizedClientException");
    api.ok("Patchwave.UpdateAccessKey", status("Active")).await;
    assert_eq!(read(&drawn).await, "");
    let named = json!({ "AccessKeyId": drawn.access_key_id });
    api.ok("Patchwave.DeleteAccessKey", named.clone()).await;
    assert_eq!(read(&drawn).await, "UnrecognizedClientException");
    api.refused("Patchwave.DeleteAccessKey", named, "DoesNotExistException").await;

    let last = json!({ "AccessKeyId": api.admin.access_key_id, "Status": "Inactive" });
    api.refused("Patchwave.UpdateAccessKey", last.clone(), "ResourceInUseException").await;
    api.refused("Patchwave.DeleteAccessKey", last, "ResourceInUseException").await;
    for (input, needle) in [
        (json!({ "Role": "admin", "Tags": [{ "Key": "a", "Values": ["b"] }] }), "viewer and operator"),
        (json!({ "Role": "viewer", "AccessKeyId": "AKIAWITHOUTSECRET" }), "both"),
        (json!({ "Role": "root" }), "enum value set"),
    ] {
        let message = api.refused("Patchwave.CreateAccessKey", input, "ValidationException").await;
        assert!(message.contains(needle), "{message}");
    }
    let entries = api.store.audit_entries(&AuditQuery::default(), None, 100).await.expect("a log");
    let text: String = entries.iter().map(|entry| entry.detail.clone() + &entry.subject).collect();
    assert!(!text.contains(secret) && text.contains("AKIAIMPORTED0001"), "{text}");
}

#[tokio::test]
async fn every_change_is_recorded_before_and_after_and_reads_are_not() {
    let api = Harness::new().await;
    let before = log(&api).await.len();
    let window = api.window().await;
    api.ok("DescribeMaintenanceWindows", json!({})).await;
    let unknown = json!({ "WindowId": "mw-00000000000000000", "Name": "other" });
    api.refused("UpdateMaintenanceWindow", unknown, "DoesNotExistException").await;
    let viewer = api.key(Role::Viewer, None).await;
    assert_eq!(
        code(&api, &viewer, "AmazonSSM.DeleteMaintenanceWindow", json!({ "WindowId": window })).await,
        "AccessDeniedException"
    );
    let admin = api.admin.access_key_id.clone();
    let entry = |actor: &str, action: &str, subject: &str, outcome: &str| {
        (actor.to_owned(), action.to_owned(), subject.to_owned(), outcome.to_owned())
    };
    let entries: Vec<_> =
        log(&api).await.into_iter().skip(before).filter(|(_, action, _, _)| action != "CreateAccessKey").collect();
    assert_eq!(
        entries,
        [
            entry(&admin, "CreateMaintenanceWindow", "nightly", "requested"),
            entry(&admin, "CreateMaintenanceWindow", &window, "succeeded"),
            entry(&admin, "UpdateMaintenanceWindow", "mw-00000000000000000", "requested"),
            entry(&admin, "UpdateMaintenanceWindow", "mw-00000000000000000", "failed"),
            entry(&viewer.access_key_id, "DeleteMaintenanceWindow", &window, "denied"),
        ]
    );
}

#[tokio::test]
async fn what_is_refused_before_it_is_tried_is_recorded_unless_it_only_reads() {
    let api = Harness::new().await;
    let other = api.nodes(1..2, &[("Site", "Berlin")]).await.remove(0);
    let limited = api.key(Role::Viewer, Some(("Site", "Bonn"))).await;
    let before = log(&api).await.len();
    api.refused("CreateMaintenanceWindow", json!({ "Name": "not a name" }), "ValidationException").await;
    api.refused("GetMaintenanceWindow", json!({ "WindowId": "x" }), "ValidationException").await;
    let patches = json!({ "InstanceId": other });
    assert_eq!(code(&api, &limited, "AmazonSSM.DescribeInstancePatches", patches).await, "AccessDeniedException");
    let machine = json!({ "activation_id": "00000000-0000-0000-0000-000000000001", "activation_code": "hunter2",
        "public_key": "A".repeat(43) + "=", "fingerprint": "v1:x", "computer_name": "host",
        "operating_system": "DEBIAN", "platform_name": "Debian GNU/Linux", "platform_version": "12",
        "agent_version": "0.1.0" });
    for _ in 0..60 {
        let request = Request::post("/node/v1/register").header("content-type", "application/json");
        let request = request.body(Body::from(machine.to_string())).expect("a request");
        let (_, refusal) = send(&api, request).await;
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
    }
    // Machines are not kept waiting for the log.
    let unknown = AuditQuery { actor: Some("unknown".to_owned()), ..AuditQuery::default() };
    while api.store.audit_entries(&unknown, None, 100).await.expect("a log").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut entries = api.store.audit_entries(&AuditQuery::default(), None, 100).await.expect("a log");
    entries.reverse();
    let entries = entries.split_off(before);
    assert!(entries.iter().all(|entry| !entry.detail.contains("hunter2")), "{entries:?}");
    let shown = |entry: &patchwave_platform::audit::Recorded| {
        [&entry.actor, &entry.action, &entry.subject, &entry.outcome].map(String::clone)
    };
    let admin = api.admin.access_key_id.as_str();
    assert_eq!(shown(&entries[0]), [admin, "CreateMaintenanceWindow", "not a name", "failed"].map(str::to_owned));
    let denied = [limited.access_key_id.as_str(), "DescribeInstancePatches", &other, "denied"].map(str::to_owned);
    assert_eq!(shown(&entries[1]), denied);
    let machines = &entries[2..];
    assert!((1..=25).contains(&machines.len()), "{} of 60 are recorded", machines.len());
    assert_eq!(shown(&machines[0]), ["unknown", "RegisterManagedInstance", "", "denied"].map(str::to_owned));
    // Those that nobody knows take no room from those who are known.
    api.refused("CreateMaintenanceWindow", json!({}), "ValidationException").await;
    let malformed = log(&api).await.into_iter().filter(|(actor, _, _, outcome)| actor == admin && outcome == "failed");
    assert_eq!(malformed.count(), 2);
}

#[tokio::test]
async fn the_log_is_listed_and_verified_over_the_api() {
    let api = Harness::new().await;
    api.window().await;
    let pages =
        api.pages("Patchwave.ListAuditEntries", json!({ "Actor": api.admin.access_key_id }), 1, "AuditEntries").await;
    let outcomes: Vec<String> = pages.concat().iter().map(|entry| id(entry, "Outcome")).collect();
    assert_eq!(outcomes, ["succeeded", "requested"]);
    let verified = api.ok("Patchwave.VerifyAudit", json!({})).await;
    assert_eq!((&verified["Intact"], &verified["Faults"]), (&json!(true), &json!([])));
    let noted = json!({ "Expect": verified["Head"] });
    assert_eq!(api.ok("Patchwave.VerifyAudit", noted.clone()).await["Intact"], true);
    // From where an answer before left off; there it must be as it was.
    let rest = json!({ "After": verified["Head"] });
    assert_eq!(api.ok("Patchwave.VerifyAudit", rest).await["Intact"], true);
    let elsewhere = json!({ "After": { "Seq": 1, "Mac": "ab".repeat(32) } });
    assert_eq!(api.ok("Patchwave.VerifyAudit", elsewhere).await["Faults"][0]["Seq"], 2);

    sqlx::query("UPDATE audit_entries SET actor = 'somebody else' WHERE seq = 2")
        .execute(api.store.reader())
        .await
        .expect("meddled with");
    let verified = api.ok("Patchwave.VerifyAudit", noted).await;
    assert_eq!((&verified["Intact"], &verified["Faults"][0]["Seq"]), (&json!(false), &json!(2)), "{verified}");
    for input in [json!({ "Since": "yesterday" }), json!({ "Until": "x" })] {
        api.refused("Patchwave.ListAuditEntries", input, "ValidationException").await;
    }
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits_and_the_log_does_not_grow_with_it() {
    let api = Harness::new().await;
    let mut throttled = None;
    for _ in 0..80 {
        let request = Request::post("/").header("host", "localhost").body(Body::from("{}")).expect("a request");
        let response = tower::ServiceExt::oneshot(api.router.clone(), request).await.expect("the router cannot fail");
        if response.headers()["x-amzn-errortype"] == "ThrottlingException" {
            throttled = Some(response);
            break;
        }
    }
    let response = throttled.expect("throttled after some failures");
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(response.headers()["retry-after"], "1");
    let recorded = log(&api).await.into_iter().filter(|(actor, ..)| actor == "unknown").count();
    assert!((1..=25).contains(&recorded), "{recorded} of 50 are recorded");
}
