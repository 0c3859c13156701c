//! Access keys, signatures that were used, and the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use patchwave_engine::access::{NodePolicy, Role};
use patchwave_platform::audit::{Entry, Fault, Head, Outcome};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::access_keys::{AccessKey, SecretAccessKey};
use patchwave_platform::store::audit::AuditQuery;
use patchwave_platform::store::{Error, Store};
use serde_json::json;

use crate::fixtures::at;
use crate::place::Place;

contract! {
    an_access_key_is_read_with_its_secret_and_by_its_master_key_alone,
    an_altered_access_key_does_not_open,
    disabled_and_deleted_keys_are_what_they_are,
    the_last_use_is_noted_once_an_hour,
    the_first_master_key_is_the_stores,
    a_signature_makes_one_change_until_it_expires,
    entries_are_listed_newest_first_by_time_actor_and_action,
    appended_at_once_the_log_has_no_gaps,
    an_entry_is_recorded_exactly_if_its_transaction_is,
    every_meddling_with_the_log_is_found,
    a_long_log_is_checked_a_part_at_a_time,
    entries_of_a_time_are_found_though_clocks_differ,
}

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes(&[byte; 32])
}

fn key(id: &str, role: Role) -> AccessKey {
    AccessKey {
        access_key_id: id.to_owned(),
        role,
        policy: None,
        description: "it's \"mine\"".to_owned(),
        enabled: true,
        created_at: at(1),
        created_by: "test".to_owned(),
        last_used_at: None,
    }
}

fn secret() -> SecretAccessKey {
    SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()).unwrap()
}

async fn add(store: &Store, key: &AccessKey) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    tx.add_access_key(&master(1), key, &secret()).await?;
    tx.commit().await
}

async fn execute(store: &Store, statement: &'static str) {
    assert!(sqlx::query(statement).execute(store.reader()).await.unwrap().rows_affected() > 0, "{statement}");
}

async fn an_access_key_is_read_with_its_secret_and_by_its_master_key_alone(place: Place) {
    let store = place.open().await;
    let tags = BTreeMap::from([("Site".to_owned(), BTreeSet::from(["Bonn".to_owned()]))]);
    let limited = AccessKey { policy: Some(NodePolicy::new(tags).unwrap()), ..key("LIMITED_KEY_0001", Role::Operator) };
    add(&store, &limited).await.unwrap();
    add(&store, &key("ADMIN_KEY_000001", Role::Admin)).await.unwrap();
    assert!(matches!(add(&store, &limited).await, Err(Error::Conflict { .. })));

    let read = store.access_key(&master(1), "LIMITED_KEY_0001").await.unwrap();
    assert_eq!(read, Some((limited.clone(), secret())));
    assert!(matches!(store.access_key(&master(2), "LIMITED_KEY_0001").await, Err(Error::Secret { .. })));
    assert_eq!(store.access_key(&master(1), "NO_SUCH_KEY_0001").await.unwrap(), None);

    assert_eq!(store.access_keys("", 1).await.unwrap(), [key("ADMIN_KEY_000001", Role::Admin)]);
    assert_eq!(store.access_keys("ADMIN_KEY_000001", 10).await.unwrap(), [limited]);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.admin_keys().await.unwrap(), ["ADMIN_KEY_000001"]);
    let stored: String = sqlx::Row::get(
        &sqlx::query("SELECT secret FROM access_keys LIMIT 1").fetch_one(tx.connection()).await.unwrap(),
        "secret",
    );
    assert!(!stored.contains("EXAMPLEKEY"), "{stored}");
}

