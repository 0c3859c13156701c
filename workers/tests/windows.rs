//! What a firing says about how it began, and what its cutoff stops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchwave_platform::secrets::MasterKey;
use patchwave_platform::store::windows::{CalendarPolicy, CutoffBehavior, RunCommandParameters, Window, WindowTask};
use patchwave_platform::store::{Durability, Store};
use patchwave_schemas::event::{CancelCause, ErrorMode, RolloutCancelRequested, Target, WindowStarted};
use patchwave_schemas::node::{NodeFacts, OperatingSystem};
use patchwave_schemas::{CloudEvent, Message as _, NodeId, WindowId, WindowTaskId};
use patchwave_workers::resolver::{Input, Resolver};
use patchwave_workers::runtime::Handler;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_mins(minutes)
}

/// Open for three hours, the last of which starts nothing.
fn window(window_id: &WindowId) -> Window {
    Window {
        window_id: window_id.clone(),
        name: "nightly".to_owned(),
        description: None,
        schedule: "rate(1 day)".to_owned(),
        schedule_timezone: None,
        schedule_offset: None,
        start_date: None,
        end_date: None,
        duration: 3,
        cutoff: 1,
        allow_unassociated_targets: true,
        calendar_names: Vec::new(),
        calendar_policy: CalendarPolicy::Skip,
        enabled: true,
        schedule_base: at(0),
        created_date: at(0),
        modified_date: at(0),
        next_execution_at: None,
    }
}

async fn open() -> (Store, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("patchwave.db").display());
    (Store::open_with(&url, Durability::None).await.unwrap(), directory)
}

/// A task.
fn task(window_id: &WindowId) -> WindowTask {
    WindowTask {
        window_task_id: WindowTaskId::derived("task"),
        window_id: window_id.clone(),
        task_type: "RUN_COMMAND".to_owned(),
        task_arn: "AWS-RunShellScript".to_owned(),
        targets: Vec::new(),
        priority: 1,
        max_concurrency: None,
        max_errors: None,
        error_mode: ErrorMode::Ssm,
        cutoff_behavior: CutoffBehavior::default(),
        run_command: RunCommandParameters {
            parameters: BTreeMap::from([("commands".to_owned(), vec!["true".to_owned()])]),
            ..RunCommandParameters::default()
        },
        step_functions: None,
        lambda: None,
        rollout_plan: None,
        service_role_arn: None,
        name: None,
        description: None,
    }
}

#[tokio::test]
async fn a_firing_says_that_it_started_late_or_was_missed() {
    let (store, _directory) = open().await;
    let master_key = MasterKey::ephemeral().unwrap();
    for (number, late, status, details) in [
        (1, 0, "SUCCESS", "No tasks to execute."),
        (2, 61, "IN_PROGRESS", "started 61 min late; its cutoff and end stand"),
        (3, 121, "TIMED_OUT", "missed: its cutoff had passed before it could start"),
    ] {
        let window_id = WindowId::from_bits(number);
        let window = window(&window_id);
        let mut tx = store.begin().await.unwrap();
        tx.put_window(&window).await.unwrap();
        if number == 2 {
            tx.put_window_task(&task(&window_id), at(0)).await.unwrap();
        }
        tx.commit().await.unwrap();
        let started = WindowStarted { window_id: window_id.clone(), scheduled_at: at(0) };
        Resolver::apply(&store, &master_key, &[Input::WindowStarted(started)], at(late)).await.unwrap();
        let executions = store.executions(&window_id, None, 10).await.unwrap();
        assert_eq!(executions.len(), 1);
        assert_eq!((executions[0].status.as_str(), executions[0].status_details.as_str()), (status, details));
    }
}

#[tokio::test]
async fn the_cutoff_stops_the_tasks_that_say_so_and_no_others() {
    let (store, _directory) = open().await;
    let master_key = MasterKey::ephemeral().unwrap();
    let window_id = WindowId::from_bits(1);
    let node_id = NodeId::from_bits(1);
    let facts = NodeFacts {
        node_id: node_id.clone(),
        computer_name: "host-1".to_owned(),
        operating_system: OperatingSystem::Debian,
        platform_name: "Debian GNU/Linux".to_owned(),
        platform_version: "12".to_owned(),
        agent_version: "0.1.0".to_owned(),
        ip_address: None,
        simulated: true,
        tags: BTreeMap::new(),
    };
    let tasks = [CutoffBehavior::CancelTask, CutoffBehavior::ContinueTask].map(|cutoff_behavior| WindowTask {
        window_task_id: WindowTaskId::derived(&format!("{cutoff_behavior:?}")),
        targets: vec![Target { key: "InstanceIds".to_owned(), values: vec![node_id.to_string()] }],
        cutoff_behavior,
        ..task(&window_id)
    });
    let mut tx = store.begin().await.unwrap();
    tx.put_node(&facts, at(0)).await.unwrap();
    tx.put_window(&window(&window_id)).await.unwrap();
    for task in &tasks {
        tx.put_window_task(task, at(0)).await.unwrap();
    }
    tx.commit().await.unwrap();

    let started = WindowStarted { window_id: window_id.clone(), scheduled_at: at(0) };
    Resolver::apply(&store, &master_key, &[Input::WindowStarted(started)], at(0)).await.unwrap();
    let execution = store.executions(&window_id, None, 10).await.unwrap().remove(0).window_execution_id;
    let mut tx = store.begin().await.unwrap();
    let running = tx.task_executions(execution).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(running.iter().map(|task| task.status.as_str()).collect::<Vec<_>>(), ["IN_PROGRESS"; 2]);
    let to_be_cancelled = running.iter().find(|one| one.task.cutoff_behavior == CutoffBehavior::CancelTask).unwrap();

    let applied = Resolver::apply(&store, &master_key, &[Input::Cutoff(execution)], at(120)).await.unwrap();
    let asked: Vec<_> = applied
        .effects
        .outbox
        .iter()
        .map(|message| message.outgoing())
        .filter(|message| message.message_type == RolloutCancelRequested::TYPE)
        .map(|message| CloudEvent::<RolloutCancelRequested>::from_bytes(&message.body).unwrap().data)
        .map(|request| (Some(request.command_id), request.cause))
        .collect();
    assert_eq!(asked, [(to_be_cancelled.command_id, CancelCause::Cutoff)]);
}
