//! Operations of our own.

use jiff::Timestamp;
use patchwave_platform::bus::{Death, Route, Sender};
use patchwave_platform::store::dead_letters::DeadLetter;
use patchwave_platform::store::notifications::Notification;
use patchwave_schemas::topology::WorkQueue;
use patchwave_schemas::{NodeId, WindowExecutionId, WindowId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Harness, id};

#[tokio::test]
async fn started_window_is_named_before_it_runs_and_published_once() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let input = json!({ "WindowId": window_id, "Reason": "now", "ClientToken": "x" });
    let answer = api.ok("Patchwave.StartMaintenanceWindow", input.clone()).await;
    assert_eq!(api.ok("Patchwave.StartMaintenanceWindow", input).await, answer);
    let published = api.bus.published.lock().expect("no test panics with it").clone();
    assert_eq!(published.len(), 1);
    let event: Value = serde_json::from_slice(&published[0].body).expect("an event");
    assert_eq!(event["type"], "patchwave.window.start.requested.v1");
    assert_eq!(event["data"], json!({ "window_id": window_id, "reason": "now" }));
    let derived = WindowExecutionId::derived(&format!("{window_id}/request/{}", id(&event, "id")));
    assert_eq!(answer["WindowExecutionId"], json!(derived));
    let unknown = json!({ "WindowId": WindowId::from_bits(0) });
    api.refused("Patchwave.StartMaintenanceWindow", unknown, "DoesNotExistException").await;
}