async fn an_altered_access_key_does_not_open(place: Place) {
    let store = place.open().await;
    for alteration in [
        "UPDATE access_keys SET role = 'admin'",
        "UPDATE access_keys SET policy = '{\"Site\":[\"Bonn\"]}'",
        "UPDATE access_keys SET enabled = 0",
        "UPDATE access_keys SET access_key_id = 'ANOTHER_KEY_0001'",
    ] {
        add(&store, &key("VIEWER_KEY_00001", Role::Viewer)).await.unwrap();
        execute(&store, alteration).await;
        for id in ["VIEWER_KEY_00001", "ANOTHER_KEY_0001"] {
            let read = store.access_key(&master(1), id).await;
            assert!(matches!(read, Ok(None) | Err(Error::Secret { .. })), "{alteration}: {read:?}");
        }
        execute(&store, "DELETE FROM access_keys").await;
    }
}

async fn disabled_and_deleted_keys_are_what_they_are(place: Place) {
    let store = place.open().await;
    let id = "ADMIN_KEY_000001";
    add(&store, &key(id, Role::Admin)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let changed = tx.set_access_key_enabled(&master(1), id, false).await.unwrap().unwrap();
    assert!(!changed.enabled);
    assert_eq!(tx.admin_keys().await.unwrap(), [""; 0]);
    assert_eq!(tx.set_access_key_enabled(&master(1), "NO_SUCH_KEY_0001", true).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.access_key(&master(1), id).await.unwrap(), Some((changed, secret())));

    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_access_key(id, at(5)).await.unwrap());
    assert!(!tx.delete_access_key(id, at(6)).await.unwrap());
    assert_eq!(tx.set_access_key_enabled(&master(1), id, true).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.access_key(&master(1), id).await.unwrap(), None);
    assert_eq!(store.access_keys("", 10).await.unwrap(), []);
    assert!(matches!(add(&store, &key(id, Role::Admin)).await, Err(Error::Conflict { .. })), "an id is used once");
}

async fn the_last_use_is_noted_once_an_hour(place: Place) {
    let store = place.open().await;
    add(&store, &key("ADMIN_KEY_000001", Role::Admin)).await.unwrap();
    let start = at(0);
    for (minutes, noted) in [(0, 0), (59, 0), (60, 60), (61, 60)] {
        let now = start + SignedDuration::from_mins(minutes);
        let key = store.access_keys("", 1).await.unwrap().remove(0);
        store.access_key_used(&key, now).await.unwrap();
        let key = store.access_keys("", 1).await.unwrap().remove(0);
        assert_eq!(key.last_used_at, Some(start + SignedDuration::from_mins(noted)), "{minutes}");
    }
}

async fn the_first_master_key_is_the_stores(place: Place) {
    let (one, two) = (place.open().await, place.open().await);
    assert!(!one.has_master_key().await.unwrap());
    let (first, second) = tokio::join!(async { one.is_master_key(&master(1)).await.unwrap() }, async {
        two.is_master_key(&master(2)).await.unwrap()
    });
    assert!(first != second, "one of two that start at once is told so");
    assert!(one.has_master_key().await.unwrap());
    for _ in 0..2 {
        assert_eq!(two.is_master_key(&master(1)).await.unwrap(), first);
    }
}

async fn a_signature_makes_one_change_until_it_expires(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.use_signature("a", at(300), at(0)).await.unwrap());
    assert!(!tx.use_signature("a", at(300), at(300)).await.unwrap());
    assert!(tx.use_signature("b", at(600), at(300)).await.unwrap());
    // A signature that old is refused by its date; here it is forgotten.
    assert!(tx.use_signature("a", at(900), at(301)).await.unwrap());
    tx.commit().await.unwrap();
}

fn entry(second: i64, actor: &str, action: &str) -> Entry {
    Entry {
        at: at(second),
        actor: actor.to_owned(),
        source: "127.0.0.1".to_owned(),
        action: action.to_owned(),
        subject: "it's \"here\" 🐎 \0".to_owned(),
        detail: json!({ "Name": "it's \"here\" 🐎 \0", "Nothing": null, "Number": 1.5 }),
        outcome: Outcome::Succeeded,
    }
}

