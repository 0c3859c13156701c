//! Compliance by patch group: counted from what is stored, recorded by the hour, and forgotten.

use jiff::SignedDuration;
use patchwave_engine::group_compliance::GroupCompliance;
use patchwave_platform::store::group_compliance::{HistoryFilter, KEPT_FOR, hour_of};
use patchwave_platform::store::service_settings::STALE_AFTER_HOURS;

use crate::fixtures::{at, connect, hello, node};
use crate::inventory::scan;
use crate::place::Place;

contract! {
    nodes_are_counted_by_the_group_of_their_tags,
    what_is_recorded_twice_in_an_hour_is_there_once,
    settings_are_kept_until_they_are_reset,
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

async fn nodes_are_counted_by_the_group_of_their_tags(place: Place) {
    let store = place.open().await;
    let web = [("Patch Group", "web")];
    let hellos = [hello(1, "s", &web), hello(2, "s", &web), hello(3, "s", &web), hello(4, "s", &[])];
    connect(&store, &hellos, at(0)).await;
    let mut tx = store.begin().await.unwrap();
    // The fixture's report of second N has N missing patches.
    let old = scan(2, 1);
    tx.put_patch_reports(&[scan(1, 7_200), old, scan(4, 7_200)]).await.unwrap();
    tx.commit().await.unwrap();
    let groups = store.group_compliance(at(7_200), HOUR, |_| true).await.unwrap();
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "web"]);
    let web = groups["web"];
    assert_eq!((web.nodes, web.simulated, web.never_scanned, web.stale), (3, 3, 1, 1));
    assert_eq!((web.compliant + web.non_compliant, web.oldest_report), (1, Some(at(1))));
    let seen = store.group_compliance(at(7_200), HOUR, |tags| tags.is_empty()).await.unwrap();
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [""]);
    assert!(store.patch_states(&[node(1)]).await.unwrap()[0].counts.missing_count > 0);
}

async fn what_is_recorded_twice_in_an_hour_is_there_once(place: Place) {
    let store = place.open().await;
    let start = hour_of(at(0)) + HOUR;
    let counts = |nodes| GroupCompliance { nodes, ..GroupCompliance::default() };
    let mut tx = store.begin().await.unwrap();
    for (group, minutes, nodes) in [("web", 0, 1), ("web", 59, 2), ("web", 60, 3), ("it's db", 60, 4), ("", 0, 5)] {
        let groups = [(group.to_owned(), counts(nodes))].into();
        tx.record_compliance(&groups, start + SignedDuration::from_mins(minutes)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let read = async |filter: &HistoryFilter, after, limit| {
        let found = store.compliance_history(filter, after, limit).await.unwrap();
        let row = |one: patchwave_platform::store::group_compliance::Recorded| {
            (one.patch_group, one.recorded_at.duration_since(start).as_hours(), one.counts.nodes)
        };
        found.into_iter().map(row).collect::<Vec<_>>()
    };
    let row = |group: &str, hour, nodes| (group.to_owned(), hour, nodes);
    let all = HistoryFilter::default();
    let expected = [row("", 0, 5), row("web", 0, 2), row("it's db", 1, 4), row("web", 1, 3)];
    assert_eq!(read(&all, None, 10).await, expected);
    assert_eq!(read(&all, Some((start.as_millisecond(), "")), 2).await, expected[1..3]);
    let web = HistoryFilter { patch_group: Some("web".to_owned()), since: Some(start + HOUR), until: None };
    assert_eq!(read(&web, None, 10).await, expected[3..]);
    let none = HistoryFilter { patch_group: Some(String::new()), since: None, until: Some(start + HOUR) };
    assert_eq!(read(&none, None, 10).await, expected[..1]);

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.forget_compliance_history(start + KEPT_FOR).await.unwrap(), 0);
    assert_eq!(tx.forget_compliance_history(start + KEPT_FOR + HOUR).await.unwrap(), 2);
    tx.commit().await.unwrap();
    assert_eq!(read(&all, None, 10).await, expected[2..]);
}

async fn settings_are_kept_until_they_are_reset(place: Place) {
    let store = place.open().await;
    assert_eq!(store.stale_after().await.unwrap(), HOUR * 168);
    for hours in ["24", "48"] {
        let mut tx = store.begin().await.unwrap();
        tx.put_service_setting(STALE_AFTER_HOURS, Some(hours), at(1)).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(store.stale_after().await.unwrap(), HOUR * 48);
    assert_eq!(store.service_setting(STALE_AFTER_HOURS).await.unwrap(), Some(("48".to_owned(), at(1))));
    let mut tx = store.begin().await.unwrap();
    tx.put_service_setting(STALE_AFTER_HOURS, None, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.service_setting(STALE_AFTER_HOURS).await.unwrap(), None);
}