#[tokio::test]
async fn resource_groups_are_created_listed_and_deleted() {
    let api = Harness::new().await;
    let query = r#"{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"Stage","Values":["prod"]}]}"#;
    let input = json!({ "Name": "prod", "ResourceQuery": { "Type": "TAG_FILTERS_1_0", "Query": query } });
    api.ok("Patchwave.CreateResourceGroup", input.clone()).await;
    let message = api.refused("Patchwave.CreateResourceGroup", input, "AlreadyExistsException").await;
    assert!(message.contains("`prod`"), "{message}");
    let wrong = json!({ "Name": "all", "ResourceQuery": { "Query": r#"{"TagFilters":[]}"# } });
    let message = api.refused("Patchwave.CreateResourceGroup", wrong, "ValidationException").await;
    assert!(message.contains("TagFilters is empty"), "{message}");

    api.nodes(1..3, &[("Stage", "prod")]).await;
    let command = json!({ "DocumentName": "AWS-RunShellScript", "Parameters": { "commands": ["true"] },
        "Targets": [{ "Key": "resource-groups:Name", "Values": ["prod"] }] });
    assert_eq!(api.ok("SendCommand", command.clone()).await["Command"]["TargetCount"], 2);

    let list = api.ok("Patchwave.ListResourceGroups", json!({})).await;
    assert_eq!(list["ResourceGroups"][0]["ResourceQuery"]["Query"], query);
    api.ok("Patchwave.DeleteResourceGroup", json!({ "Name": "prod" })).await;
    api.refused("Patchwave.DeleteResourceGroup", json!({ "Name": "prod" }), "DoesNotExistException").await;
    assert_eq!(api.ok("SendCommand", command).await["Command"]["TargetCount"], 0);
}

#[tokio::test]
async fn notifications_are_listed_newest_first_by_topic() {
    let api = Harness::new().await;
    let notifications: Vec<Notification> = (0..5)
        .map(|number| Notification {
            notification_id: Uuid::from_u128(number),
            topic: if number == 0 { "other" } else { "patchwave" }.to_owned(),
            subject: number.to_string(),
            message: json!({ "text": "a \u{0} in it" }),
            raised_at: Timestamp::from_second(1_000 + i64::try_from(number).expect("small")).expect("an instant"),
            published_at: None,
        })
        .collect();
    for _ in 0..2 {
        let mut tx = api.store.begin().await.expect("a transaction");
        tx.add_notifications(&notifications).await.expect("stored, and once");
        tx.mark_published(&[Uuid::from_u128(4)], Timestamp::now()).await.expect("marked");
        tx.commit().await.expect("a commit");
    }
    let pages = api.pages("Patchwave.ListNotifications", json!({ "Topic": "patchwave" }), 3, "Notifications").await;
    let subjects: Vec<String> = pages.concat().iter().map(|one| id(one, "Subject")).collect();
    assert_eq!(subjects, ["4", "3", "2", "1"]);
    assert!(pages[0][0].get("PublishedAt").is_some() && pages[0][1].get("PublishedAt").is_none());
    let all = api.ok("Patchwave.ListNotifications", json!({})).await;
    assert_eq!(all["Notifications"].as_array().expect("a list").len(), 5);
    assert_eq!(api.store.unpublished_notifications(10).await.expect("notifications").len(), 4);
}

/// How a message of the control plane's own died.
fn death(queue: &str, reason: &str) -> Death {
    Death { queue: queue.to_owned(), reason: reason.to_owned(), sender: Sender::ControlPlane }
}

#[tokio::test]
async fn what_a_node_said_in_anothers_name_is_not_replayed_in_the_control_planes() {
    let api = Harness::new().await;
    let (own, other) = (NodeId::from_bits(1), NodeId::from_bits(2));
    let report = |event_type: &str, source: &NodeId| {
        json!({ "specversion": "1.0", "id": Uuid::nil(), "type": event_type, "source": format!("/node/{source}"),
            "time": "2026-03-02T00:00:00Z", "data": {} })
        .to_string()
    };
    // Each a letter of its own: one that is buried again keeps who published it first.
    let of = |sender: Sender| Death { reason: sender.to_text(), sender, ..death("patchwave.collector", "") };
    let finished = "patchwave.invocation.finished.v1";
    let gone = "patchwave.node.disconnected.v1";
    let cases = [
        (of(Sender::Node(own.clone())), report(finished, &own), true),
        (of(Sender::Node(own.clone())), report(finished, &other), false),
        (of(Sender::Node(own.clone())), report(gone, &own), false),
        (of(Sender::nobody()), report(finished, &own), false),
        (of(Sender::ControlPlane), report(gone, &own), true),
        (of(Sender::nobody()), report("patchwave.command.requested.v1", &own), true),
    ];
    for (death, body, is_replayed) in cases {
        let letter = DeadLetter::new(&death, body.as_bytes(), Timestamp::now());
        let mut tx = api.store.begin().await.expect("a transaction");
        tx.add_dead_letter(&letter).await.expect("stored");
        tx.commit().await.expect("a commit");
        let asked = json!({ "DeadLetterId": letter.dead_letter_id });
        if is_replayed {
            api.ok("Patchwave.ReplayDeadLetter", asked).await;
        } else {
            api.refused("Patchwave.ReplayDeadLetter", asked.clone(), "ValidationException").await;
            let kept = api.ok("Patchwave.GetDeadLetter", asked).await;
            assert_eq!(kept["DeadLetter"]["Sender"], json!(death.sender.to_text()));
        }
    }
}

#[tokio::test]
async fn dead_letters_are_shown_replayed_to_their_queue_and_dropped() {
    let api = Harness::new().await;
    let body = json!({ "specversion": "1.0", "id": Uuid::nil(), "type": "patchwave.x.y.v1", "source": "/test",
        "time": "2026-03-02T00:00:00Z", "data": {} });
    let letters = [
        DeadLetter::new(&death("patchwave.resolver", "why"), body.to_string().as_bytes(), Timestamp::now()),
        DeadLetter::new(&death("", "not JSON"), b"\xff\0garbage", Timestamp::now()),
    ];
    let mut tx = api.store.begin().await.expect("a transaction");
    for letter in letters.iter().chain(&letters) {
        tx.add_dead_letter(letter).await.expect("stored");
    }
    tx.commit().await.expect("a commit");
    let list = api.pages("Patchwave.ListDeadLetters", json!({}), 1, "DeadLetters").await.concat();
    assert_eq!(list.len(), 2, "a redelivered letter is the same letter");

    let [resolver, garbage] = letters.map(|letter| json!({ "DeadLetterId": letter.dead_letter_id }));
    let shown = api.ok("Patchwave.GetDeadLetter", resolver.clone()).await["DeadLetter"].clone();
    assert_eq!((&shown["Reason"], &shown["MessageType"]), (&json!("why"), &json!("patchwave.x.y.v1")));
    assert_eq!(shown["Body"], json!(body.to_string()));
    api.ok("Patchwave.ReplayDeadLetter", resolver.clone()).await;
    let published = api.bus.published.lock().expect("no test panics with it").clone();
    assert_eq!(published[0].route, Route::Queue(WorkQueue::Resolver));
    assert_eq!(published[0].body, body.to_string().into_bytes());
    api.refused("Patchwave.GetDeadLetter", resolver, "DoesNotExistException").await;

    api.refused("Patchwave.ReplayDeadLetter", garbage.clone(), "ValidationException").await;
    api.ok("Patchwave.DropDeadLetter", garbage.clone()).await;
    api.refused("Patchwave.DropDeadLetter", garbage, "DoesNotExistException").await;
    api.refused("Patchwave.DropDeadLetter", json!({ "DeadLetterId": "x" }), "ValidationException").await;
}
