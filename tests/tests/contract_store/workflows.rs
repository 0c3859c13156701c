//! Executions of state machines and automations: stored once, told without a lock, and their calls.

use patchwave_engine::calls::{Call, CallOutcome};
use patchwave_platform::store::Store;
use patchwave_platform::store::calls::{NewCall, OwnerKind};
use patchwave_platform::store::functions::Function;
use patchwave_platform::store::state_machines::StateMachine;
use patchwave_platform::store::workflows::{
    Kind, Letter, StoredEvent, StoredFrame, StoredStep, Workflow, WorkflowQuery,
};
use patchwave_platform::workflows::{Happening, StartError, end_call, start_state_machine};
use patchwave_schemas::WorkflowId;
use serde_json::json;

use crate::fixtures::at;
use crate::place::Place;

contract! {
    a_state_machine_is_added_once_changed_and_deleted,
    an_execution_starts_once_with_its_name_and_input,
    executions_are_listed_newest_first_in_pages,
    an_inbox_keeps_one_of_each_key_and_hands_out_in_order,
    what_waits_too_long_is_spoken_of_again,
    frames_are_replaced_collected_in_order_and_forgotten,
    a_history_is_read_in_both_directions,
    steps_are_replaced_and_read_in_order,
    a_call_is_claimed_by_one_until_its_lease_runs_out,
    a_call_ends_once_and_tells_its_execution,
    a_function_is_registered_changed_listed_and_deleted,
}

fn machine(name: &str) -> StateMachine {
    StateMachine {
        name: name.to_owned(),
        definition_id: format!("definition of {name}"),
        revision: 1,
        machine_type: "STANDARD".to_owned(),
        role_arn: "role".to_owned(),
        created_at: at(0),
        updated_at: at(0),
    }
}

async fn define(store: &Store, name: &str) {
    let mut tx = store.begin().await.unwrap();
    assert!(tx.add_state_machine(&machine(name), "{}").await.unwrap());
    tx.commit().await.unwrap();
}

async fn start(store: &Store, machine: &str, name: &str, seconds: i64) -> Result<WorkflowId, StartError> {
    let mut tx = store.begin().await.unwrap();
    let started = start_state_machine(&mut tx, machine, name, "{}", None, 0, at(seconds)).await?;
    tx.commit().await.unwrap();
    Ok(started.workflow_id)
}

async fn a_state_machine_is_added_once_changed_and_deleted(place: Place) {
    let store = place.open().await;
    define(&store, "m").await;
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.add_state_machine(&machine("m"), "{}").await.unwrap());
    let mut changed = tx.lock_state_machine("m").await.unwrap().unwrap();
    changed.definition_id = "another".to_owned();
    changed.revision = 2;
    tx.save_state_machine(&changed, "{\"StartAt\":\"A\"}").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.state_machine("m").await.unwrap(), Some(changed.clone()));
    assert_eq!(store.workflow_definition("another").await.unwrap().as_deref(), Some("{\"StartAt\":\"A\"}"));
    assert_eq!(store.state_machines().await.unwrap(), [changed]);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_state_machine("m").await.unwrap());
    assert!(!tx.delete_state_machine("m").await.unwrap());
    tx.commit().await.unwrap();
    // What ran with it still finds it.
    assert!(store.workflow_definition("another").await.unwrap().is_some());
}

