//! Maintenance windows.

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::support::{Harness, id, window_input};

/// `window_input` with other members; `null` takes one away.
fn with(changes: Value) -> Value {
    let mut input = window_input();
    for (member, value) in changes.as_object().expect("an object") {
        input[member] = value.clone();
    }
    input
}

async fn timer_of(api: &Harness) -> Option<Timestamp> {
    api.store.next_timer_at().await.expect("a timer")
}

#[tokio::test]
async fn created_window_is_read_back_and_has_its_timer() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let window = api.ok("GetMaintenanceWindow", json!({ "WindowId": window_id })).await;
    for (member, value) in window_input().as_object().expect("an object") {
        assert_eq!(window[member], *value, "{member}");
    }
    assert_eq!(window["Enabled"], true);
    assert!(window["CreatedDate"].is_f64(), "{window}");
    assert!(window.get("Description").is_none(), "absent members are omitted: {window}");
    let next: Timestamp = id(&window, "NextExecutionTime").parse().expect("an instant with offset");
    assert_eq!(timer_of(&api).await, Some(next));
}

#[tokio::test]
async fn wrong_windows_are_refused_with_field_value_and_what_is_allowed() {
    let api = Harness::new().await;
    for (changes, needles) in [
        (json!({ "Name": null }), &["'name'", "null"][..]),
        (json!({ "Name": "a b" }), &["'name'", "'a b'", "a-zA-Z0-9"]),
        (json!({ "Duration": 25 }), &["'duration'", "'25'", "24"]),
        (json!({ "Cutoff": 3 }), &["Cutoff 3", "Duration 3", "0 to 2"]),
        (json!({ "ScheduleOffset": 7 }), &["'scheduleOffset'", "'7'", "6"]),
        (json!({ "Schedule": "cron(0 3 * * * *)" }), &["cron(0 3 * * * *)", "offset"]),
        (json!({ "Schedule": "rate(2 hours)", "ScheduleOffset": 2 }), &["ScheduleOffset 2", "cron"]),
        (json!({ "ScheduleTimezone": "Mars/Olympus" }), &["Mars/Olympus", "IANA"]),
        (json!({ "StartDate": "tomorrow" }), &["StartDate", "`tomorrow`", "offset"]),
        (json!({ "EndDate": "2020-01-01T00:00:00Z" }), &["EndDate", "2020-01-01", "passed"]),
        (json!({ "Tags": [{ "Key": "aws:x", "Value": "" }] }), &["tags.1.member.key", "aws:x", "reserved"]),
    ] {
        let message = api.refused("CreateMaintenanceWindow", with(changes), "ValidationException").await;
        for needle in needles {
            assert!(message.contains(needle), "{message} lacks {needle}");
        }
    }
    let windows = api.ok("DescribeMaintenanceWindows", json!({})).await;
    assert_eq!(windows["WindowIdentities"], json!([]), "nothing refused was stored");
}

#[tokio::test]
async fn repeated_client_token_creates_once_and_other_parameters_are_refused() {
    let api = Harness::new().await;
    let input = with(json!({ "ClientToken": "t-1" }));
    let first = api.ok("CreateMaintenanceWindow", input.clone()).await;
    assert_eq!(api.ok("CreateMaintenanceWindow", input.clone()).await, first);
    let other = with(json!({ "ClientToken": "t-1", "Duration": 4 }));
    let message = api.refused("CreateMaintenanceWindow", other, "IdempotentParameterMismatch").await;
    assert!(message.contains("t-1"), "{message}");
    let windows = api.ok("DescribeMaintenanceWindows", json!({})).await;
    assert_eq!(windows["WindowIdentities"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn update_keeps_what_is_absent_and_replace_clears_it() {
    let api = Harness::new().await;
    let window_id = id(&api.ok("CreateMaintenanceWindow", with(json!({ "Description": "d" }))).await, "WindowId");
    let patched = api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "Duration": 4 })).await;
    assert_eq!((&patched["Duration"], &patched["Description"]), (&json!(4), &json!("d")));
    assert!(patched.get("NextExecutionTime").is_some(), "{patched}");

    let half = json!({ "WindowId": window_id, "Replace": true, "Name": "put" });
    let message = api.refused("UpdateMaintenanceWindow", half, "ValidationException").await;
    assert!(message.contains("'schedule'"), "{message}");
    let put = with(json!({ "WindowId": window_id, "Replace": true, "ScheduleTimezone": null }));
    let replaced = api.ok("UpdateMaintenanceWindow", put).await;
    assert!(replaced.get("Description").is_none() && replaced.get("ScheduleTimezone").is_none(), "{replaced}");
    // Cutoff 1 was fine, and is not beside this Duration.
    let small = json!({ "WindowId": window_id, "Duration": 1 });
    api.refused("UpdateMaintenanceWindow", small, "ValidationException").await;
    let unknown = json!({ "WindowId": "mw-00000000000000000", "Duration": 4 });
    api.refused("UpdateMaintenanceWindow", unknown, "DoesNotExistException").await;
}

#[tokio::test]
async fn disabled_window_has_no_next_run_and_no_timer() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let disabled = api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "Enabled": false })).await;
    assert!(disabled.get("NextExecutionTime").is_none(), "{disabled}");
    assert_eq!(timer_of(&api).await, None);
    let schedule = api.ok("DescribeMaintenanceWindowSchedule", json!({ "WindowId": window_id })).await;
    assert_eq!(schedule["ScheduledWindowExecutions"], json!([]));
    let enabled = api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "Enabled": true })).await;
    let next: Timestamp = id(&enabled, "NextExecutionTime").parse().expect("an instant");
    assert_eq!(timer_of(&api).await, Some(next));
}

