//! Firings of windows: once for each cause, and open until they end.

use patchwave_engine::window_execution::{Event, Gate, WindowExecution};
use patchwave_platform::store::executions::{Execution, TaskExecution};
use patchwave_platform::store::windows::RegisteredWindow;
use patchwave_schemas::{CommandId, TaskExecutionId, WindowExecutionId, WindowId};

use crate::fixtures::at;
use crate::place::Place;
use crate::windows::{target, task, window};

contract! {
    an_execution_added_twice_is_there_once,
    an_execution_is_open_until_it_ended,
    tasks_come_back_in_order_with_their_progress,
    executions_are_listed_newest_first_page_by_page,
    concurrent_firings_of_one_cause_store_one,
}

fn execution(cause: &str, window_id: &WindowId, started: i64) -> Execution {
    let state = WindowExecution::plan([(1, false), (2, true)]);
    Execution {
        window_execution_id: WindowExecutionId::derived(cause),
        window_id: window_id.clone(),
        scheduled_at: at(started),
        started_at: at(started),
        ended_at: None,
        cutoff_at: at(started + 7_200),
        end_at: at(started + 10_800),
        status: state.status().to_owned(),
        status_details: String::new(),
        reason: "it's time".to_owned(),
        state,
        snapshot: RegisteredWindow {
            window: window(window_id, "w"),
            targets: vec![target(window_id, "t")],
            tasks: vec![task(window_id, "one"), task(window_id, "two")],
        },
    }
}

async fn an_execution_added_twice_is_there_once(place: Place) {
    let store = place.open().await;
    let id = WindowId::from_bits(1);
    let first = execution("a", &id, 0);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.add_execution(&first).await.unwrap());
    let again = Execution { reason: "again".to_owned(), ..execution("a", &id, 50) };
    assert!(!tx.add_execution(&again).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.execution(first.window_execution_id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.executions(&id, None, 10).await.unwrap(), [first]);
    assert_eq!(store.execution(WindowExecutionId::derived("b")).await.unwrap(), None);
}

async fn an_execution_is_open_until_it_ended(place: Place) {
    let store = place.open().await;
    let (id, other) = (WindowId::from_bits(1), WindowId::from_bits(2));
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.has_open_execution(&id).await.unwrap());
    tx.add_execution(&execution("a", &id, 0)).await.unwrap();
    assert!(tx.has_open_execution(&id).await.unwrap());
    assert!(!tx.has_open_execution(&other).await.unwrap());
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    let mut locked = tx.lock_execution(WindowExecutionId::derived("a")).await.unwrap().unwrap();
    locked.state = locked.state.step(Event::Start, Gate::Open).unwrap().0;
    locked.status = locked.state.status().to_owned();
    locked.status_details = "details".to_owned();
    tx.save_execution(&locked).await.unwrap();
    assert!(tx.has_open_execution(&id).await.unwrap());
    locked.ended_at = Some(at(100));
    tx.save_execution(&locked).await.unwrap();
    assert!(!tx.has_open_execution(&id).await.unwrap());
    assert_eq!(tx.lock_execution(WindowExecutionId::derived("b")).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(store.execution(locked.window_execution_id).await.unwrap(), Some(locked));
}

async fn tasks_come_back_in_order_with_their_progress(place: Place) {
    let store = place.open().await;
    let window_id = WindowId::from_bits(1);
    let one = |ordinal: u32| TaskExecution {
        task_execution_id: TaskExecutionId::derived(&ordinal.to_string()),
        window_execution_id: WindowExecutionId::derived("a"),
        ordinal,
        status: "PENDING".to_owned(),
        status_details: String::new(),
        command_id: None,
        started_at: None,
        ended_at: None,
        task: task(&window_id, &ordinal.to_string()),
    };
    let mut tx = store.begin().await.unwrap();
    for ordinal in [2, 0, 1] {
        tx.put_task_execution(&one(ordinal)).await.unwrap();
    }
    let started = TaskExecution {
        status: "IN_PROGRESS".to_owned(),
        command_id: Some(CommandId::derived("c")),
        started_at: Some(at(1)),
        ..one(1)
    };
    tx.put_task_execution(&started).await.unwrap();
    let expected = [one(0), started, one(2)];
    assert_eq!(tx.task_executions(WindowExecutionId::derived("a")).await.unwrap(), expected);
    assert_eq!(tx.task_executions(WindowExecutionId::derived("b")).await.unwrap(), []);
    tx.commit().await.unwrap();
    assert_eq!(store.tasks_of(WindowExecutionId::derived("a")).await.unwrap(), expected);
}

async fn executions_are_listed_newest_first_page_by_page(place: Place) {
    let store = place.open().await;
    let id = WindowId::from_bits(1);
    let mut tx = store.begin().await.unwrap();
    let mut expected = Vec::new();
    for number in 0..5 {
        let one = execution(&number.to_string(), &id, number / 2);
        tx.add_execution(&one).await.unwrap();
        expected.push((one.started_at, one.window_execution_id));
    }
    tx.add_execution(&execution("other", &WindowId::from_bits(2), 0)).await.unwrap();
    tx.commit().await.unwrap();
    expected.sort();
    expected.reverse();
    let mut seen = Vec::new();
    loop {
        let page = store.executions(&id, seen.last().copied(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|one| (one.started_at, one.window_execution_id)));
        assert!(seen.len() <= expected.len(), "no execution is listed twice");
    }
    assert_eq!(seen, expected);
}

async fn concurrent_firings_of_one_cause_store_one(place: Place) {
    let stores = [place.open().await, place.open().await];
    let id = WindowId::from_bits(1);
    let firings: Vec<_> = (0..6_usize)
        .map(|number| {
            let (store, one) = (stores[number % 2].clone(), execution("a", &id, 0));
            tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let added = tx.add_execution(&one).await.unwrap();
                tx.commit().await.unwrap();
                added
            })
        })
        .collect();
    let mut added = 0;
    for firing in firings {
        added += usize::from(firing.await.unwrap());
    }
    assert_eq!(added, 1);
}
