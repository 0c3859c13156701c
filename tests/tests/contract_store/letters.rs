//! Notifications, dead letters, client tokens and resource groups.

use jiff::SignedDuration;
use patchwave_platform::bus::{Death, Sender};
use patchwave_platform::store::client_tokens::EarlierRequest;
use patchwave_platform::store::dead_letters::DeadLetter;
use patchwave_platform::store::notifications::Notification;
use patchwave_platform::store::resource_groups::ResourceGroup;
use patchwave_schemas::notification::NotificationRaised;
use serde_json::json;
use uuid::Uuid;

use crate::fixtures::at;
use crate::place::Place;

contract! {
    a_notification_added_twice_is_there_once,
    published_notifications_are_not_offered_again,
    notifications_are_listed_newest_first_by_topic_and_page,
    the_same_letter_is_buried_once,
    a_letter_that_is_buried_again_keeps_who_published_it,
    a_letter_that_was_buried_again_is_not_forgotten,
    a_deleted_letter_is_gone,
    dead_letters_are_listed_newest_first_page_by_page,
    a_known_token_is_answered_as_before,
    a_token_is_forgotten_after_a_day,
    concurrent_requests_with_one_token_are_answered_alike,
    resource_groups_are_listed_by_name_until_deleted,
}

fn notification(number: u128, topic: &str, raised: i64) -> Notification {
    let message = json!({ "text": "it's \"quoted\" 🐎 \u{1}", "number": 1, "none": null });
    let raised_event = NotificationRaised { topic: topic.to_owned(), subject: "it's \"here\"".to_owned(), message };
    Notification::new(Uuid::from_u128(number), at(raised), raised_event)
}