async fn entries_are_listed_newest_first_by_time_actor_and_action(place: Place) {
    let store = place.open().await;
    for (second, actor, action) in [(1, "a", "x"), (2, "b", "x"), (3, "a", "y"), (4, "a", "x")] {
        store.audit(&master(1), &entry(second, actor, action)).await.unwrap();
    }
    let seqs = async |query: AuditQuery, before, limit| -> Vec<i64> {
        store.audit_entries(&query, before, limit).await.unwrap().iter().map(|entry| entry.seq).collect()
    };
    let all = AuditQuery::default();
    assert_eq!(seqs(all.clone(), None, 3).await, [4, 3, 2]);
    assert_eq!(seqs(all.clone(), Some(2), 3).await, [1]);
    let of_a = AuditQuery { actor: Some("a".to_owned()), ..all.clone() };
    assert_eq!(seqs(of_a.clone(), None, 10).await, [4, 3, 1]);
    assert_eq!(seqs(AuditQuery { action: Some("x".to_owned()), ..of_a }, None, 10).await, [4, 1]);
    assert_eq!(seqs(AuditQuery { since: Some(at(2)), until: Some(at(4)), ..all }, None, 10).await, [3, 2]);
    let head = store.audit_head().await.unwrap();
    assert_eq!(verified(&store, Some(head.clone()), 9).await, (head, Vec::new()));
}