#[tokio::test]
async fn change_of_the_description_does_not_lose_an_occurrence_that_is_due() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let due = Timestamp::from_second(Timestamp::now().as_second() - 5).expect("an instant");
    let mut tx = api.store.begin().await.expect("a transaction");
    tx.set_next_execution(&window_id.parse().expect("an id"), Some(due)).await.expect("stored");
    tx.commit().await.expect("a commit");
    api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "Description": "changed" })).await;
    assert_eq!(timer_of(&api).await, Some(due));
}

#[tokio::test]
async fn deleted_window_takes_its_registrations_and_timer_along() {
    let api = Harness::new().await;
    let window_id = api.window().await;
    let target = json!({ "WindowId": window_id, "ResourceType": "INSTANCE",
        "Targets": [{ "Key": "tag:Stage", "Values": ["prod"] }] });
    api.ok("RegisterTargetWithMaintenanceWindow", target).await;
    for _ in 0..2 {
        // Deleting what is gone succeeds too.
        let answer = api.ok("DeleteMaintenanceWindow", json!({ "WindowId": window_id })).await;
        assert_eq!(answer["WindowId"], json!(window_id));
    }
    api.refused("GetMaintenanceWindow", json!({ "WindowId": window_id }), "DoesNotExistException").await;
    assert_eq!(timer_of(&api).await, None);
    assert!(api.store.window_targets(None).await.expect("targets").is_empty());
}

#[tokio::test]
async fn windows_are_listed_by_page_and_filter() {
    let api = Harness::new().await;
    for number in 0..12 {
        api.ok("CreateMaintenanceWindow", with(json!({ "Name": format!("window-{number}") }))).await;
    }
    let pages = api.pages("DescribeMaintenanceWindows", json!({}), 10, "WindowIdentities").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 2]);
    let filters = json!({ "Filters": [{ "Key": "Name", "Values": ["window-3", "window-4"] }] });
    let found = api.ok("DescribeMaintenanceWindows", filters).await;
    assert_eq!(found["WindowIdentities"].as_array().expect("a list").len(), 2);
    let disabled = json!({ "Filters": [{ "Key": "Enabled", "Values": ["false"] }] });
    assert_eq!(api.ok("DescribeMaintenanceWindows", disabled).await["WindowIdentities"], json!([]));

    let unknown = json!({ "Filters": [{ "Key": "Colour", "Values": ["red"] }] });
    let message = api.refused("DescribeMaintenanceWindows", unknown, "ValidationException").await;
    assert!(message.contains("Colour") && message.contains("Name, Enabled"), "{message}");
    api.refused("DescribeMaintenanceWindows", json!({ "MaxResults": 5 }), "ValidationException").await;
    api.refused("DescribeMaintenanceWindows", json!({ "NextToken": "made up" }), "InvalidNextToken").await;
}

#[tokio::test]
async fn schedule_lists_runs_of_all_windows_in_order_and_page_by_page() {
    let api = Harness::new().await;
    api.window().await;
    api.ok("CreateMaintenanceWindow", with(json!({ "Name": "hourly", "Schedule": "cron(0 * * * ? *)" }))).await;
    let before = (Timestamp::now() + 12.hours()).to_string();
    let input = json!({ "Filters": [{ "Key": "ScheduledBefore", "Values": [before] }] });
    let whole = api.ok("DescribeMaintenanceWindowSchedule", input.clone()).await;
    let whole = whole["ScheduledWindowExecutions"].as_array().expect("a list").clone();
    let times: Vec<Timestamp> = whole.iter().map(|run| id(run, "ExecutionTime").parse().expect("an instant")).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!((12..=13).contains(&times.len()), "twelve of one window, at most one of the other: {times:?}");
    let pages = api.pages("DescribeMaintenanceWindowSchedule", input, 5, "ScheduledWindowExecutions").await;
    assert_eq!(pages.concat(), whole);
}

#[tokio::test]
async fn windows_for_a_node_are_those_whose_targets_name_it_or_its_tags() {
    let api = Harness::new().await;
    let nodes = api.nodes(1..2, &[("Stage", "prod")]).await;
    let (by_tag, by_id, other) = (api.window().await, api.window().await, api.window().await);
    for (window_id, key, value) in
        [(&by_tag, "tag:Stage", "prod"), (&by_id, "InstanceIds", nodes[0].as_str()), (&other, "tag:Stage", "test")]
    {
        let targets = json!([{ "Key": key, "Values": [value] }]);
        let input = json!({ "WindowId": window_id, "ResourceType": "INSTANCE", "Targets": targets });
        api.ok("RegisterTargetWithMaintenanceWindow", input).await;
    }
    let asked = json!({ "ResourceType": "INSTANCE", "Targets": [{ "Key": "InstanceIds", "Values": [nodes[0]] }] });
    let found = api.ok("DescribeMaintenanceWindowsForTarget", asked.clone()).await;
    let mut found: Vec<String> =
        found["WindowIdentities"].as_array().expect("a list").iter().map(|one| id(one, "WindowId")).collect();
    let mut expected = vec![by_tag, by_id];
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let schedule = api.ok("DescribeMaintenanceWindowSchedule", asked).await;
    let runs = schedule["ScheduledWindowExecutions"].as_array().expect("a list");
    assert!(runs.iter().all(|run| run["WindowId"] != json!(other)));
}
