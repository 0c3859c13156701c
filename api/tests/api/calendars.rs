//! Change calendars: as documents, by their state, and named by windows.

use serde_json::{Value, json};

use crate::support::{Harness, id};

fn content(kind: &str, events: &str) -> String {
    format!(
        "BEGIN:VCALENDAR\r\nPRODID:-//AWS//Change Calendar 1.0//EN\r\nVERSION:2.0\r\nX-CALENDAR-TYPE:{kind}\r\n\
         X-WR-CALDESC:Year's end\r\n{events}END:VCALENDAR\r\n"
    )
}

fn freeze(hours: &str) -> String {
    format!("BEGIN:VEVENT\r\nUID:1\r\nDTSTART:20301224T120000Z\r\nDURATION:PT{hours}H\r\nEND:VEVENT\r\n")
}

fn calendar(name: &str, content: String) -> Value {
    json!({ "Name": name, "Content": content, "DocumentType": "ChangeCalendar", "DocumentFormat": "TEXT" })
}

#[tokio::test]
async fn a_calendar_is_a_document_with_versions() {
    let api = Harness::new().await;
    let text = content("DEFAULT_OPEN", &freeze("2"));
    let made = api.ok("CreateDocument", calendar("freeze", text.clone())).await["DocumentDescription"].clone();
    for (member, value) in [
        ("DocumentType", json!("ChangeCalendar")),
        ("DocumentFormat", json!("TEXT")),
        ("Description", json!("Year's end")),
        ("DocumentVersion", json!("1")),
    ] {
        assert_eq!(made[member], value, "{member}");
    }
    assert_eq!(api.ok("DescribeDocument", json!({ "Name": "freeze" })).await["Document"], made);
    let read = api.ok("GetDocument", json!({ "Name": "freeze" })).await;
    assert_eq!((&read["Content"], &read["DocumentType"]), (&json!(text), &json!("ChangeCalendar")));
    let filters = json!([{ "Key": "DocumentType", "Values": ["ChangeCalendar"] }]);
    let listed = api.ok("ListDocuments", json!({ "Filters": filters })).await["DocumentIdentifiers"].clone();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["Name"], "freeze");

    // The default version decides.
    let closed = content("DEFAULT_CLOSED", "");
    api.ok("UpdateDocument", json!({ "Name": "freeze", "Content": closed, "DocumentFormat": "TEXT" })).await;
    let state = || api.ok("GetCalendarState", json!({ "CalendarNames": ["freeze"] }));
    assert_eq!(state().await["State"], "OPEN");
    api.ok("UpdateDocumentDefaultVersion", json!({ "Name": "freeze", "DocumentVersion": "2" })).await;
    assert_eq!(state().await["State"], "CLOSED");

    let message = api
        .refused("CreateDocument", calendar("bad", content("DEFAULT_OPEN", "X\r\n")), "InvalidDocumentContent")
        .await;
    assert!(message.contains("line 6: `X` is no property"), "{message}");
    let mut json_format = calendar("bad", content("DEFAULT_OPEN", ""));
    json_format["DocumentFormat"] = json!("JSON");
    api.refused("CreateDocument", json_format, "ValidationException").await;
    api.refused("UpdateDocument", json!({ "Name": "freeze", "Content": "{}" }), "InvalidDocumentContent").await;
    api.refused("GetDocument", json!({ "Name": "freeze", "DocumentFormat": "YAML" }), "ValidationException").await;
    // It is nothing that a node could run.
    let node = api.nodes(1..2, &[]).await.remove(0);
    let send = json!({ "DocumentName": "freeze", "InstanceIds": [node] });
    let message = api.refused("SendCommand", send, "ValidationException").await;
    assert!(message.contains("change calendar"), "{message}");
}

#[tokio::test]
async fn several_calendars_are_open_only_while_all_are() {
    let api = Harness::new().await;
    api.ok("CreateDocument", calendar("short", content("DEFAULT_OPEN", &freeze("2")))).await;
    api.ok("CreateDocument", calendar("long", content("DEFAULT_OPEN", &freeze("5")))).await;
    let state = |names: Value, at: &str| json!({ "CalendarNames": names, "AtTime": at });
    let arn = "arn:aws:ssm:us-east-1:111122223333:document/short";
    for (names, at, expected, next) in [
        (json!(["short", "long"]), "2030-12-24T11:00:00Z", "OPEN", "2030-12-24T12:00:00Z"),
        (json!([arn]), "2030-12-24T12:00:00+00:00", "CLOSED", "2030-12-24T14:00:00Z"),
        (json!(["short", "long"]), "2030-12-24T13:00:00.5Z", "CLOSED", "2030-12-24T17:00:00Z"),
    ] {
        let found = api.ok("GetCalendarState", state(names, at)).await;
        assert_eq!((&found["State"], &found["NextTransitionTime"]), (&json!(expected), &json!(next)), "{at}");
    }
    let after = api.ok("GetCalendarState", state(json!(["short"]), "2030-12-25T00:00:00Z")).await;
    assert_eq!(after, json!({ "State": "OPEN", "AtTime": "2030-12-25T00:00:00Z" }));
    api.refused("GetCalendarState", state(json!(["gone"]), "2030-12-25T00:00:00Z"), "InvalidDocument").await;
    api.refused("GetCalendarState", state(json!(["short"]), "tomorrow"), "ValidationException").await;
    api.refused("GetCalendarState", json!({ "CalendarNames": [] }), "ValidationException").await;
}

#[tokio::test]
async fn a_window_names_calendars_that_are_there() {
    let api = Harness::new().await;
    api.ok("CreateDocument", calendar("freeze", content("DEFAULT_OPEN", ""))).await;
    let window = |names: Value| {
        json!({ "Name": "nightly", "Schedule": "rate(1 day)", "Duration": 2, "Cutoff": 1,
            "AllowUnassociatedTargets": true, "CalendarNames": names, "CalendarPolicy": "Delay" })
    };
    let message = api.refused("CreateMaintenanceWindow", window(json!(["gone"])), "ValidationException").await;
    assert!(message.contains("`gone`"), "{message}");
    let made = api.ok("CreateMaintenanceWindow", window(json!(["freeze", "arn:aws:ssm:::document/freeze"]))).await;
    let window_id = id(&made, "WindowId");
    let get = || api.ok("GetMaintenanceWindow", json!({ "WindowId": window_id }));
    let read = get().await;
    assert_eq!((&read["CalendarNames"], &read["CalendarPolicy"]), (&json!(["freeze"]), &json!("Delay")));
    // What is not given stays; an empty list takes the calendars away.
    api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "Name": "other" })).await;
    assert_eq!(get().await["CalendarNames"], json!(["freeze"]));
    api.ok("UpdateMaintenanceWindow", json!({ "WindowId": window_id, "CalendarNames": [] })).await;
    assert_eq!(get().await["CalendarNames"], Value::Null);
    let wrong = json!({ "WindowId": window_id, "CalendarPolicy": "Maybe" });
    api.refused("UpdateMaintenanceWindow", wrong, "ValidationException").await;
}
