//! Windows and what is registered with them.

use std::collections::BTreeMap;

use patchwave_engine::calendar::Gate;
use patchwave_platform::calendars;
use patchwave_platform::store::documents::{Document, DocumentVersion};
use patchwave_platform::store::tags::Taggable;
use patchwave_platform::store::windows::{CalendarPolicy, RunCommandParameters, Window, WindowTarget, WindowTask};
use patchwave_schemas::event::{ErrorMode, Target};
use patchwave_schemas::{WindowId, WindowTargetId, WindowTaskId};

use crate::documents::{document, version};
use crate::fixtures::{at, tags};
use crate::place::Place;

contract! {
    a_window_comes_back_as_it_was_put,
    a_window_from_before_calendars_names_none,
    calendars_are_judged_by_their_default_version,
    the_next_execution_is_kept_beside_the_definition,
    registrations_come_back_oldest_first,
    deleting_a_window_deletes_what_is_registered_with_it_alone,
    a_locked_window_is_waited_for,
    tags_are_replaced_as_a_whole,
}

pub(crate) fn window(id: &WindowId, name: &str) -> Window {
    Window {
        window_id: id.clone(),
        name: name.to_owned(),
        description: Some("it's \"Tuesday\" 🐎".to_owned()),
        schedule: "cron(0 2 ? * TUE *)".to_owned(),
        schedule_timezone: Some("Europe/Prague".to_owned()),
        schedule_offset: Some(2),
        start_date: None,
        end_date: Some("2030-01-01T00:00:00Z".to_owned()),
        duration: 3,
        cutoff: 1,
        allow_unassociated_targets: false,
        calendar_names: vec!["freeze".to_owned()],
        calendar_policy: CalendarPolicy::Delay,
        enabled: true,
        schedule_base: at(0),
        created_date: at(0),
        modified_date: at(0),
        next_execution_at: None,
    }
}

pub(crate) fn target(id: &WindowId, cause: &str) -> WindowTarget {
    WindowTarget {
        window_target_id: WindowTargetId::derived(cause),
        window_id: id.clone(),
        resource_type: "INSTANCE".to_owned(),
        targets: vec![Target { key: "tag:Env".to_owned(), values: vec!["prod".to_owned()] }],
        owner_information: None,
        name: Some(cause.to_owned()),
        description: None,
    }
}

pub(crate) fn task(id: &WindowId, cause: &str) -> WindowTask {
    WindowTask {
        window_task_id: WindowTaskId::derived(cause),
        window_id: id.clone(),
        task_type: "RUN_COMMAND".to_owned(),
        task_arn: "AWS-RunShellScript".to_owned(),
        targets: Vec::new(),
        priority: 1,
        max_concurrency: Some("10%".to_owned()),
        max_errors: None,
        error_mode: ErrorMode::Strict,
        cutoff_behavior: Default::default(),
        run_command: RunCommandParameters {
            parameters: BTreeMap::from([("commands".to_owned(), vec!["echo 'a'".to_owned()])]),
            ..Default::default()
        },
        step_functions: None,
        lambda: None,
        rollout_plan: None,
        service_role_arn: None,
        name: Some(cause.to_owned()),
        description: None,
    }
}

async fn a_window_comes_back_as_it_was_put(place: Place) {
    let store = place.open().await;
    let id = WindowId::from_bits(1);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.lock_window(&id).await.unwrap(), None);
    tx.put_window(&window(&id, "first")).await.unwrap();
    let changed = Window { enabled: false, modified_date: at(9), ..window(&id, "second") };
    tx.put_window(&changed).await.unwrap();
    assert_eq!(tx.lock_window(&id).await.unwrap(), Some(changed.clone()));
    tx.commit().await.unwrap();
    assert_eq!(store.window(&id).await.unwrap(), Some(changed.clone()));
    assert_eq!(store.windows().await.unwrap(), [changed]);
    let figures = store.figures(at(0)).await.unwrap();
    assert_eq!((figures.windows_enabled, figures.windows_disabled), (0, 1));
}

async fn a_window_from_before_calendars_names_none(place: Place) {
    let store = place.open().await;
    let id = WindowId::from_bits(1);
    let mut definition = serde_json::to_value(window(&id, "old")).unwrap();
    for member in ["CalendarNames", "CalendarPolicy"] {
        assert!(definition.as_object_mut().unwrap().remove(member).is_some(), "{member}");
    }
    let old: Window = serde_json::from_value(definition).unwrap();
    assert_eq!((old.calendar_names.len(), old.calendar_policy), (0, CalendarPolicy::Skip));
    let mut tx = store.begin().await.unwrap();
    tx.put_window(&old).await.unwrap();
    assert_eq!(tx.lock_window(&id).await.unwrap(), Some(old));
}

async fn calendars_are_judged_by_their_default_version(place: Place) {
    let store = place.open().await;
    let names = ["freeze".to_owned()];
    let mut tx = store.begin().await.unwrap();
    let closed = |gate: Gate| match gate {
        Gate::Open => None,
        Gate::Closed { reason, .. } => Some(reason),
    };
    let gone = closed(calendars::judge(&mut tx, &names, at(0)).await.unwrap());
    assert_eq!(gone.as_deref(), Some("Change calendar freeze does not exist; counts as CLOSED"));
    tx.add_document(&document("freeze")).await.unwrap();
    for (number, kind) in [(1, "DEFAULT_CLOSED"), (2, "DEFAULT_OPEN")] {
        let content = format!("BEGIN:VCALENDAR\r\nX-CALENDAR-TYPE:{kind}\r\nEND:VCALENDAR\r\n");
        let format = calendars::FORMAT.to_owned();
        tx.add_document_version(&DocumentVersion { content, format, ..version("freeze", number) }).await.unwrap();
    }
    let never = closed(calendars::judge(&mut tx, &names, at(0)).await.unwrap());
    assert_eq!(never.as_deref(), Some("Change calendar freeze is CLOSED, with no end within two years"));
    tx.put_document(&Document { default_version: 2, ..document("freeze") }).await.unwrap();
    assert_eq!(calendars::judge(&mut tx, &names, at(0)).await.unwrap(), Gate::Open);
    assert_eq!(calendars::judge(&mut tx, &[], at(0)).await.unwrap(), Gate::Open);
}