async fn appended_at_once_the_log_has_no_gaps(place: Place) {
    let store = Arc::new(place.open().await);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for second in 0..20 {
                    store.audit(&master(1), &entry(second, &format!("writer {writer}"), "x")).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (head, faults) = verified(&store, None, 9).await;
    assert_eq!((head.seq, faults), (80, Vec::new()));
}

async fn an_entry_is_recorded_exactly_if_its_transaction_is(place: Place) {
    let store = place.open().await;
    let mut dropped = store.begin().await.unwrap();
    dropped.audit(&master(1), &entry(1, "a", "never")).await.unwrap();
    drop(dropped);
    let mut tx = store.begin().await.unwrap();
    let head = tx.audit(&master(1), &entry(2, "a", "done")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((head.seq, store.audit_head().await.unwrap()), (1, head.clone()));
    assert_eq!(store.audit_entries(&AuditQuery::default(), None, 10).await.unwrap()[0].action, "done");
}

/// Checks the whole log at once.
async fn verified(store: &Store, expected: Option<Head>, faults_max: usize) -> (Head, Vec<Fault>) {
    let minute = Duration::from_secs(60);
    let found = store.verify_audit(&master(1), Head::default(), expected, faults_max, minute).await.unwrap();
    assert!(found.is_whole);
    (found.head, found.faults)
}

async fn a_long_log_is_checked_a_part_at_a_time(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    for number in 0..1_200 {
        tx.audit(&master(1), &entry(number, "somebody", "x")).await.unwrap();
    }
    tx.commit().await.unwrap();
    let head = store.audit_head().await.unwrap();
    let parts = async |expected: Option<Head>| {
        let (mut after, mut parts, mut faults) = (Head::default(), Vec::new(), Vec::new());
        loop {
            let found = store.verify_audit(&master(1), after, expected.clone(), 5, Duration::ZERO).await.unwrap();
            parts.push(found.head.seq);
            faults.extend(found.faults.into_iter().map(|fault| fault.seq));
            if found.is_whole {
                return (parts, faults);
            }
            after = found.head;
        }
    };
    assert_eq!(parts(Some(head.clone())).await, (vec![500, 1_000, 1_200], Vec::new()));
    let noted = Head { seq: 3, mac: "ab".repeat(32) };
    assert_eq!(parts(Some(noted)).await.1, [3], "told once");
    execute(&store, "UPDATE audit_entries SET actor = 'another' WHERE seq = 700").await;
    execute(&store, "DELETE FROM audit_entries WHERE seq = 1000").await;
    assert_eq!(parts(Some(head)).await.1, [700, 1_000]);
    execute(&store, "UPDATE audit_entries SET actor = 'another' WHERE seq > 2").await;
    let (_, faults) = verified(&store, None, 5).await;
    assert_eq!(faults.iter().map(|fault| fault.seq).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
}

async fn entries_of_a_time_are_found_though_clocks_differ(place: Place) {
    let store = place.open().await;
    // One writer's clock is five minutes behind; hours are between the days.
    let hour = 3_600;
    for (seconds, actor) in [(0, "a"), (hour, "b"), (hour - 300, "a"), (hour + 1, "b"), (2 * hour, "a")] {
        store.audit(&master(1), &entry(seconds, actor, "x")).await.unwrap();
    }
    let found = async |since: Option<i64>, until: Option<i64>, actor: Option<&str>| {
        let query = AuditQuery {
            since: since.map(at),
            until: until.map(at),
            actor: actor.map(str::to_owned),
            action: Some("x".to_owned()),
        };
        let entries = store.audit_entries(&query, None, 10).await.unwrap();
        entries.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(found(None, None, None).await, [5, 4, 3, 2, 1]);
    assert_eq!(found(Some(hour - 300), None, None).await, [5, 4, 3, 2]);
    assert_eq!(found(Some(hour), None, None).await, [5, 4, 2]);
    assert_eq!(found(Some(hour), Some(hour + 1), None).await, [2]);
    assert_eq!(found(None, Some(hour), None).await, [3, 1]);
    assert_eq!(found(Some(1), Some(2 * hour), Some("a")).await, [3]);
    assert_eq!(found(Some(3 * hour), None, None).await, [0; 0]);
}

/// What somebody with the database and without the master key might do to entries 1 to 1100.
async fn every_meddling_with_the_log_is_found(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let mut heads = vec![Head::default()];
    for second in 0..1_100 {
        heads.push(tx.audit(&master(1), &entry(second, "a", "x")).await.unwrap());
    }
    tx.commit().await.unwrap();
    let faults = async |expected| -> Vec<i64> {
        let (_, faults) = verified(&store, expected, 5).await;
        faults.into_iter().map(|fault| fault.seq).collect()
    };
    assert_eq!(faults(Some(heads[1_100].clone())).await, [0; 0]);

    execute(&store, "UPDATE audit_entries SET detail = '{}' WHERE seq = 700").await;
    assert_eq!(faults(None).await, [700]);
    execute(&store, "DELETE FROM audit_entries WHERE seq = 700").await;
    assert_eq!(faults(None).await, [700]);
    // Closing the gap takes new MACs for all that follows.
    execute(&store, "UPDATE audit_entries SET seq = seq - 5000 WHERE seq > 700").await;
    execute(&store, "UPDATE audit_entries SET seq = seq + 4999 WHERE seq < 0").await;
    assert_eq!(faults(None).await[0], 700);

    // Cut off at the end: by the head, or, when that was written too, by a head noted elsewhere.
    execute(&store, "DELETE FROM audit_entries WHERE seq > 600").await;
    assert_eq!(faults(None).await, [601]);
    sqlx::query("UPDATE audit_head SET seq = 600, mac = $1")
        .bind(&heads[600].mac)
        .execute(store.reader())
        .await
        .unwrap();
    assert_eq!(faults(None).await, [0; 0]);
    assert_eq!(faults(Some(heads[1_100].clone())).await, [1_100]);
    assert_eq!(faults(Some(heads[600].clone())).await, [0; 0]);
    // Added behind the head, or the head taken away.
    execute(&store, "INSERT INTO audit_entries SELECT 900, at, actor, source, action, subject, detail, outcome, mac FROM audit_entries WHERE seq = 1").await;
    assert_eq!(faults(None).await, [601]);
    execute(&store, "DELETE FROM audit_head").await;
    assert_eq!(faults(None).await[0], 1);
}