async fn an_execution_starts_once_with_its_name_and_input(place: Place) {
    let store = place.open().await;
    define(&store, "m").await;
    let id = start(&store, "m", "one", 0).await.unwrap();
    assert_eq!(start(&store, "m", "one", 1).await.unwrap(), id);
    assert_eq!(start(&store, "arn:aws:states:local:000000000000:stateMachine:m", "one", 1).await.unwrap(), id);
    let mut tx = store.begin().await.unwrap();
    let other = start_state_machine(&mut tx, "m", "one", "[1]", None, 0, at(1)).await;
    assert!(matches!(other, Err(StartError::NameTaken { .. })), "{other:?}");
    drop(tx);
    assert!(matches!(start(&store, "none", "one", 0).await, Err(StartError::NoStateMachine { .. })));
    assert!(matches!(start(&store, "m", "a b", 0).await, Err(StartError::Name { .. })));
    let stored = store.workflow(id).await.unwrap().unwrap();
    assert_eq!((stored.status.as_str(), stored.started_at, stored.ended_at), ("RUNNING", at(0), None));
    let mut tx = store.begin().await.unwrap();
    let mut locked = tx.lock_workflow(id).await.unwrap().unwrap();
    locked.status = "SUCCEEDED".to_owned();
    locked.output = Some("7".to_owned());
    locked.ended_at = Some(at(9));
    locked.history_events = 3;
    tx.save_workflow(&locked).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.workflow(id).await.unwrap(), Some(locked));
    // Ended, its name is taken for good.
    assert!(matches!(start(&store, "m", "one", 10).await, Err(StartError::NameTaken { .. })));
}