async fn the_next_execution_is_kept_beside_the_definition(place: Place) {
    let store = place.open().await;
    let id = WindowId::from_bits(1);
    let next = Window { next_execution_at: Some(at(60)), ..window(&id, "w") };
    let mut tx = store.begin().await.unwrap();
    tx.put_window(&next).await.unwrap();
    assert_eq!(tx.lock_window(&id).await.unwrap(), Some(next));
    for expected in [Some(at(120)), None] {
        tx.set_next_execution(&id, expected).await.unwrap();
        assert_eq!(tx.lock_window(&id).await.unwrap().unwrap().next_execution_at, expected);
    }
}

async fn registrations_come_back_oldest_first(place: Place) {
    let store = place.open().await;
    let (id, other) = (WindowId::from_bits(1), WindowId::from_bits(2));
    let mut tx = store.begin().await.unwrap();
    for (index, cause) in (0..).zip(["c", "a", "b"]) {
        tx.put_window_target(&target(&id, cause), at(index)).await.unwrap();
        tx.put_window_task(&task(&id, cause), at(index)).await.unwrap();
    }
    tx.put_window_target(&target(&other, "x"), at(0)).await.unwrap();
    tx.put_window_task(&task(&other, "x"), at(0)).await.unwrap();
    // A new definition does not make it younger.
    let renamed = WindowTask { name: None, ..task(&id, "c") };
    tx.put_window_task(&renamed, at(99)).await.unwrap();
    let (targets, tasks) = tx.window_registrations(&id).await.unwrap();
    assert_eq!(targets, ["c", "a", "b"].map(|cause| target(&id, cause)));
    assert_eq!(tasks, [renamed, task(&id, "a"), task(&id, "b")]);

    tx.delete_window_target(WindowTargetId::derived("a")).await.unwrap();
    tx.delete_window_task(WindowTaskId::derived("b")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.window_targets(Some(&id)).await.unwrap().len(), 2);
    assert_eq!(store.window_targets(None).await.unwrap().len(), 3);
    assert_eq!(store.window_tasks(&id).await.unwrap().len(), 2);
    assert_eq!(store.window_target(WindowTargetId::derived("a")).await.unwrap(), None);
    assert_eq!(store.window_target(WindowTargetId::derived("b")).await.unwrap(), Some(target(&id, "b")));
    assert_eq!(store.window_task(WindowTaskId::derived("b")).await.unwrap(), None);
    assert_eq!(store.window_task(WindowTaskId::derived("x")).await.unwrap(), Some(task(&other, "x")));
}

async fn deleting_a_window_deletes_what_is_registered_with_it_alone(place: Place) {
    let store = place.open().await;
    let (id, other) = (WindowId::from_bits(1), WindowId::from_bits(2));
    let mut tx = store.begin().await.unwrap();
    for (window_id, cause) in [(&id, "mine"), (&other, "other")] {
        tx.put_window(&window(window_id, cause)).await.unwrap();
        tx.put_window_target(&target(window_id, cause), at(0)).await.unwrap();
        tx.put_window_task(&task(window_id, cause), at(0)).await.unwrap();
    }
    tx.delete_window(&id).await.unwrap();
    assert_eq!(tx.lock_window(&id).await.unwrap(), None);
    assert_eq!(tx.window_registrations(&id).await.unwrap(), (Vec::new(), Vec::new()));
    let (targets, tasks) = tx.window_registrations(&other).await.unwrap();
    assert_eq!((targets.len(), tasks.len()), (1, 1));
    assert!(tx.lock_window(&other).await.unwrap().is_some());
}

async fn a_locked_window_is_waited_for(place: Place) {
    let stores = [place.open().await, place.open().await];
    let id = WindowId::from_bits(1);
    let mut tx = stores[0].begin().await.unwrap();
    tx.put_window(&window(&id, "0")).await.unwrap();
    tx.commit().await.unwrap();
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (store, id) = (stores[writer % 2].clone(), id.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let mut tx = store.begin().await.unwrap();
                    let mut window = tx.lock_window(&id).await.unwrap().unwrap();
                    window.name = (window.name.parse::<u32>().unwrap() + 1).to_string();
                    tx.put_window(&window).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(stores[0].window(&id).await.unwrap().unwrap().name, "40");
}

async fn tags_are_replaced_as_a_whole(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    let odd = tags(&[("it's", "\"x\""), ("empty", "")]);
    tx.set_tags(Taggable::MaintenanceWindow, "mw-1", &tags(&[("a", "1"), ("b", "2")])).await.unwrap();
    tx.set_tags(Taggable::MaintenanceWindow, "mw-1", &odd).await.unwrap();
    tx.set_tags(Taggable::PatchBaseline, "mw-1", &tags(&[("c", "3")])).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.tags(Taggable::MaintenanceWindow, "mw-1").await.unwrap(), odd);
    assert_eq!(store.tags(Taggable::PatchBaseline, "mw-1").await.unwrap(), tags(&[("c", "3")]));
    assert_eq!(store.tags(Taggable::PatchBaseline, "mw-2").await.unwrap(), tags(&[]));
}