async fn a_notification_added_twice_is_there_once(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.add_notifications(&[]).await.unwrap();
    tx.add_notifications(&[notification(1, "a", 1)]).await.unwrap();
    tx.add_notifications(&[notification(2, "a", 2), notification(1, "b", 9), notification(2, "c", 9)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.unpublished_notifications(10).await.unwrap(), [notification(1, "a", 1), notification(2, "a", 2)]);
}

async fn published_notifications_are_not_offered_again(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.add_notifications(&[notification(1, "a", 3), notification(2, "a", 2), notification(3, "a", 1)]).await.unwrap();
    tx.mark_published(&[], at(5)).await.unwrap();
    tx.mark_published(&[Uuid::from_u128(2), Uuid::from_u128(9)], at(5)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.unpublished_notifications(10).await.unwrap(), [notification(3, "a", 1), notification(1, "a", 3)]);
    assert_eq!(store.unpublished_notifications(1).await.unwrap(), [notification(3, "a", 1)]);
    let published = store.notifications(None, Some((at(3).as_millisecond(), "")), 1).await.unwrap();
    assert_eq!(published, [Notification { published_at: Some(at(5)), ..notification(2, "a", 2) }]);
}

async fn notifications_are_listed_newest_first_by_topic_and_page(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let all =
        [(1, "a", 1), (2, "b", 1), (3, "a", 1), (4, "a", 2)].map(|(id, topic, raised)| notification(id, topic, raised));
    tx.add_notifications(&all).await.unwrap();
    tx.commit().await.unwrap();
    let numbers =
        |page: Vec<Notification>| page.into_iter().map(|one| one.notification_id.as_u128()).collect::<Vec<_>>();
    assert_eq!(numbers(store.notifications(None, None, 10).await.unwrap()), [4, 3, 2, 1]);
    assert_eq!(numbers(store.notifications(Some("a"), None, 2).await.unwrap()), [4, 3]);
    let last = Uuid::from_u128(3).to_string();
    let behind = Some((at(1).as_millisecond(), last.as_str()));
    assert_eq!(numbers(store.notifications(Some("a"), behind, 2).await.unwrap()), [1]);
    assert_eq!(numbers(store.notifications(Some("c"), None, 2).await.unwrap()), [] as [u128; 0]);
}

/// What was replayed was published by the control plane, which is not whose word it is.
async fn a_letter_that_is_buried_again_keeps_who_published_it(place: Place) {
    let store = place.open().await;
    let first = letter(b"{}", 1);
    let again = DeadLetter { sender: Sender::ControlPlane, ..letter(b"{}", 2) };
    for letter in [&first, &again] {
        let mut tx = store.begin().await.unwrap();
        tx.add_dead_letter(letter).await.unwrap();
        tx.commit().await.unwrap();
    }
    let kept = store.dead_letter(first.dead_letter_id).await.unwrap().unwrap();
    assert_eq!((kept.sender, kept.buried_at), (first.sender, again.buried_at));
}

fn letter(body: &[u8], buried: i64) -> DeadLetter {
    let death = Death {
        queue: "patchwave.collector".to_owned(),
        reason: "it's \"broken\" \0".to_owned(),
        sender: Sender::Unknown("it's \"nobody\"".to_owned()),
    };
    DeadLetter::new(&death, body, at(buried))
}

async fn bury(store: &patchwave_platform::store::Store, letters: &[DeadLetter]) {
    let mut tx = store.begin().await.unwrap();
    for letter in letters {
        tx.add_dead_letter(letter).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn the_same_letter_is_buried_once(place: Place) {
    let store = place.open().await;
    // Whatever bytes somebody published.
    let body = b"\xff{\0\x01\"it's\" \xf0\x9f\x90\x8e";
    bury(&store, &[letter(body, 1), letter(body, 9), letter(body, 5)]).await;
    assert_eq!(store.dead_letters(None, 10).await.unwrap(), [letter(body, 9)]);
    let id = letter(body, 1).dead_letter_id;
    assert_eq!(store.dead_letter(id).await.unwrap(), Some(letter(body, 9)));
    assert_eq!(store.figures(at(0)).await.unwrap().dead_letters, 1);
}

async fn a_letter_that_was_buried_again_is_not_forgotten(place: Place) {
    let store = place.open().await;
    bury(&store, &[letter(b"a", 1), letter(b"b", 1)]).await;
    // Replayed, and given up again before its replay was noted.
    bury(&store, &[letter(b"a", 2)]).await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.forget_dead_letter(&letter(b"a", 1)).await.unwrap());
    assert!(tx.forget_dead_letter(&letter(b"b", 1)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.dead_letters(None, 10).await.unwrap(), [letter(b"a", 2)]);
}

async fn a_deleted_letter_is_gone(place: Place) {
    let store = place.open().await;
    bury(&store, &[letter(b"a", 1)]).await;
    let id = letter(b"a", 1).dead_letter_id;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_dead_letter(id).await.unwrap());
    assert!(!tx.delete_dead_letter(id).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.dead_letter(id).await.unwrap(), None);
}

async fn dead_letters_are_listed_newest_first_page_by_page(place: Place) {
    let store = place.open().await;
    let mut letters: Vec<_> = (0_u8..7).map(|number| letter(&[b'0' + number], i64::from(number / 2))).collect();
    bury(&store, &letters).await;
    letters.sort_by_key(|letter| std::cmp::Reverse((letter.buried_at, letter.dead_letter_id)));
    let mut seen: Vec<DeadLetter> = Vec::new();
    loop {
        let last = seen.last().map(|letter| (letter.buried_at.as_millisecond(), letter.dead_letter_id.to_string()));
        let page = store.dead_letters(last.as_ref().map(|(at, id)| (*at, id.as_str())), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
        assert!(seen.len() <= letters.len(), "no letter is listed twice");
    }
    assert_eq!(seen, letters);
}

fn answered(request: &str, response: &str) -> Option<EarlierRequest> {
    Some(EarlierRequest { request: request.to_owned(), response: response.to_owned() })
}

async fn a_known_token_is_answered_as_before(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.remember_request("Create", "it's", "one", "first", at(0)).await.unwrap(), None);
    assert_eq!(tx.remember_request("Create", "it's", "two", "second", at(1)).await.unwrap(), answered("one", "first"));
    assert_eq!(tx.remember_request("Delete", "it's", "two", "second", at(1)).await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_token_is_forgotten_after_a_day(place: Place) {
    let store = place.open().await;
    let day = SignedDuration::from_hours(24);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.remember_request("Create", "t", "one", "first", at(0)).await.unwrap(), None);
    assert_eq!(tx.remember_request("Create", "t", "two", "x", at(0) + day).await.unwrap(), answered("one", "first"));
    assert_eq!(tx.remember_request("Create", "t", "two", "x", at(1) + day).await.unwrap(), None);
}

async fn concurrent_requests_with_one_token_are_answered_alike(place: Place) {
    let stores = [place.open().await, place.open().await];
    let requests: Vec<_> = (0..6_usize)
        .map(|number| {
            let store = stores[number % 2].clone();
            tokio::spawn(async move {
                let response = number.to_string();
                let mut tx = store.begin().await.unwrap();
                let earlier = tx.remember_request("Create", "t", "same", &response, at(0)).await.unwrap();
                tx.commit().await.unwrap();
                earlier.map_or(response, |earlier| earlier.response)
            })
        })
        .collect();
    let mut responses = Vec::new();
    for request in requests {
        responses.push(request.await.unwrap());
    }
    assert!(responses.iter().all(|response| *response == responses[0]), "{responses:?}");
}

async fn resource_groups_are_listed_by_name_until_deleted(place: Place) {
    let store = place.open().await;
    let group = |name: &str| ResourceGroup {
        name: name.to_owned(),
        description: "it's \"one\"".to_owned(),
        query: r#"{"TagFilters":[{"Key":"Role"}]}"#.to_owned(),
        created_at: at(0),
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_resource_group(&group("b")).await.unwrap();
    tx.add_resource_group(&group("a")).await.unwrap();
    assert!(tx.resource_groups().await.unwrap().get("a").is_some());
    tx.commit().await.unwrap();
    assert_eq!(store.resource_groups().await.unwrap(), [group("a"), group("b")]);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_resource_group("a").await.unwrap());
    assert!(!tx.delete_resource_group("a").await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.resource_groups().await.unwrap(), [group("b")]);
}