async fn executions_are_listed_newest_first_in_pages(place: Place) {
    let store = place.open().await;
    define(&store, "m").await;
    define(&store, "n").await;
    for (number, seconds) in [(1, 10), (2, 20), (3, 20), (4, 5)] {
        start(&store, "m", &number.to_string(), seconds).await.unwrap();
    }
    start(&store, "n", "other", 30).await.unwrap();
    let mut seen: Vec<Workflow> = Vec::new();
    loop {
        let last = seen.last().map(|one| (one.started_at.as_millisecond(), one.workflow_id.to_string()));
        let query = WorkflowQuery {
            definition_name: Some("m"),
            status: Some("RUNNING"),
            after: last.as_ref().map(|(at, id)| (*at, id.as_str())),
            limit: 2,
        };
        let page = store.workflows(Kind::StateMachine, &query).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let starts: Vec<_> = seen.iter().map(|one| one.started_at).collect();
    assert_eq!(starts, [at(20), at(20), at(10), at(5)]);
    assert!(
        store.workflows(Kind::Automation, &WorkflowQuery { limit: 9, ..Default::default() }).await.unwrap().is_empty()
    );
}

fn letter(key: &str) -> Letter {
    Letter { event_key: key.to_owned(), event: format!("\"{key}\"") }
}

async fn an_inbox_keeps_one_of_each_key_and_hands_out_in_order(place: Place) {
    let store = place.open().await;
    let (id, other) = (WorkflowId::derived("a"), WorkflowId::derived("b"));
    for (key, seconds) in [("late", 5), ("early", 1), ("early", 9), ("between", 3)] {
        let mut tx = store.begin().await.unwrap();
        tx.tell_workflow(id, &letter(key), at(seconds)).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = store.begin().await.unwrap();
    tx.tell_workflow(other, &letter("elsewhere"), at(0)).await.unwrap();
    let keys = async |tx: &mut patchwave_platform::store::Tx, limit| -> Vec<String> {
        tx.take_letters(id, limit).await.unwrap().into_iter().map(|one| one.event_key).collect()
    };
    assert_eq!(keys(&mut tx, 2).await, ["early", "between"]);
    assert_eq!(keys(&mut tx, 2).await, ["late"]);
    assert!(keys(&mut tx, 2).await.is_empty());
    tx.commit().await.unwrap();
}

async fn what_waits_too_long_is_spoken_of_again(place: Place) {
    let store = place.open().await;
    let id = WorkflowId::derived("a");
    let mut tx = store.begin().await.unwrap();
    tx.tell_workflow(id, &letter("one"), at(0)).await.unwrap();
    tx.add_call(&call("token"), true, at(0)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert!(!store.has_waiting_workflows(at(14)).await.unwrap() && !store.has_waiting_calls(at(14)).await.unwrap());
    assert!(store.has_waiting_workflows(at(16)).await.unwrap() && store.has_waiting_calls(at(16)).await.unwrap());
    for (seconds, expected) in [(16, 1), (17, 0), (40, 1)] {
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.claim_workflows_in_waiting(at(seconds), 10).await.unwrap().len(), expected, "{seconds}");
        assert_eq!(tx.claim_calls_in_waiting(at(seconds), 10).await.unwrap().len(), expected, "{seconds}");
        tx.commit().await.unwrap();
    }
}

fn frame(id: &str, parent: &str, ordinal: i64, output: Option<&str>) -> StoredFrame {
    StoredFrame {
        frame_id: id.to_owned(),
        parent_id: parent.to_owned(),
        ordinal,
        ended: i64::from(output.is_some()),
        frame: "{}".to_owned(),
        output: output.map(str::to_owned),
    }
}

async fn frames_are_replaced_collected_in_order_and_forgotten(place: Place) {
    let store = place.open().await;
    let id = WorkflowId::derived("a");
    let mut tx = store.begin().await.unwrap();
    let rows = [
        frame("r", "", 0, None),
        frame("r/2.10", "r", 10, Some("10")),
        frame("r/2.9", "r", 9, None),
        frame("r/2.9/1.0", "r/2.9", 0, Some("0")),
        frame("r/22.0", "r", 0, Some("another visit")),
    ];
    tx.put_workflow_frames(id, &rows).await.unwrap();
    tx.put_workflow_frames(id, &[frame("r/2.9", "r", 9, Some("9"))]).await.unwrap();
    assert_eq!(tx.workflow_frame(id, "r/2.9").await.unwrap(), Some(frame("r/2.9", "r", 9, Some("9"))));
    assert_eq!(tx.workflow_frame(WorkflowId::derived("b"), "r").await.unwrap(), None);
    assert_eq!(tx.open_workflow_frames(id, 10).await.unwrap(), [frame("r", "", 0, None)]);
    let outputs = tx.workflow_outputs(id, "r", "r/2.").await.unwrap();
    assert_eq!(outputs, [(9, "9".to_owned()), (10, "10".to_owned())]);
    tx.forget_workflow_frames(id, "r/2.").await.unwrap();
    assert_eq!(tx.workflow_frame(id, "r/2.9/1.0").await.unwrap(), None);
    assert!(tx.workflow_frame(id, "r/22.0").await.unwrap().is_some());
    tx.commit().await.unwrap();
}

async fn a_history_is_read_in_both_directions(place: Place) {
    let store = place.open().await;
    let id = WorkflowId::derived("a");
    let events: Vec<_> =
        (1..=5).map(|event_id| StoredEvent { event_id, at: at(event_id), event: format!("{event_id}") }).collect();
    let mut tx = store.begin().await.unwrap();
    tx.add_workflow_history(id, &events).await.unwrap();
    tx.add_workflow_history(id, &events[..2]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.workflow_history(id, None, false, 10).await.unwrap(), events);
    assert_eq!(store.workflow_history(id, Some(2), false, 2).await.unwrap(), events[2..4]);
    let newest: Vec<_> = store.workflow_history(id, None, true, 2).await.unwrap();
    assert_eq!(newest, [events[4].clone(), events[3].clone()]);
    assert_eq!(store.workflow_history(id, Some(2), true, 9).await.unwrap(), events[..1]);
}

async fn steps_are_replaced_and_read_in_order(place: Place) {
    let store = place.open().await;
    let id = WorkflowId::derived("a");
    let step = |step_id: &str, ordinal, status: &str| StoredStep {
        step_id: step_id.to_owned(),
        ordinal,
        status: status.to_owned(),
        record: "{}".to_owned(),
    };
    let mut tx = store.begin().await.unwrap();
    for one in [step("b", 2, "InProgress"), step("a", 1, "Success"), step("b", 2, "Failed")] {
        tx.put_workflow_step(id, &one).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(store.workflow_steps(id, 0, 9).await.unwrap(), [step("a", 1, "Success"), step("b", 2, "Failed")]);
    assert_eq!(store.workflow_steps(id, 1, 9).await.unwrap(), [step("b", 2, "Failed")]);
}

fn call(token: &str) -> NewCall {
    NewCall {
        token: token.to_owned(),
        owner_kind: OwnerKind::Workflow,
        owner_id: WorkflowId::derived("a").to_string(),
        about: "{}".to_owned(),
        call: Call::Api { operation: "DescribeInstanceInformation".to_owned(), input: json!({ "MaxResults": 5 }) },
        reference: Some(format!("reference of {token}")),
        deadline_at: Some(at(600)),
    }
}

async fn a_call_is_claimed_by_one_until_its_lease_runs_out(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    assert!(tx.add_call(&call("t"), true, at(0)).await.unwrap().is_some());
    assert!(tx.add_call(&call("t"), true, at(0)).await.unwrap().is_none(), "it is stored already");
    assert!(tx.add_call(&call("elsewhere"), false, at(0)).await.unwrap().is_none(), "nobody is to make it");
    tx.commit().await.unwrap();
    let lease = jiff::SignedDuration::from_secs(60);
    for (token, seconds, attempts) in [("t", 1, Some(1)), ("t", 59, None), ("t", 61, Some(2)), ("elsewhere", 1, None)] {
        let mut tx = store.begin().await.unwrap();
        let claimed = tx.claim_call(token, lease, at(seconds)).await.unwrap();
        assert_eq!(claimed.as_ref().map(|call| call.attempts), attempts, "{token} at {seconds}");
        if let Some(claimed) = claimed {
            assert_eq!((claimed.call, claimed.deadline_at), (call("t").call, Some(at(600))));
        }
        tx.commit().await.unwrap();
    }
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.calls_of_reference("reference of elsewhere").await.unwrap().len(), 1);
    assert_eq!(tx.open_calls(OwnerKind::Workflow, &call("t").owner_id).await.unwrap().len(), 2);
}

async fn a_call_ends_once_and_tells_its_execution(place: Place) {
    let store = place.open().await;
    let mut tx = store.begin().await.unwrap();
    tx.add_call(&call("t"), true, at(0)).await.unwrap();
    let stored = tx.call("t").await.unwrap().unwrap();
    let outcome = CallOutcome::Succeeded(json!({ "n": 1 }));
    assert!(end_call(&mut tx, &stored, outcome.clone(), at(1)).await.unwrap().is_some());
    assert!(end_call(&mut tx, &stored, CallOutcome::Succeeded(json!(2)), at(2)).await.unwrap().is_none());
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let stored = tx.call("t").await.unwrap().unwrap();
    assert_eq!((stored.ended_at, stored.outcome), (Some(at(1)), Some(outcome.clone())));
    let letters = tx.take_letters(WorkflowId::derived("a"), 9).await.unwrap();
    let happening: Happening = serde_json::from_str(&letters[0].event).unwrap();
    assert_eq!((letters.len(), happening), (1, Happening::CallEnded { about: "{}".to_owned(), outcome }));
    let noted = tx.note_ended_calls(OwnerKind::Workflow, &call("t").owner_id, 9).await.unwrap();
    assert_eq!(noted.len(), 1);
    assert!(tx.note_ended_calls(OwnerKind::Workflow, &call("t").owner_id, 9).await.unwrap().is_empty());
    tx.forget_calls(OwnerKind::Workflow, &call("t").owner_id).await.unwrap();
    assert_eq!(tx.call("t").await.unwrap(), None);
}

async fn a_function_is_registered_changed_listed_and_deleted(place: Place) {
    let store = place.open().await;
    let function = |name: &str, seconds: u32| Function {
        name: name.to_owned(),
        url: "https://functions.example.com".to_owned(),
        timeout_seconds: seconds,
        description: String::new(),
        created_at: at(0),
        updated_at: at(i64::from(seconds)),
    };
    let mut tx = store.begin().await.unwrap();
    for one in [function("b", 1), function("a", 2), function("b", 3)] {
        tx.put_function(&one).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(store.functions().await.unwrap(), [function("a", 2), function("b", 3)]);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.delete_function("a").await.unwrap() && !tx.delete_function("a").await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(
        (store.function("a").await.unwrap(), store.function("b").await.unwrap()),
        (None, Some(function("b", 3)))
    );
}
